"""Several members' log-odds become one probability: weights, intercept, calibration. Pure functions on arrays.

Fit on predictions of rows that no member was fit on: otherwise the member that learns its rows by heart gets all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.ranking import Bools, Floats

RIDGE = 1e-3
"""Pulls weights to 0 where the rows say nothing; measured in log-loss per fraud."""
STEPS = 500
FRAUDS_A_POINT = 40
MOST_POINTS = 12
MOST_MOVED = 20.0
SURE = 1e-4
"""Nothing is called more certain than this, even where every payment of a group was fraud."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """How members are put together.

    Attributes:
        weights: Member -> weight of its log-odds; never negative, so that no member speaks against itself.
        intercept: Added to them.
        calibration: Rising (raw score, log-odds) points; none leaves the raw score as it is.
    """

    weights: Mapping[str, float]
    intercept: float
    calibration: tuple[tuple[float, float], ...]

    def raw_scores(self, log_odds: Mapping[str, Floats]) -> Floats:
        """Affine sum of members' log-odds."""
        total = np.full(len(next(iter(log_odds.values()))), self.intercept)
        for name, weight in self.weights.items():
            total += weight * log_odds[name]
        return total

    def probabilities(self, log_odds: Mapping[str, Floats]) -> Floats:
        """Calibrated probabilities of fraud."""
        return probabilities_of(self.raw_scores(log_odds), self.calibration)


def probabilities_of(raw: Floats, calibration: Sequence[tuple[float, float]]) -> Floats:
    """Probabilities of raw scores; linear between the points, on with slope 1 beyond the outermost."""
    calibrated = raw
    if calibration:
        at, to = (np.array(side) for side in zip(*calibration, strict=True))
        beyond = np.minimum(raw - at[0], 0) + np.maximum(raw - at[-1], 0)
        calibrated = np.interp(raw, at, to) + beyond
    positive = calibrated >= 0
    small = np.exp(np.where(positive, -calibrated, calibrated))
    found: Floats = np.where(positive, 1, small) / (1 + small)
    return found


def blend(log_odds: Mapping[str, Floats], is_fraud: Bools, weights: Floats) -> Blend:
    """Weights by logistic regression, then calibration of what they give.

    Args:
        log_odds: Member -> its log-odds of rows that it was not fit on.
        is_fraud: The labels.
        weights: Payments that each row stands for.
    """
    names = tuple(log_odds)
    intercept, found = _logistic(np.column_stack([log_odds[name] for name in names]), is_fraud, weights)
    uncalibrated = Blend(weights=dict(zip(names, found, strict=True)), intercept=intercept, calibration=())
    raw = uncalibrated.raw_scores(log_odds)
    return Blend(
        weights=uncalibrated.weights, intercept=intercept, calibration=calibration_points(raw, is_fraud, weights)
    )


def _logistic(columns: NDArray[np.float64], is_fraud: Bools, weights: Floats) -> tuple[float, list[float]]:
    """Intercept and non-negative weights of least log-loss."""
    from scipy.optimize import minimize

    frauds = float((weights * is_fraud).sum())
    sign = np.where(is_fraud, 1.0, -1.0)
    # The members differ in scale; the search does not have to know.
    middle, spread = columns.mean(axis=0), np.maximum(columns.std(axis=0), 1e-9)
    scaled = (columns - middle) / spread

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (at[0] + scaled @ at[1:])
        value = float((weights * np.logaddexp(0, -margin)).sum()) / frauds + RIDGE * float(at[1:] @ at[1:])
        pull = -weights * sign * np.exp(-np.logaddexp(0, margin)) / frauds
        slope = np.concatenate(([pull.sum()], pull @ scaled + 2 * RIDGE * at[1:]))
        return value, slope

    begin = np.zeros(columns.shape[1] + 1)
    bounds = [(None, None), *[(0, None)] * columns.shape[1]]
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}).x
    each = found[1:] / spread
    return float(found[0] - each @ middle), each.tolist()


def calibration_points(raw: Floats, is_fraud: Bools, weights: Floats) -> tuple[tuple[float, float], ...]:
    """Rising points by isotonic regression, each of at least so many frauds; none where there are too few.

    Groups of neighbours with equally many frauds are put in order of their rate by pooling those that fall. The points
    are the groups' mean raw scores and the log-odds of their rates, all moved by as much as it takes for as many
    frauds to be expected as there were: between and beyond points a straight line is a little off.
    """
    from scipy.optimize import brentq
    from sklearn.isotonic import IsotonicRegression

    count = min(MOST_POINTS, int(is_fraud.sum()) // FRAUDS_A_POINT)
    if count < 3:
        return ()
    order = np.argsort(raw, kind="stable")
    seen = np.cumsum(is_fraud[order])
    group = np.minimum((seen - is_fraud[order]) * count // seen[-1], count - 1)
    weighed = weights[order]
    mass = np.bincount(group, weighed, count)
    middle = np.bincount(group, weighed * raw[order], count) / mass
    frauds = np.bincount(group, weighed * is_fraud[order], count)
    rates = IsotonicRegression().fit_transform(np.arange(count), frauds / mass, sample_weight=mass)
    log_odds = np.log(rates / np.maximum(1 - rates, SURE))
    points = [(float(middle[0]), float(log_odds[0]))]
    for at, to in zip(middle[1:].tolist(), log_odds[1:].tolist(), strict=True):
        if at > points[-1][0]:
            points.append((at, to))

    def excess(by: float) -> float:
        moved = [(at, to + by) for at, to in points]
        return float((weights * (probabilities_of(raw, moved) - is_fraud)).sum())

    by = float(brentq(excess, -MOST_MOVED, MOST_MOVED))
    return tuple((at, to + by) for at, to in points)
