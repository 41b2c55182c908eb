"""Comparing models over several simulations."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from learning.feature_worth import RAW, mean_difference, worth
from learning.inputs import by_importance
from learning.recipe import TrainingConfig

CONFIG = TrainingConfig(iterations=30, depth=3)


def test_models_are_judged_on_the_same_later_rows_and_more_features_help_here(
    training_frame: Callable[[], pd.DataFrame], feature_names: tuple[str, ...]
) -> None:
    judged = worth(training_frame(), {"all": feature_names, "useless": feature_names[-1:]}, CONFIG)
    assert {len(scores) for scores in judged.scores.values()} == {len(judged.is_fraud)}
    assert judged.precision("all") > judged.precision(RAW) > judged.precision("useless")
    gain = judged.gain("all", RAW)
    assert gain.point == judged.precision("all") - judged.precision(RAW)
    assert 0 < gain.low < gain.point < gain.high


def test_the_most_important_feature_is_the_one_that_tells(
    training_frame: Callable[[], pd.DataFrame], feature_names: tuple[str, ...]
) -> None:
    ordered = by_importance(training_frame(), feature_names, CONFIG)
    assert sorted(ordered) == sorted(feature_names)
    assert ordered[0] == feature_names[1]


def test_the_interval_over_simulations_is_student_s() -> None:
    found = mean_difference([1.0, 2.0, 3.0])
    assert found.point == 2.0
    # t(0.975, 2) = 4.3027; the standard error is 1 / sqrt(3).
    assert found.high - found.point == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    with pytest.raises(ValueError, match="at least 2"):
        mean_difference([1.0])
