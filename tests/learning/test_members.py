"""Members as they are fit, and as they are served: the same numbers, by tables that need no library."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from learning.additive import AdditiveTable, Bins, Table
from learning.blending import blend, calibration_points, probabilities_of
from learning.errors import ArtefactRefused
from learning.histogram import fit_histogram
from learning.ranking import average_precision, roc_auc
from learning.scorecard import bins_of, fit_scorecard

values = st.floats(-1e6, 1e6, allow_nan=False) | st.just(float("nan"))


def rows(count=6_000, seed=3):
    """A telling column, one with a U-shape that no straight line sees, noise, and one that is always missing."""
    draw = np.random.default_rng(seed)
    is_fraud = draw.random(count) < 0.03
    telling = draw.normal(1.5 * is_fraud)
    shape = np.where(is_fraud, draw.choice([-3.0, 3.0], count), 0) + draw.normal(size=count)
    found = np.column_stack([telling, shape, draw.normal(size=count), np.full(count, np.nan)])
    found[draw.random(found.shape) < 0.1] = np.nan
    return found, is_fraud


@given(
    st.lists(st.floats(-1e6, 1e6, allow_nan=False), max_size=8, unique=True), st.lists(values, min_size=1, max_size=20)
)
def test_the_compiled_table_finds_the_bin_that_numpy_finds(borders, asked):
    ends = np.array(sorted(borders))
    numbers = [float(n) for n in range(len(ends) + 1)]
    bins = Bins(borders=ends.tolist(), values=numbers, missing=-1.0, expected=0.5)
    table = AdditiveTable(Table(intercept=0.0, inputs=[bins]).content(), [0])
    found = [-1.0 if np.isnan(value) else float(np.searchsorted(ends, value, side="left")) for value in asked]
    assert [table.log_odds(np.array([value])) for value in asked] == found
    assert table.log_odds_of(np.array(asked)[:, None]).tolist() == found


@given(arrays.arrays(np.float64, (5, 3), elements=values))
def test_contributions_of_a_table_sum_to_its_log_odds(asked):
    bins = [Bins(borders=[-1.0, 2.0], values=[0.5, -0.25, 4.0], missing=1.0, expected=0.125) for _ in range(3)]
    table = AdditiveTable(Table(intercept=-3.0, inputs=bins).content(), [2, 0, 1])
    for row in asked:
        assert table.expected + table.contributions(row).sum() == pytest.approx(table.log_odds(row))


def test_a_scorecard_is_scikit_learn_s_regression_and_sees_what_no_straight_line_does():
    from sklearn.linear_model import LogisticRegression

    found, is_fraud = rows()
    weights = np.where(is_fraud, 1.0, 3.0)
    card = fit_scorecard(found, is_fraud, weights)
    served = AdditiveTable(card.table().content(), range(4)).log_odds_of(found)
    evidence = np.column_stack([card.evidence[n][bins_of(found[:, n], card.borders[n])] for n in range(4)])
    theirs = LogisticRegression(C=0.1, max_iter=300).fit(
        evidence.astype(np.float32), is_fraud, weights / weights.mean()
    )
    assert served == pytest.approx(theirs.decision_function(evidence.astype(np.float32)), abs=1e-4)
    straight = LogisticRegression().fit(np.nan_to_num(found), is_fraud)
    assert roc_auc(is_fraud, served) > roc_auc(is_fraud, straight.decision_function(np.nan_to_num(found))) + 0.05
    said = np.average(1 / (1 + np.exp(-served)), weights=weights)
    assert said == pytest.approx(np.average(is_fraud, weights=weights), rel=0.02)


def test_a_histogram_knows_no_labels_and_finds_the_unusual():
    found, is_fraud = rows()
    table = fit_histogram(found, np.ones(len(found)))
    served = AdditiveTable(table.content(), range(4))
    scores = served.log_odds_of(found)
    assert roc_auc(is_fraud, scores) > 0.7
    assert served.expected == pytest.approx(scores.mean(), rel=0.01)
    assert served.log_odds(np.array([900.0, 900.0, 900.0, 1.0])) > scores.max()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table["inputs"].pop(), "it has 1 inputs, 2 are declared"),
        (lambda table: table["inputs"][0]["values"].pop(), "inputs.0: Value error, 1 borders need 2 values, not 1"),
        (lambda table: table["inputs"][1].update(borders=[2.0, 1.0], values=[0.0] * 3), "borders must rise"),
        (lambda table: table.update(intercept="much"), "intercept: Input should be a valid number"),
        (lambda table: table.update(secret=1), "secret: Extra inputs are not permitted"),
    ],
)
def test_a_table_that_is_none_is_refused_by_what_is_wrong(change, said):
    bins = Bins(borders=[1.0], values=[0.0, 1.0], missing=0.0, expected=0.0)
    content = json.loads(Table(intercept=0.0, inputs=[bins, bins]).content())
    change(content)
    with pytest.raises(ArtefactRefused, match=said):
        AdditiveTable(json.dumps(content).encode(), [0, 1])


def log_odds_of(strengths, count=40_000, seed=5):
    draw = np.random.default_rng(seed)
    is_fraud = draw.random(count) < 0.02
    return {name: strength * draw.normal(2 * is_fraud) for name, strength in strengths.items()}, is_fraud


def test_a_blend_is_better_than_its_members_and_gives_nothing_to_one_that_speaks_against_itself():
    found, is_fraud = log_odds_of({"one": 2.0, "other": 0.3, "wrong": -1.0})
    made = blend(found, is_fraud, np.ones(len(is_fraud)))
    assert made.weights["wrong"] == 0
    # Both say the same per spread: the scale of a member does not decide its share.
    assert made.weights["one"] * 2.0 == pytest.approx(made.weights["other"] * 0.3, rel=0.1)
    alone = max(average_precision(is_fraud, found[name]) for name in ("one", "other"))
    assert average_precision(is_fraud, made.raw_scores(found)) > alone + 0.05
    assert made.probabilities(found).mean() == pytest.approx(is_fraud.mean(), rel=0.1)


def test_weights_of_rows_move_probabilities_to_where_the_payments_are():
    found, is_fraud = log_odds_of({"one": 2.0})
    weights = np.where(is_fraud, 1.0, 10.0)
    said = blend(found, is_fraud, weights).probabilities(found)
    assert np.average(said, weights=weights) == pytest.approx(np.average(is_fraud, weights=weights), rel=0.1)


def test_calibration_rises_and_goes_on_beyond_its_points():
    found, is_fraud = log_odds_of({"one": 5.0})
    points = calibration_points(found["one"], is_fraud, np.ones(len(is_fraud)))
    at, to = (np.array(side) for side in zip(*points, strict=True))
    assert len(points) >= 3
    assert (np.diff(at) > 0).all()
    assert (np.diff(to) >= 0).all()
    raw = np.linspace(at[0] - 50, at[-1] + 50, 500)
    said = probabilities_of(raw, points)
    assert (np.diff(said) >= 0).all()
    assert said[0] < 1e-9
    assert calibration_points(found["one"][:100], is_fraud[:100], np.ones(100)) == ()
