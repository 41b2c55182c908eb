"""Days as a model that is right would have them, and days on which fraud is other than it expects."""

import dataclasses
from datetime import date, timedelta

import numpy as np
import pytest

from quality.concept import (
    LEARNT_DAYS,
    Day,
    Watched,
    miscalibration,
    precision_drift,
    recall_drift,
    residual_drift,
    watched,
)

FIRST = date(2026, 1, 1)
SEEDS = range(60)


def days(count, *, seed, rate=10, from_day=10_000, more=1.0, campaign=1, recall=0.6, missed=1.0, first=FIRST):
    """So many days; from one on there is ``more`` fraud than expected, and alerts catch less of it (``missed``)."""
    rng, found = np.random.default_rng(seed), []
    for n in range(count):
        is_other = n >= from_day
        campaigns = int(rng.poisson(rate * (more if is_other else 1) / campaign))
        caught = int(rng.binomial(campaigns, recall * (missed if is_other else 1))) * campaign
        alerts = caught + int(rng.poisson(0.8 * rate))
        day = first + timedelta(days=n)
        frauds = campaigns * campaign
        found.append(Day(day=day, frauds=frauds, expected=rate, variance=0.7 * rate, alerts=alerts, caught=caught))
    return found


@pytest.mark.parametrize(("rate", "campaign"), [(3, 1), (10, 1), (30, 5)])
def test_without_drift_there_is_almost_never_an_alarm(rate, campaign):
    """At most one of 30 runs of 30 days after those learnt from, frauds in campaigns or alone."""
    alarms = [
        residual_drift(series) or precision_drift(series) or recall_drift(series) or miscalibration(series)
        for series in (days(LEARNT_DAYS + 30, seed=seed, rate=rate, campaign=campaign) for seed in SEEDS)
    ]
    assert sum(alarm is not None for alarm in alarms) <= 2


@pytest.mark.parametrize(("more", "direction", "delay"), [(2.0, "up", 10), (3.0, "up", 10), (0.3, "down", 15)])
def test_other_frauds_are_found_within_the_stated_delay_and_not_before(more, direction, delay):
    drift_day, delays = 25, []
    for seed in SEEDS:
        series = days(60, seed=seed, from_day=drift_day, more=more)
        assert residual_drift(series[:drift_day]) is None
        found = residual_drift(series)
        assert found is not None
        assert found.direction == direction
        delays.append((found.day - FIRST).days - drift_day)
    assert np.quantile(delays, 0.9) <= delay
    assert min(delays) >= 0


@pytest.mark.parametrize(
    ("detector", "told", "rate", "delay"),
    [
        (precision_drift, "of the alerts of the 7 days to", 25, 12),
        (recall_drift, "of the frauds of the 7 days to", 10, 6),
    ],
)
def test_alerts_that_are_worth_less_are_found(detector, told, rate, delay):
    for seed in SEEDS[:20]:
        series = days(60, seed=seed, rate=rate, from_day=25, missed=0.08)
        assert detector(series[:25]) is None
        found = detector(series)
        assert found is not None
        assert 0 <= (found.day - FIRST).days - 25 <= delay
        assert found.direction == "down"
        assert told in found.told


def test_alerts_of_a_new_model_are_held_against_the_days_before_it():
    """What its own first fortnight says is usual is wrong already; what the model before it caught is not."""
    earlier = days(40, seed=5)
    own = days(12, seed=6, from_day=3, missed=0.05, first=FIRST + timedelta(days=40))
    before = watched("2", {"1": earlier, "2": own}).before
    assert before == tuple(earlier[:33])
    assert recall_drift(own) is None
    found = recall_drift(own, before)
    assert found is not None
    assert (found.day - own[3].day).days in range(7)
    # Too few of them say nothing; and days without a fraud among them do not make days of the new model usual.
    assert recall_drift(own, before[-LEARNT_DAYS + 1 :]) is None
    thin = [one if n % 3 else dataclasses.replace(one, frauds=0, caught=0) for n, one in enumerate(before)]
    again = recall_drift(own, thin)
    assert again is not None
    assert again.day == found.day
    calm = days(12, seed=6, first=FIRST + timedelta(days=40))
    assert recall_drift(calm, before) is precision_drift(calm, before) is None


def test_days_before_a_model_are_those_that_had_matured_when_it_came_or_none():
    earlier, own = days(40, seed=5), days(3, seed=6, first=FIRST + timedelta(days=30))
    seen = watched("2", {"2": own, "1": earlier})
    assert [one.day for one in seen.before] == [FIRST + timedelta(days=n) for n in range(23)]
    assert seen.own == seen.days == tuple(own)
    assert watched("2", {"1": earlier[10:], "2": own}).before == tuple(earlier[10:30])
    assert watched("1", {"1": earlier, "2": own}).before == ()


def test_while_a_champion_has_no_days_those_of_the_newest_model_speak_of_it():
    oldest, newest = days(40, seed=5), days(20, seed=6, first=FIRST + timedelta(days=30))
    seen = watched("3", {"1": oldest, "2": newest, "3": []})
    assert seen.own == ()
    assert seen.days == tuple(newest)
    assert seen.before == tuple(oldest[:23])
    assert watched("3", {}) == Watched((), (), ())


def test_what_is_found_once_stays_found_on_the_same_day():
    series = days(60, seed=1, from_day=25, more=3)
    first = residual_drift(series)
    assert first is not None
    assert "frauds where 70 were expected in the 7 days to" in first.told
    place = (first.day - FIRST).days
    assert residual_drift(series[: place + 1]) == first
    assert residual_drift(series[:place]) is None


def test_a_new_model_is_not_judged_by_its_first_days():
    assert residual_drift(days(LEARNT_DAYS, seed=1, from_day=3, more=9)) is None
    assert miscalibration(days(LEARNT_DAYS - 1, seed=1, from_day=0, more=9)) is None
    assert residual_drift([]) is precision_drift([]) is recall_drift([]) is miscalibration([]) is None


def test_thin_days_are_put_together():
    """At a fraud a week there is something to say all the same, later."""
    series = days(300, seed=4, rate=0.3, from_day=150, more=8)
    assert residual_drift(series[:150]) is None
    assert residual_drift(series) is not None


def test_probabilities_that_are_off_by_a_factor_are_found_from_the_beginning():
    told = miscalibration(days(20, seed=2, from_day=0, more=3))
    assert told is not None
    assert "times as many" in told
    assert miscalibration(days(20, seed=2, from_day=0, more=1.6)) is None


def test_frauds_that_are_known_only_later_are_not_expected_yet():
    """A model learnt from labels that came in months; a day is judged after a week."""
    third = days(20, seed=2, from_day=0, more=0.33)
    assert miscalibration(third) is not None
    assert miscalibration(third, reported=0.33) is None
