"""Planted drift is found within the stated delay, asks for retraining once, and the challenger that comes of it serves.

The world here is small and of its own making: on simulated payments of this size a model hardly suffers from any drift
that the simulator plants (``scripts/drift_trial.py``).
"""

import numpy as np
import pandas as pd
import pytest

from learning.drift_trial import Trial, run
from learning.drift_world import MOVED_TO, elsewhere
from learning.recipe import TrainingConfig
from pix.contracts import DAY_MS
from pix.features import FEATURE_NAMES

START_MS = 1_767_225_600_000
A_DAY, SHARE = 220, 0.06
TRAIN_DAYS, DRIFT_DAY, DAYS = 40, 62, 95
MATURITY_DAYS, DELAY_DAYS, SETTLE_DAYS = 7, 10, 3
RECIPE = TrainingConfig(
    iterations=50, depth=4, learning_rate=0.15, test_share=0.12, folds=3, members=("catboost",), honest_rows=20_000
)


def world(names, *, seed, drift_day=None, days=DAYS):
    """Frauds pay whom they never paid before; from some day on they pay acquaintances at odd hours, so to say."""
    rng = np.random.default_rng(seed)
    rows = A_DAY * days
    at_ms = START_MS + np.sort(rng.integers(0, days * DAY_MS, rows))
    is_fraud = rng.random(rows) < SHARE
    is_other = is_fraud & (at_ms >= START_MS + (days if drift_day is None else drift_day) * DAY_MS)
    is_plain = is_fraud & ~is_other
    amount = np.exp(rng.normal(8, 1, rows))
    sums, pair, ratio, missing = names
    return pd.DataFrame(
        {
            "end_to_end_id": [f"E{number:031d}" for number in range(rows)],
            "event_time_ms": at_ms,
            "is_fraud": is_fraud,
            "label_class": "",
            "fraud_known_at_ms": np.where(is_fraud, at_ms + rng.uniform(0.1, 5, rows) * DAY_MS, np.nan),
            "cleared_at_ms": np.nan,
            "contested_at_ms": np.where(is_fraud, at_ms + DAY_MS / 20, np.nan),
            "fraud_type": np.where(is_fraud, "SCAM", None),
            "payee_account": [f"a{number}" for number in rng.integers(0, 400, rows)],
            "weight": 1.0,
            sums: amount * rng.uniform(1, 3, rows),
            pair: np.where(is_plain, rng.poisson(0.4, rows), rng.poisson(4, rows)).astype(float),
            ratio: np.where(is_other, rng.beta(9, 1.5, rows), rng.beta(2, 3, rows)),
            missing: np.nan,
            "raw_amount_cents": amount.astype("int64") + 1,
        }
    )


def test_criminals_who_do_something_else_are_moved_and_nobody_else():
    rng, rows = np.random.default_rng(1), 4_000
    columns = [*FEATURE_NAMES, "raw_amount_cents", "raw_payer_age_years", "raw_hour"]
    frame = pd.DataFrame(rng.random((rows, len(columns))), columns=columns)
    is_fraud, at_ms = rng.random(rows) < 0.05, START_MS + np.sort(rng.integers(0, 10 * DAY_MS, rows))
    before = frame.assign(is_fraud=is_fraud, event_time_ms=at_ms)
    after = elsewhere(before, START_MS + 6 * DAY_MS, seed=1)
    moved = is_fraud & (at_ms >= START_MS + 6 * DAY_MS)
    assert moved.sum() > 50
    pd.testing.assert_frame_equal(after[~moved], before[~moved])
    for name, (low, high) in MOVED_TO.items():
        assert after.loc[moved, name].between(low, high - 1).all()
    # Fields say what features say, the hour as UTC has it.
    assert (after.loc[moved, "raw_payer_age_years"] == after.loc[moved, "payer_age_years"]).all()
    assert (after.loc[moved, "raw_hour"] == after.loc[moved, "local_hour"] + 3).all()
    # All else is one honest payment's of the same day: features only grow, and must not tell the day.
    day = (at_ms - START_MS) // DAY_MS
    honest = {
        (amount, cents): of
        for amount, cents, of in before.assign(day=day)[~is_fraud][
            ["amount_reais", "raw_amount_cents", "day"]
        ].itertuples(index=False)
    }
    taken = after.assign(day=day)[moved][["amount_reais", "raw_amount_cents", "day"]]
    assert all(honest[amount, cents] == of for amount, cents, of in taken.itertuples(index=False))


def tried(names, *, seed, drift_day=None, days=DAYS, weekly=False):
    trial = Trial(
        start_ms=START_MS,
        days=days,
        warm_days=0,
        train_days=TRAIN_DAYS,
        drift_day=drift_day,
        recipe=RECIPE,
        weekly=weekly,
        feature_names=names,
    )
    return run(trial, world(names, seed=seed, drift_day=drift_day, days=days))


def test_planted_drift_is_found_asked_for_once_and_healed(feature_names):
    found = tried(feature_names, seed=3, drift_day=DRIFT_DAY)
    calm, drifted = found.precision
    assert drifted < 0.5 * calm
    (asked,) = found.asked
    first_seen = min(found.found)
    assert DRIFT_DAY + MATURITY_DAYS < first_seen <= DRIFT_DAY + MATURITY_DAYS + DELAY_DAYS
    assert asked.day == first_seen + SETTLE_DAYS
    assert asked.reasons[0].startswith("concept: ")
    assert asked.promoted, asked.decision
    assert "champion: better: average precision" in asked.decision
    assert asked.after > 2 * asked.before


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_drift_nothing_is_asked_for_in_30_days(feature_names, seed):
    found = tried(feature_names, seed=seed, days=TRAIN_DAYS + 30)
    assert found.asked == ()
    assert found.found == {}


def test_every_week_a_challenger_is_trained_although_nothing_was_found(feature_names):
    found = tried(feature_names, seed=1, days=TRAIN_DAYS + 8, weekly=True)
    assert found.asked == ()
    assert [(one.day, one.reasons) for one in found.weekly] == [(TRAIN_DAYS + 7, ("the week is over",))]
