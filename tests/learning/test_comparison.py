"""What one model has over others, where frauds come in series and where they are rare."""

import numpy as np
import pytest

from learning.calibration import at_other_odds, calibration_error
from learning.comparison import compare
from learning.costs import Costs, saved
from learning.evaluation import Judged, intervals
from learning.ranking import average_precision
from tests.learning.payments_by_hand import outcomes, said

COSTS = Costs(review_cents=1_000, friction_cents=2_000, returned_share=0.1)


def judged(found, **strengths):
    return {name: Judged.model(found, said(found, strength), COSTS) for name, strength in strengths.items()}


def test_every_number_is_that_of_the_rows_and_every_difference_that_of_two_numbers():
    found = outcomes()
    both = judged(found, ours=2.5, theirs=1.0)
    made = compare(found, both, "ours", COSTS, seed=1)
    for name, one in both.items():
        assert made.precision[name].point == average_precision(found.is_fraud, one.scores)
        reais = saved(one.alerts, found.is_fraud, found.amount_cents, COSTS).sum() / 100
        assert made.saved[name].point == pytest.approx(reais)
        assert made.saved[name].low < made.saved[name].point < made.saved[name].high
    more, dearer = made.precision_over["theirs"], made.saved_over["theirs"]
    assert more.point == pytest.approx(made.precision["ours"].point - made.precision["theirs"].point)
    assert dearer.point == pytest.approx(made.saved["ours"].point - made.saved["theirs"].point)
    assert 0 < more.low < more.high
    assert 0 < dearer.low < dearer.high
    assert compare(found, both, "ours", COSTS, seed=1) == made


def test_a_difference_is_taken_on_the_same_resample():
    """Two models that say nearly the same differ by much less than either varies."""
    found = outcomes()
    ours = said(found, 1.5)
    nearly = np.clip(ours * np.random.default_rng(5).uniform(0.98, 1.02, len(ours)), 0, 1)
    both = {"ours": Judged.model(found, ours, COSTS), "nearly": Judged.model(found, nearly, COSTS)}
    made = compare(found, both, "ours", COSTS, seed=1)
    for each, over in ((made.precision["ours"], made.precision_over), (made.saved["ours"], made.saved_over)):
        assert over["nearly"].high - over["nearly"].low < 0.3 * (each.high - each.low)


def test_frauds_of_one_series_tell_as_much_as_one():
    rng = np.random.default_rng(8)
    is_fraud = np.arange(3_000) < 300
    series = np.where(is_fraud, np.arange(3_000) // 10, -1)
    found_by_series = rng.random(300) < 0.5
    flagged = is_fraud & found_by_series[np.maximum(series, 0)]

    def recall(times):
        weights = np.ones(3_000) if times is None else times
        return {"recall": float((weights * flagged).sum() / (weights * is_fraud).sum())}

    alone, together = (intervals(is_fraud, recall, rng=np.random.default_rng(2), series=s) for s in (None, series))
    assert alone["recall"].point == together["recall"].point
    share = alone["recall"].point
    expected = [2 * 1.96 * np.sqrt(share * (1 - share) / count) for count in (300, 30)]
    widths = [one["recall"].high - one["recall"].low for one in (alone, together)]
    assert widths == pytest.approx(expected, rel=0.2)


def test_frauds_that_are_series_of_one_each_are_drawn_as_without_series():
    found = outcomes()
    both = judged(found, ours=2.5, theirs=1.0)
    alone, as_series = (
        compare(found, both, "ours", COSTS, seed=1, series=series) for series in (None, np.arange(len(found.weights)))
    )
    assert alone == as_series


def test_rare_frauds_cost_precision_and_their_money_counts_as_rarely():
    found = outcomes()
    rare, one = found.at_base_rate(0.005), judged(found, ours=2.0)
    before, after = (compare(rows, one, "ours", COSTS, seed=1) for rows in (found, rare))
    assert after.precision["ours"].high < before.precision["ours"].low
    factor = found.factor_to(0.005)
    assert rare.weights[found.is_fraud] == pytest.approx(factor)
    alerts = one["ours"].alerts
    each = saved(alerts, found.is_fraud, found.amount_cents, COSTS) / 100
    by_hand = factor * each[found.is_fraud].sum() + each[~found.is_fraud].sum()
    assert after.saved["ours"].point == pytest.approx(by_hand)


def test_probabilities_are_right_again_where_frauds_are_rarer():
    found = outcomes(60_000)
    fair = said(found, 2.0)
    factor = found.factor_to(0.002)
    rare, corrected = found.at_base_rate(0.002), at_other_odds(fair, factor)
    assert calibration_error(rare.is_fraud, corrected, rare.weights) < 0.15
    assert calibration_error(rare.is_fraud, fair, rare.weights) > 5
    by_bayes = (odds := factor * fair / (1 - fair)) / (1 + odds)
    assert corrected == pytest.approx(by_bayes)
    assert at_other_odds(np.array([0.0, 1.0]), 0.01).tolist() == [0, 1]
    assert at_other_odds(corrected, 1 / factor) == pytest.approx(fair)


def test_frauds_that_nobody_reported_become_as_rare_as_the_others():
    found = outcomes()
    hidden = ~found.is_fraud & (np.arange(len(found.weights)) % 50 == 0)
    rare = found.at_base_rate(0.002, hidden)
    assert np.average(rare.is_fraud, weights=rare.weights) == pytest.approx(0.002)
    assert np.unique(rare.weights[hidden | found.is_fraud]).tolist() == [found.factor_to(0.002, hidden)]
    assert (rare.weights[~hidden & ~found.is_fraud] == 1).all()
    # A model that finds them all, reported or not, is as precise at either rate.
    scores = (hidden | found.is_fraud).astype(float)
    before, after = (average_precision(rows.is_fraud, scores, rows.weights) for rows in (found, rare))
    assert after == pytest.approx(before, rel=0.01)
