"""The algorithms of the ensemble: how each is fit, scores many rows, and becomes the files that are served.

A further one is a class here and a kind in ``learning.ensemble.KINDS``.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from learning.additive import AdditiveTable, Table
from learning.checks import catboost_checks, table_checks
from learning.histogram import fit_histogram
from learning.manifest import Input, Member
from learning.ranking import Bools, Floats
from learning.recipe import TrainingConfig
from learning.scorecard import Matrix, fit_scorecard
from pix.features import DECLARATION_HASHES

UNDECLARED = "0" * 16
"""Stands for the declaration of an input that this build does not declare; no service will serve it."""


class FittedMember(Protocol):
    """A member that was fit, still with the library that did it."""

    @property
    def name(self) -> str:
        """Its algorithm's name."""

    @property
    def libraries(self) -> Sequence[str]:
        """Distributions whose version belongs to the record."""

    def log_odds(self, rows: Matrix) -> Floats:
        """Log-odds of fraud of many rows; of an anomaly score, whatever rises with it."""

    def write(
        self, folder: Path, inputs: Sequence[str], weight: float, draw: np.random.Generator, *, prefix: str = ""
    ) -> Member:
        """Write its files; what the manifest says of it.

        Args:
            folder: Where they go.
            inputs: Names of its inputs, in order.
            weight: Of its log-odds in the raw score.
            draw: Source of the rows that are kept as checks.
            prefix: Begin of every file's name.
        """


Fit = Callable[[Matrix, Bools, Floats, TrainingConfig], FittedMember]


@dataclass(frozen=True, slots=True)
class FittedTrees:
    """CatBoost."""

    model: Any
    name: str = "catboost"
    libraries: Sequence[str] = ("catboost",)

    def log_odds(self, rows: Matrix) -> Floats:
        """Its raw values."""
        return np.asarray(self.model.predict(rows, prediction_type="RawFormulaVal"), np.float64)

    def write(
        self, folder: Path, inputs: Sequence[str], weight: float, draw: np.random.Generator, *, prefix: str = ""
    ) -> Member:
        """Its JSON export, which needs no library to read."""
        described = _described(self.name, inputs, weight, prefix)
        path = folder / described.file
        self.model.save_model(str(path), format="json")
        exported = json.loads(path.read_bytes())
        borders = [one["borders"] for one in exported["features_info"]["float_features"]]
        catboost_checks(self.model, borders, draw).write(folder / described.checks)
        return described


@dataclass(frozen=True, slots=True)
class FittedTable:
    """A scorecard, or a histogram."""

    table: Table
    name: str
    libraries: Sequence[str]

    def log_odds(self, rows: Matrix) -> Floats:
        """By the table that is served."""
        served = AdditiveTable(self.table.content(), range(len(self.table.inputs)))
        return served.log_odds_of(np.ascontiguousarray(rows, np.float64))

    def write(
        self, folder: Path, inputs: Sequence[str], weight: float, draw: np.random.Generator, *, prefix: str = ""
    ) -> Member:
        """The table."""
        described = _described(self.name, inputs, weight, prefix)
        (folder / described.file).write_bytes(self.table.content())
        table_checks(self.table, draw).write(folder / described.checks)
        return described


def fit_trees(rows: Matrix, is_fraud: Bools, weights: Floats, config: TrainingConfig) -> FittedMember:
    """Gradient-boosted oblivious trees."""
    return FittedTrees(boosted(rows, is_fraud, weights, config))


def boosted(rows: Any, is_fraud: Bools, weights: Floats, config: TrainingConfig, categories: Sequence[str] = ()) -> Any:
    """A fitted ``CatBoostClassifier`` by the recipe.

    Args:
        rows: A matrix, or a frame that holds categories.
        is_fraud: The labels.
        weights: Payments that each row stands for.
        config: The recipe.
        categories: Which of the frame's columns are categories.
    """
    return classifier(config, categories).fit(rows, is_fraud.astype(np.int8), sample_weight=weights)


def classifier(config: TrainingConfig, categories: Sequence[str] = ()) -> Any:
    """A ``CatBoostClassifier`` by the recipe, not fit yet.

    Args:
        config: The recipe.
        categories: Which of a frame's columns are categories.
    """
    from catboost import CatBoostClassifier

    return CatBoostClassifier(
        iterations=config.iterations,
        depth=config.depth,
        learning_rate=config.learning_rate,
        l2_leaf_reg=config.l2_leaf_reg,
        random_seed=config.seed,
        thread_count=config.threads,
        border_count=config.border_count,
        feature_border_type=BORDERS,
        loss_function="Logloss",
        cat_features=list(categories) or None,
        one_hot_max_size=ONE_HOT_MAX_SIZE if categories else None,
        allow_writing_files=False,
        logging_level="Silent",
    )


# By CatBoost's default the tails of amounts fall into one bin.
BORDERS = "UniformAndQuantiles"
# Every raw category of the contract is smaller: splits on its values lose nothing against target statistics,
# which took most of the training time.
ONE_HOT_MAX_SIZE = 64


def fit_linear(rows: Matrix, is_fraud: Bools, weights: Floats, _: TrainingConfig) -> FittedMember:
    """Logistic regression on weights of evidence."""
    return FittedTable(fit_scorecard(rows, is_fraud, weights).table(), "scorecard", ("scikit-learn",))


def fit_anomaly(rows: Matrix, _: Bools, weights: Floats, __: TrainingConfig) -> FittedMember:
    """What is usual, without the labels."""
    return FittedTable(fit_histogram(rows, weights), "histogram", ("numpy",))


FITS: Mapping[str, Fit] = {"catboost": fit_trees, "scorecard": fit_linear, "histogram": fit_anomaly}


def _described(name: str, inputs: Sequence[str], weight: float, prefix: str) -> Member:
    return Member(
        kind=name,
        name=name,
        file=f"{prefix}{name}.json",
        checks=f"{prefix}{name}-checks.npz",
        weight=weight,
        inputs=[Input(name=one, declaration=DECLARATION_HASHES.get(one, UNDECLARED)) for one in inputs],
    )
