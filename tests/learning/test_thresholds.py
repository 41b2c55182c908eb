import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning import thresholds as choosing
from learning.costs import Costs
from learning.thresholds import ALLOW, BLOCK, GRID, HELD, REVIEW, ActionCosts, Cases, actions, propose

COSTS = ActionCosts(basic=Costs(review_cents=1_000, friction_cents=2_000, returned_share=0.1), recovered_share=0.4)
PRESENT = ((0.1, 0.4, 0.85), (0.05, 0.25, 0.85))


def drawn(seed, count=400, days=4.0):
    draw = np.random.default_rng(seed)
    probabilities = draw.beta(0.3, 3, count)
    return Cases(
        probabilities=probabilities,
        is_fraud=draw.random(count) < probabilities,
        amount_cents=draw.integers(100, 500_000, count),
        weights=draw.choice([1.0, 7.0], count),
        asked=draw.choice([ALLOW, REVIEW, HELD, BLOCK], count, p=[0.9, 0.05, 0.03, 0.02]),
        segments=draw.integers(0, 2, count),
        days=days,
    )


def chosen(cases, capacity=1e9, costs=COSTS):
    return propose(cases, PRESENT, costs, reviews_a_day=capacity, seed=1)


def test_the_grid_rises_and_is_round():
    assert (np.diff(GRID) > 0).all()
    assert all(len(str(float(value))) <= 6 for value in GRID)


def test_an_action_costs_what_its_parts_do():
    """One payment of 1,000 reais: a fraud, and an honest one."""
    amount = np.array([100_000])
    assert choosing._costs(amount, COSTS, True)[0] == pytest.approx(
        [90_000, 1_000 + 0.9 * 60_000 + 0.1 * 90_000, 1_000 + 0.1 * 90_000, 0]
    )
    assert choosing._costs(amount, COSTS, False)[0].tolist() == [0, 1_000, 3_000, 10_000]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_no_rising_thresholds_of_the_grid_cost_less(seed):
    cases, costs = drawn(seed, 60), COSTS
    if_fraud, if_honest = (choosing._costs(cases.amount_cents, costs, of) for of in (True, False))
    expected = cases.probabilities[:, None] * if_fraud + (1 - cases.probabilities)[:, None] * if_honest
    group = choosing._sums(cases, expected, 0)
    prefix = np.vstack([np.zeros(4), np.cumsum(group.cents, axis=0)])
    at = np.arange(1, len(GRID) + 2)
    review, held, block = at[:, None, None], at[None, :, None], at[None, None, :]
    every = (
        prefix[review, ALLOW]
        + (prefix[held, REVIEW] - prefix[review, REVIEW])
        + (prefix[block, HELD] - prefix[held, HELD])
        + (prefix[-1, BLOCK] - prefix[block, BLOCK])
    )
    rising = (review <= held) & (held <= block)
    own = dataclasses.replace(cases, asked=np.where(cases.segments == 0, cases.asked, 0))
    own = dataclasses.replace(own, weights=np.where(cases.segments == 0, cases.weights, 0.0))
    done = actions(own, chosen(cases).thresholds)
    cost = float((own.weights * expected[np.arange(len(done)), done]).sum())
    assert cost == pytest.approx(float(every[rising].min()))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), capacity=st.floats(0, 300))
def test_reviews_fit_into_the_day_unless_rules_alone_fill_it(seed, capacity):
    cases = drawn(seed)
    by_rules = float((cases.weights * np.isin(cases.asked, (REVIEW, HELD))).sum()) / cases.days
    found = chosen(cases, capacity)
    assert found.then.reviews_a_day <= max(capacity, by_rules) + 1e-9
    for triple in found.thresholds:
        assert list(triple) == sorted(triple)


def test_more_analysts_never_save_less():
    cases = drawn(3)
    saved = [chosen(cases, capacity).then.expected_reais_a_day for capacity in (0, 20, 60, 120, 1e9)]
    assert saved == sorted(saved)
    assert saved[0] < saved[-1]
    assert [chosen(cases, capacity).review_price_cents > 0 for capacity in (20, 1e9)] == [True, False]


def test_what_is_proposed_is_expected_to_cost_no_more_than_what_is_in_use():
    found = chosen(drawn(5))
    assert found.then.expected_reais_a_day >= found.now.expected_reais_a_day
    assert found.gain_reais_a_day.point == pytest.approx(found.then.saved_reais_a_day - found.now.saved_reais_a_day)
    assert found.gain_reais_a_day.low <= found.gain_reais_a_day.point <= found.gain_reais_a_day.high


def test_rules_stand_whatever_the_score_says():
    cases = drawn(7)
    never = ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    assert (actions(cases, never) == cases.asked).all()
    always = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    assert (actions(cases, always) == BLOCK).all()


def test_an_honest_payment_whose_refusal_costs_nothing_is_refused():
    free = ActionCosts(basic=COSTS.basic, refused_cents=0)
    found = chosen(drawn(9), costs=free)
    assert [triple[2] for triple in found.thresholds] == [GRID[0]] * 2


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"refused_cents": -1}, "refused_cents must not be negative"), ({"recovered_share": 1.1}, "recovered_share must")],
)
def test_costs_that_cannot_be_are_refused(changed, says):
    with pytest.raises(ValueError, match=says):
        ActionCosts(**changed)
