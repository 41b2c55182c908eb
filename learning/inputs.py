"""What a model may look at: features as a matrix, raw fields as CatBoost takes them, and what either is worth to it.

Comparisons of inputs fit one CatBoost each, before a cut in time, and judge it after; the ensemble that serves is
``learning.training``'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from learning.errors import TrainingDataTooSmall
from learning.members import boosted
from learning.ranking import Bools, Floats
from learning.recipe import TrainingConfig

RAW_PREFIX = "raw_"
TIME_ORDER = ("event_time_ms", "end_to_end_id")
"""Columns that rows to learn from are ordered by."""
MISSING_CATEGORY = "missing"


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Rows before and after an instant; ``cut_ms`` is the event time of the first row after it."""

    before: pd.DataFrame
    after: pd.DataFrame
    cut_ms: int


def split_by_time(frame: pd.DataFrame, test_share: float = 0.3, gap_ms: int = 0) -> TimeSplit:
    """Cut so that the newest ``test_share`` of the rows judge a model fit on older ones.

    Rows of one instant fall on the same side. Rows less than ``gap_ms`` before the cut are on neither.
    """
    times = np.sort(frame["event_time_ms"].to_numpy(np.int64))
    if len(times) == 0:
        raise TrainingDataTooSmall("the training set has no rows; import a history first (sentinela import)")
    cut_ms = int(times[min(len(times) - 1, int(len(times) * (1 - test_share)))])
    before = frame["event_time_ms"] < cut_ms - gap_ms
    after = frame["event_time_ms"] >= cut_ms
    return TimeSplit(frame[before], frame[after], cut_ms)


def labels(frame: pd.DataFrame) -> Bools:
    """The column is_fraud as booleans."""
    return frame["is_fraud"].to_numpy(dtype=np.bool_)


def vectors(frame: pd.DataFrame, feature_names: Sequence[str]) -> Floats:
    """The features as a matrix in the given order; a missing value is NaN."""
    return frame[list(feature_names)].astype("float64").to_numpy()


def raw_fields(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The raw payment fields as CatBoost takes them, and which of them are categories.

    Text becomes a category, with missing text a category of its own; everything else becomes a float, with
    NaN where it is missing.
    """
    names = [str(name) for name in frame.columns if str(name).startswith(RAW_PREFIX)]
    categories = [name for name in names if _is_text(frame[name])]
    columns: dict[str, Any] = {}
    for name in names:
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            columns[name] = frame[name].cat.add_categories(MISSING_CATEGORY).fillna(MISSING_CATEGORY)
        elif name in categories:
            columns[name] = frame[name].astype("object").where(frame[name].notna(), MISSING_CATEGORY).astype(str)
        else:
            columns[name] = frame[name].astype("float64")
    return pd.DataFrame(columns, index=frame.index), categories


def _is_text(column: "pd.Series[Any]") -> bool:
    kind = pd.api.types.infer_dtype(column, skipna=True)
    return kind in ("string", "categorical")


def field_scores(
    before: pd.DataFrame,
    is_fraud: Bools,
    weights: Floats,
    after: pd.DataFrame,
    config: TrainingConfig,
    feature_names: Sequence[str] = (),
) -> Floats:
    """Scores of the later rows by a CatBoost on the raw fields, and on features too where some are named.

    Without features it is the baseline that every feature must earn its keep against.

    Args:
        before: Rows that it is fit on.
        is_fraud: Their labels.
        weights: Payments that each of them stands for.
        after: Rows that it scores.
        config: The recipe.
        feature_names: Further inputs.
    """
    seen = [name for name in before.columns if str(name).startswith(RAW_PREFIX) or name in feature_names]
    both = pd.concat([before[seen], after[seen]])
    columns, categories = raw_fields(both)
    columns = pd.concat([columns, both[list(feature_names)].astype("float64")], axis=1)
    model = boosted(columns.iloc[: len(before)], is_fraud, weights, config, categories)
    return _probabilities(model, columns.iloc[len(before) :])


def split_field_scores(split: TimeSplit, config: TrainingConfig, feature_names: Sequence[str] = ()) -> Floats:
    """``field_scores`` of the rows after a cut, by those before it."""
    ones = np.ones(len(split.before))
    return field_scores(split.before, labels(split.before), ones, split.after, config, feature_names)


def feature_scores(split: TimeSplit, feature_names: Sequence[str], config: TrainingConfig) -> Floats:
    """Scores of the rows after a cut by a CatBoost on these features alone."""
    model = boosted(vectors(split.before, feature_names), labels(split.before), np.ones(len(split.before)), config)
    return _probabilities(model, vectors(split.after, feature_names))


def by_importance(frame: pd.DataFrame, feature_names: Sequence[str], config: TrainingConfig) -> tuple[str, ...]:
    """The features, most important first, by how much CatBoost's predictions on these rows change with each."""
    model = boosted(vectors(frame, feature_names), labels(frame), np.ones(len(frame)), config)
    importance = dict(zip(feature_names, model.get_feature_importance(), strict=True))
    return tuple(sorted(feature_names, key=lambda name: -importance[name]))


def _probabilities(model: Any, rows: Any) -> Floats:
    return np.asarray(model.predict_proba(rows)[:, 1], dtype=np.float64)
