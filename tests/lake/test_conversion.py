"""Rows to payments: units, times, codes, derived ids, and the door that mapped rows pass."""

import json
import random
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pix.contracts import InvalidFields, behind_the_door, canonical_json, payment_from
from pix.identifiers import cpf, end_to_end_minute_ms
from pix.offline import mapping
from pix.offline.conversion import RowToPayment, converter, derived_id, hashed_account
from pix.offline.mapping import FieldSource, PaymentTable
from pix.offline.mapping_checks import kinds
from pix.offline.parsing import Door, RememberingKeyring

NOON_MS = 1_780_315_200_000
FULL = {
    "end_to_end_id": "E12345678202606011200abcdefghijk",
    "initiated_at": "2026-06-01T12:00:00.250Z",
    "amount_cents": 12_345,
    "payer_account": "12345678-0001-1",
    "payee_account": "87654321-0001-2",
    "tenant": "bank-a",
    "initiation": "DICT",
    "pix_key": "ana@example.org",
    "pix_key_type": "EMAIL",
    "payer_tax_id": cpf("123456789"),
    "payer_person_type": "PF",
    "payer_age_years": 41,
    "payer_municipality": "3550308",
    "key_created_at": "2020-01-01T00:00:00Z",
    "payer_account_opened_at": "1999-12-31T23:59:59-03:00",
    "payee_is_preregistered": True,
    "device_id": "phone-1",
    "device_ip": "10.0.0.1",
    "active_call": False,
    "login_age_ms": 4_000,
    "payer_balance_cents": -17,
    "remittance_text": 'caf\u00e9 "dois" \\ ok',
}


def convert(field: str, value, decimal: str = ".", **source):
    table = PaymentTable(fields={}, decimal=decimal)
    return converter(FieldSource(column="x", **source), kinds()[field], table)(value)


@pytest.mark.parametrize(
    ("value", "cents"),
    [("163.3", 16_330), ("0.01", 1), ("-0.50", -50), ("12", 1_200), ("12.", 1_200), ("1e3", 100_000), (".5", 50),
     (163.3, 16_330), (0.1 + 0.2, 30), (7, 700), (Decimal("1.10"), 110)],
)  # fmt: skip
def test_reais_are_exact(value, cents):
    assert convert("payer_balance_cents", value, unit="reais") == cents


def test_a_brazilian_file_writes_decimals_with_a_comma():
    assert convert("amount_cents", "1234,56", decimal=",", unit="reais") == 123_456
    for text in ("1.234", "1.234,56"):
        with pytest.raises(ValueError, match="must be a number"):
            convert("amount_cents", text, decimal=",", unit="reais")


@pytest.mark.parametrize("value", ["0.001", "1,5", "x", "", "NaN", "Infinity", "1e999999999", "1_0", "\u0661", 0.005])
def test_what_are_no_reais_is_refused_without_the_value(value):
    with pytest.raises(ValueError, match=r"must be (a number|reais with at most two decimals)"):
        convert("amount_cents", value, unit="reais")


@pytest.mark.parametrize(
    ("value", "source", "at_ms"),
    [
        ("2026-06-01T12:00:00Z", {"unit": "iso"}, NOON_MS),
        ("2026-06-01 09:00:00", {"unit": "iso", "zone": "America/Sao_Paulo"}, NOON_MS),
        ("2026-06-01T12:00:00.1239+00:00", {"unit": "iso"}, NOON_MS + 123),
        (datetime(2026, 6, 1, 12, tzinfo=UTC), {"unit": "iso"}, NOON_MS),
        ("1780315200", {"unit": "epoch_seconds"}, NOON_MS),
        ("1780315200.5", {"unit": "epoch_seconds"}, NOON_MS + 500),
        (NOON_MS, {"unit": "epoch_milliseconds"}, NOON_MS),
        ("1", {"unit": "days", "start": "2026-05-31T12:00:00Z"}, NOON_MS),
        ("90", {"unit": "seconds", "start": "2026-06-01T11:58:30+00:00"}, NOON_MS),
        ("2", {"unit": "hours", "start": "2026-06-01T07:00:00", "zone": "America/Sao_Paulo"}, NOON_MS),
    ],
)
def test_times(value, source, at_ms):
    assert convert("initiated_at", value, **source) == at_ms


@pytest.mark.parametrize(
    ("value", "source", "reason"),
    [
        ("2026-06-01T12:00:00", {"unit": "iso"}, "has no offset"),
        ("01/06/2026", {"unit": "iso"}, "ISO 8601"),
        ("1780315200000000", {"unit": "epoch_seconds"}, "is the unit right"),
        ("-1", {"unit": "epoch_seconds"}, "is the unit right"),
    ],
)
def test_what_is_no_time(value, source, reason):
    with pytest.raises(ValueError, match=reason):
        convert("initiated_at", value, **source)


def test_codes_flags_and_counts():
    assert convert("initiation", "key", values={"key": "DICT"}) == "DICT"
    with pytest.raises(ValueError, match="is not among the mapping's values"):
        convert("initiation", "other", values={"key": "DICT"})
    assert [convert("active_call", value) for value in ("TRUE", "0", True)] == [True, False, True]
    assert convert("active_call", "S", values={"S": "true", "N": "false"}) is True
    assert convert("payer_age_years", 41.0) == 41
    assert convert("payer_municipality", 3550308.0) == "3550308"
    assert convert("login_age_ms", "4.25", unit="seconds") == 4_250
    for value in ("4.5", "+", "\u0664", 4.5, True):
        with pytest.raises(ValueError, match="must be a whole number"):
            convert("payer_age_years", value)


def test_any_text_can_name_an_account():
    first, again, other = (
        convert("payer_account", text, hashed=True, template="12345678-{}")
        for text in ("C1231006815", "C1231006815", "BR15 0000 \u00e9")
    )
    assert first == again != other
    assert first == f"12345678-{hashed_account('C1231006815')}"
    for account in (first, other):
        payment_from({**FULL, "payer_account": account})


def test_derived_ids_hold_the_minute_and_depend_on_history_and_row():
    at_ms = NOON_MS + 59_999
    made = {
        derived_id("99999999", at_ms, history, number, row)
        for history in ("a", "b")
        for number in (1, 2)
        for row in (["x", "1"], ["x", "2"])
    }
    assert len(made) == 8
    assert {end_to_end_minute_ms(each) for each in made} == {NOON_MS}
    assert derived_id("99999999", at_ms, "a", 1, ["x", "1"]) in made
    assert len({derived_id("99999999", NOON_MS, "a", n, ["x"]) for n in range(50_000)}) == 50_000


def mapped(row, more: str = ""):
    text = """
payments:
  missing: ["", "NA"]
  fields:
    end_to_end_id: {derived: true, ispb: "99999999"}
    initiated_at: {column: when, unit: iso}
    amount_cents: {column: amount, unit: centavos}
    payer_account: {column: a, template: "12345678-0001-{}"}
    payee_account: {column: b, template: "12345678-0001-{}"}
    payer_age_years: age
    initiation: {constant: MANU}
"""
    return RowToPayment(mapping.parse(text + more), ["when", "amount", "a", "b", "age"], "bank")(7, row)


def test_missing_optional_facts_are_left_out():
    content = mapped(["2026-06-01T12:00:00Z", "5", "1", "2", "NA"])
    assert "payer_age_years" not in content
    message = payment_from(content)
    assert (message.payer_age_years, message.initiation, message.amount_cents) == (None, "MANU", 5)
    assert content == mapped(["2026-06-01T12:00:00Z", "5", "1", "2", float("nan")]) | {
        "end_to_end_id": content["end_to_end_id"]
    }


def test_every_broken_value_of_a_row_is_named():
    with pytest.raises(InvalidFields) as told:
        mapped(["yesterday", "5.5", "1", "2", "old"])
    assert [error.field for error in told.value.errors] == ["initiated_at", "amount_cents", "payer_age_years"]
    assert "yesterday" not in str(told.value)
    with pytest.raises(InvalidFields, match="has 2 columns, the header 5"):
        mapped(["yesterday", "5"])


def test_mapped_rows_pass_the_same_door_byte_for_byte(messages):
    draw = random.Random(3)
    optional = [name for name in FULL if name not in ("end_to_end_id", "initiated_at", "amount_cents")]
    for history in ("live", "bank"):
        door = Door(FULL, RememberingKeyring.of(messages.KEYRING), history)
        for _ in range(200):
            left_out = {name for name in optional if not name.endswith("_account") and draw.random() < 0.5}
            message = payment_from({name: value for name, value in FULL.items() if name not in left_out})
            payment = behind_the_door(message, messages.KEYRING, history=history)
            assert door(message, payment.tenant).encode() == canonical_json(payment.to_dict())
    assert json.loads(door(message, "t"))["amount_cents"] == 12_345
