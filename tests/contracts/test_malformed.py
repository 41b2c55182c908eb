"""Ten thousand bent payments: each refused by the right fields, or let in because it is valid; none crashes."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from jsonschema import Draft202012Validator
from mutations import mutant, valid_payment
from referee import OPTIONAL, REQUIRED, judge

from pix.contracts import InvalidMessage, PaymentMessage, parse_json_object, parse_payment, payment_from

MESSAGES = 10_000
SCHEMA = Path(__file__).parents[2] / "contracts" / "payment.schema.json"


def named(raw: bytes) -> set[str] | None:
    """Fields that the door names, None if it lets the message in."""
    try:
        parse_payment(raw)
    except InvalidMessage as refusal:
        return {error.field for error in refusal.errors}
    return None


def test_each_is_refused_by_the_right_fields_or_let_in() -> None:
    wrong = []
    verdicts: Counter[str] = Counter()
    for seed in range(MESSAGES):
        raw = mutant(seed)
        expected, got = judge(raw), named(raw)
        verdicts.update(["valid"] if expected is None else expected)
        if expected != got:
            wrong.append(f"seed {seed}: the referee says {expected}, the door {got}: {raw[:2_000]!r}")
    assert not wrong, f"{len(wrong)} of {MESSAGES}; the first: {wrong[0]}"
    # The generator reaches every field, and does not forget to make valid ones.
    assert {*REQUIRED, *OPTIONAL, "", "tenant", "extra", "(unreadable)"} - set(verdicts) <= NOT_GENERATED
    assert 1_000 < verdicts["valid"] < 5_000


NOT_GENERATED = {
    "payee_person_type", "payer_account_type", "device_municipality", "payee_is_preregistered", "device_remote_access",
    "payee_fraud_markers_d90", "payee_mule_markers_d90", "payee_fraud_reporters_d90", "payee_rejected_reports_d90",
}  # fmt: skip


def outcome(parse: Callable[[bytes], PaymentMessage], raw: bytes) -> object:
    try:
        message = parse(raw)
    except InvalidMessage as refusal:
        return type(refusal), refusal.errors, refusal.end_to_end_id
    return message, message.model_fields_set


def test_the_short_way_and_the_long_way_agree() -> None:
    for seed in range(MESSAGES):
        raw = mutant(seed)
        assert outcome(parse_payment, raw) == outcome(lambda raw: payment_from(parse_json_object(raw)), raw)


def texts_of(raw: bytes) -> list[str]:
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return []
    texts = [value for value in content.values() if isinstance(value, str)] if isinstance(content, dict) else []
    # What names a person has digits or an @; words such as BIOMETRY stand in the rules, too.
    return [text for text in texts if len(text) > 5 and set(text) & set("0123456789@")]


def test_no_refusal_repeats_a_value() -> None:
    for seed in range(0, MESSAGES, 4):
        raw = mutant(seed)
        said = str(outcome(parse_payment, raw)[1]) if named(raw) else ""  # type: ignore[index]
        assert not [text for text in texts_of(raw) if text in said], f"seed {seed}: {said}"


def test_the_published_schema_lets_in_what_the_door_lets_in() -> None:
    schema = Draft202012Validator(json.loads(SCHEMA.read_text()))
    for seed in range(0, MESSAGES, 10):
        raw = mutant(seed)
        if named(raw) is None:
            schema.validate(json.loads(raw))


def test_the_referee_knows_every_field() -> None:
    assert {*REQUIRED, *OPTIONAL, "tenant"} == set(PaymentMessage.model_fields)


def test_the_generator_starts_from_valid_payments() -> None:
    for seed in range(300):
        assert judge(json.dumps(valid_payment(random.Random(seed))).encode()) is None
