"""Samples of rows that broke a promise carry no clear identifier."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.conditions import Condition
from quality.suites import covered
from quality.unexpected import MOST, rows_of, shown

TOKEN = "k1:" + "aB3_" * 8


@pytest.mark.parametrize(
    ("column", "value", "kept"),
    [
        ("payer_account", "12345678-0001-1234567", "like 99999999-9999-9999999"),
        ("pix_key", "maria@example.com", "like aaaaa@aaaaaaa.aaa"),
        ("payer_tax_id", "52998224725", "like 99999999999"),
        ("payee_account", TOKEN, TOKEN),
        ("end_to_end_id", "E12345678202606011500abcdefghijk", "E12345678202606011500abcdefghijk"),
        ("initiation", "CASH", "CASH"),
        ("tenant", "default@bank-2025", "default@bank-2025"),
        ("amount_cents", -5, "-5"),
        ("amount_cents", None, "null"),
        ("record", '{"payer":"x"}', "(private)"),
        ("remittance_text", TOKEN, "(private)"),
        ("txid", "é" + "x" * 99, "like " + "a" * 60),
    ],
)
def test_a_value_is_kept_only_where_it_is_no_clear_identifier(column, value, kept):
    assert shown(column, value) == kept


@given(st.from_regex(r"[0-9]{11}|[0-9A-Z]{12}[0-9]{2}|\+[0-9]{10,15}|[a-z0-9.]+@[a-z]+\.com", fullmatch=True))
def test_no_clear_identifier_is_ever_kept(value):
    kept = shown("pix_key", value)
    assert kept.startswith("like ")
    assert not set(kept.removeprefix("like ")) & set("12345678bcdxyz")


def test_a_check_keeps_twenty_rows_with_what_names_them():
    condition = Condition(kind="between", columns=("amount_cents",), low=1)
    found = [{"tenant": "default", "end_to_end_id": f"E{'1' * 30}{n}", "amount_cents": -n} for n in range(25)]
    plain = {"day": date(2026, 6, 1), "run": "r", "at_ms": 5}
    kept = rows_of(covered()["silver/payments"], "amounts_are_possible", [(condition, found)], **plain)
    assert len(kept) == MOST
    assert kept[1]["row_key"].startswith("tenant=default end_to_end_id=")
    assert (kept[1]["value"], kept[1]["broken_columns"]) == ("amount_cents=-1", "amount_cents")
