"""One finding asks once about one champion; a storm of reports asks no more often than a cool-down lets it."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.concept import Day
from quality.verdict import (
    COOLDOWN_MS,
    SETTLE_DAYS,
    Finding,
    Shares,
    of_days,
    of_labels,
    of_probabilities,
    of_scores,
    verdict,
)

DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000
DATA = Finding(kind="data", what="features", told="60 features drifted")
CONCEPT = Finding(kind="concept", what="residual-up", told="90 frauds where 40 were expected")


def ask(*findings, champion="3", asked=(), last=None, now=NOW_MS):
    return verdict(findings, champion=champion, asked=asked, last_request_ms=last, now_ms=now)


def test_a_finding_asks_and_says_why():
    judged = ask(CONCEPT, DATA)
    assert judged.retrain
    assert judged.reasons == ("concept: 90 frauds where 40 were expected", "data: 60 features drifted")
    assert judged.asks == ("v3:concept:residual-up", "v3:data:features")


def test_only_where_fraud_itself_is_other_a_challenger_is_judged_on_the_newest_days():
    assert ask(CONCEPT, DATA).newest_days == SETTLE_DAYS
    assert ask(DATA).newest_days is None
    assert ask(CONCEPT, DATA, asked={"v3:concept:residual-up"}).newest_days is None


@pytest.mark.parametrize(
    ("findings", "more", "reason"),
    [
        ((), {}, "nothing has drifted"),
        ((DATA,), {"champion": None}, "no champion serves"),
        ((DATA,), {"asked": {"v3:data:features"}}, "asked for already, of champion v3: data:features"),
        ((DATA,), {"last": NOW_MS - COOLDOWN_MS + 3_600_000}, "asked not long ago, 1 h to go: data:features"),
    ],
    ids=["nothing", "no champion", "asked before", "cooling down"],
)
def test_what_does_not_ask_says_why_not(findings, more, reason):
    judged = ask(*findings, **more)
    assert not judged.retrain
    assert judged.asks == ()
    assert judged.reasons[0].startswith(reason)


def test_after_the_cooldown_only_what_is_new_is_asked_for():
    judged = ask(DATA, CONCEPT, asked={"v3:data:features"}, last=NOW_MS - COOLDOWN_MS)
    assert judged.asks == ("v3:concept:residual-up",)


def test_a_finding_that_waits_asks_later_or_together_with_another():
    waiting = Finding(kind="concept", what="residual-up", told="90 frauds", waits_days=2)
    judged = ask(waiting)
    assert (judged.retrain, judged.reasons) == (False, ("2 more days for labels to learn from: concept:residual-up",))
    assert ask(waiting, DATA).asks == ("v3:concept:residual-up", "v3:data:features")


def days_of_more_fraud_from(drift_day):
    rng, first = np.random.default_rng(1), date(2026, 1, 1)
    frauds = [*rng.poisson(10, drift_day), *rng.poisson(25, 45 - drift_day)]
    return [
        Day(day=first + timedelta(days=n), frauds=int(many), expected=10, variance=7, alerts=0, caught=0)
        for n, many in enumerate(frauds)
    ]


def test_other_frauds_ask_once_they_have_stood_for_three_days():
    days = days_of_more_fraud_from(25)
    waits = [(found[0].waits_days if (found := of_days(days[:n])) else None) for n in range(25, 38)]
    begin = waits.index(3)
    assert waits[:begin] == [None] * begin
    assert waits[begin : begin + 5] == [3, 2, 1, 0, 0]


def test_a_champion_that_has_met_the_new_fraud_is_not_asked_about_it_and_one_that_has_not_is():
    days = days_of_more_fraud_from(25)
    seen = next(n for n in range(25, 45) if of_days(days[: n + 1]))
    for learnt, knows in (
        (seen - 1, False),
        (seen, False),
        (seen + SETTLE_DAYS - 1, False),
        (seen + SETTLE_DAYS, True),
    ):
        assert (of_days(days, learnt_until=days[learnt].day) == []) == knows


def test_what_shows_the_same_change_later_asks_nobody_who_has_met_it():
    """Days of the model before it go on to mature in a new champion's first week, and other series find them, too."""
    days = [
        replace(one, caught=one.frauds * 8 // 10 if n < 34 else 0, alerts=one.frauds)
        for n, one in enumerate(days_of_more_fraud_from(25))
    ]
    residual = next(n for n in range(45) if of_days(days[: n + 1]))
    assert {one.what for one in of_days(days)} == {"residual-up", "alert-precision", "alert-recall"}
    assert of_days(days[:34])[0].what == "residual-up"
    assert of_days(days, learnt_until=days[residual + SETTLE_DAYS].day) == []


def test_probabilities_that_are_off_by_a_factor_are_a_finding():
    days = days_of_more_fraud_from(0)
    (found,) = of_probabilities(days, reported=1.0)
    assert found.name == "calibration:probabilities"
    assert of_probabilities(days, reported=2.5) == of_probabilities([], reported=1.0) == []


def test_a_new_champion_may_be_asked_about_anew():
    assert ask(DATA, champion="4", asked={"v3:data:features"}).retrain


NAMES = st.sampled_from([DATA, CONCEPT, Finding(kind="labels", what="types", told="other kinds")])


@given(st.lists(st.tuples(st.integers(0, 5 * DAY_MS), st.sets(NAMES), st.sampled_from("12")), max_size=60))
def test_there_is_no_storm(reports):
    """Whatever is reported and how often: every finding of a champion asks once, and requests keep their distance."""
    now, asked, requests = NOW_MS, [], []
    for step, findings, champion in reports:
        now += step
        judged = ask(*findings, champion=champion, asked=asked, last=requests[-1] if requests else None, now=now)
        if judged.retrain:
            asked += judged.asks
            requests.append(now)
    assert len(asked) == len(set(asked))
    assert all(later - earlier >= COOLDOWN_MS for earlier, later in zip(requests, requests[1:], strict=False))


def test_scores_that_moved_are_a_finding_and_few_rows_are_none():
    (found,) = of_scores(0.5, 0.1, rows=5_000)
    assert found.name == "prediction:scores"
    assert of_scores(0.5, 0.3, rows=5_000) == of_scores(0.1, 0.0, rows=5_000) == of_scores(0.5, 0.1, rows=100) == []


def shares(payments, frauds, **kinds):
    return Shares(payments, frauds, kinds)


def test_a_share_of_fraud_that_moved_is_a_finding():
    before = shares(100_000, 400)
    assert [one.name for one in of_labels(before, shares(50_000, 800))] == ["labels:share-up"]
    assert [one.name for one in of_labels(before, shares(50_000, 20))] == ["labels:share-down"]
    assert of_labels(before, shares(50_000, 350)) == []
    assert of_labels(before, shares(500, 12)) == []
    assert of_labels(shares(1_000, 4), shares(50_000, 800)) == []
    assert of_labels(shares(0, 0), shares(0, 0)) == []


def test_other_kinds_of_fraud_are_a_finding_and_chance_is_none():
    before = shares(1, 1, SCAM=300, ACCOUNT_TAKEOVER=60)
    (found,) = of_labels(before, shares(1, 1, SCAM=30, ACCOUNT_TAKEOVER=70))
    assert found.name == "labels:types"
    assert "SCAM 83% before, 30% now" in found.told or "ACCOUNT_TAKEOVER 17% before, 70% now" in found.told
    assert of_labels(before, shares(1, 1, SCAM=100, ACCOUNT_TAKEOVER=25)) == []
    assert of_labels(before, shares(1, 1, SCAM=3, ACCOUNT_TAKEOVER=9)) == []
    assert of_labels(before, shares(1, 1, SCAM=200, COERCION=150)) != []


def test_a_mix_is_compared_in_shares():
    before = shares(1, 1, SCAM=300, OTHER=100)
    assert of_labels(before, shares(1, 1, SCAM=30, OTHER=10)) == []
