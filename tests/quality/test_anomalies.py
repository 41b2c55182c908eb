"""What a history teaches, and how a day is judged by it."""

from dataclasses import replace
from datetime import date, timedelta
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix.offline.declaration import Column, Table
from quality.anomalies import (
    FAR,
    LEAST_DAYS,
    LEAST_SPREAD,
    MOST_DAYS,
    UNUSUAL,
    judge_amount,
    judge_freshness,
    judge_nulls,
    judge_volume,
    learn,
    level_of,
)
from quality.counting import arrival_sql, count
from quality.daily import DailyFacts, daily_facts, has_days
from quality.suites import covered

MONDAY = date(2026, 6, 1)
HOUR_MS = 3_600_000
START_MS = 1_780_290_000_000


def days(values):
    return [(MONDAY + timedelta(days=place), float(value)) for place, value in enumerate(values)]


def facts(place: int, rows: int = 100, nulls: int = 10, **changes) -> DailyFacts:
    plain = DailyFacts(
        day=MONDAY + timedelta(days=place),
        rows=rows,
        amount_cents=rows * 5_000,
        nulls=MappingProxyType({"device_id": nulls, "txid": rows}),
        first_ms=START_MS + place * 24 * HOUR_MS,
        newest_ms=START_MS + place * 24 * HOUR_MS + 16 * HOUR_MS,
    )
    return replace(plain, **changes)


VALUES = st.lists(st.integers(0, 10_000), min_size=LEAST_DAYS, max_size=2 * MOST_DAYS)


@given(VALUES, st.integers(0, 10_000), st.integers(1, 1_000))
def test_scaling_the_history_scales_the_threshold(values, value, factor):
    usual, scaled = learn(days(values)), learn(days([each * factor for each in values]))
    day = MONDAY + timedelta(days=len(values))
    assert scaled.limits(day) == pytest.approx([limit * factor for limit in usual.limits(day)])
    assert scaled.score(day, value * factor) == pytest.approx(usual.score(day, value))


@given(VALUES, st.integers(0, 10_000), st.integers(1, 10_000))
def test_scores_grow_with_the_value(values, value, more):
    usual, day = learn(days(values)), MONDAY
    assert usual.score(day, value) <= usual.score(day, value + more)


@given(st.integers(0, 10**9), st.integers(LEAST_DAYS, 100))
def test_a_constant_history_finds_the_same_day_usual(value, length):
    usual = learn(days([value] * length))
    assert usual.score(MONDAY, value) == 0
    assert usual.score(MONDAY, value * (1 + 3 * LEAST_SPREAD)) == pytest.approx(3 if value else 0)


@given(st.lists(st.integers(90, 110), min_size=15, max_size=27), st.data())
def test_one_outage_in_three_days_does_not_move_the_limits_much(values, data):
    bad = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=len(values) // 3, unique=True))
    torn = [0 if place in bad else value for place, value in enumerate(values)]
    assert level_of(learn(days(torn)).score(MONDAY, 100)) == "usual"


@given(VALUES)
def test_only_the_newest_weeks_count(values):
    assert learn(days([7] * 100 + values)[-MOST_DAYS:]) == learn(days([7] * 100 + values))


@given(st.permutations(range(100, 100 + LEAST_DAYS)))
def test_without_weekdays_the_order_of_days_does_not_matter(values):
    shuffled, plain = learn(days(values)), learn(days(sorted(values)))
    assert (shuffled.median, shuffled.spread) == (plain.median, plain.spread)


def test_weekdays_are_learned_from_four_weeks_on():
    weeks = [100, 100, 100, 100, 100, 40, 20]
    saturday, sunday = MONDAY + timedelta(days=5), MONDAY + timedelta(days=6)
    usual = learn(days(weeks * 4))
    assert usual.score(saturday, 40) == usual.score(sunday, 20) == 0
    assert level_of(usual.score(sunday, 100)) == "far"
    assert level_of(usual.score(MONDAY, 40)) == "unusual"
    assert not learn(days((weeks * 4)[:-1])).factors


def test_with_too_little_history_nothing_is_judged_and_said_so():
    history = [facts(place) for place in range(LEAST_DAYS - 1)]
    for judge in (judge_volume, judge_amount, judge_nulls):
        judged = judge(history, facts(20, rows=1, nulls=1))
        assert (judged.level, judged.score, judged.is_harmful) == ("unknown", None, False)
        assert judged.told == "too little history: 13 of 14 days"
    assert judge_freshness(history, START_MS + 999 * HOUR_MS).level == "unknown"
    assert judge_freshness([], START_MS).told == "no rows yet"


@pytest.mark.parametrize(
    ("rows", "level", "is_harmful"),
    [(100, "usual", False), (60, "unusual", False), (20, "far", True), (140, "unusual", False), (900, "far", False)],
)
def test_missing_rows_are_harmful_and_more_rows_are_only_told(rows, level, is_harmful):
    judged = judge_volume([facts(place) for place in range(20)], facts(20, rows=rows))
    assert (judged.level, judged.is_harmful) == (level, is_harmful)
    assert f"{rows} rows, usually 65 to 135" in judged.told


def test_sums_of_amounts_are_only_told():
    judged = judge_amount([facts(place) for place in range(20)], facts(20, amount_cents=1))
    assert (judged.level, judged.is_harmful) == ("far", False)


@pytest.mark.parametrize(
    ("rows", "nulls", "level", "is_harmful"),
    [(100, 10, "usual", False), (100, 20, "usual", False), (1_000, 190, "unusual", False), (100, 90, "far", True)]
    + [(4, 1, "usual", False), (1_000, 1_000, "far", True)],
)
def test_a_column_that_loses_its_values_is_harmful(rows, nulls, level, is_harmful):
    judged = judge_nulls([facts(place) for place in range(20)], facts(20, rows=rows, nulls=nulls))
    assert (judged.level, judged.is_harmful) == (level, is_harmful)


def test_a_column_that_gains_values_is_only_told_and_others_are_not_asked():
    history, day = [facts(place, nulls=95) for place in range(20)], facts(20, nulls=0)
    assert (judge_nulls(history, day).level, judge_nulls(history, day).is_harmful) == ("far", False)
    assert "device_id has no value in 0.0% of 100 rows, usually 95.0%" in judge_nulls(history, day).told
    assert judge_nulls(history, day, {"txid"}).level == "usual"


def test_a_silence_is_unusual_by_the_pauses_there_were():
    history = [facts(place) for place in range(20)]
    newest = history[-1].newest_ms
    assert judge_freshness(history, newest + 9 * HOUR_MS).level == "usual"
    late = judge_freshness(history, newest + 30 * HOUR_MS)
    assert (late.level, late.is_harmful) == ("unusual", False)
    assert late.told.startswith("the newest row is 30.0 h old; more than 10.8 h is unusual")


def test_levels_are_those_of_the_source():
    assert [level_of(score) for score in (UNUSUAL, -UNUSUAL, 3.6, FAR, -7.1)] == [
        *("usual", "usual", "unusual", "unusual", "far")
    ]


def test_daily_facts_are_counted_in_brasilia_and_without_imports(rows, write, ask):
    midnight = rows.NOON_MS - 12 * HOUR_MS
    table = write(
        "silver/payments",
        rows.payment(1, midnight - 1),
        rows.payment(2, midnight, device_id=rows.token("d")),
        rows.payment(3, midnight + 5),
        rows.payment(4, midnight, source="history", history="bank"),
    )
    before, today = daily_facts(table, ask, columns=table.names)
    assert (before.rows, today.rows, today.amount_cents) == (1, 2, 2_005)
    assert (before.day, today.day) == (MONDAY - timedelta(days=1), MONDAY)
    assert (today.null_share("device_id"), before.null_share("device_id")) == (0.5, 1.0)
    assert (today.first_ms, today.newest_ms) == (midnight, midnight + 5)
    assert "end_to_end_id" not in today.nulls


def test_labels_are_usual_by_the_day_they_come_though_kept_by_their_payments_day(write, ask):
    columns = (Column("label_id", "string"), Column("recorded_at_ms", "bigint"), Column("payment_day", "date"))
    table = Table("silver/labels", "One label.", columns, partitions=("payment_day",))
    label = {"recorded_at_ms": START_MS, "payment_day": MONDAY - timedelta(days=50)}
    write(table, {**label, "label_id": "a"}, {**label, "label_id": "b", "payment_day": MONDAY})
    assert [(found.day, found.rows) for found in daily_facts(table, ask, columns=table.names)] == [(MONDAY, 2)]
    kept = count(table, (), ask, columns=table.names)
    assert dict(kept.rows) == {MONDAY: 1, MONDAY - timedelta(days=50): 1}
    assert count(table, (), ask, columns=table.names, days=[MONDAY], by=arrival_sql(table)).rows == {MONDAY: 1}


def test_what_is_imported_or_asked_for_has_no_usual_day():
    assert not has_days(covered()["silver/history_payments"])
    assert not has_days(covered()["gold/batch_scores"])
    assert has_days(covered()["gold/daily_kpis"])


def test_what_is_filled_days_later_is_no_sign_of_a_bad_day(rows, write, ask):
    known = {"payment_day": MONDAY, "recorded_at_ms": rows.NOON_MS, "known_at_ms": rows.NOON_MS, "tenant": "default"}
    table = write("silver/labels", {**known, "label_id": "0" * 64, "end_to_end_id": "E1"})
    (found,) = daily_facts(table, ask, columns=table.names)
    assert "closed_by" in found.nulls
    assert "known_until_ms" not in found.nulls
