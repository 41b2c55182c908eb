"""Days as a model that is right would have them, and days on which fraud is other than it expects."""

from datetime import date, timedelta

import numpy as np
import pytest

from quality.concept import LEARNT_DAYS, Day, miscalibration, precision_drift, residual_drift

FIRST = date(2026, 1, 1)
SEEDS = range(60)
DELAY_DAYS = 10


def days(count, *, seed, rate=10, from_day=10_000, more=1.0, campaign=1, precision=0.6, precise=1.0):
    """So many days; from one on there is ``more`` fraud than expected, and alerts are less ``precise``."""
    rng, found = np.random.default_rng(seed), []
    for n in range(count):
        is_other = n >= from_day
        frauds = int(rng.poisson(rate * (more if is_other else 1) / campaign)) * campaign
        alerts = int(rng.poisson(rate))
        caught = int(rng.binomial(alerts, precision * (precise if is_other else 1)))
        day = FIRST + timedelta(days=n)
        found.append(Day(day=day, frauds=frauds, expected=rate, variance=0.7 * rate, alerts=alerts, caught=caught))
    return found


@pytest.mark.parametrize(("rate", "campaign"), [(3, 1), (10, 1), (30, 5)])
def test_without_drift_there_is_almost_never_an_alarm(rate, campaign):
    """At most one of 30 runs of 30 days after those learnt from, frauds in campaigns or alone."""
    alarms = [
        residual_drift(series) or precision_drift(series) or miscalibration(series)
        for series in (days(LEARNT_DAYS + 30, seed=seed, rate=rate, campaign=campaign) for seed in SEEDS)
    ]
    assert sum(alarm is not None for alarm in alarms) <= 2


@pytest.mark.parametrize(("more", "direction"), [(2.0, "up"), (3.0, "up"), (0.3, "down")])
def test_other_frauds_are_found_within_the_stated_delay_and_not_before(more, direction):
    drift_day, delays = 25, []
    for seed in SEEDS:
        series = days(60, seed=seed, from_day=drift_day, more=more)
        assert residual_drift(series[:drift_day]) is None
        found = residual_drift(series)
        assert found is not None
        assert found.direction == direction
        delays.append((found.day - FIRST).days - drift_day)
    assert np.quantile(delays, 0.9) <= DELAY_DAYS
    assert min(delays) >= 0


def test_alerts_that_are_fraud_less_often_are_found():
    for seed in SEEDS[:20]:
        assert precision_drift(days(25, seed=seed)) is None
        found = precision_drift(days(60, seed=seed, rate=20, from_day=25, precise=0.4))
        assert found is not None
        assert found.direction == "down"
        assert "of the alerts of the 7 days to" in found.told


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
    assert residual_drift([]) is precision_drift([]) is miscalibration([]) is None


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
