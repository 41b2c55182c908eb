"""A trained model as files: what is signed, registered and served.

A flat folder:

manifest.json             what the ensemble is made of (``learning.manifest``)
catboost.json, ...        its members, in forms that need no library to read
catboost-checks.npz, ...  rows with the answers of the libraries that fit them (``learning.checks``)
evaluation-*              the same recipe fit on the rows before ``cut_ms``, likewise; judges, never serves
model.json                ModelCard: recipe, data versions, metrics
*.png                     its pictures
model.sig                 signature over all of these (``learning.signing``)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learning.errors import RegistryError
from learning.manifest import Manifest, Point
from learning.signing import artefact_sha256, sign

if TYPE_CHECKING:
    from learning.training import FittedEnsemble, Trained

EVALUATION = "evaluation-"
"""Begin of the names of the files that judge."""
CARD_FILE = "model.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """``model.json``: what a comparison or a report must know about a model; a service reads the manifest.

    Attributes:
        fingerprint: Feature fingerprint the model was trained on.
        feature_names: Inputs in order.
        trained_at: RFC 3339 instant.
        seed: Seed of the fit.
        cut_ms: The evaluation ensemble saw rows with an event time before this instant.
        until_ms: The final ensemble saw rows up to this instant.
        config: The recipe.
        metrics: Trained.metrics.
        judgement: ``learning.training.Trained.evaluation_rows``: every number, beside others, by group and by member.
        over_raw: Interval of average precision over the raw-field CatBoost.
        data_versions: Delta table -> version read.
    """

    fingerprint: str
    feature_names: tuple[str, ...]
    trained_at: str
    seed: int
    cut_ms: int
    until_ms: int
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    judgement: Sequence[Mapping[str, Any]]
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
    write_models(trained, folder, fingerprint=fingerprint)
    for name, picture in trained.judgement.pictures.items():
        (folder / f"{name}.png").write_bytes(picture)
    card = ModelCard(
        fingerprint=fingerprint,
        feature_names=trained.feature_names,
        trained_at=now.isoformat(),
        seed=trained.config.seed,
        cut_ms=trained.cut_ms,
        until_ms=trained.until_ms,
        config=asdict(trained.config),
        metrics=trained.metrics,
        judgement=trained.evaluation_rows(),
        over_raw=trained.over_raw.to_dict(),
        data_versions=dict(data_versions),
    )
    card.write(folder)
    sign(folder, private_key)
    return card, artefact_sha256(folder)


def write_models(trained: "Trained", folder: Path, *, fingerprint: str) -> None:
    """Write what serves and what judges; the same models give the same files, but for CatBoost's name and time."""
    for ensemble, prefix in ((trained.ensemble, ""), (trained.evaluation_ensemble, EVALUATION)):
        draw = np.random.default_rng(trained.config.seed)
        write_ensemble(ensemble, trained.feature_names, folder, draw, fingerprint=fingerprint, prefix=prefix)


def write_ensemble(
    ensemble: "FittedEnsemble",
    inputs: Sequence[str],
    folder: Path,
    draw: np.random.Generator,
    *,
    fingerprint: str,
    prefix: str = "",
) -> None:
    """Write the manifest of an ensemble and its members' files.

    Args:
        ensemble: Fitted.
        inputs: Names of its inputs, in order.
        folder: Where the files go.
        draw: Source of the rows that are kept as checks.
        fingerprint: Of the features that are declared.
        prefix: Begin of every file's name.
    """
    made = ensemble.blend
    libraries = sorted({name for member in ensemble.members for name in member.libraries})
    manifest = Manifest(
        fingerprint=fingerprint,
        intercept=made.intercept,
        members=[
            member.write(folder, inputs, made.weights[member.name], draw, prefix=prefix) for member in ensemble.members
        ],
        calibration=[Point(raw=raw, log_odds=to) for raw, to in made.calibration],
        libraries={name: version(name) for name in libraries},
    )
    manifest.write(folder, prefix)
