"""The doors let in what the contract says, and nothing else."""

import json
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import assume, given
from hypothesis import strategies as st

from pix.contracts import (
    INSTANT_FIELDS,
    TOKEN_KINDS,
    InvalidFields,
    InvalidMessage,
    NotJson,
    Payment,
    PaymentMessage,
    behind_the_door,
    canonical_json,
    label_id,
    parse_instant,
    parse_label,
    parse_payment,
    payment_digest,
)
from pix.tokens import Keyring, MissingKeys, body_sha256, ensure_keys, load_keyring

SMALLEST = (
    b'{"end_to_end_id":"E12345678202611211230abcdefghijk","initiated_at":"2026-11-21T09:30:15.120-03:00",'
    b'"amount_cents":12345,"payer_account":"12345678-0001-1234567","payee_account":"87654321-0001-7654321"}'
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEYRING = Keyring(1, {1: b"a" * 32, 2: b"b" * 32})


def changed(**changes: object) -> bytes:
    return json.dumps({**json.loads(SMALLEST), **changes}).encode()


def test_the_smallest_valid_payment() -> None:
    message = parse_payment(SMALLEST)
    assert message.amount_cents == 12345
    assert message.initiated_at == 1_795_264_215_120
    assert message.tenant == "default"
    assert message.device_id is None


def test_both_forms_of_a_payment_have_the_same_fields() -> None:
    assert {INSTANT_FIELDS.get(name, name) for name in PaymentMessage.model_fields} == {f.name for f in fields(Payment)}
    assert set(TOKEN_KINDS) <= set(PaymentMessage.model_fields)


def test_equal_identifiers_get_equal_tokens_of_their_kind_and_tenant() -> None:
    one = behind_the_door(parse_payment(changed(device_id="abc")), KEYRING)
    other = behind_the_door(parse_payment(changed(device_id="abc", tenant="other")), KEYRING)
    assert one.payer_account.startswith("k1:")
    assert one.payer_account == behind_the_door(parse_payment(SMALLEST), KEYRING).payer_account
    assert one.payer_account != other.payer_account
    assert one.device_id != KEYRING.token("default", "account", "abc")


def test_the_digest_sees_every_field_and_no_formatting() -> None:
    digest = payment_digest(behind_the_door(parse_payment(SMALLEST), KEYRING))
    spaced = json.dumps(json.loads(SMALLEST), indent=3).encode()
    assert payment_digest(behind_the_door(parse_payment(spaced), KEYRING)) == digest
    same_instant = changed(initiated_at="2026-11-21T12:30:15.12Z")
    assert payment_digest(behind_the_door(parse_payment(same_instant), KEYRING)) == digest
    assert payment_digest(behind_the_door(parse_payment(changed(active_call=False)), KEYRING)) != digest


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2026-11-21T09:30:15Z", True),
        ("2026-11-21t09:30:15.123456789+00:00", True),
        ("2026-11-21T09:30:15", False),
        ("2026-11-21 09:30:15Z", False),
        ("2026-13-21T09:30:15Z", False),
        ("1795264215120", False),
        ("2026-11-21T09:30:15Z\n", False),
        ("٢٠٢٦-11-21T09:30:15Z", False),
    ],
)
def test_instants(text: str, valid: bool) -> None:
    if valid:
        assert parse_instant(text) // 1000 == 1_795_253_415
    else:
        with pytest.raises(ValueError, match="RFC 3339|month|day"):
            parse_instant(text)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b'"x"',
        b"\xff\xfe",
        SMALLEST.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + SMALLEST,
        b'{"a": Infinity}',
        b"[" * 100_000,
        SMALLEST + b" " * 20_000,
    ],
    ids=["empty", "open", "null", "text", "not-utf8", "utf16", "bom", "infinity", "deep", "long"],
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(NotJson):
        parse_payment(raw)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_is_no_number_is_refused_with_its_field(number: bytes) -> None:
    with pytest.raises(NotJson) as refusal:
        parse_payment(SMALLEST.replace(b"12345,", number + b",", 1))
    assert [error.field for error in refusal.value.errors] == ["amount_cents"]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"pix_key": "maria@example.com", "pix_key_type": "EMAIL"}, None),
        ({"pix_key": "12ABC34501DE35"}, None),
        ({"pix_key_type": "EVP"}, None),
        ({"pix_key": "maria@example.com", "pix_key_type": "EVP"}, "is not a key of the type"),
        ({"pix_key": "12345678900"}, "is no Pix key"),
        ({"pix_key": "11987654321"}, "is no Pix key"),
        ({"pix_key": "12345678909", "initiation": "MANU"}, "must be null"),
        ({"pix_key": "12345678909", "initiation": "AUTO"}, "must be null"),
        ({"pix_key": "12345678909", "initiation": "QRDN"}, None),
    ],
)
def test_a_pix_key_is_of_its_type(facts: dict[str, object], reason: str | None) -> None:
    if reason is None:
        assert parse_payment(changed(**facts)).pix_key == facts.get("pix_key")
        return
    with pytest.raises(InvalidFields, match=reason) as refusal:
        parse_payment(changed(**facts))
    assert [error.field for error in refusal.value.errors] == ["pix_key"]


@given(st.datetimes(timezones=st.timezones()), st.sampled_from(["milliseconds", "microseconds"]))
def test_an_instant_is_exact(moment: datetime, precision: str) -> None:
    offset = moment.utcoffset()
    # RFC 3339 knows offsets of whole minutes only.
    assume(offset is not None and not offset % timedelta(minutes=1))
    assert parse_instant(moment.isoformat(timespec=precision)) == (moment - EPOCH) // timedelta(milliseconds=1)


def test_a_refusal_never_repeats_a_value() -> None:
    secret = "maria.silva@example.com"
    with pytest.raises(InvalidFields) as refusal:
        parse_payment(changed(pix_key=f"{secret} ", payer_tax_id=secret, **{secret: 1}))
    assert secret not in str(refusal.value)


def test_every_broken_field_is_named_at_once() -> None:
    with pytest.raises(InvalidFields) as refusal:
        parse_payment(changed(amount_cents=-1, payer_account="x", extra=1))
    assert {error.field for error in refusal.value.errors} == {"amount_cents", "payer_account", "extra"}
    assert refusal.value.end_to_end_id == "E12345678202611211230abcdefghijk"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(PaymentMessage.model_fields)) | st.text(), json_values, max_size=6))
def test_no_content_crashes_the_parser(changes: dict[str, object]) -> None:
    with suppress(InvalidMessage):
        assert parse_payment(changed(**changes)).amount_cents > 0


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_parser(raw: bytes) -> None:
    with pytest.raises(InvalidMessage):
        parse_payment(raw)


def test_a_label_must_carry_the_hash_of_its_content() -> None:
    content: dict[str, object] = {
        "end_to_end_id": "E12345678202611211230abcdefghijk",
        "kind": "accepted",
        "effective_at": "2026-11-21T09:30:15Z",
        "known_at": "2026-11-21T10:30:15Z",
        "source": "med",
    }
    signed = {**content, "label_id": label_id(content)}
    assert parse_label(canonical_json(signed)).kind == "accepted"
    with pytest.raises(InvalidFields, match="label_id"):
        parse_label(canonical_json({**signed, "kind": "rejected"}))


@pytest.mark.parametrize(
    "extra",
    [b'"x":' + b"[" * 900 + b"]" * 900, b'"x":' + b"[" * 7_000 + b"]" * 7_000,
     b'"source":"\\ud800"', b'"x":1e999', b'"x":NaN'],
    ids=["deep", "deeper", "surrogate", "infinite", "nan"],
)  # fmt: skip
def test_no_label_crashes_its_hash(extra: bytes) -> None:
    """Only what kept every rule is hashed."""
    with pytest.raises(InvalidMessage):
        parse_label(b'{"label_id":"' + b"0" * 64 + b'",' + extra + b"}")


def test_sealed_payloads_open_again_and_only_unchanged() -> None:
    sealed = KEYRING.seal(SMALLEST)
    assert b"12345678" not in sealed.encode()
    assert KEYRING.open(sealed) == SMALLEST
    flipped = sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:]
    with pytest.raises(InvalidTag):
        KEYRING.open(flipped)


def test_a_home_gets_its_keys_once(tmp_path: Path) -> None:
    with pytest.raises(MissingKeys):
        load_keyring(tmp_path / "secrets")
    ensure_keys(tmp_path / "secrets")
    first = load_keyring(tmp_path / "secrets")
    ensure_keys(tmp_path / "secrets")
    assert load_keyring(tmp_path / "secrets") == first
    assert (tmp_path / "secrets" / "token-keys.json").stat().st_mode & 0o077 == 0
    digest = body_sha256(SMALLEST)
    assert first.body_token(digest) in first.body_tokens(digest)
