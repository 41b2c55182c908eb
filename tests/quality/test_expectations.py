"""What breaks a promise is found: exactly by the counts, and by Great Expectations on a sample."""

from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pix.offline.declaration import Column, Table
from quality.conditions import Condition, Promise
from quality.counting import ASKED, count, examples, sample_sql
from quality.errors import ExpectationError
from quality.expectations import columns_of, frame_of, validate
from quality.suites import covered, suite

HASH = "0" * 64


@pytest.fixture
def outcomes(lake, ask):
    """Judges a written table, as the checks do."""

    def judged(table, promises=None, *, days=None, most=10_000):
        chosen = suite(table) if promises is None else promises
        types = lake.types(table.name)
        counts = count(table, chosen, ask, columns=types, days=days)
        columns = [name for name in columns_of(chosen) if name in types]
        sample = ask(sample_sql(table, columns, total=counts.total, most=most, days=days), {ASKED: table.name})
        return {one.name: one for one in validate(frame_of(sample, types, chosen), counts, chosen)}

    return judged


def red(found):
    return {name for name, outcome in found.items() if not outcome.passed}


def test_good_rows_keep_every_promise_and_so_does_an_empty_table(rows, write, outcomes):
    write("silver/decisions", rows.decision(1))
    write("gold/decisions", rows.decision(1))
    good = {"silver/payments": rows.payment(1), "silver/decisions": rows.decision(1)}
    good |= {"gold/decisions": rows.decision(1), "gold/daily_kpis": rows.kpis(), "gold/model_daily": rows.model_day()}
    for name, row in good.items():
        assert red(outcomes(write(name, row))) == set(), name
    empty = [write(name) for name in covered()]
    assert {table.name: red(outcomes(table)) for table in empty} == {table.name: set() for table in empty}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"end_to_end_id": "x"}, {"ids_are_end_to_end_ids"}),
        ({"amount_cents": 0}, {"amounts_are_possible"}),
        ({"amount_cents": None}, {"required_columns_are_filled"}),
        ({"payer_account": "12345678-0001-1234567"}, {"identifiers_are_tokens"}),
        ({"payer_tax_id": "52998224725"}, {"identifiers_are_tokens"}),
        ({"source": "imported"}, {"deciding_words_are_known"}),
        ({"source": "history", "history": None}, {"imported_payments_name_their_history"}),
        ({"event_time_ms": 1_780_326_000}, {"times_are_milliseconds"}),
        ({"key_created_at_ms": -1}, {"stated_times_are_milliseconds"}),
        ({"initiation": "CASH"}, {"other_words_are_known"}),
        ({"payer_municipality": "9"}, {"texts_have_their_shape"}),
        ({"payer_age_years": 131}, {"stated_counts_are_possible"}),
        ({"payer_limit_cents": -1}, {"stated_amounts_are_possible"}),
        ({"initiation": "MANU", "pix_key": "k1:" + "a" * 32}, {"payments_without_a_key_name_none"}),
        ({"end_to_end_id": "E12345678202606011500" + "0" * 11}, {"rows_are_unique"}),
        ({"payee_account": "k1:payer1" + "_" * 26}, {"nobody_pays_himself"}),
    ],
)
def test_each_broken_promise_of_payments_is_found_alone(rows, write, outcomes, changes, names):
    write("silver/decisions")
    past = {"source": "history", "history": "bank"}
    table = write("silver/payments", rows.payment(0, **past), rows.payment(1, **{**past, **changes}))
    assert red(outcomes(table)) == names


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"action": "MAYBE"}, {"deciding_words_are_known"}),
        ({"mode": "broken"}, {"deciding_words_are_known"}),
        ({"action": "BLOCK"}, {"outcomes_follow_from_actions"}),
        ({"fraud_probability": 1.1}, {"shares_lie_in_0_1"}),
        ({"fraud_probability": None}, {"normal_decisions_have_a_model_and_a_probability"}),
        ({"fraud_probability": None, "mode": "degraded:store"}, set()),
        ({"policy_version": None}, {"required_columns_are_filled"}),
        ({"policy_version": "p"}, {"texts_have_their_shape"}),
        ({"decided_at_ms": 1_780_325_000_000}, {"decisions_come_after_their_payments"}),
        ({"generation": -1}, {"counts_are_possible"}),
        ({"hold_outcome": "REVIEW"}, {"other_words_are_known"}),
        ({"control_instead_of": "BLOCK", "control_propensity": 0.02, "control_drawn": True}, set()),
        ({"control_instead_of": "BLOCK", "control_drawn": True}, {"draws_say_their_chance"}),
        ({"control_instead_of": "BLOCK", "control_propensity": 0.02}, {"draws_say_their_chance"}),
        ({"control_propensity": 1.1}, {"shares_lie_in_0_1"}),
    ],
)
def test_each_broken_promise_of_decisions_is_found_alone(rows, write, outcomes, changes, names):
    table = write("silver/decisions", rows.decision(0), rows.decision(1, **changes))
    assert red(outcomes(table)) == names


def test_tables_agree_with_their_source(rows, write, outcomes):
    write("silver/decisions", rows.decision(1), rows.decision(2, rows.NOON_MS + 2 * 3_600_000))
    gold = write("gold/decisions", rows.decision(1, amount_cents=7), rows.decision(3))
    found = outcomes(gold)
    assert red(found) == {"amounts_and_actions_are_those_of_its_source", "newest_rows_of_its_source_are_there"}
    assert found["amounts_and_actions_are_those_of_its_source"].unexpected_count == 2
    write("silver/decisions", rows.decision(1, amount_cents=7), rows.decision(3), rows.decision(4, rows.NOON_MS + 999))
    assert red(outcomes(gold)) == set()


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, set()),
        ({"cents": 1_002}, {"totals_are_those_of_its_source"}),
        ({"payments": 2, "allowed": 2}, {"totals_are_those_of_its_source"}),
        ({"allowed": 0}, {"actions_add_up_to_payments"}),
        ({"frauds_missed": 1}, {"actions_add_up_to_payments"}),
        ({"review_rate": 0.5}, {"rates_follow_from_counts"}),
        ({"day": date(2026, 6, 2)}, {"totals_are_those_of_its_source"}),
    ],
)
def test_a_days_numbers_are_those_of_its_decisions(rows, write, outcomes, changes, names):
    write("gold/decisions", rows.decision(1))
    assert red(outcomes(write("gold/daily_kpis", rows.kpis(**changes)))) == names


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"outcomes_known": 101}, {"parts_are_no_more_than_their_whole"}),
        ({"frauds_known": 91, "alert_recall": 4 / 91}, {"parts_are_no_more_than_their_whole"}),
        ({"alerts_judged": 11, "alert_precision": 4 / 11}, {"parts_are_no_more_than_their_whole"}),
        ({"frauds_known": 3, "alert_recall": 4 / 3}, {"parts_are_no_more_than_their_whole"}),
        ({"alert_precision": 0.4}, {"rates_follow_from_counts"}),
        ({"alert_recall": 0.5}, {"rates_follow_from_counts"}),
        ({"average_probability": 1.5}, {"shares_lie_in_0_1"}),
        ({"average_precision": -0.1}, {"shares_lie_in_0_1"}),
        ({"alerts": -1}, {"counts_are_possible", "parts_are_no_more_than_their_whole"}),
        ({"expected_frauds": None}, {"required_columns_are_filled"}),
    ],
)
def test_each_broken_promise_of_a_models_day_is_found_alone(rows, write, outcomes, changes, names):
    table = write("gold/model_daily", rows.model_day(), rows.model_day(rows.NOON_MS + rows.DAY_MS, **changes))
    assert red(outcomes(table)) == names


def test_a_models_day_stands_once(rows, write, outcomes):
    table = write("gold/model_daily", rows.model_day(), rows.model_day(model_version="4"), rows.model_day())
    assert red(outcomes(table)) == {"rows_are_unique"}


def test_a_day_without_numbers_is_found(rows, write, outcomes):
    write("gold/decisions", rows.decision(1), rows.decision(2, rows.NOON_MS + rows.DAY_MS))
    assert red(outcomes(write("gold/daily_kpis", rows.kpis()))) == {"totals_are_those_of_its_source"}


def test_an_outcome_says_how_many_of_how_many_and_what_it_saw(rows, write, outcomes):
    table = write("silver/decisions", *[rows.decision(n, amount_cents=n - 2) for n in range(40)])
    found = outcomes(table, most=10)["amounts_are_possible"]
    assert (found.unexpected_count, found.rows, found.sampled) == (3, 40, 10)
    assert found.observed == "3 of 40 in amount_cents (40 rows counted, 10 sampled)"


def test_only_the_days_asked_for_are_looked_at(rows, write, outcomes):
    late = rows.NOON_MS + rows.DAY_MS
    table = write("silver/decisions", rows.decision(1, amount_cents=-1), rows.decision(2, late), rows.decision(3, late))
    today = rows.day_of(late)
    assert outcomes(table, days=[today])["amounts_are_possible"].observed == "holds (2 rows counted, 2 sampled)"
    assert red(outcomes(table, days=[today - timedelta(days=1)])) == {"amounts_are_possible"}


def test_a_missing_column_or_source_breaks_what_needs_it(rows, write, outcomes):
    table = write("silver/decisions", rows.decision(1), without=("mode",))
    found = outcomes(table)
    assert "the table has no column mode" in found["deciding_words_are_known"].observed
    assert "normal_decisions_have_a_model_and_a_probability" in red(found)
    gold = outcomes(write("gold/daily_kpis", rows.kpis()))
    assert red(gold) == {"totals_are_those_of_its_source"}
    assert "its source gold/decisions does not exist" in gold["totals_are_those_of_its_source"].observed


def test_where_sample_and_counts_disagree_the_promise_is_red(rows, write, outcomes, monkeypatch):
    table = write("silver/decisions", rows.decision(1, amount_cents=-1))
    monkeypatch.setattr("quality.counting.broken", lambda _: "false")  # a condition read wrongly
    found = outcomes(table)["amounts_are_possible"]
    assert not found.passed
    assert "the sample breaks it in amount_cents, the count does not" in found.observed


def test_a_condition_that_cannot_be_asked_of_rows_says_so():
    from quality.counting import broken

    with pytest.raises(ExpectationError, match="unique is not asked of a row"):
        broken(Condition(kind="unique", columns=("a",)))


NUMBERS = Table(
    "silver/numbers",
    "One row.",
    (
        *(Column(name, "bigint") for name in ("a", "b", "c")),
        Column("x", "double"),
        Column("word", "string"),
        Column("event_day", "date"),
        Column("event_time_ms", "bigint"),
    ),
)
KINDS = (
    Condition(kind="present", columns=("a",)),
    Condition(kind="absent", columns=("a",), where=("word", ("k1:a",))),
    Condition(kind="one_of", columns=("word",), values=("ALLOW", "it's")),
    Condition(kind="between", columns=("a",), low=-1, high=1),
    Condition(kind="between", columns=("x",), low=0),
    Condition(kind="matches", columns=("word",), pattern=r"^k[1-9][0-9]{0,8}:[a-z]+$"),
    Condition(kind="whole", columns=("x",)),
    Condition(kind="differ", columns=("a", "b")),
    Condition(kind="at_least", columns=("a", "b")),
    Condition(kind="adds_up", columns=("a", "b", "c")),
    Condition(kind="ratio", columns=("x", "a", "b", "c")),
    Condition(kind="day_of", columns=("event_day", "event_time_ms")),
    Condition(kind="unique", columns=("a", "b")),
    Condition(kind="between", columns=("b",), low=0, where=("word", ("ALLOW", "k1:a"))),
)
SMALL = st.none() | st.integers(-2, 3)
ROW = st.fixed_dictionaries(
    {
        **dict.fromkeys(("a", "b", "c"), SMALL),
        "x": st.none() | st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]),
        "word": st.none() | st.sampled_from(["ALLOW", "it's", "k1:a", "k0:a", "K1:a", ""]),
        "event_day": st.none() | st.dates(date(2026, 5, 31), date(2026, 6, 2)),
        "event_time_ms": st.none() | st.integers(1_780_240_000_000, 1_780_420_000_000),
    }
)


# Every example writes a Delta table, and shrinking would write hundreds.
@settings(
    max_examples=15,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(ROW, min_size=1, max_size=12))
def test_great_expectations_and_the_counts_agree_on_every_kind(write, outcomes, ask, given_rows):
    table = write(NUMBERS, *given_rows)
    promises = [
        Promise(name=f"p{place}", severity="warning", conditions=(one,), why="") for place, one in enumerate(KINDS)
    ]
    for promise, found in zip(promises, outcomes(table, promises).values(), strict=True):
        assert "do not" not in found.observed, (promise.conditions, given_rows)
        assert "does not" not in found.observed, (promise.conditions, given_rows)
        assert found.passed == (found.unexpected_count == 0)
        shown = examples(table, promise.conditions[0], ask, days=None, most=20)
        assert bool(shown) == (not found.passed)


def test_all_sampled_rows_are_judged_by_both(write, outcomes, monkeypatch):
    """The other direction of the law above: what the counts find, Great Expectations finds on a whole sample, too."""
    table = write(NUMBERS, {"a": 5, "b": 5, "c": 1, "x": 0.5, "word": "?", "event_day": date(2026, 1, 1)})
    monkeypatch.setattr("quality.counting.broken", lambda _: "false")
    kept = {("between", "x"), ("between", "b")}
    kinds = ("between", "differ", "whole", "matches", "one_of", "adds_up")
    chosen = [one for one in KINDS if one.kind in kinds]
    promises = [
        Promise(name=f"p{place}", severity="warning", conditions=(one,), why="") for place, one in enumerate(chosen)
    ]
    expected = {f"p{place}" for place, one in enumerate(chosen) if (one.kind, one.columns[0]) not in kept}
    assert red(outcomes(table, promises)) == expected
