import dataclasses

import numpy as np
import pandas as pd
import pytest

from learning.errors import TrainingDataTooSmall, TrainingDataUnusable
from learning.inputs import labels, raw_fields
from learning.members import FITS
from learning.recipe import MEMBERS, TrainingConfig
from learning.training import ENSEMBLE, RAW, RULES, by_time, fit, sampled

SMALL = TrainingConfig(iterations=40, depth=4, learning_rate=0.15)


@pytest.fixture(scope="module")
def trained(training_frame, feature_names):
    return fit(training_frame(), feature_names, SMALL, rules=lambda rows: rows["raw_hour"].to_numpy(float) % 2)


def said(found, frame, feature_names):
    return found.probabilities(frame, feature_names)


def test_the_features_beat_the_raw_fields_on_later_days(trained):
    found = trained.judgement.evaluations
    assert found[ENSEMBLE].average_precision > found[RAW].average_precision > found[RULES].average_precision
    assert trained.over_raw.low > 0
    assert trained.judgement.saved_over[RULES].low > 0
    assert {one.payments for one in found.values()} == {800}
    assert trained.metrics["raw_fields_average_precision"] == found[RAW].average_precision
    assert trained.metrics["average_precision_over_rules_only"] == trained.judgement.over[RULES].point
    assert found[RULES].calibration_error is None
    assert {group.name for group in trained.judgement.groups if group.by == "fraud_type"} == {"SCAM", "COERCION"}


def test_scores_are_probabilities_at_the_natural_base_rate(trained, training_frame, feature_names):
    frame = training_frame()
    scores = said(trained.ensemble, frame, feature_names)
    assert scores.mean() == pytest.approx(frame["is_fraud"].mean(), rel=0.3)


@pytest.mark.parametrize("honest_rows", [300, 1_000])
def test_a_sample_of_the_honest_keeps_probabilities_where_they_were(training_frame, feature_names, honest_rows):
    """Without weights they would be several times too high."""
    config = dataclasses.replace(SMALL, honest_rows=honest_rows)
    frame = training_frame(6_000, 240)
    chosen = sampled(np.arange(6_000), labels(frame), np.ones(6_000), config)
    assert len(chosen.places) == honest_rows + 240
    is_fraud, weights = labels(frame)[chosen.places], chosen.weights
    assert (weights[is_fraud].sum(), weights[~is_fraud].sum()) == pytest.approx((240, 5_760))
    scores = said(fit(frame, feature_names, config).ensemble, frame, feature_names)
    assert scores.mean() == pytest.approx(0.04, rel=0.3)


def test_rows_are_put_in_order_once(training_frame):
    """Two million are not copied for it; a tie of times is broken by the id, whatever the index says."""
    frame = training_frame()
    frame.loc[5:9, "event_time_ms"] = frame["event_time_ms"][5]
    assert by_time(frame) is frame
    shuffled = frame.sample(frac=1, random_state=1)
    for other in (shuffled, shuffled.reset_index(drop=True), frame.iloc[[*range(6), 7, 6, *range(8, len(frame))]]):
        pd.testing.assert_frame_equal(by_time(other), frame)
    moved = frame.set_axis(frame.index + 1)
    pd.testing.assert_frame_equal(by_time(moved), frame)


def test_nothing_is_judged_by_what_came_after_it(trained, training_frame, feature_names):
    """Labels of the last fold, and those that became known after it began, change nothing before it."""
    frame = training_frame()
    last = (frame["event_time_ms"] >= trained.cut_ms).to_numpy()
    frame.loc[last, "is_fraud"] = np.arange(last.sum()) % 2 == 0
    frame.loc[last, "fraud_known_at_ms"] = frame["event_time_ms"]
    late = (frame["fraud_known_at_ms"] >= trained.cut_ms).to_numpy()
    frame.loc[late, "fraud_known_at_ms"] += 10 * 86_400_000
    shuffled = fit(frame, feature_names, SMALL)
    before = said(trained.evaluation_ensemble, frame, feature_names)
    assert (said(shuffled.evaluation_ensemble, frame, feature_names) == before).all()
    assert (said(shuffled.ensemble, frame, feature_names) != said(trained.ensemble, frame, feature_names)).any()


def test_a_label_counts_from_when_it_is_known(trained, training_frame, feature_names):
    frame = training_frame()
    known = frame["is_fraud"] & (frame["fraud_known_at_ms"] < trained.cut_ms)
    newest = frame.loc[known, "fraud_known_at_ms"].nlargest(20).index
    frame.loc[newest, "fraud_known_at_ms"] = trained.cut_ms + 1
    other = fit(frame, feature_names, SMALL)
    before = said(trained.evaluation_ensemble, frame, feature_names)
    assert (said(other.evaluation_ensemble, frame, feature_names) != before).any()


@pytest.mark.parametrize(
    ("newest_days", "days", "judged_frauds"),
    [(14.0, (14, 14), (30, 45)), (1.0, (5, 14), (30, 30))],
    ids=["days", "as many as hold thirty"],
)
def test_changed_fraud_is_judged_on_the_newest_days(training_frame, feature_names, newest_days, days, judged_frauds):
    frame = training_frame(frauds=300)
    found = fit(frame, feature_names, dataclasses.replace(SMALL, newest_days=newest_days))
    judged = frame["event_time_ms"] >= found.cut_ms
    assert days[0] <= (frame["event_time_ms"].iloc[-1] - found.cut_ms) / 86_400_000 <= days[1]
    assert judged_frauds[0] <= frame.loc[judged, "is_fraud"].sum() <= judged_frauds[1]
    # A label that came after the cut, of a payment before it, is learnt from.
    late = ~judged & (frame["fraud_known_at_ms"] >= found.cut_ms)
    assert late.any()
    frame.loc[late, "is_fraud"] = False
    frame.loc[late, "fraud_known_at_ms"] = np.nan
    without = fit(frame, feature_names, dataclasses.replace(SMALL, newest_days=newest_days))
    before = said(found.evaluation_ensemble, frame, feature_names)
    assert (said(without.evaluation_ensemble, frame, feature_names) != before).any()


def test_the_same_rows_in_another_order_give_the_same_model(trained, training_frame, feature_names):
    frame = training_frame().sample(frac=1, random_state=4)
    again = fit(frame, feature_names, SMALL)
    assert (said(again.ensemble, frame, feature_names) == said(trained.ensemble, frame, feature_names)).all()
    assert again.judgement.evaluations[ENSEMBLE] == trained.judgement.evaluations[ENSEMBLE]


def test_shuffled_labels_give_chance(training_frame, feature_names):
    frame = training_frame()
    columns = ["is_fraud", "fraud_known_at_ms"]
    order = np.random.default_rng(2).permutation(len(frame))
    frame["is_fraud"] = frame["is_fraud"].to_numpy()[order]
    frame["fraud_known_at_ms"] = np.where(frame["is_fraud"], frame["event_time_ms"], np.nan)
    assert frame[columns].notna().sum().tolist() == [3_000, 150]
    chance = fit(frame, feature_names, SMALL)
    assert chance.judgement.evaluations[ENSEMBLE].roc_auc == pytest.approx(0.5, abs=0.12)


def test_every_algorithm_has_a_name_and_may_be_left_out(training_frame, feature_names):
    assert tuple(FITS) == MEMBERS
    alone = fit(training_frame(), feature_names, dataclasses.replace(SMALL, members=("scorecard",)))
    assert set(alone.ensemble.blend.weights) == {"scorecard"}
    assert alone.judgement.evaluations[ENSEMBLE].roc_auc > 0.8


def test_raw_text_becomes_categories_and_missing_text_one_of_its_own(training_frame):
    columns, categories = raw_fields(training_frame())
    assert categories == ["raw_initiation"]
    assert set(columns["raw_initiation"]) == {"MANU", "DICT", "QRDN", "missing"}
    assert columns["raw_active_call"].isna().all()
    assert columns["raw_device_rooted"].isna().mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("rows", "frauds", "message"),
    [
        (900, 150, "has 900 rows with 150 frauds; a model needs 1000 rows and 30 frauds"),
        (3_000, 20, "has 3000 rows with 20 frauds; a model needs 1000 rows and 30 frauds"),
        (3_000, 30, "known frauds to learn from and"),
    ],
)
def test_too_little_to_learn_from_is_refused(training_frame, feature_names, rows, frauds, message):
    with pytest.raises(TrainingDataTooSmall, match=message):
        fit(training_frame(rows, frauds), feature_names, SMALL)


def test_unusable_sets_are_refused(training_frame, feature_names):
    frame = training_frame()
    with pytest.raises(TrainingDataUnusable, match="lacks the columns"):
        fit(frame, (*feature_names, "payer_dreams"), SMALL)
    with pytest.raises(TrainingDataUnusable, match="has no raw_amount_cents column"):
        fit(frame.drop(columns=["raw_amount_cents"]), feature_names, SMALL)
    frame["is_fraud"] = frame["is_fraud"].astype(object)
    frame.loc[3, "is_fraud"] = None
    with pytest.raises(TrainingDataUnusable, match="is_fraud is null in 1 of 3000 rows"):
        fit(frame, feature_names, SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"members": ("catboost", "oracle")}, "members oracle are not known"),
        ({"members": ()}, "members must name at least one"),
        ({"learning_rate": 1.5}, "learning_rate must lie in"),
        ({"test_share": 1.0}, "test_share must lie between"),
        ({"newest_days": 0.0}, "newest_days must be above 0"),
        ({"gap_ms": -1}, "gap_ms must not be negative"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)
