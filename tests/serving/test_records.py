"""What is committed and published is, byte for byte, what the contracts describe."""

import json
import random
from collections.abc import Set
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError
from traffic import KEYRING, NOW_MS, StubbornModel, arrival, label, message, pipeline, random_message, rfc3339
from written_logs import WrittenLogs

from pix.contracts import (
    DeadLetterRecord,
    DecisionRecord,
    FieldError,
    FoldRecord,
    InvalidMessage,
    Payment,
    RedrivenRecord,
    canonical_json,
    parse_payment,
)
from pix.contracts.decision import Action, TokenisedPayment
from pix.deadletter import MAX_PAYLOAD_BYTES, Origin, dead_letter, redriven_note
from pix.identifiers import cpf
from pix.store.memory import MemoryStore
from serving.degraded import decide_by_rules
from serving.outcomes import Arrival, Done
from serving.policy import ACTIONS
from serving.reconciling import Reconciler

PUBLISHED = Path(__file__).parents[2] / "contracts"
REST = Arrival(NOW_MS, "ab" * 32, {"kind": "rest", "client": "local"}, "cd" * 16)
EVERY_FACT: dict[str, object] = {
    "initiation": "DICT", "purpose": "IPAY", "priority": "HIGH", "txid": "charge1", "pix_key": "maria@example.com",
    "pix_key_type": "EMAIL", "payer_tax_id": cpf("123456789"), "payee_tax_id": "12ABC34501DE35",
    "payer_person_type": "PF", "payee_person_type": "PJ", "payer_account_type": "CACC", "payee_account_type": "TRAN",
    "payer_age_years": 40, "payer_municipality": "3550308", "payee_settlements_d90": 9, "payee_fraud_markers_d90": 1,
    "payee_mule_markers_d90": 1, "payee_fraud_reporters_d90": 1, "payee_rejected_reports_d90": 0,
    "payee_open_reports": 2, "payee_is_preregistered": False, "device_id": "phone-7", "device_ip": "100.64.0.1",
    "device_municipality": "3304557", "device_remote_access": False, "device_rooted": True, "active_call": False,
    "authentication": "BIOMETRY", "login_age_ms": 30_000, "typing_interval_ms": 90, "payer_balance_cents": -5,
    "payer_limit_cents": 10**6, "remittance_text": "almoço",
    **dict.fromkeys(
        ("key_created_at", "key_owned_since", "payer_account_opened_at", "payee_account_opened_at",
         "fraud_markers_watermark", "device_registered_at", "credentials_changed_at", "limit_raised_at",
         "funds_raised_at"),
        rfc3339(NOW_MS - 10**9),
    ),
}  # fmt: skip


OF_PAYMENTS = {"payment", "outcome", "event_time_ms", "carried"}
OF_LABELS = {"label_kind", "time_ms", "measure", "change", "counted_at_ms"}


def holds(model: type[BaseModel], name: str, record: bytes, absent: Set[str] = frozenset()) -> dict[str, object]:
    """The record's content, after both forms of the contract have taken it."""
    model.model_validate_json(record)
    content: dict[str, object] = json.loads(record)
    Draft202012Validator(json.loads((PUBLISHED / f"{name}.schema.json").read_text())).validate(content)
    assert content.keys() == model.model_fields.keys() - absent
    assert canonical_json(content) == record
    return content


@pytest.mark.parametrize("model", [None, StubbornModel(), StubbornModel(shift=20.0)])
def test_decisions_of_random_payments(model: object) -> None:
    service, draw = pipeline(model=model), random.Random(5)
    actions = set()
    for number in range(150):
        done = service.decide(random_message(draw, number, NOW_MS, 20), REST if number % 2 else arrival(NOW_MS, number))
        assert isinstance(done, Done)
        actions.add(holds(DecisionRecord, "decision", done.record)["action"])
    assert actions <= set(ACTIONS)


def test_a_decision_with_every_fact() -> None:
    done = pipeline(model=StubbornModel()).decide(message(1, **EVERY_FACT), REST)
    assert isinstance(done, Done)
    payment = holds(DecisionRecord, "decision", done.record)["payment"]
    assert isinstance(payment, dict)
    assert payment.keys() == TokenisedPayment.model_fields.keys() == set(Payment.__slots__)


def test_folds_of_labels() -> None:
    service = pipeline()
    paid = message(1)
    service.decide(paid, REST)
    for kind, change in (("contested", 1), ("accepted", 1), ("confirmed", 0), ("reversed", -1)):
        done = service.fold_label(label(paid.end_to_end_id, kind, NOW_MS + 5), NOW_MS + 10)
        assert isinstance(done, Done)
        assert holds(FoldRecord, "fold", done.record, OF_PAYMENTS)["change"] == change


def test_decisions_without_the_store_and_their_folds() -> None:
    store, logs, draw = MemoryStore(), WrittenLogs(), random.Random(6)
    service = pipeline(store, model=StubbornModel())
    for number in range(40):
        sent = random_message(draw, number, NOW_MS, 20)
        record = decide_by_rules(service, service.seen(sent, arrival(NOW_MS, number))).record
        assert holds(DecisionRecord, "decision", record)["mode"] == "degraded:store"
        assert Reconciler(store, logs, service.now_ms).fold(record)
    for waiting in store.unpublished(2**62, 100):
        fold = holds(FoldRecord, "fold", waiting.value, OF_LABELS)
        assert fold["kind"] == "payment"
        for name in ("payment", "outcome", "event_time_ms", "carried"):
            with pytest.raises(ValidationError, match=name):
                FoldRecord.model_validate_json(canonical_json({**fold, name: None}))


@pytest.mark.parametrize("raw", [None, b"", b"not json", b'{"amount_cents": true}', b"x" * (MAX_PAYLOAD_BYTES + 1)])
def test_dead_letters(raw: bytes | None) -> None:
    errors: tuple[FieldError, ...] = (FieldError("", "is empty"),)
    if raw is not None:
        with pytest.raises(InvalidMessage) as refusal:
            parse_payment(raw)
        errors = refusal.value.errors
    letter = dead_letter(
        reason="invalid_fields",
        errors=errors * 60,
        origin=Origin("pix.transactions", 0, 7),
        received_at_ms=NOW_MS,
        end_to_end_id=None,
        raw=raw,
        keyring=KEYRING,
    )
    content = holds(DeadLetterRecord, "dead-letter", letter.value, absent={"redriven_from"})
    assert KEYRING.open(str(content["payload"])) == (raw or b"")[:MAX_PAYLOAD_BYTES]


def test_letters_of_what_was_sent_again_and_the_notes_of_that() -> None:
    first, second = Origin("pix.transactions", 0, 7), Origin("pix.transactions", 0, 9)
    letter = dead_letter(
        reason="conflict",
        errors=[],
        origin=second,
        received_at_ms=NOW_MS,
        end_to_end_id=None,
        raw=b"{}",
        keyring=KEYRING,
        redriven_from=first,
    )
    assert holds(DeadLetterRecord, "dead-letter", letter.value)["redriven_from"] == asdict(first)
    token = KEYRING.body_token("ab" * 32)
    note = redriven_note(origin=first, received_at_ms=NOW_MS, body_token=token, to=second, at_ms=NOW_MS + 1)
    assert note.key == b"pix.transactions/0/7"
    assert holds(RedrivenRecord, "redriven", note.value)["redriven"] == {"at_ms": NOW_MS + 1, "to": asdict(second)}


def test_the_contract_knows_the_policys_actions() -> None:
    assert get_args(Action) == ACTIONS


@pytest.mark.parametrize(
    "change",
    [{"extra": 1}, {"action": "MAYBE"}, {"features": ["1"]}, {"payment": {"amount_cents": 1}}, {"generation": True},
     {"states": {"pix_key": {"key": "k", "read": 0, "got": 1}}}, {"payment_digest": "x"}, {"reasons": None}],
)  # fmt: skip
def test_the_model_sees_a_changed_record(change: dict[str, object]) -> None:
    """Planted: what a change of the pipeline would do to the bytes."""
    done = pipeline(model=StubbornModel()).decide(message(1), REST)
    assert isinstance(done, Done)
    with pytest.raises(ValidationError):
        DecisionRecord.model_validate_json(canonical_json({**json.loads(done.record), **change}))
    # Older records lack these.
    for name in json.loads(done.record).keys() - {"store_generation", "hold", "control_group"}:
        without = {key: value for key, value in json.loads(done.record).items() if key != name}
        with pytest.raises(ValidationError):
            DecisionRecord.model_validate_json(canonical_json(without))
