"""Scores as pictures small enough for MLflow and for Dagster's metadata (20 to 40 KB)."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from learning.calibration import reliability
from learning.costs import Costs
from learning.evaluation import REAL, Judged, Outcomes
from learning.ranking import Bools, Floats, Ranking, base_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASELINE: Mapping[str, Any] = {"color": "#9a9a9a", "linestyle": "--", "linewidth": 1}
LINE = 1.4
POINTS = 2_000
"""A line of a million points looks like one of so many, and takes longer to draw."""


def precision_recall(is_fraud: Bools, judged: Mapping[str, Judged], weights: Floats | None = None) -> bytes:
    """Precision at every recall of models, at each severity of rules, and the base rate."""
    figure, axes = _figure()
    for name, one in judged.items():
        frauds, others = Ranking(is_fraud, one.scores, weights).counts()
        if not one.is_model:
            # The last threshold lets nothing go: that is no rule.
            axes.plot((frauds / frauds[-1])[:-1], (frauds / (frauds + others))[:-1], "o", markersize=5, label=name)
            continue
        some = _some(len(frauds))
        axes.step(
            (frauds / frauds[-1])[some], (frauds / (frauds + others))[some], where="post", label=name, linewidth=LINE
        )
    axes.axhline(base_rate(is_fraud, weights), label="base rate", **BASELINE)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    return _png(figure, axes)


def gain(outcomes: Outcomes, scores: Mapping[str, Floats]) -> bytes:
    """Share of frauds found by alerting on the most suspicious payments, against the share of payments alerted on."""
    figure, axes = _figure()
    for name, values in scores.items():
        frauds, others = Ranking(outcomes.is_fraud, values, outcomes.weights).counts()
        flagged, some = frauds + others, _some(len(frauds))
        axes.step((flagged / flagged[-1])[some], (frauds / frauds[-1])[some], where="post", label=name, linewidth=LINE)
    shares = np.geomspace(1e-5, 1, 50)
    axes.plot(shares, shares, label="by chance", **BASELINE)
    axes.set(xlabel="share of payments alerted on", ylabel="share of frauds found", xscale="log", xlim=(1e-5, 1))
    return _png(figure, axes)


def calibration(outcomes: Outcomes, probabilities: Mapping[str, Floats]) -> bytes:
    """Frauds found against frauds expected, in groups of rising probability."""
    figure, axes = _figure()
    ends = []
    for name, values in probabilities.items():
        expected, found, payments = reliability(outcomes.is_fraud, values, outcomes.weights)
        # A group without a fraud has no place on a logarithmic axis.
        seen = found > 0
        axes.plot((expected / payments)[seen], (found / payments)[seen], marker="o", markersize=3, label=name)
        ends += [(expected / payments)[seen], (found / payments)[seen]]
    both = np.concatenate(ends)
    line = np.array([both.min(), both.max()])
    axes.plot(line, line, label="as it should be", **BASELINE)
    axes.set(xlabel="probability said", ylabel="share of frauds found", xscale="log", yscale="log")
    return _png(figure, axes)


def threshold_cost(outcomes: Outcomes, probabilities: Mapping[str, Floats], costs: Costs) -> bytes:
    """Reais saved by alerting on every payment at or above a probability."""
    figure, axes = _figure()
    avoided = np.where(
        outcomes.is_fraud, outcomes.amount_cents * (1 - costs.returned_share), -float(costs.friction_cents)
    )
    each = outcomes.weights * (avoided - costs.review_cents) / REAL
    best = 1.0
    for name, values in probabilities.items():
        order = np.argsort(-values, kind="stable")
        some, reais = _some(len(order)), np.cumsum(each[order])
        best = max(best, float(reais.max()))
        axes.plot(values[order][some], reais[some], label=name, linewidth=LINE)
    axes.axhline(0, **BASELINE)
    axes.set(xlabel="threshold of the probability", ylabel="R$ saved, less costs", xscale="log", xlim=(1e-4, 1))
    # Below, so many honest payments are stopped that nothing else could be seen.
    axes.set_ylim(bottom=-best, top=1.1 * best)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    return _png(figure, axes)


def progress(found: Sequence[float | None], start: float) -> bytes:
    """What trials of a search reached, one after the other, and the best so far.

    Args:
        found: Average precision of each trial; None where it was not measured to its end.
        start: That of the recipe's own settings.
    """
    figure, axes = _figure()
    numbers, values = np.arange(1, len(found) + 1), np.array([np.nan if one is None else one for one in found])
    axes.plot(numbers, values, "o", markersize=4, label="trial")
    axes.step(numbers, np.fmax.accumulate(values), where="post", label="best so far", linewidth=LINE)
    axes.axhline(start, label="the recipe's own settings", **BASELINE)
    axes.set(xlabel="trial", ylabel="average precision")
    return _png(figure, axes)


def _figure() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), dpi=90, layout="constrained")
    return figure, figure.add_subplot()


def _some(count: int) -> Any:
    """At most about ``POINTS`` places, dense at the beginning, where the alerts are."""
    return np.unique(np.concatenate(([0, count - 1], np.geomspace(1, count, POINTS).astype(np.int64) - 1)))


def _png(figure: "Figure", axes: "Axes") -> bytes:
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.2)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()
