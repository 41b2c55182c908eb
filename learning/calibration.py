"""Does a probability mean what it says, and how to make it do so."""

import numpy as np

from learning.ranking import Bools, Floats

BINS = 10


def reliability(
    is_fraud: Bools, probabilities: Floats, weights: Floats | None = None, bins: int = BINS
) -> tuple[Floats, Floats, Floats]:
    """Expected and found frauds, and payments, in ``bins`` groups of rising probability that expect equally many.

    Groups of equal numbers of payments would say nothing: at 5 frauds in 100,000 payments nine of ten hold none.

    Args:
        is_fraud: The labels.
        probabilities: Of fraud.
        weights: Payments that each row stands for; one each without it.
        bins: How many groups at most.
    """
    weighed = np.ones(len(probabilities)) if weights is None else weights
    order = np.argsort(probabilities, kind="stable")
    expected = (probabilities * weighed)[order]
    ends = np.cumsum(expected)
    group = np.minimum((ends - expected / 2) / ends[-1] * bins, bins - 1).astype(np.int64)
    found = (is_fraud * weighed)[order]
    sums = [np.bincount(group, values, bins).astype(np.float64) for values in (expected, found, weighed[order])]
    filled = sums[2] > 0
    return sums[0][filled], sums[1][filled], sums[2][filled]


def calibration_error(is_fraud: Bools, probabilities: Floats, weights: Floats | None = None) -> float:
    """Frauds expected where there were none or missed where there were, as a share of all frauds; 0 is perfect.

    The sum over the groups of ``reliability`` of |expected - found|, divided by the frauds.
    """
    expected, found, _ = reliability(is_fraud, probabilities, weights)
    return float(np.abs(expected - found).sum() / found.sum())


def at_other_odds(probabilities: Floats, factor: float) -> Floats:
    """The probabilities, were there ``factor`` times as many frauds among as many other payments.

    The odds of every payment are multiplied by it: what was seen of a fraud or of another payment stays as likely as
    it was (C. Elkan, The Foundations of Cost-Sensitive Learning, IJCAI 2001; M. Saerens et al., Neural Computation
    2002).

    Args:
        probabilities: Calibrated where they were learnt.
        factor: Above 0; see ``learning.evaluation.Outcomes.factor_to``.
    """
    return factor * probabilities / (factor * probabilities + (1 - probabilities))
