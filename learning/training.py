"""Fit the model and prove it on later days. Pure: a training set in, a model with its evidence out.

Two models of the same recipe are fit. The *evaluation model* sees only rows before the cut and is judged
on the rows after it, next to a CatBoost on the raw payment fields with the same rows and budget. The
*final model*, the one that is served, is then fit on all rows: the newest fraud is the most telling, and
holding it back from service would only buy a tidier number. Its quality is that of the recipe. The
evaluation model is kept beside it, so that a later challenger can be compared on rows neither has seen.

Classes are never reweighted: a score is a probability at the natural base rate.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from learning.errors import TrainingDataTooSmall, TrainingDataUnusable
from learning.evaluation import (
    Bools,
    Evaluation,
    Floats,
    Interval,
    average_precision_difference,
    evaluate,
    precision_recall_png,
)

RAW_PREFIX = "raw_"
MISSING_CATEGORY = "missing"
# Every raw category of the contract is smaller: splits on its values lose nothing against target statistics,
# which took most of the training time.
ONE_HOT_MAX_SIZE = 64
MIN_ROWS = 1_000
MIN_FRAUDS = 30
MIN_FRAUDS_PER_SIDE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The recipe; together with the rows it determines the model's predictions.

    Attributes:
        iterations: Trees.
        depth: Depth of each tree.
        learning_rate: Shrinkage of each tree.
        seed: Seed of CatBoost and of the bootstrap.
        threads: Threads of CatBoost.
        border_count: Split candidates per feature, half of them at equal distances, half at quantiles.
        test_share: Share of the newest rows that judge the evaluation model.
        gap_ms: Rows this close before the cut are left out, because their labels came after it.
    """

    iterations: int = 300
    depth: int = 6
    learning_rate: float = 0.06
    seed: int = 7
    threads: int = 2
    border_count: int = 254
    test_share: float = 0.3
    gap_ms: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "depth", "threads", "border_count"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate must lie in (0, 1], got {self.learning_rate}")
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share must lie between 0 and 1, got {self.test_share}")
        if self.gap_ms < 0:
            raise ValueError(f"gap_ms must not be negative, got {self.gap_ms}")


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Rows before and after an instant; ``cut_ms`` is the event time of the first row after it."""

    before: pd.DataFrame
    after: pd.DataFrame
    cut_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model and what is known about it.

    Attributes:
        model: The final CatBoostClassifier, fit on all rows.
        evaluation_model: The same recipe fit on the rows before ``cut_ms`` only.
        evaluation: The evaluation model on the rows from ``cut_ms`` on.
        raw_evaluation: A CatBoost on the raw payment fields, same rows and budget.
        over_raw: Average precision of the one minus the other.
        base_rate: Share of frauds among the rows after the cut.
        feature_names: The model's inputs, in order.
        config: The recipe.
        rows: Rows the final model saw.
        frauds: Frauds among them.
        cut_ms: Event time where the later rows begin.
        until_ms: Newest event time among all rows.
        seconds: Duration of all fits and evaluations.
        curve_png: Precision-recall curves of both on the later rows.
    """

    model: Any
    evaluation_model: Any
    evaluation: Evaluation
    raw_evaluation: Evaluation
    over_raw: Interval
    base_rate: float
    feature_names: tuple[str, ...]
    config: TrainingConfig
    rows: int
    frauds: int
    cut_ms: int
    until_ms: int
    seconds: float
    curve_png: bytes

    @property
    def metrics(self) -> dict[str, float]:
        """The few numbers worth a place in MLflow and in the asset's metadata."""
        return {
            **self.evaluation.to_dict(),
            **{f"raw_{name}": value for name, value in self.raw_evaluation.to_dict().items() if "recall" not in name},
            "average_precision_over_raw": self.over_raw.point,
            "average_precision_over_raw_low": self.over_raw.low,
            "average_precision_over_raw_high": self.over_raw.high,
            "training_rows": self.rows,
            "training_frauds": self.frauds,
            "training_seconds": self.seconds,
        }


def fit(
    frame: pd.DataFrame,
    feature_names: Sequence[str],
    config: TrainingConfig,
    *,
    timer: Callable[[], float] = time.perf_counter,
) -> Trained:
    """Fit, prove on later days, and fit again on everything.

    Args:
        frame: The training set: end_to_end_id, event_time_ms, is_fraud, the features and the ``raw_`` fields.
        feature_names: The model's inputs, in the order of the service's vectors.
        config: The recipe.
        timer: Seconds of a monotonic clock.

    Raises:
        TrainingDataTooSmall: Too few rows or frauds, in all or on a side of the cut.
        TrainingDataUnusable: A column is missing or a label is null.
    """
    started = timer()
    _refuse_unusable(frame, feature_names)
    # Delta returns rows in file order; the model must not depend on how files were compacted.
    frame = frame.sort_values(["event_time_ms", "end_to_end_id"], kind="stable", ignore_index=True)
    split = split_by_time(frame, test_share=config.test_share, gap_ms=config.gap_ms)
    _refuse_small(split)
    is_fraud = labels(split.after)
    evaluation_model = _boost(vectors(split.before, feature_names), labels(split.before), config)
    scores = probabilities(evaluation_model, vectors(split.after, feature_names))
    raw_scores = field_scores(split, config)
    return Trained(
        model=_boost(vectors(frame, feature_names), labels(frame), config),
        evaluation_model=evaluation_model,
        evaluation=evaluate(is_fraud, scores),
        raw_evaluation=evaluate(is_fraud, raw_scores),
        over_raw=average_precision_difference(is_fraud, scores, raw_scores, rng=np.random.default_rng(config.seed)),
        base_rate=float(is_fraud.mean()),
        feature_names=tuple(feature_names),
        config=config,
        rows=len(frame),
        frauds=int(labels(frame).sum()),
        cut_ms=split.cut_ms,
        until_ms=int(frame["event_time_ms"].max()),
        curve_png=precision_recall_png(is_fraud, {"features": scores, "raw fields": raw_scores}),
        seconds=timer() - started,
    )


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


def probabilities(model: Any, rows: Any) -> Floats:
    """Fraud probability per row of a CatBoostClassifier."""
    return np.asarray(model.predict_proba(rows)[:, 1], dtype=np.float64)


def raw_fields(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The raw payment fields as CatBoost takes them, and which of them are categories.

    Text becomes a category, with missing text a category of its own; everything else becomes a float, with
    NaN where it is missing.
    """
    names = [str(name) for name in frame.columns if str(name).startswith(RAW_PREFIX)]
    categories = [name for name in names if _is_text(frame[name])]
    columns: dict[str, Any] = {}
    for name in names:
        if name in categories:
            columns[name] = frame[name].astype("object").where(frame[name].notna(), MISSING_CATEGORY).astype(str)
        else:
            columns[name] = frame[name].astype("float64")
    return pd.DataFrame(columns, index=frame.index), categories


def _is_text(column: "pd.Series[Any]") -> bool:
    kind = pd.api.types.infer_dtype(column, skipna=True)
    return kind in ("string", "categorical")


def field_scores(split: TimeSplit, config: TrainingConfig, feature_names: Sequence[str] = ()) -> Floats:
    """Scores on the later rows of a CatBoost on the raw fields, and on features too where some are named.

    Without features it is the baseline that every feature must earn its keep against.
    """
    both = pd.concat([split.before, split.after])
    columns, categories = raw_fields(both)
    columns = pd.concat([columns, both[list(feature_names)].astype("float64")], axis=1)
    size = len(split.before)
    model = _boost(columns.iloc[:size], labels(split.before), config, categories)
    return probabilities(model, columns.iloc[size:])


def feature_scores(split: TimeSplit, feature_names: Sequence[str], config: TrainingConfig) -> Floats:
    """Scores on the later rows of the recipe fit on the earlier ones, on these features alone."""
    model = _boost(vectors(split.before, feature_names), labels(split.before), config)
    return probabilities(model, vectors(split.after, feature_names))


def by_importance(frame: pd.DataFrame, feature_names: Sequence[str], config: TrainingConfig) -> tuple[str, ...]:
    """The features, most important first, by how much CatBoost's predictions on these rows change with each."""
    model = _boost(vectors(frame, feature_names), labels(frame), config)
    importance = dict(zip(feature_names, model.get_feature_importance(), strict=True))
    return tuple(sorted(feature_names, key=lambda name: -importance[name]))


def _boost(rows: Any, is_fraud: Bools, config: TrainingConfig, categories: Sequence[str] = ()) -> Any:
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(
        iterations=config.iterations,
        depth=config.depth,
        learning_rate=config.learning_rate,
        random_seed=config.seed,
        thread_count=config.threads,
        border_count=config.border_count,
        # By CatBoost's default the tails of amounts fall into one bin.
        feature_border_type="UniformAndQuantiles",
        loss_function="Logloss",
        cat_features=list(categories) or None,
        one_hot_max_size=ONE_HOT_MAX_SIZE if categories else None,
        allow_writing_files=False,
        logging_level="Silent",
    )
    return model.fit(rows, is_fraud.astype(np.int8))


def _refuse_unusable(frame: pd.DataFrame, feature_names: Sequence[str]) -> None:
    needed = ["end_to_end_id", "event_time_ms", "is_fraud", *feature_names]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise TrainingDataUnusable(
            f"the training set lacks the columns {missing}; materialise features/training_set again, "
            "it was built for other features"
        )
    if not any(str(name).startswith(RAW_PREFIX) for name in frame.columns):
        raise TrainingDataUnusable(
            f"the training set has no {RAW_PREFIX}* column, so there is no baseline to judge features by; "
            "materialise features/training_set again"
        )
    unknown = int(frame["is_fraud"].isna().sum())
    if unknown:
        raise TrainingDataUnusable(
            f"is_fraud is null in {unknown} of {len(frame)} rows of the training set; leave out rows whose "
            "label has not matured"
        )


def _refuse_small(split: TimeSplit) -> None:
    before, after = int(labels(split.before).sum()), int(labels(split.after).sum())
    rows = len(split.before) + len(split.after)
    found = f"{rows} rows with {before} frauds before the cut and {after} after it"
    if rows < MIN_ROWS or before + after < MIN_FRAUDS or min(before, after) < MIN_FRAUDS_PER_SIDE:
        raise TrainingDataTooSmall(
            f"the training set has {found}; a model needs {MIN_ROWS} rows and {MIN_FRAUDS} frauds, at least "
            f"{MIN_FRAUDS_PER_SIDE} of them on each side. Import more history (sentinela simulate, then "
            "sentinela import) or wait until more labels have matured, and materialise features/training_set "
            "again"
        )
    if after == len(split.after):
        raise TrainingDataTooSmall(f"the training set has {found}; the rows after the cut are all fraud")
