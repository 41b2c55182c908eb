"""Versions of a model in a real MLflow, signed or spoilt."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from catboost import CatBoostClassifier
from mlflow import MlflowClient

from learning.manifest import Manifest
from learning.members import FittedTrees
from learning.registry import EXPERIMENT, FOLDER
from learning.signing import PRIVATE_KEY_FILE, PUBLIC_KEY_FILE, artefact_sha256, ensure_signing_keys, sign
from pix.features import FEATURE_NAMES, FINGERPRINT
from serving.champion import ChampionKeeper

NAME = "pix_fraud"
Spoil = Callable[[Path], None]


def nothing(_: Path) -> None:
    """Leave an artefact as it is."""


@cache
def trained(seed: int) -> CatBoostClassifier:
    """A small model over all features; another one for another seed, fit once for all tests."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(scale=1_000, size=(300, len(FEATURE_NAMES)))
    rows[draw.random(rows.shape) < 0.2] = np.nan
    target = np.nan_to_num(rows[:, 0]) + draw.normal(scale=500, size=300) > 0
    model = CatBoostClassifier(
        iterations=20, depth=4, random_seed=seed, logging_level="Silent", allow_writing_files=False
    )
    return model.fit(rows, target)


def _files_of(model: CatBoostClassifier) -> dict[str, bytes]:
    """What training writes, before it is signed; once per model, because asking CatBoost every check takes longest."""
    if id(model) not in _files:
        _files[id(model)] = model, _written(model)
    return _files[id(model)][1]


_files: dict[int, tuple[CatBoostClassifier, dict[str, bytes]]] = {}


def _written(model: CatBoostClassifier) -> dict[str, bytes]:
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        member = FittedTrees(model).write(folder, FEATURE_NAMES, 1.0, np.random.default_rng(1))
        Manifest(fingerprint=FINGERPRINT, members=[member], libraries={}).write(folder)
        (folder / "evaluation.cbm").write_bytes(b"for judging only")
        return {path.name: path.read_bytes() for path in folder.iterdir()}


@dataclass
class Publisher:
    """Registers versions of one model name."""

    uri: str
    folder: Path
    name: str = NAME

    def __post_init__(self) -> None:
        ensure_signing_keys(self.keys)
        self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        self._client.create_registered_model(self.name)

    @property
    def keys(self) -> Path:
        """The key pair of training."""
        return self.folder / "secrets"

    def publish(
        self,
        model: CatBoostClassifier,
        *,
        alias: str | None = "champion",
        before_signing: Spoil = nothing,
        after_signing: Spoil = nothing,
        keys: Path | None = None,
        **tags: str,
    ) -> str:
        """Register a version, spoilt as told, and move the alias to it; returns the version."""
        folder = self.folder / "artefacts" / str(len(list(self.folder.glob("artefacts/*"))))
        folder.mkdir(parents=True)
        for name, content in _files_of(model).items():
            (folder / name).write_bytes(content)
        before_signing(folder)
        sign(folder, (keys or self.keys) / PRIVATE_KEY_FILE)
        tags = {"sha256": artefact_sha256(folder), "fingerprint": FINGERPRINT, **tags}
        after_signing(folder)
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        run = self._client.create_run(experiment.experiment_id).info.run_id
        self._client.log_artifacts(run, str(folder), FOLDER)
        source = f"runs:/{run}/{FOLDER}"
        version = self._client.create_model_version(self.name, source=source, run_id=run, tags=tags).version
        if alias:
            self.point(alias, str(version))
        return str(version)

    def point(self, alias: str, version: str) -> None:
        """Move an alias."""
        self._client.set_registered_model_alias(self.name, alias, version)

    def unpoint(self, alias: str) -> None:
        """Remove an alias."""
        self._client.delete_registered_model_alias(self.name, alias)

    def keeper(self, told: Callable[[str], None], *, uri: str | None = None, **more: Any) -> ChampionKeeper:
        """A service's keeper of this name."""
        return ChampionKeeper(
            uri=uri or self.uri, model_name=self.name, folder=self.folder / "models",
            public_key=self.keys / PUBLIC_KEY_FILE, now_ms=lambda: 1, refused=told, **more,
        )  # fmt: skip


def change_json(name: str, change: Callable[[Any], None]) -> Spoil:
    """Spoil a JSON file of an artefact."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / name).read_bytes())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return spoil
