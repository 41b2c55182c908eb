"""Models in MLflow: a registered model whose aliases are the deployment interface.

``challenger`` is the newest trained version, ``champion`` the one that is served. Each version's run
carries a folder ``champion/`` with what a service loads, without MLflow or pickle in the way:

    model.cbm        the final model, CatBoost's own format
    evaluation.cbm   the same recipe fit on the rows before ``cut_ms``; judges, never serves
    model.json       ModelCard: features in order, fingerprint, SHA-256, data versions, metrics

No Dagster here. MLflow reads timeouts from the environment: process roots apply MLFLOW_ENVIRONMENT.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from learning.errors import RegistryError, RegistryUnavailable
from learning.training import Trained
from pix.features import DECLARATION_HASHES

CHAMPION = "champion"
CHALLENGER = "challenger"
FOLDER = "champion"
MODEL_FILE = "model.cbm"
EVALUATION_FILE = "evaluation.cbm"
CARD_FILE = "model.json"
EXPERIMENT = "sentinela"
PIP_REQUIREMENTS = ["catboost==1.2.10"]
HEALTH_TIMEOUT_SECONDS = 5.0

# MLflow's defaults retry for minutes when the server is gone; a run should fail in seconds and say so.
MLFLOW_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion:
    """A version just registered; ``sha256`` is that of model.cbm."""

    name: str
    version: str
    sha256: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionRef:
    """The version an alias points to.

    Attributes:
        name: Registered model.
        version: Version, as text.
        sha256: SHA-256 of model.cbm, in hex.
        fingerprint: Feature fingerprint the model was trained on.
        run_id: MLflow run that holds the artefacts.
        artifact_path: Path of model.cbm inside that run.
    """

    name: str
    version: str
    sha256: str
    fingerprint: str
    run_id: str
    artifact_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """model.json: everything a service or a comparison must know about a model beside its trees.

    Attributes:
        name: Registered model; empty until the version exists.
        version: Version; empty until the version exists.
        sha256: SHA-256 of model.cbm, in hex.
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
        declarations: Input → hash of what it means; a service of another fingerprint that computes all of them
            with these hashes can still serve the model.
    """

    name: str
    version: str
    sha256: str
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
    declarations: Mapping[str, str] = field(default_factory=dict)

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


def register(
    trained: Trained,
    *,
    uri: str,
    model_name: str,
    fingerprint: str,
    data_versions: Mapping[str, int],
    now: datetime,
    extra_tags: Mapping[str, str] | None = None,
    experiment: str = EXPERIMENT,
    artifact_location: str | None = None,
    join_active_run: bool = True,
) -> RegisteredVersion:
    """Log a trained model, register it and point the alias ``challenger`` at it.

    Args:
        trained: What ``training.fit`` returned.
        uri: MLflow tracking and registry address.
        model_name: Registered model.
        fingerprint: Fingerprint of the features trained on.
        data_versions: Delta table → version read.
        now: Training time, aware.
        extra_tags: Further tags of run and version, such as ``dagster_run_id``.
        experiment: Experiment of a run of its own.
        artifact_location: Where a new experiment keeps artefacts; None leaves it to the server.
        join_active_run: Log into the process's active run if there is one, else always into an own run.

    Raises:
        RegistryUnavailable: The server does not answer.
        RegistryError: The active run belongs to another server.
    """
    import mlflow

    _require_reachable(uri)
    with (
        tempfile.TemporaryDirectory(prefix="sentinela-model-") as scratch,
        _run(uri, experiment, artifact_location, join_active_run) as run_id,
    ):
        folder = Path(scratch)
        card = _write_folder(trained, folder, fingerprint=fingerprint, data_versions=data_versions, now=now)
        tags = {"sha256": card.sha256, "fingerprint": fingerprint, **(extra_tags or {})}
        mlflow.log_params({**card.config, "features": len(card.feature_names), "fingerprint": fingerprint})
        mlflow.log_metrics(dict(card.metrics))
        mlflow.set_tags({**tags, **{f"data_version.{table}": v for table, v in data_versions.items()}})
        mlflow.log_artifacts(str(folder), FOLDER)
        version = str(_log_and_register(trained, model_name, tags).version)
        _client(uri).set_registered_model_alias(model_name, CHALLENGER, version)
        return RegisteredVersion(name=model_name, version=version, sha256=card.sha256, run_id=run_id)


def champion(uri: str, model_name: str, *, alias: str = CHAMPION) -> ChampionRef | None:
    """The version the alias points to, or None while there is none.

    Raises:
        RegistryUnavailable: The server does not answer.
        RegistryError: The version was not registered by this module.
    """
    from mlflow.exceptions import MlflowException

    _require_reachable(uri)
    try:
        found = _client(uri).get_model_version_by_alias(model_name, alias)
    except MlflowException as error:
        # RESOURCE_DOES_NOT_EXIST: an unknown model; INVALID_PARAMETER_VALUE: an unknown alias of a known one.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise RegistryError(f"MLflow at {_shown(uri)} refused to look up {model_name}@{alias}: {error}") from error
    missing = [tag for tag in ("sha256", "fingerprint") if tag not in found.tags]
    if missing or not found.run_id:
        raise RegistryError(
            f"{model_name} version {found.version} carries alias {alias} but lacks {missing or 'its run'}; "
            "it was not registered by Sentinela. Move the alias to a version that was, or materialise "
            "model/challenger"
        )
    return ChampionRef(
        name=model_name,
        version=str(found.version),
        sha256=found.tags["sha256"],
        fingerprint=found.tags["fingerprint"],
        run_id=found.run_id,
        artifact_path=f"{FOLDER}/{MODEL_FILE}",
    )


def download_champion(uri: str, model_name: str, folder: Path, *, alias: str = CHAMPION) -> Path | None:
    """Bring the alias's model files to ``folder/<version>`` and return that path; None while there is none.

    A version already there with the right SHA-256 is not fetched again. The folder appears in one rename, so
    a reader never sees half a model.

    Raises:
        RegistryUnavailable: The server does not answer.
        RegistryError: The bytes do not have the registered SHA-256.
    """
    found = champion(uri, model_name, alias=alias)
    return None if found is None else _download(uri, found, folder)


def promote(uri: str, model_name: str, version: str, reason: str, *, now: datetime) -> None:
    """Move the alias ``champion``; the reason and the time are kept as tags of the version."""
    _require_reachable(uri)
    client = _client(uri)
    # Reason first: a champion without a recorded reason must not exist, not even for a moment.
    client.set_model_version_tag(model_name, version, "promotion_reason", reason)
    client.set_model_version_tag(model_name, version, "promoted_at", now.isoformat())
    client.set_registered_model_alias(model_name, CHAMPION, version)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(uri: str, found: ChampionRef, folder: Path) -> Path:
    target = folder / found.version
    if (target / MODEL_FILE).exists() and (target / CARD_FILE).exists():
        if file_sha256(target / MODEL_FILE) == found.sha256:
            return target
        shutil.rmtree(target)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".incoming-") as scratch:
        fetched = Path(_client(uri).download_artifacts(found.run_id, FOLDER, scratch))
        actual = file_sha256(fetched / MODEL_FILE)
        if actual != found.sha256:
            raise RegistryError(
                f"{found.name} version {found.version} is registered with SHA-256 {found.sha256}, but its "
                f"{found.artifact_path} has {actual}; the artefact was changed. Train and register again"
            )
        card = ModelCard.read(fetched)
        fields = {**asdict(card), "name": found.name, "version": found.version}
        ModelCard(**fields).write(fetched)
        try:
            fetched.rename(target)
        except OSError:
            # Another worker of this host was faster; its copy passed the same test.
            if not (target / MODEL_FILE).exists():
                raise
    return target


def _write_folder(
    trained: Trained, folder: Path, *, fingerprint: str, data_versions: Mapping[str, int], now: datetime
) -> ModelCard:
    trained.model.save_model(str(folder / MODEL_FILE), format="cbm")
    trained.evaluation_model.save_model(str(folder / EVALUATION_FILE), format="cbm")
    (folder / "precision_recall.png").write_bytes(trained.curve_png)
    card = ModelCard(
        name="",
        version="",
        sha256=file_sha256(folder / MODEL_FILE),
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
        declarations={name: DECLARATION_HASHES[name] for name in trained.feature_names if name in DECLARATION_HASHES},
    )
    card.write(folder)
    return card


def _log_and_register(trained: Trained, model_name: str, tags: Mapping[str, str]) -> Any:
    """MLflow's own model entry, for its pages and tools; without the requirements it would probe for 4 s."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    signature = ModelSignature(inputs=Schema([ColSpec(DataType.double, name) for name in trained.feature_names]))
    logged = mlflow.catboost.log_model(
        trained.model, name="model", signature=signature, pip_requirements=PIP_REQUIREMENTS
    )
    return mlflow.register_model(logged.model_uri, model_name, tags=dict(tags))


@contextmanager
def _run(uri: str, experiment: str, artifact_location: str | None, join_active: bool) -> Iterator[str]:
    import mlflow

    active = mlflow.active_run()
    if active is not None and join_active:
        if mlflow.get_tracking_uri().rstrip("/") != uri.rstrip("/"):
            raise RegistryError(
                f"the active MLflow run {active.info.run_id} is at {_shown(mlflow.get_tracking_uri())}, the "
                f"registry at {_shown(uri)}; give the job's MLflow resource the same address"
            )
        yield active.info.run_id
        return
    mlflow.set_tracking_uri(uri)
    experiment_id = _experiment(uri, experiment, artifact_location)
    with mlflow.start_run(experiment_id=experiment_id, run_name="train", nested=active is not None) as run:
        yield run.info.run_id


def _experiment(uri: str, name: str, artifact_location: str | None) -> str:
    client = _client(uri)
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name, artifact_location=artifact_location))


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _require_reachable(uri: str) -> None:
    """Ask for the server's health, once and briefly, before MLflow's client starts its patient retries."""
    if urlsplit(uri).scheme not in ("http", "https"):
        return
    import httpx

    try:
        httpx.get(uri.rstrip("/") + "/health", timeout=HEALTH_TIMEOUT_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        raise RegistryUnavailable(
            f"MLflow at {_shown(uri)} does not answer ({error}); start it with `sentinela up`, or see what "
            "runs with `sentinela status`"
        ) from error


def _shown(uri: str) -> str:
    """The address without credentials, fit for a log."""
    parts = urlsplit(uri)
    return uri if parts.username is None else uri.replace(parts.netloc, parts.netloc.rpartition("@")[2], 1)
