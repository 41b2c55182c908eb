"""Numbers that analysts and money care for, by hand where a hand can reckon them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.alerts import account_precision_at, precision_at
from learning.calibration import calibration_error, reliability
from learning.costs import Costs, capped, saved, worthwhile
from learning.evaluation import Judged, average_precision_difference, evaluate
from learning.groups import groups
from learning.judging import judge
from learning.ranking import average_precision
from tests.learning.payments_by_hand import outcomes, said

COSTS = Costs(review_cents=1_000, friction_cents=2_000, returned_share=0.1)


def test_precision_of_a_days_first_alerts_shares_a_tie():
    is_fraud = np.array([True, False, True, False, False, True])
    scores = np.array([0.9, 0.9, 0.5, 0.1, 0.8, 0.2])
    days = np.array([1, 1, 1, 1, 2, 2])
    assert precision_at(is_fraud, scores, days, 1) == pytest.approx((0.5 + 0) / 2)
    assert precision_at(is_fraud, scores, days, 3) == pytest.approx((2 / 3 + 1 / 2) / 2)
    weights = np.array([1.0, 4.0, 1.0, 1.0, 1.0, 1.0])
    assert precision_at(is_fraud, scores, days, 5, weights) == pytest.approx((1 / 5 + 1 / 2) / 2)


def test_an_account_that_was_found_takes_no_place_again():
    is_fraud = np.array([True, False, False, True, True])
    scores = np.array([0.9, 0.8, 0.1, 0.95, 0.5])
    days, accounts = np.array([1, 1, 1, 2, 2]), np.array([7, 8, 9, 7, 8])
    assert account_precision_at(is_fraud, scores, days, accounts, 1) == 1.0
    assert account_precision_at(is_fraud, scores, days, accounts, 2) == pytest.approx((1 / 2 + 1) / 2)


def test_an_alert_is_worth_what_it_avoids_less_what_it_costs():
    worth = worthwhile(np.array([0.5, 0.5]), np.array([10_000, 1_000]), COSTS)
    assert worth == pytest.approx([0.5 * 9_000 - 0.5 * 2_000 - 1_000, 0.5 * 900 - 1_000 - 1_000])
    alerts, is_fraud = np.array([True, True, False, False]), np.array([True, False, True, False])
    each = saved(alerts, is_fraud, np.full(4, 10_000), COSTS)
    assert each.tolist() == [8_000, -3_000, 0, 0]
    with pytest.raises(ValueError, match="costs must not be negative"):
        Costs(review_cents=-1)
    with pytest.raises(ValueError, match="returned_share must lie in"):
        Costs(returned_share=1.0)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5)), min_size=1, max_size=40),
    st.integers(1, 5),
)
def test_at_most_so_many_alerts_a_day_and_none_that_is_worth_more_is_left_out(payments, a_day):
    days, worth = (np.array(side) for side in zip(*payments, strict=True))
    taken = capped(worth.astype(float), days, a_day)
    for day in np.unique(days):
        here, flagged = worth[days == day], taken[days == day]
        assert flagged.sum() == min(a_day, (here > 0).sum())
        assert (here[flagged] > 0).all()
        assert not flagged.any() or here[flagged].min() >= max(here[~flagged], default=-9)


def test_probabilities_that_mean_what_they_say_have_a_small_error_and_doubled_ones_a_large_one():
    found = outcomes(60_000)
    fair = said(found)
    assert calibration_error(found.is_fraud, fair) < 0.1
    assert calibration_error(found.is_fraud, np.minimum(2 * fair, 1)) > 0.5
    expected, frauds, payments = reliability(found.is_fraud, fair)
    assert (expected.sum(), frauds.sum(), payments.sum()) == pytest.approx((fair.sum(), found.is_fraud.sum(), 60_000))
    assert (np.diff(expected / payments) > 0).all()
    assert expected.min() > 0.5 * expected.max()


def test_an_evaluation_counts_and_is_flat():
    found = outcomes()
    judged = Judged.model(found, said(found), COSTS)
    flat = evaluate(found, judged, COSTS).to_dict()
    assert (flat["payments"], flat["frauds"]) == (4_000, found.is_fraud.sum())
    assert flat["recall_at_fpr_1e-03"] <= flat["recall_at_fpr_1e-02"]
    assert flat["saved_reais"] == pytest.approx(
        saved(judged.alerts, found.is_fraud, found.amount_cents, COSTS).sum() / 100
    )
    few = Judged.model(found, said(found), COSTS, alerts_a_day=5)
    assert few.alerts.sum() == 50 < judged.alerts.sum()
    assert "calibration_error" not in evaluate(found, Judged(judged.scores, judged.alerts, False), COSTS).to_dict()


def test_another_base_rate_changes_precision_and_no_share_of_a_class():
    found = outcomes()
    rare, scores = found.at_base_rate(0.001), said(found)
    assert np.average(rare.is_fraud, weights=rare.weights) == pytest.approx(0.001)
    before, after = (evaluate(one, Judged.model(one, scores, COSTS), COSTS) for one in (found, rare))
    assert after.roc_auc == pytest.approx(before.roc_auc)
    assert dict(after.recall_at_fpr) == pytest.approx(dict(before.recall_at_fpr))
    assert after.average_precision < before.average_precision


def test_paired_intervals_separate_a_better_model_from_noise_and_repeat_with_their_seed():
    found = outcomes()
    weak, strong = said(found, 0.7), said(found, 2.5)

    def over(ours, theirs):
        return average_precision_difference(found.is_fraud, ours, theirs, rng=np.random.default_rng(1), resamples=100)

    better = over(strong, weak)
    assert 0 < better.low < better.point < better.high
    assert better.point == average_precision(found.is_fraud, strong) - average_precision(found.is_fraud, weak)
    assert over(strong, weak) == better
    same = over(weak, weak)
    assert (same.low, same.point, same.high) == (0, 0, 0)


def test_what_a_better_model_saves_more_has_an_interval():
    found = outcomes()
    compared = {
        "ours": Judged.model(found, said(found, 2.5), COSTS),
        "weak": Judged.model(found, said(found, 0.7), COSTS),
    }
    made = judge(found, compared, "ours", COSTS, seed=1)
    ours, weak = made.evaluations["ours"], made.evaluations["weak"]
    reais, precision = made.saved_over["weak"], made.over["weak"]
    assert reais.point == pytest.approx(ours.saved_reais - weak.saved_reais)
    assert precision.point == ours.average_precision - weak.average_precision
    assert 0 < reais.low < reais.point < reais.high
    assert judge(found, compared, "ours", COSTS, seed=1).saved_over == made.saved_over


def test_groups_share_one_threshold():
    found = outcomes()
    by = {group.name: group for group in groups(found, said(found), rate=0.01)}
    assert set(by) == {"a", "b"}
    assert sum(group.frauds for group in by.values()) == found.is_fraud.sum()
    whole = evaluate(found, Judged.model(found, said(found), COSTS), COSTS).recall_at_fpr[2][1]
    assert sum(group.frauds * group.recall.point for group in by.values()) == pytest.approx(
        whole * found.is_fraud.sum()
    )
    assert by["a"].false_positive_rate is None


def test_a_judgement_has_small_pictures_of_all():
    found = outcomes()
    rules = Judged((found.amount_cents > 9_000).astype(float), found.amount_cents > 9_000, is_model=False)
    compared = {
        "ours": Judged.model(found, said(found, 2.5), COSTS),
        "raw": Judged.model(found, said(found, 1.0), COSTS),
        "rules": rules,
    }
    made = judge(found, compared, "ours", COSTS, seed=1)
    assert made.over["raw"].low > 0
    assert made.saved_over["rules"].low > 0
    assert made.average_precision.low < made.evaluations["ours"].average_precision < made.average_precision.high
    assert set(made.pictures) == {"precision_recall", "gain", "calibration", "threshold_cost"}
    assert all(png.startswith(b"\x89PNG") and len(png) <= 60_000 for png in made.pictures.values())
