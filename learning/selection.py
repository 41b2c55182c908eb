"""Which members earn their place: blends with and without each, on rows that none of them was fit on.

Folds come one after the other. What is said of one is blended as the folds before it teach; so a member's worth is what
the others would have lost without it on days that nobody had seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from learning.blending import Blend, blend
from learning.evaluation import Interval, intervals
from learning.ranking import Bools, Floats, Ranking, average_precision


@dataclass(frozen=True, slots=True)
class Said:
    """What members say of the rows of one fold's test.

    Attributes:
        log_odds: Member -> of every row.
        is_fraud: The labels.
        weights: Payments that each row stands for.
    """

    log_odds: Mapping[str, Floats]
    is_fraud: Bools
    weights: Floats

    def of(self, members: Sequence[str]) -> dict[str, Floats]:
        """What some of the members say."""
        return {name: self.log_odds[name] for name in members}


def together(folds: Sequence[Said]) -> Said:
    """Several folds as one."""
    return Said(
        {name: np.concatenate([one.log_odds[name] for one in folds]) for name in folds[0].log_odds},
        np.concatenate([one.is_fraud for one in folds]),
        np.concatenate([one.weights for one in folds]),
    )


def taught(folds: Sequence[Said], members: Sequence[str]) -> Blend:
    """The blend of some members that folds teach."""
    whole = together(folds)
    return blend(whole.of(members), whole.is_fraud, whole.weights)


def judged(folds: Sequence[Said], members: Sequence[str]) -> Floats:
    """Probabilities of every fold but the first, each blended as those before it teach."""
    return np.concatenate(
        [taught(folds[:n], members).probabilities(folds[n].of(members)) for n in range(1, len(folds))]
    )


def kept(folds: Sequence[Said], members: Sequence[str]) -> tuple[str, ...]:
    """Members without those that add nothing to the others' average precision, the most useless taken out first.

    One fold teaches a blend and cannot judge it: then all stay.
    """
    if len(folds) < 2:
        return tuple(members)
    whole = together(folds[1:])

    def precision(of: Sequence[str]) -> float:
        return average_precision(whole.is_fraud, judged(folds, of), whole.weights)

    chosen = tuple(members)
    reached = precision(chosen)
    while len(chosen) > 1:
        without = {name: precision([each for each in chosen if each != name]) for name in chosen}
        useless = max(chosen, key=lambda name: without[name])
        if without[useless] < reached:
            break
        chosen, reached = tuple(name for name in chosen if name != useless), without[useless]
    return chosen


def worth(folds: Sequence[Said], members: Sequence[str], *, seed: int) -> dict[str, Interval]:
    """Member -> average precision of all less that of the others, with paired bootstrap intervals.

    Args:
        folds: Two or more.
        members: Two or more.
        seed: Of the resamples.
    """
    if len(members) < 2 or len(folds) < 2:
        return {}
    whole = together(folds[1:])
    sets = {name: [each for each in members if each != name] for name in members}
    ranking = Ranking(whole.is_fraud, judged(folds, members), whole.weights)
    others = {name: Ranking(whole.is_fraud, judged(folds, of), whole.weights) for name, of in sets.items()}

    def gains(times: Floats | None) -> dict[str, float]:
        precision = ranking.average_precision(times)
        return {name: precision - other.average_precision(times) for name, other in others.items()}

    return intervals(whole.is_fraud, gains, rng=np.random.default_rng(seed))
