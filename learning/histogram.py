"""An anomaly score: how unusual a payment is, whatever the labels say.

Each input has a histogram of what is usual; a payment's score is the sum of its inputs' surprises, minus the logarithm
of the share of payments in the same bin. (HBOS: M. Goldstein and A. Dengel, Histogram-based Outlier Score, KI 2012.)
Bins are of equal width on a scale that is linear near 0 and logarithmic beyond, because most inputs are amounts, counts
and times.
"""

import numpy as np

from learning.additive import Bins, Table
from learning.ranking import Floats
from learning.scorecard import Matrix, bins_of

BINS = 20
TAIL = 0.001
LEAST = 1e-6
"""Share of a bin that nothing fell into: one surprise must not drown all others."""


def fit_histogram(rows: Matrix, weights: Floats) -> Table:
    """What is usual, as the table that is served.

    Args:
        rows: One column per input; NaN is missing.
        weights: Payments that each row stands for.
    """
    return Table(intercept=0.0, inputs=[_bins(rows[:, place], weights) for place in range(rows.shape[1])])


def _bins(values: Matrix, weights: Floats) -> Bins:
    borders = _borders(values)
    shares = np.bincount(bins_of(values, borders), weights, len(borders) + 2) / weights.sum()
    surprise = -np.log(np.maximum(shares, LEAST))
    return Bins(
        borders=borders.tolist(),
        values=surprise[:-1].tolist(),
        missing=float(surprise[-1]),
        expected=float(shares @ surprise),
    )


def _borders(values: Matrix) -> Floats:
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        return np.empty(0)
    low, high = np.quantile(np.arcsinh(known), [TAIL, 1 - TAIL])
    return np.unique(np.sinh(np.linspace(low, high, BINS - 1)))
