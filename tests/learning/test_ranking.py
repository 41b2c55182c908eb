import numpy as np
import pytest

from learning.ranking import Ranking, average_precision, base_rate, recall_at_fpr, roc_auc


def scored(rows=2_000, seed=3, strength=1.0, ties=False):
    rng = np.random.default_rng(seed)
    is_fraud = rng.random(rows) < 0.05
    scores = rng.normal(strength * is_fraud)
    return is_fraud, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_metrics_agree_with_scikit_learn(ties, weighed):
    from sklearn.metrics import average_precision_score, roc_auc_score

    is_fraud, scores = scored(ties=ties)
    weights = np.random.default_rng(4).integers(1, 5, len(scores)).astype(float) if weighed else None
    theirs = {"sample_weight": weights}
    assert average_precision(is_fraud, scores, weights) == pytest.approx(
        average_precision_score(is_fraud, scores, **theirs)
    )
    assert roc_auc(is_fraud, scores, weights) == pytest.approx(roc_auc_score(is_fraud, scores, **theirs))


def test_a_weight_is_as_many_rows():
    is_fraud, scores = scored(300, ties=True)
    times = np.random.default_rng(4).integers(0, 4, len(scores))
    many = np.repeat(is_fraud, times), np.repeat(scores, times)
    few = Ranking(is_fraud, scores, times.astype(float))
    assert few.average_precision() == pytest.approx(average_precision(*many))
    assert few.recall_at_fpr(0.01) == pytest.approx(recall_at_fpr(*many, 0.01))
    assert Ranking(is_fraud, scores).average_precision(times.astype(float)) == few.average_precision()


def test_average_precision_by_hand():
    is_fraud = np.array([True, False, True, False])
    assert average_precision(is_fraud, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(is_fraud, np.full(4, 0.5)) == base_rate(is_fraud) == 0.5


def test_recall_at_fpr_takes_whole_ties_only_and_may_be_of_value():
    is_fraud = np.array([True, True, False, False, False])
    scores = np.array([0.9, 0.5, 0.5, 0.2, 0.1])
    assert recall_at_fpr(is_fraud, scores, 0.0) == 0.5
    assert recall_at_fpr(is_fraud, scores, 0.34) == 1.0
    assert recall_at_fpr(np.array([False, True]), np.array([0.9, 0.1]), 0.5) == 0.0
    values = np.array([300.0, 100.0, 9.0, 9.0, 9.0])
    assert Ranking(is_fraud, scores).recall_at_fpr(0.0, values=values) == 0.75


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
