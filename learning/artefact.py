"""A trained model as files: what is signed, registered and served.

A flat folder:

manifest.json          what the ensemble is made of (``learning.manifest``)
catboost.json          a member, in a form that needs no library to read (``learning.trees``)
catboost-checks.npz    rows with CatBoost's own answers (``learning.checks``)
evaluation.cbm         the same recipe fit on the rows before ``cut_ms``; judges, never serves
model.json             ModelCard: recipe, data versions, metrics
precision_recall.png   its curve
model.sig              signature over all of these (``learning.signing``)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learning.checks import catboost_checks
from learning.errors import RegistryError
from learning.manifest import Input, Manifest, Member
from learning.signing import artefact_sha256, sign
from pix.features import DECLARATION_HASHES

if TYPE_CHECKING:
    from learning.training import Trained

EVALUATION_FILE = "evaluation.cbm"
CARD_FILE = "model.json"
CURVE_FILE = "precision_recall.png"
TREES_FILE = "catboost.json"
CHECKS_FILE = "catboost-checks.npz"
UNDECLARED = "0" * 16
"""Stands for the declaration of an input that this build does not declare; no service will serve it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """``model.json``: what a comparison or a report must know about a model; a service reads the manifest.

    Attributes:
        fingerprint: Feature fingerprint the model was trained on.
        feature_names: Inputs in order.
        trained_at: RFC 3339 instant.
        seed: Seed of the fit.
        cut_ms: The evaluation model saw rows with an event time before this instant.
        until_ms: The final model saw rows up to this instant.
        config: The recipe.
        metrics: Trained.metrics.
        over_raw: Interval of average precision over the raw-field CatBoost.
        data_versions: Delta table → version read.
    """

    fingerprint: str
    feature_names: tuple[str, ...]
    trained_at: str
    seed: int
    cut_ms: int
    until_ms: int
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    over_raw: Mapping[str, float]
    data_versions: Mapping[str, int]

    @classmethod
    def read(cls, folder: Path) -> "ModelCard":
        """Parse a downloaded folder's model.json.

        Raises:
            RegistryError: The file is missing, unreadable or lacks a field.
        """
        path = folder / CARD_FILE
        try:
            fields = json.loads(path.read_text())
            return cls(**{**fields, "feature_names": tuple(fields["feature_names"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RegistryError(f"{path} is not a readable model card: {error}; train and register again") from error

    def write(self, folder: Path) -> None:
        """Write model.json into ``folder``."""
        (folder / CARD_FILE).write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")


def write_artefact(
    trained: "Trained",
    folder: Path,
    *,
    fingerprint: str,
    data_versions: Mapping[str, int],
    now: datetime,
    private_key: Path,
) -> tuple[ModelCard, str]:
    """Write and sign an artefact; its card and its SHA-256."""
    draw = np.random.default_rng(trained.config.seed)
    member = write_catboost(trained.model, trained.feature_names, folder, draw)
    manifest = Manifest(fingerprint=fingerprint, members=[member], libraries={"catboost": version("catboost")})
    manifest.write(folder)
    trained.evaluation_model.save_model(str(folder / EVALUATION_FILE), format="cbm")
    (folder / CURVE_FILE).write_bytes(trained.curve_png)
    card = ModelCard(
        fingerprint=fingerprint,
        feature_names=trained.feature_names,
        trained_at=now.isoformat(),
        seed=trained.config.seed,
        cut_ms=trained.cut_ms,
        until_ms=trained.until_ms,
        config=asdict(trained.config),
        metrics=trained.metrics,
        over_raw=trained.over_raw.to_dict(),
        data_versions=dict(data_versions),
    )
    card.write(folder)
    sign(folder, private_key)
    return card, artefact_sha256(folder)


def write_catboost(model: Any, inputs: Sequence[str], folder: Path, draw: np.random.Generator) -> Member:
    """Write the files of a member that is a ``CatBoostClassifier`` over numeric inputs.

    Args:
        model: Fitted.
        inputs: Names of its inputs, in order.
        folder: Where the files go.
        draw: Source of the rows that are kept as checks.
    """
    model.save_model(str(folder / TREES_FILE), format="json")
    exported = json.loads((folder / TREES_FILE).read_bytes())
    borders = [one["borders"] for one in exported["features_info"]["float_features"]]
    catboost_checks(model, borders, draw).write(folder / CHECKS_FILE)
    return Member(
        kind="catboost",
        name="catboost",
        file=TREES_FILE,
        checks=CHECKS_FILE,
        weight=1.0,
        inputs=[Input(name=name, declaration=DECLARATION_HASHES.get(name, UNDECLARED)) for name in inputs],
    )
