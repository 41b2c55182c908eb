"""What the features are worth: one recipe on all of them, on few of them and on the payment's own fields. Pure.

Every model of a comparison sees the same rows before the same cut and is judged on the same rows after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from learning import inputs as models
from learning.evaluation import Interval, average_precision_difference
from learning.ranking import Bools, Floats, average_precision
from learning.recipe import TrainingConfig

if TYPE_CHECKING:
    import pandas as pd

RAW = "raw fields"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Models of one recipe on the later rows of one simulation.

    Attributes:
        is_fraud: Labels as known at the end.
        scores: Name of the model -> its scores on these rows; ``RAW`` is the one without features.
    """

    is_fraud: Bools
    scores: Mapping[str, Floats]

    def precision(self, name: str) -> float:
        """Average precision of a model."""
        return average_precision(self.is_fraud, self.scores[name])

    def gain(self, name: str, over: str) -> Interval:
        """Average precision of one model minus that of another, with a paired bootstrap interval."""
        chance = np.random.default_rng(len(self.is_fraud))
        return average_precision_difference(self.is_fraud, self.scores[name], self.scores[over], rng=chance)


def worth(frame: "pd.DataFrame", inputs: Mapping[str, Sequence[str]], config: TrainingConfig) -> Worth:
    """Fit one model per set of features, and one on the raw fields, before a cut; judge all after it.

    Args:
        frame: A training frame in order of time.
        inputs: Name of a model -> the features it sees.
        config: The recipe.
    """
    split = models.split_by_time(frame, test_share=config.test_share, gap_ms=config.gap_ms)
    scores = {RAW: models.split_field_scores(split, config)}
    scores |= {name: models.feature_scores(split, features, config) for name, features in inputs.items()}
    return Worth(is_fraud=models.labels(split.after), scores=scores)


def mean_difference(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean of paired differences, one per simulation, with Student's interval: what another simulation would show.

    Raises:
        ValueError: There are fewer than two, which tell nothing about how much they vary.
    """
    from scipy.stats import t

    count = len(differences)
    if count < 2:
        raise ValueError(f"an interval over simulations needs at least 2 of them, got {count}")
    mean = float(np.mean(differences))
    half = float(t.ppf((1 + confidence) / 2, count - 1) * np.std(differences, ddof=1) / sqrt(count))
    return Interval(point=mean, low=mean - half, high=mean + half, confidence=confidence)
