"""A model beside others on the same payments and the same resamples of them: average precision and R$."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from learning.costs import Costs, saved
from learning.evaluation import REAL, Interval, Judged, Outcomes, intervals
from learning.ranking import Floats, Ints, Ranking

BOTH = ("precision", "saved")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What each is worth, and what one of them has over the others.

    Attributes:
        precision: Name -> average precision.
        saved: Name -> reais saved, less what alerts cost.
        precision_over: Name of another -> average precision of the one less that of the other, paired.
        saved_over: Name of another -> reais that the one saved more, paired.
    """

    precision: Mapping[str, Interval]
    saved: Mapping[str, Interval]
    precision_over: Mapping[str, Interval]
    saved_over: Mapping[str, Interval]


def compare(
    outcomes: Outcomes, judged: Mapping[str, Judged], ours: str, costs: Costs, *, seed: int, series: Ints | None = None
) -> Comparison:
    """Compare one with the others.

    Args:
        outcomes: The payments.
        judged: Name -> model or rules.
        ours: Which of them the others are compared with.
        costs: What alerts and missed frauds cost.
        seed: Of the resamples.
        series: Number of the campaign of each fraud; see ``learning.evaluation.intervals``.
    """
    rankings = {name: Ranking(outcomes.is_fraud, one.scores, outcomes.weights) for name, one in judged.items()}
    reais = {name: _reais(outcomes, one, costs) for name, one in judged.items()}
    others = [name for name in judged if name != ours]

    def statistics(times: Floats | None) -> dict[str, float]:
        found = {("precision", name): of.average_precision(times) for name, of in rankings.items()}
        # By numpy's sum: threads of a linear algebra library wait for each other where other work runs.
        for name, (rows, each) in reais.items():
            found["saved", name] = float(np.sum(each if times is None else each * times[rows]))
        over = {f"{of} over {name}": found[of, ours] - found[of, name] for of in BOTH for name in others}
        return {f"{of} {name}": value for (of, name), value in found.items()} | over

    found = intervals(outcomes.is_fraud, statistics, rng=np.random.default_rng(seed), series=series)
    return Comparison(
        precision={name: found[f"precision {name}"] for name in judged},
        saved={name: found[f"saved {name}"] for name in judged},
        precision_over={name: found[f"precision over {name}"] for name in others},
        saved_over={name: found[f"saved over {name}"] for name in others},
    )


def _reais(outcomes: Outcomes, judged: Judged, costs: Costs) -> tuple[Ints, Floats]:
    """Payments alerted on, and what each alert saved, by weight."""
    each = outcomes.weights * saved(judged.alerts, outcomes.is_fraud, outcomes.amount_cents, costs) / REAL
    rows = np.flatnonzero(judged.alerts)
    return rows, each[rows]
