import numpy as np
import pytest

from learning.evaluation import (
    average_precision,
    average_precision_difference,
    base_rate,
    evaluate,
    precision_recall_png,
    recall_at_fpr,
    roc_auc,
)


def scored(rows=2_000, seed=3, strength=1.0, ties=False):
    rng = np.random.default_rng(seed)
    is_fraud = rng.random(rows) < 0.05
    scores = rng.normal(strength * is_fraud)
    return is_fraud, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
def test_metrics_agree_with_scikit_learn(ties):
    from sklearn.metrics import average_precision_score, roc_auc_score

    is_fraud, scores = scored(ties=ties)
    assert average_precision(is_fraud, scores) == pytest.approx(average_precision_score(is_fraud, scores))
    assert roc_auc(is_fraud, scores) == pytest.approx(roc_auc_score(is_fraud, scores))


def test_average_precision_by_hand():
    is_fraud = np.array([True, False, True, False])
    assert average_precision(is_fraud, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(is_fraud, np.full(4, 0.5)) == base_rate(is_fraud) == 0.5


def test_recall_at_fpr_takes_whole_ties_only():
    is_fraud = np.array([True, True, False, False, False])
    scores = np.array([0.9, 0.5, 0.5, 0.2, 0.1])
    assert recall_at_fpr(is_fraud, scores, 0.0) == 0.5
    assert recall_at_fpr(is_fraud, scores, 0.34) == 1.0
    assert recall_at_fpr(np.array([False, True]), np.array([0.9, 0.1]), 0.5) == 0.0


def test_paired_interval_separates_a_better_model_from_noise_and_repeats_with_its_seed():
    is_fraud, weak = scored(strength=0.5)
    strong = weak + 1.5 * is_fraud
    better = average_precision_difference(is_fraud, strong, weak, rng=np.random.default_rng(1), resamples=100)
    assert 0 < better.low < better.point < better.high
    again = average_precision_difference(is_fraud, strong, weak, rng=np.random.default_rng(1), resamples=100)
    assert again == better
    same = average_precision_difference(is_fraud, weak, weak, rng=np.random.default_rng(1), resamples=50)
    assert (same.low, same.point, same.high) == (0, 0, 0)


def test_evaluation_is_flat_and_counts():
    is_fraud, scores = scored()
    flat = evaluate(is_fraud, scores, rates=(1e-3, 1e-2)).to_dict()
    assert flat["frauds"] == is_fraud.sum()
    assert flat["base_rate"] == pytest.approx(is_fraud.mean())
    assert flat["recall_at_fpr_1e-03"] <= flat["recall_at_fpr_1e-02"]


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([True, False], [0.1], "2 labels but 1 scores"),
        ([False, False], [0.1, 0.2], "got 0 frauds in 2 rows"),
        ([True, False], [0.1, np.nan], "1 of 2 scores are not finite"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        average_precision(np.array(labels), np.array(scores))


def test_the_curve_is_a_small_png():
    is_fraud, scores = scored()
    png = precision_recall_png(is_fraud, {"features": scores, "raw fields": -scores})
    assert png.startswith(b"\x89PNG")
    assert len(png) <= 60_000
