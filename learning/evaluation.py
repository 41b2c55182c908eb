"""How good are scores? Pure functions on arrays: labels and scores in, frozen numbers out.

Every metric treats equal scores as one threshold, because a policy cannot tell such payments apart.
No model, no registry and no table is known here.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FALSE_POSITIVE_RATES = (1e-4, 1e-3, 1e-2)
BASELINE_COLOUR = "#9a9a9a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A difference and its bootstrap interval.

    Attributes:
        point: The difference on the rows as they are.
        low: Lower end of the interval.
        high: Upper end of the interval.
        confidence: Share of resamples that the interval covers.
    """

    point: float
    low: float
    high: float
    confidence: float

    def __str__(self) -> str:
        return f"{self.point:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What the scores of one model are worth on one set of rows.

    Attributes:
        rows: Rows judged.
        frauds: How many of them are fraud.
        base_rate: frauds ÷ rows, the average precision of random scores.
        average_precision: Area under the precision-recall steps.
        roc_auc: Chance that a fraud scores above a payment that is none; ties count half.
        recall_at_fpr: (false-positive rate allowed, recall reached) pairs.
    """

    rows: int
    frauds: int
    base_rate: float
    average_precision: float
    roc_auc: float
    recall_at_fpr: tuple[tuple[float, float], ...]

    def to_dict(self) -> dict[str, float]:
        """One flat name per number, fit for MLflow metrics and Dagster metadata."""
        recalls = {f"recall_at_fpr_{rate:.0e}": recall for rate, recall in self.recall_at_fpr}
        return {
            "rows": self.rows,
            "frauds": self.frauds,
            "base_rate": self.base_rate,
            "average_precision": self.average_precision,
            "roc_auc": self.roc_auc,
            **recalls,
        }


def evaluate(is_fraud: Bools, scores: Floats, rates: Sequence[float] = FALSE_POSITIVE_RATES) -> Evaluation:
    """Judge one model's scores on rows that hold both classes."""
    return Evaluation(
        rows=len(is_fraud),
        frauds=int(np.count_nonzero(is_fraud)),
        base_rate=base_rate(is_fraud),
        average_precision=average_precision(is_fraud, scores),
        roc_auc=roc_auc(is_fraud, scores),
        recall_at_fpr=tuple((rate, recall_at_fpr(is_fraud, scores, rate)) for rate in rates),
    )


def base_rate(is_fraud: Bools) -> float:
    """Share of frauds among the rows."""
    if len(is_fraud) == 0:
        raise ValueError("base_rate needs at least one row, got none")
    return float(np.count_nonzero(is_fraud)) / len(is_fraud)


def average_precision(is_fraud: Bools, scores: Floats) -> float:
    """Sum over thresholds of precision × the recall gained there."""
    curve = _Thresholds(is_fraud, scores)
    return curve.average_precision(np.ones(len(is_fraud)))


def roc_auc(is_fraud: Bools, scores: Floats) -> float:
    """Area under the ROC curve, by trapezoids, so that ties count half."""
    frauds, others = _Thresholds(is_fraud, scores).counts(np.ones(len(is_fraud)))
    recall = np.concatenate(([0.0], frauds / frauds[-1]))
    false_positives = np.concatenate(([0.0], others / others[-1]))
    return float(np.sum(np.diff(false_positives) * (recall[1:] + recall[:-1]) / 2))


def recall_at_fpr(is_fraud: Bools, scores: Floats, rate: float) -> float:
    """Largest recall at a threshold whose false-positive rate is at most ``rate``; 0 if there is none."""
    frauds, others = _Thresholds(is_fraud, scores).counts(np.ones(len(is_fraud)))
    allowed = others <= rate * others[-1]
    return float(frauds[allowed][-1] / frauds[-1]) if allowed.any() else 0.0


def average_precision_difference(
    is_fraud: Bools,
    ours: Floats,
    theirs: Floats,
    *,
    rng: np.random.Generator,
    resamples: int = 400,
    confidence: float = 0.95,
) -> Interval:
    """Average precision of ``ours`` minus that of ``theirs``, with a paired bootstrap interval.

    Both models are judged on the same resampled rows. Frauds and other payments are resampled apart: a
    resample keeps the base rate, on which average precision depends more than on any model.

    Args:
        is_fraud: The labels.
        ours: Scores of the one model.
        theirs: Scores of the other model, on the same rows.
        rng: Source of the resamples; the same seed gives the same interval.
        resamples: How many.
        confidence: Share of resamples that the interval covers.
    """
    our_curve, their_curve = _Thresholds(is_fraud, ours), _Thresholds(is_fraud, theirs)
    classes = (np.flatnonzero(is_fraud), np.flatnonzero(~is_fraud))
    differences = np.empty(resamples)
    for i in range(resamples):
        weights = np.zeros(len(is_fraud))
        for rows in classes:
            weights[rows] = np.bincount(rng.integers(0, len(rows), len(rows)), minlength=len(rows))
        differences[i] = our_curve.average_precision(weights) - their_curve.average_precision(weights)
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    point = average_precision(is_fraud, ours) - average_precision(is_fraud, theirs)
    return Interval(point=point, low=float(low), high=float(high), confidence=confidence)


def precision_recall_png(is_fraud: Bools, scores: dict[str, Floats], *, dots_per_inch: int = 90) -> bytes:
    """The precision-recall curves of named scores and the base rate, as a PNG small enough for metadata.

    Args:
        is_fraud: The labels.
        scores: Name in the legend → scores on the same rows.
        dots_per_inch: Resolution; 90 gives about 20 KB.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), dpi=dots_per_inch, layout="constrained")
    axes = figure.add_subplot()
    for name, values in scores.items():
        frauds, others = _Thresholds(is_fraud, values).counts(np.ones(len(is_fraud)))
        axes.step(frauds / frauds[-1], frauds / (frauds + others), where="post", label=name, linewidth=1.4)
    axes.axhline(base_rate(is_fraud), color=BASELINE_COLOUR, linestyle="--", linewidth=1, label="base rate")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=8)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


class _Thresholds:
    """Rows sorted by falling score once, so that a resample costs two cumulative sums."""

    def __init__(self, is_fraud: Bools, scores: Floats) -> None:
        if len(is_fraud) != len(scores):
            raise ValueError(f"{len(is_fraud)} labels but {len(scores)} scores; they must be of the same rows")
        if not np.isfinite(scores).all():
            raise ValueError(f"{int(np.sum(~np.isfinite(scores)))} of {len(scores)} scores are not finite")
        self._order = np.argsort(-scores, kind="stable")
        self._is_fraud = is_fraud[self._order].astype(np.float64)
        frauds = int(self._is_fraud.sum())
        if frauds in (0, len(scores)):
            raise ValueError(f"a metric needs frauds and other payments, got {frauds} frauds in {len(scores)} rows")
        ordered = scores[self._order]
        self._last_of_ties = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(scores) - 1)

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Frauds and other payments at or above each distinct score, highest score first."""
        weights = weights[self._order]
        frauds = np.cumsum(weights * self._is_fraud)[self._last_of_ties]
        others = np.cumsum(weights * (1 - self._is_fraud))[self._last_of_ties]
        return frauds, others

    def average_precision(self, weights: Floats) -> float:
        frauds, others = self.counts(weights)
        flagged = frauds + others
        precision = np.divide(frauds, flagged, out=np.zeros_like(frauds), where=flagged > 0)
        gained = np.diff(frauds, prepend=0.0) / frauds[-1]
        return math.fsum(precision * gained)
