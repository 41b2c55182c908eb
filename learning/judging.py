"""A model beside others on the same payments: numbers with intervals, by group, and as pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from learning import plots
from learning.costs import Costs, saved
from learning.evaluation import (
    REAL,
    Evaluation,
    Interval,
    Judged,
    Outcomes,
    evaluate,
    intervals,
)
from learning.groups import METRICS, Group, groups
from learning.ranking import Floats, Ranking


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
    others = {name: one for name, one in judged.items() if name != ours}
    models = {name: one.scores for name, one in judged.items() if one.is_model}
    found = _compared(outcomes, model, others, costs, seed)
    return Judgement(
        ours=ours,
        evaluations={name: evaluate(outcomes, one, costs) for name, one in judged.items()},
        average_precision=found["precision"],
        over={name: found[f"precision {name}"] for name in others},
        saved_over={name: found[f"saved {name}"] for name in others},
        groups=groups(outcomes, model.scores),
        pictures={
            "precision_recall": plots.precision_recall(outcomes.is_fraud, judged, outcomes.weights),
            "gain": plots.gain(outcomes, models),
            "calibration": plots.calibration(outcomes, models),
            "threshold_cost": plots.threshold_cost(outcomes, models, costs),
        },
    )


def _compared(
    outcomes: Outcomes, model: Judged, others: Mapping[str, Judged], costs: Costs, seed: int
) -> dict[str, Interval]:
    """Average precision of a model, and what it has over each of the others, in precision and in reais."""
    weights, is_fraud = outcomes.weights, outcomes.is_fraud
    ranking = Ranking(is_fraud, model.scores, weights)
    rankings = {name: Ranking(is_fraud, one.scores, weights) for name, one in others.items()}
    own = saved(model.alerts, is_fraud, outcomes.amount_cents, costs)
    more = {
        name: weights * (own - saved(one.alerts, is_fraud, outcomes.amount_cents, costs)) / REAL
        for name, one in others.items()
    }

    def statistics(times: Floats | None) -> dict[str, float]:
        precision = ranking.average_precision(times)
        over = {f"precision {name}": precision - of.average_precision(times) for name, of in rankings.items()}
        # By numpy alone: threads of a linear algebra library wait for each other where other work runs.
        reais = {f"saved {name}": float(np.sum(each if times is None else each * times)) for name, each in more.items()}
        return {"precision": precision, **over, **reais}

    return intervals(is_fraud, statistics, rng=np.random.default_rng(seed))


def row(judged: str, split: str, part: str, metric: str, value: float | Interval) -> dict[str, Any]:
    """One number as a row of ``model/evaluation``."""
    named = {"judged": judged, "split": split, "part": part, "metric": metric}
    if isinstance(value, Interval):
        return {**named, "value": value.point, "low": value.low, "high": value.high}
    return {**named, "value": value, "low": None, "high": None}
