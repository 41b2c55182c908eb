"""A model beside others on the same payments: numbers with intervals, by group, and as pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from learning import plots
from learning.comparison import compare
from learning.costs import Costs
from learning.evaluation import Evaluation, Interval, Judged, Outcomes, evaluate
from learning.groups import METRICS, Group, groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One model beside others.

    Attributes:
        ours: Name of the one.
        evaluations: Name -> its numbers.
        average_precision: The model's, with its interval.
        over: Name of another -> average precision of the model less the other's.
        saved_over: Name of another -> reais that the model saved more.
        groups: The model by groups of payments.
        pictures: Name -> PNG.
    """

    ours: str
    evaluations: Mapping[str, Evaluation]
    average_precision: Interval
    over: Mapping[str, Interval]
    saved_over: Mapping[str, Interval]
    groups: tuple[Group, ...]
    pictures: Mapping[str, bytes]

    def rows(self) -> list[dict[str, Any]]:
        """Every number as a row: judged, split, part, metric, value, low, high (``model/evaluation``)."""
        found = [
            row(judged, "", "", metric, value)
            for judged, evaluation in self.evaluations.items()
            for metric, value in evaluation.to_dict().items()
        ]
        found.append(row(self.ours, "", "", "average_precision_interval", self.average_precision))
        for metric, gains in (("average_precision_over", self.over), ("saved_reais_over", self.saved_over)):
            found += [row(self.ours, "against", name, metric, gain) for name, gain in gains.items()]
        for group in self.groups:
            for metric in METRICS:
                value = getattr(group, metric)
                if value is not None:
                    found.append(row(self.ours, group.by, group.name, metric, value))
        return found


def judge(outcomes: Outcomes, judged: Mapping[str, Judged], ours: str, costs: Costs, *, seed: int) -> Judgement:
    """Judge all on the same payments and the same resamples of them.

    Args:
        outcomes: The payments.
        judged: Name -> model or rules.
        ours: Which of them the others are compared with.
        costs: What alerts and missed frauds cost.
        seed: Of the resamples.
    """
    model = judged[ours]
    models = {name: one.scores for name, one in judged.items() if one.is_model}
    found = compare(outcomes, judged, ours, costs, seed=seed)
    return Judgement(
        ours=ours,
        evaluations={name: evaluate(outcomes, one, costs) for name, one in judged.items()},
        average_precision=found.precision[ours],
        over=found.precision_over,
        saved_over=found.saved_over,
        groups=groups(outcomes, model.scores),
        pictures={
            "precision_recall": plots.precision_recall(outcomes.is_fraud, judged, outcomes.weights),
            "gain": plots.gain(outcomes, models),
            "calibration": plots.calibration(outcomes, models),
            "threshold_cost": plots.threshold_cost(outcomes, models, costs),
        },
    )


def row(judged: str, split: str, part: str, metric: str, value: float | Interval) -> dict[str, Any]:
    """One number as a row of ``model/evaluation``."""
    named = {"judged": judged, "split": split, "part": part, "metric": metric}
    if isinstance(value, Interval):
        return {**named, "value": value.point, "low": value.low, "high": value.high}
    return {**named, "value": value, "low": None, "high": None}
