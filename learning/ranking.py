"""Rows in order of their score: what every threshold finds. Pure functions on arrays.

Equal scores are one threshold, because a policy cannot tell such payments apart. A row may stand for several
payments, or for none in a resample: its weight says for how many.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Ranking:
    """Rows sorted by falling score once, so that a resample costs two cumulative sums."""

    def __init__(self, is_fraud: Bools, scores: Floats, weights: Floats | None = None) -> None:
        """Sort.

        Args:
            is_fraud: The labels.
            scores: The higher, the more suspicious.
            weights: Payments that each row stands for; one each without it.

        Raises:
            ValueError: Lengths differ, a score is not finite, or one of the classes is missing.
        """
        if len(is_fraud) != len(scores):
            raise ValueError(f"{len(is_fraud)} labels but {len(scores)} scores; they must be of the same rows")
        if not np.isfinite(scores).all():
            raise ValueError(f"{int(np.sum(~np.isfinite(scores)))} of {len(scores)} scores are not finite")
        frauds = int(np.count_nonzero(is_fraud))
        if frauds in (0, len(scores)):
            raise ValueError(f"a metric needs frauds and other payments, got {frauds} frauds in {len(scores)} rows")
        self._order = np.argsort(-scores, kind="stable")
        ordered = scores[self._order]
        self._last_of_ties = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(scores) - 1)
        weighed = np.ones(len(scores)) if weights is None else weights
        self._frauds = (weighed * is_fraud)[self._order]
        self._others = (weighed * ~is_fraud)[self._order]
        steps = self._steps(is_fraud)
        self._gaining, self._flagged = (
            (rows, steps[rows], weighed[rows])
            for rows in (np.flatnonzero(is_fraud), np.flatnonzero(~is_fraud & (steps <= steps[is_fraud].max())))
        )

    def _steps(self, is_fraud: Bools) -> Ints:
        """Per row, how many thresholds that find a fraud lie above it: precision counts at those alone."""
        sizes = np.diff(self._last_of_ties, prepend=-1)
        finds = np.logical_or.reduceat(is_fraud[self._order], self._last_of_ties - sizes + 1)
        steps = np.empty(len(is_fraud), np.int64)
        steps[self._order] = np.repeat(np.cumsum(finds) - finds, sizes)
        return steps

    def counts(self, times: Floats | None = None) -> tuple[Floats, Floats]:
        """Frauds and other payments at or above each distinct score, highest score first.

        Args:
            times: How often each row was drawn; once without it.
        """
        drawn: Floats | float = 1.0 if times is None else times[self._order]
        frauds = np.cumsum(self._frauds * drawn)[self._last_of_ties]
        others = np.cumsum(self._others * drawn)[self._last_of_ties]
        return frauds, others

    def average_precision(self, times: Floats | None = None) -> float:
        """Sum over thresholds of precision x the recall gained there."""
        count = int(self._gaining[1].max()) + 1
        frauds, others = (
            np.cumsum(np.bincount(steps, weights if times is None else weights * times[rows], count))
            for rows, steps, weights in (self._gaining, self._flagged)
        )
        flagged = frauds + others
        precision = np.divide(frauds, flagged, out=np.zeros_like(frauds), where=flagged > 0)
        gained = np.diff(frauds, prepend=0.0) / frauds[-1]
        return float(np.sum(precision * gained))

    def roc_auc(self, times: Floats | None = None) -> float:
        """Chance that a fraud scores above a payment that is none; ties count half."""
        frauds, others = self.counts(times)
        recall = np.concatenate(([0.0], frauds / frauds[-1]))
        false_positives = np.concatenate(([0.0], others / others[-1]))
        return float(np.sum(np.diff(false_positives) * (recall[1:] + recall[:-1]) / 2))

    def recall_at_fpr(self, rate: float, times: Floats | None = None, values: Floats | None = None) -> float:
        """Largest recall at a threshold whose false-positive rate is at most ``rate``; 0 if there is none.

        Args:
            rate: Share of other payments that may be flagged.
            times: How often each row was drawn; once without it.
            values: What each row is worth, such as its amount; then the recall is of that value.
        """
        frauds, others = self.counts(times)
        allowed = others <= rate * others[-1]
        found = frauds
        if values is not None:
            worth = values[self._order] if times is None else (values * times)[self._order]
            found = np.cumsum(self._frauds * worth)[self._last_of_ties]
        return float(found[allowed][-1] / found[-1]) if allowed.any() else 0.0


def base_rate(is_fraud: Bools, weights: Floats | None = None) -> float:
    """Share of frauds among the payments."""
    if len(is_fraud) == 0:
        raise ValueError("base_rate needs at least one row, got none")
    return float(np.average(is_fraud, weights=weights))


def average_precision(is_fraud: Bools, scores: Floats, weights: Floats | None = None) -> float:
    """Area under the precision-recall steps; see ``Ranking``."""
    return Ranking(is_fraud, scores, weights).average_precision()


def roc_auc(is_fraud: Bools, scores: Floats, weights: Floats | None = None) -> float:
    """Area under the ROC curve; see ``Ranking``."""
    return Ranking(is_fraud, scores, weights).roc_auc()


def recall_at_fpr(is_fraud: Bools, scores: Floats, rate: float, weights: Floats | None = None) -> float:
    """Recall at a false-positive rate; see ``Ranking``."""
    return Ranking(is_fraud, scores, weights).recall_at_fpr(rate)
