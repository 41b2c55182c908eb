import numpy as np
import pandas as pd
import pytest

from learning.errors import TrainingDataTooSmall, TrainingDataUnusable
from learning.training import TrainingConfig, fit, probabilities, raw_fields, split_by_time, vectors

HOUR_MS = 3_600_000
SMALL = TrainingConfig(iterations=40, depth=4, learning_rate=0.15)


@pytest.fixture(scope="module")
def trained(training_frame, feature_names):
    return fit(training_frame(), feature_names, SMALL)


def test_the_features_beat_the_raw_fields_on_later_days(trained):
    assert trained.evaluation.average_precision > trained.raw_evaluation.average_precision
    assert trained.over_raw.low > 0
    assert trained.evaluation.rows == trained.raw_evaluation.rows == 900
    assert trained.base_rate == trained.evaluation.base_rate
    assert trained.metrics["raw_average_precision"] == trained.raw_evaluation.average_precision


def test_scores_are_probabilities_at_the_natural_base_rate(trained, training_frame, feature_names):
    frame = training_frame()
    scores = probabilities(trained.model, vectors(frame, feature_names))
    assert scores.mean() == pytest.approx(frame["is_fraud"].mean(), rel=0.1)


def test_the_final_model_saw_all_rows_and_the_evaluation_model_did_not(trained, training_frame, feature_names):
    assert (trained.rows, trained.frauds) == (3_000, 150)
    frame = training_frame()
    frame.loc[frame["event_time_ms"] >= trained.cut_ms, "is_fraud"] = np.arange(900) % 2 == 0
    shuffled = fit(frame, feature_names, SMALL)
    rows = vectors(frame, feature_names)
    assert (probabilities(shuffled.evaluation_model, rows) == probabilities(trained.evaluation_model, rows)).all()
    assert (probabilities(shuffled.model, rows) != probabilities(trained.model, rows)).any()


def test_the_same_rows_in_another_order_give_the_same_model(trained, training_frame, feature_names):
    frame = training_frame().sample(frac=1, random_state=4)
    again = fit(frame, feature_names, SMALL)
    rows = vectors(frame, feature_names)
    assert (probabilities(again.model, rows) == probabilities(trained.model, rows)).all()
    assert again.evaluation == trained.evaluation


def test_shuffled_labels_give_chance(training_frame, feature_names):
    frame = training_frame()
    frame["is_fraud"] = frame["is_fraud"].sample(frac=1, random_state=2).to_numpy()
    chance = fit(frame, feature_names, SMALL)
    assert chance.evaluation.roc_auc == pytest.approx(0.5, abs=0.12)


def test_rows_of_one_instant_stay_together_and_the_gap_is_left_out():
    frame = pd.DataFrame({"event_time_ms": np.repeat(np.arange(10) * HOUR_MS, 3)})
    split = split_by_time(frame, test_share=0.25, gap_ms=2 * HOUR_MS)
    assert split.cut_ms == 7 * HOUR_MS
    assert set(split.after["event_time_ms"]) == {7 * HOUR_MS, 8 * HOUR_MS, 9 * HOUR_MS}
    assert split.before["event_time_ms"].max() == 4 * HOUR_MS


def test_raw_text_is_a_category_and_everything_else_a_number(training_frame):
    frame = training_frame().astype({"raw_hour": "Int64"})
    columns, categories = raw_fields(frame)
    assert categories == ["raw_initiation"]
    assert set(columns["raw_initiation"]) == {"MANU", "DICT", "QRDN", "missing"}
    assert columns["raw_device_rooted"].isna().sum() == frame["raw_device_rooted"].isna().sum() > 0
    assert columns["raw_active_call"].isna().all()
    assert {str(columns[name].dtype) for name in columns if name not in categories} == {"float64"}


@pytest.mark.parametrize(
    ("frame_of", "message"),
    [
        (lambda frame: frame().head(0), "no rows"),
        (lambda frame: frame(rows=900, frauds=100), "900 rows"),
        (lambda frame: frame(frauds=29), "needs 1000 rows and 30 frauds"),
        (lambda frame: frame().query("event_time_ms < 1707560000000 or not is_fraud"), "0 after it"),
    ],
    ids=["empty", "few rows", "few frauds", "no later fraud"],
)
def test_too_little_data_is_refused_with_counts_and_the_next_step(frame_of, message, training_frame, feature_names):
    with pytest.raises(TrainingDataTooSmall, match=message) as refused:
        fit(frame_of(training_frame), feature_names, SMALL)
    assert "sentinela import" in str(refused.value)


def test_a_missing_feature_an_unknown_label_and_a_missing_baseline_are_refused(training_frame, feature_names):
    with pytest.raises(TrainingDataUnusable, match="payee_inflow_ratio"):
        fit(training_frame().drop(columns="payee_inflow_ratio"), feature_names, SMALL)
    unknown = training_frame().astype({"is_fraud": "boolean"})
    unknown.loc[7, "is_fraud"] = None
    with pytest.raises(TrainingDataUnusable, match="null in 1 of 3000"):
        fit(unknown, feature_names, SMALL)
    with pytest.raises(TrainingDataUnusable, match="no raw_"):
        fit(
            training_frame()[["end_to_end_id", "event_time_ms", "is_fraud", *feature_names]],
            feature_names,
            SMALL,
        )


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"learning_rate": 0.0}, {"test_share": 1.0}, {"gap_ms": -1}])
def test_an_impossible_recipe_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainingConfig(**wrong)
