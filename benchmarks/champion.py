"""A champion of the recipe's size in a registry, without the days that training one takes to simulate."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from learning.manifest import Manifest
from learning.members import FittedTrees
from learning.registry import CHAMPION, EXPERIMENT, FOLDER
from learning.signing import PRIVATE_KEY_FILE, artefact_sha256, sign
from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.settings import Settings

TREES, DEPTH, ROWS = 300, 6, 6_000
FRAUD_SHARE = 0.002


def write_champion(folder: Path) -> Path:
    """Train on noise: what the model says means nothing, what it costs is real; the folder.

    Frauds are as rare as in truth, so that it lets nearly every payment go.
    """
    from catboost import CatBoostClassifier

    draw = np.random.default_rng(1)
    data: NDArray[np.float64] = draw.normal(scale=1_000, size=(ROWS, len(FEATURE_NAMES)))
    data[draw.random(data.shape) < 0.2] = np.nan
    model = CatBoostClassifier(
        iterations=TREES, depth=DEPTH, border_count=254, logging_level="Silent", allow_writing_files=False
    ).fit(data, draw.random(ROWS) < FRAUD_SHARE)
    folder.mkdir()
    member = FittedTrees(model).write(folder, FEATURE_NAMES, 1.0, draw)
    Manifest(fingerprint=FINGERPRINT, members=[member], libraries={}).write(folder)
    return folder


def register_champion(settings: Settings, folder: Path) -> None:
    """Write one, sign it, register it and point the alias at it."""
    from mlflow import MlflowClient

    write_champion(folder)
    sign(folder, settings.secrets / PRIVATE_KEY_FILE)
    client = MlflowClient(settings.mlflow)
    experiment = client.create_experiment(EXPERIMENT)
    run = client.create_run(experiment).info.run_id
    client.log_artifacts(run, str(folder), FOLDER)
    client.create_registered_model(settings.model_name)
    tags = {"sha256": artefact_sha256(folder), "fingerprint": FINGERPRINT}
    version = client.create_model_version(settings.model_name, f"runs:/{run}/{FOLDER}", run, tags=tags).version
    client.set_registered_model_alias(settings.model_name, CHAMPION, str(version))
