"""Every table has a suite, by its declaration alone."""

import pkgutil
import re
from importlib import import_module

import pytest

from pix.contracts import PaymentMessage
from pix.contracts.fields import Initiation
from pix.offline import tables
from pix.offline.declaration import Column, Table
from pix.offline.tables import TABLES
from quality.conditions import Condition
from quality.errors import UnknownSuite
from quality.promises import BY_HAND, KEYS, REQUIRED
from quality.suites import covered, key_columns, suite, suite_of

PROFILES = Table(
    "gold/shop_profiles",
    "One payer on one day.",
    (
        Column("event_day", "date"),
        Column("tenant", "string"),
        Column("payer_account", "string"),
        Column("payments", "bigint"),
        Column("amount_cents", "bigint"),
        Column("mean_cents", "double"),
        Column("night_share", "double"),
        Column("newest_event_ms", "bigint"),
    ),
    partitions=("event_day",),
)


def conditions(table: Table) -> set[tuple[str, Condition]]:
    return {(promise.name, one) for promise in suite(table) for one in promise.conditions}


def test_every_declared_table_of_silver_and_gold_has_a_suite():
    modules = [import_module(found.name) for found in pkgutil.iter_modules(tables.__path__, f"{tables.__name__}.")]
    declared = {value.name for module in modules for value in vars(module).values() if isinstance(value, Table)}
    assert TABLES.keys() == declared
    expected = {name for name in declared if name.startswith(("silver/", "gold/"))}
    assert covered().keys() == expected >= {"silver/payments", "gold/daily_kpis"}
    for name, table in covered().items():
        names = [promise.name for promise in suite_of(name)]
        assert len(names) == len(set(names)), name
        assert {"rows_are_unique", "required_columns_are_filled"} <= set(names), name
        assert set(key_columns(table)) <= set(table.names), name


def test_what_stands_by_hand_names_columns_that_are_declared():
    for name, table in covered().items():
        read = {column for promise in suite_of(name) for column in promise.reads}
        assert read <= set(table.names), name
        for one in (one for promise in suite_of(name) for one in promise.conditions if one.source):
            there = set(covered()[one.source.table].names)
            assert one.kind == "sums_of" or {column for _, column in one.source.on} <= there
    for by_table in (KEYS, REQUIRED, BY_HAND):
        assert set(by_table) <= covered().keys()


def test_a_table_that_is_declared_tomorrow_gets_its_suite_from_names_and_contracts():
    found = conditions(PROFILES)
    account = PaymentMessage.model_fields["payer_account"]
    assert account.is_required()
    key = Condition(kind="unique", columns=("event_day", "tenant", "payer_account"))
    assert ("rows_are_unique", key) in found
    assert ("required_columns_are_filled", Condition(kind="present", columns=("event_day",))) in found
    assert ("amounts_are_possible", Condition(kind="between", columns=("amount_cents",), low=0)) in found
    assert ("amounts_are_possible", Condition(kind="whole", columns=("mean_cents",))) in found
    assert ("counts_are_possible", Condition(kind="between", columns=("payments",), low=0)) in found
    assert ("shares_lie_in_0_1", Condition(kind="between", columns=("night_share",), low=0, high=1)) in found
    assert {"identifiers_are_tokens", "times_are_milliseconds"} <= {name for name, _ in found}


def test_words_ranges_and_shapes_are_those_of_the_contracts():
    found = conditions(covered()["silver/payments"])
    words = {one.columns[0]: one.values for _, one in found if one.kind == "one_of"}
    assert words["initiation"] == Initiation.__args__
    ranges = {one.columns[0]: (one.low, one.high) for _, one in found if one.kind == "between"}
    assert ranges["amount_cents"] == (1, 10**12)
    assert ranges["payer_age_years"] == (0, 130)
    assert ranges["payer_balance_cents"][0] < 0
    shapes = {one.columns[0]: one.pattern for _, one in found if one.kind == "matches"}
    assert re.search(shapes["pix_key"], "k1:" + "a" * 32)
    assert not re.search(shapes["pix_key"], "someone@example.com")
    assert re.search(shapes["tenant"], "default@bank-2025")


def test_what_senders_state_stops_nothing_but_a_clear_identifier_does():
    severity = {
        column: promise.severity
        for promise in suite_of("silver/payments")
        for one in promise.conditions
        if one.kind in ("one_of", "between", "matches")
        for column in one.columns
    }
    assert {severity[name] for name in ("initiation", "key_created_at_ms", "payer_age_years")} == {"warning"}
    assert {severity[name] for name in ("pix_key", "amount_cents", "event_time_ms", "source")} == {"critical"}


def test_an_event_day_must_be_that_of_the_time():
    days = Table("gold/x", "One.", (Column("event_day", "date"), Column("event_time_ms", "bigint")))
    assert Condition(kind="day_of", columns=("event_day", "event_time_ms")) in {one for _, one in conditions(days)}


def test_an_unknown_table_is_refused():
    with pytest.raises(UnknownSuite, match="silver/payments"):
        suite_of("gold/other")
