"""Thresholds of actions from what they are expected to cost and from what analysts can look at. Pure, on arrays.

A policy compares probabilities with thresholds, one set per segment of payments. For each set the cheapest of all
rising triples on a grid of round numbers is found exactly; analysts' time has a price that is raised until what is
asked of them fits into their day (a Lagrange multiplier), so that it goes where it saves most.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.costs import Costs
from learning.evaluation import REAL, Interval, intervals
from learning.ranking import Bools, Floats, Ints

ALLOW, REVIEW, HELD, BLOCK = range(4)
"""Actions by severity, as in ``serving.policy.ACTIONS``."""
GRID = np.array(
    [round(digit * 10.0**power, 4) for power in (-3, -2) for digit in np.arange(1, 10, 0.5)]
    + [round(share, 2) for share in np.arange(0.1, 1.0, 0.01)]
    + [1.0]
)
"""What a threshold may be: a person has to read and to compare it. 1 is as good as never."""
MOST_CENTS = 10_000_000.0
STEPS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionCosts:
    """What actions cost, beside ``Costs``: assumptions, to be replaced by an institution's own.

    Attributes:
        basic: An analyst's work, the trouble of a payer who has to wait, what comes back of a missed fraud anyway.
        refused_cents: Trouble of a payer whose honest payment was refused without anybody looking.
        recognised_share: Share of frauds that an analyst recognises as such.
        recovered_share: Share of a fraud's amount that is held at the payee's bank, where the analyst saw it after it
            was paid.
    """

    basic: Costs = Costs()
    refused_cents: int = 10_000
    recognised_share: float = 0.9
    recovered_share: float = 0.4

    def __post_init__(self) -> None:
        if self.refused_cents < 0:
            raise ValueError(f"refused_cents must not be negative, got {self.refused_cents}")
        for name in ("recognised_share", "recovered_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """Payments that a model scored without having learnt from them, one place per payment in every array.

    Attributes:
        probabilities: Of fraud, calibrated.
        is_fraud: What they were.
        amount_cents: Amounts.
        weights: Payments that each row stands for.
        asked: Severity that rules ask for whatever the score: an action is at least as severe.
        segments: Number of the set of thresholds that counts for each.
        days: How many days they are of.
    """

    probabilities: Floats
    is_fraud: Bools
    amount_cents: Ints
    weights: Floats
    asked: Ints
    segments: Ints
    days: float


Thresholds = tuple[float, ...]
"""Probability from which REVIEW, BLOCK_AND_REVIEW and BLOCK apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What thresholds would have done to the cases.

    Attributes:
        reviews_a_day: Payments that an analyst would have had to look at.
        held_a_day: Those of them that would have waited for it.
        honest_refused_a_day: Honest payments that would have been refused without anybody looking.
        frauds_let_go: Share of frauds that would have been allowed.
        saved_reais_a_day: Less lost, less the costs of it, against allowing everything; by what the payments were.
        expected_reais_a_day: The same by the probabilities: far from it, and they are not calibrated.
    """

    reviews_a_day: float
    held_a_day: float
    honest_refused_a_day: float
    frauds_let_go: float
    saved_reais_a_day: float
    expected_reais_a_day: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Thresholds that cost least.

    Attributes:
        thresholds: Of each segment, by its number.
        review_price_cents: What a review would have to cost for its number alone to keep them within the capacity; 0
            where they fit anyway.
        now: What the present thresholds would have done.
        then: What the proposed ones would have.
        gain_reais_a_day: The difference of what they would have saved, with its paired bootstrap interval.
    """

    thresholds: tuple[Thresholds, ...]
    review_price_cents: float
    now: Outcome
    then: Outcome
    gain_reais_a_day: Interval


def propose(
    cases: Cases, present: Sequence[Thresholds], costs: ActionCosts, *, reviews_a_day: float, seed: int
) -> Proposal:
    """The cheapest thresholds whose reviews fit into a day.

    Where rules alone ask for more reviews than that, thresholds ask for none.

    Args:
        cases: Payments that the thresholds are chosen by, and what they were.
        present: Thresholds in use, of each segment by its number.
        costs: What actions cost.
        reviews_a_day: What analysts can look at.
        seed: Of the resamples.
    """
    if_fraud, if_honest = (_costs(cases.amount_cents, costs, of) for of in (True, False))
    expected = cases.probabilities[:, None] * if_fraud + (1 - cases.probabilities)[:, None] * if_honest
    found = np.where(cases.is_fraud[:, None], if_fraud, if_honest)
    groups = [_sums(cases, expected, number) for number in range(len(present))]
    by_rules = float((cases.weights * _looked_at(cases.asked)).sum())
    price = _price(groups, max(0.0, reviews_a_day * cases.days - by_rules))
    thresholds = tuple(_cheapest(group, price) for group in groups)
    now, then = actions(cases, present), actions(cases, thresholds)
    return Proposal(
        thresholds=thresholds,
        review_price_cents=price,
        now=_outcome(cases, now, found, expected),
        then=_outcome(cases, then, found, expected),
        gain_reais_a_day=_gain(cases, _of(found, now) - _of(found, then), seed),
    )


def actions(cases: Cases, thresholds: Sequence[Thresholds]) -> Ints:
    """Severity of what a policy with these thresholds does to each case."""
    of_each = np.array(thresholds)[cases.segments]
    reached = (cases.probabilities[:, None] >= of_each).sum(axis=1)
    done: Ints = np.maximum(reached, cases.asked)
    return done


def _costs(amount_cents: Ints, costs: ActionCosts, is_fraud: bool) -> NDArray[np.float64]:
    """What each action costs in centavos, a column per severity, were all payments frauds, or none of them."""
    basic, nothing = costs.basic, np.zeros(len(amount_cents))
    if not is_fraud:
        return np.column_stack(
            [nothing, nothing + basic.review_cents, nothing + basic.review_cents + basic.friction_cents]
            + [nothing + costs.refused_cents]
        )
    missed = amount_cents * (1 - basic.returned_share)
    late = amount_cents * (1 - max(basic.returned_share, costs.recovered_share))
    seen = costs.recognised_share
    return np.column_stack(
        [missed, basic.review_cents + seen * late + (1 - seen) * missed, basic.review_cents + (1 - seen) * missed]
        + [nothing]
    )


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of one segment, per step of the grid and severity of the threshold reached: costs, and reviews.

    Reviews that rules ask for are not counted: no threshold can spare them, but by refusing the payment unseen.
    """

    cents: NDArray[np.float64]
    reviews: NDArray[np.float64]


def _sums(cases: Cases, costs: NDArray[np.float64], segment: int) -> _Sums:
    """Payments between two neighbours of the grid get the same action whatever the thresholds are."""
    own = np.flatnonzero(cases.segments == segment)
    steps = np.searchsorted(GRID, cases.probabilities[own], side="right")
    cents, reviews = np.zeros((2, len(GRID) + 1, BLOCK + 1))
    for severity in range(BLOCK + 1):
        done = np.maximum(severity, cases.asked[own])
        weighed = cases.weights[own] * costs[own, done]
        cents[:, severity] = np.bincount(steps, weighed, len(GRID) + 1)
        looked = cases.weights[own] * (_looked_at(done) & ~_looked_at(cases.asked[own]))
        reviews[:, severity] = np.bincount(steps, looked, len(GRID) + 1)
    return _Sums(cents, reviews)


def _places(group: _Sums, price: float) -> tuple[int, int, int]:
    """Steps of the grid from which REVIEW, BLOCK_AND_REVIEW and BLOCK apply, so that all costs least.

    The cheapest way to reach a step with a severity is the cheapest to reach the one before with that or a milder one.
    """
    cents = group.cents + price * group.reviews
    best, came = cents[0].copy(), np.zeros((len(cents), BLOCK + 1), np.int64)
    # Below the smallest number of the grid no threshold can be.
    best[1:] = np.inf
    for step in range(1, len(cents)):
        milder = np.minimum.accumulate(best)
        came[step] = [int(np.argmin(best[: severity + 1])) for severity in range(BLOCK + 1)]
        best = milder + cents[step]
    severity = int(np.argmin(best))
    reached = np.empty(len(cents), np.int64)
    for step in range(len(cents) - 1, -1, -1):
        reached[step] = severity
        severity = int(came[step, severity])
    first = [int(np.searchsorted(reached, asked)) for asked in (REVIEW, HELD, BLOCK)]
    return first[0], first[1], first[2]


def _cheapest(group: _Sums, price: float) -> Thresholds:
    return tuple(float(GRID[min(place - 1, len(GRID) - 1)]) for place in _places(group, price))


def _price(groups: Sequence[_Sums], capacity: float) -> float:
    """The least price of a review, in centavos beside its cost, at which the reviews fit."""

    def reviews(price: float) -> float:
        asked = 0.0
        for group in groups:
            severities = np.searchsorted(_places(group, price), np.arange(len(group.reviews)), side="right")
            asked += float(group.reviews[np.arange(len(severities)), severities].sum())
        return asked

    if reviews(0.0) <= capacity:
        return 0.0
    low, high = 0.0, MOST_CENTS
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if reviews(middle) <= capacity else (middle, high)
    return high


def _looked_at(done: Ints) -> Bools:
    looked: Bools = (done == REVIEW) | (done == HELD)
    return looked


def _of(costs: NDArray[np.float64], done: Ints) -> Floats:
    chosen: Floats = costs[np.arange(len(done)), done]
    return chosen


def _outcome(cases: Cases, done: Ints, found: NDArray[np.float64], expected: NDArray[np.float64]) -> Outcome:
    weights, is_fraud = cases.weights, cases.is_fraud

    def a_day(each: Floats | Bools) -> float:
        return float((weights * each).sum()) / cases.days

    return Outcome(
        reviews_a_day=a_day(_looked_at(done)),
        held_a_day=a_day(done == HELD),
        honest_refused_a_day=a_day((done == BLOCK) & ~is_fraud),
        frauds_let_go=a_day(is_fraud & (done == ALLOW)) / a_day(is_fraud),
        saved_reais_a_day=a_day(found[:, ALLOW] - _of(found, done)) / REAL,
        expected_reais_a_day=a_day(expected[:, ALLOW] - _of(expected, done)) / REAL,
    )


def _gain(cases: Cases, saved: Floats, seed: int) -> Interval:
    each = cases.weights * saved / REAL / cases.days

    def total(times: Floats | None) -> Mapping[str, float]:
        return {"gain": float(np.sum(each if times is None else each * times))}

    return intervals(cases.is_fraud, total, rng=np.random.default_rng(seed))["gain"]
