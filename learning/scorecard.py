"""A linear member: logistic regression on weights of evidence, the scorecard of credit scoring.

Each input is cut into bins. A bin's weight of evidence is the log-odds of fraud among its rows less those among all,
pulled towards 0 where it has few frauds. The regression weighs the inputs against each other, so that two which say
the same do not count twice. (N. Siddiqi, Credit Risk Scorecards, Wiley 2006, chapter 6.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.additive import Bins, Table
from learning.ranking import Bools, Floats

QUANTILES = (0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 0.999)
PRIOR_FRAUDS = 5.0
"""A bin counts as if it had so many frauds more, at the rate of all rows."""
STRENGTH = 0.1
STEPS = 300
Matrix = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """A fitted scorecard.

    Attributes:
        borders: Per input, where its bins end.
        evidence: Per input, the weight of evidence of each bin, and last that of a missing value.
        coefficients: Per input, of its evidence.
        intercept: Log-odds where every evidence is 0.
        means: Per input, the mean of coefficient x evidence.
    """

    borders: tuple[Floats, ...]
    evidence: tuple[Floats, ...]
    coefficients: Floats
    intercept: float
    means: Floats

    def table(self) -> Table:
        """As it is served."""
        parts = zip(self.borders, self.evidence, self.coefficients, self.means, strict=True)
        return Table(
            intercept=self.intercept,
            inputs=[
                Bins(
                    borders=borders.tolist(),
                    values=(coefficient * evidence[:-1]).tolist(),
                    missing=float(coefficient * evidence[-1]),
                    expected=float(mean),
                )
                for borders, evidence, coefficient, mean in parts
            ],
        )


def fit_scorecard(rows: Matrix, is_fraud: Bools, weights: Floats) -> Scorecard:
    """Fit on rows of inputs; NaN is missing.

    Args:
        rows: One column per input.
        is_fraud: The labels.
        weights: Payments that each row stands for.
    """
    from sklearn.linear_model import LogisticRegression

    borders = tuple(_borders(rows[:, place], is_fraud) for place in range(rows.shape[1]))
    base = float(np.average(is_fraud, weights=weights))
    found, evidence = np.empty(rows.shape, np.float32), []
    for place, ends in enumerate(borders):
        bins = bins_of(rows[:, place], ends)
        of_input = _evidence(bins, len(ends) + 2, is_fraud, weights, base)
        evidence.append(of_input)
        found[:, place] = of_input[bins]
    # Weights of a mean of 1, or the regularisation would depend on how many payments a row stands for.
    model = LogisticRegression(C=STRENGTH, max_iter=STEPS).fit(found, is_fraud, weights / weights.mean())
    coefficients = model.coef_[0].astype(np.float64)
    return Scorecard(
        borders=borders,
        evidence=tuple(evidence),
        coefficients=coefficients,
        intercept=float(model.intercept_[0]),
        means=coefficients * np.average(found, axis=0, weights=weights),
    )


def bins_of(values: Matrix, borders: Floats) -> NDArray[np.int64]:
    """Number of each value's bin; one behind the last where it is missing."""
    return np.where(np.isnan(values), len(borders) + 1, np.searchsorted(borders, values, side="left"))


def _borders(values: Matrix, is_fraud: Bools) -> Floats:
    """Quantiles of all rows and of the frauds: what is rare among all may be common among those."""
    known = ~np.isnan(values)
    ends: list[float] = []
    for chosen in (known, known & is_fraud):
        if chosen.any():
            # As the service sees them: a border between two values that single precision cannot tell apart is none.
            ends += np.quantile(values[chosen].astype(np.float64), QUANTILES, method="lower").tolist()
    # Nothing lies above the greatest value.
    below = [end for end in ends if end < float(np.nanmax(values))]
    return np.unique(np.array(below, np.float64))


def _evidence(bins: NDArray[np.int64], count: int, is_fraud: Bools, weights: Floats, base: float) -> Floats:
    frauds = np.bincount(bins, weights * is_fraud, count)
    others = np.bincount(bins, weights * ~is_fraud, count)
    odds = (frauds + PRIOR_FRAUDS) / (others + PRIOR_FRAUDS * (1 - base) / base)
    found: Floats = np.log(odds) - np.log(base / (1 - base))
    return found
