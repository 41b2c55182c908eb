"""Training's part of MLflow: a run with what it read, found and made, and a version of the registered model.

No Dagster here. Looking versions up, fetching and promoting them is ``learning.registry``'s.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learning.artefact import write_artefact
from learning.errors import RegistryError
from learning.registry import (
    CHALLENGER,
    DATA_VERSION,
    EXPERIMENT,
    FOLDER,
    ChampionRef,
    client_of,
    require_reachable,
    shown,
)

if TYPE_CHECKING:
    from learning.search import Trial
    from learning.training import Trained

CARD_PAGE = "model_card.md"
REQUIRES = ("numpy", "numba", "pandas")
"""What MLflow's own copy of a model needs beside this project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion:
    """A version just registered; ``sha256`` is that of its artefact."""

    name: str
    version: str
    sha256: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A version of a Delta table that a model was made from.

    Attributes:
        name: The table.
        path: Where it is.
        version: Its Delta version.
        digest: Hash of the rows that were read of it; None where the version says enough.
    """

    name: str
    path: str
    version: int
    digest: str | None


def register(
    trained: "Trained",
    *,
    uri: str,
    model_name: str,
    private_key: Path,
    fingerprint: str,
    datasets: Sequence[Dataset],
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
        private_key: What the artefact is signed with.
        fingerprint: Fingerprint of the features trained on.
        datasets: What it was made from.
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

    require_reachable(uri)
    data_versions = {each.name: each.version for each in datasets}
    with (
        tempfile.TemporaryDirectory(prefix="sentinela-model-") as scratch,
        _run(uri, experiment, artifact_location, join_active_run) as run_id,
    ):
        folder = Path(scratch)
        card, sha256 = write_artefact(
            trained, folder, fingerprint=fingerprint, data_versions=data_versions, now=now, private_key=private_key
        )
        tags = {"sha256": sha256, "fingerprint": fingerprint, **(extra_tags or {})}
        mlflow.log_params({**card.config, "features": len(card.feature_names), "fingerprint": fingerprint})
        mlflow.log_metrics(dict(card.metrics))
        mlflow.set_tags({**tags, **{f"{DATA_VERSION}{table}": v for table, v in data_versions.items()}})
        _log_datasets(datasets)
        mlflow.log_artifacts(str(folder), FOLDER)
        version = str(_log_and_register(trained, folder, model_name, tags).version)
        client_of(uri).set_registered_model_alias(model_name, CHALLENGER, version)
        return RegisteredVersion(name=model_name, version=version, sha256=sha256, run_id=run_id)


def log_trial(trial: "Trial") -> None:
    """A trial of a search as a run within the active one."""
    import mlflow

    with mlflow.start_run(run_name=f"trial {trial.number}", nested=True):
        mlflow.log_params(dict(trial.settings))
        mlflow.set_tag("state", trial.state)
        mlflow.log_metric("seconds", trial.seconds)
        if trial.average_precision is not None:
            mlflow.log_metric("average_precision", trial.average_precision)


def publish_card(uri: str, ref: ChampionRef, text: str) -> None:
    """Put a version's card where MLflow's pages show it: on the version, and among its run's files.

    Args:
        uri: Address of MLflow.
        ref: The version.
        text: Markdown.

    Raises:
        RegistryUnavailable: The server does not answer.
        RegistryError: It refuses.
    """
    from mlflow.exceptions import MlflowException

    require_reachable(uri)
    client = client_of(uri)
    try:
        client.log_text(ref.run_id, text, CARD_PAGE)
        client.update_model_version(ref.name, ref.version, description=text)
    except MlflowException as error:
        raise RegistryError(f"MLflow at {shown(uri)} refused the card of {ref.name} {ref.version}: {error}") from error


def _log_datasets(datasets: Sequence[Dataset]) -> None:
    """What the run read, as MLflow's pages show it."""
    import mlflow
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    for each in datasets:
        source = DeltaDatasetSource(path=each.path, delta_table_version=each.version)
        digest = each.digest or f"version-{each.version}"
        # Its stub calls a property abstract that the class has no need of.
        read = MetaDataset(source, name=each.name, digest=digest)  # type: ignore[abstract]
        mlflow.log_input(read, context="training")


def _log_and_register(trained: "Trained", folder: Path, model_name: str, tags: Mapping[str, str]) -> Any:
    """MLflow's own model entry, for its pages and tools; without the requirements it would probe for 4 s."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    from learning.mlflow_model import ARTEFACT, EnsembleModel

    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.double, name, required=False) for name in trained.feature_names]),
        outputs=Schema([ColSpec(DataType.double)]),
    )
    logged = mlflow.pyfunc.log_model(
        name="model",
        python_model=EnsembleModel(),
        artifacts={ARTEFACT: str(folder)},
        signature=signature,
        pip_requirements=[f"{name}=={version_of(name)}" for name in REQUIRES],
    )
    return mlflow.register_model(logged.model_uri, model_name, tags=dict(tags))


@contextmanager
def _run(uri: str, experiment: str, artifact_location: str | None, join_active: bool) -> Iterator[str]:
    import mlflow

    active = mlflow.active_run()
    if active is not None and join_active:
        if mlflow.get_tracking_uri().rstrip("/") != uri.rstrip("/"):
            raise RegistryError(
                f"the active MLflow run {active.info.run_id} is at {shown(mlflow.get_tracking_uri())}, the "
                f"registry at {shown(uri)}; give the job's MLflow resource the same address"
            )
        yield active.info.run_id
        return
    mlflow.set_tracking_uri(uri)
    experiment_id = _experiment(uri, experiment, artifact_location)
    with mlflow.start_run(experiment_id=experiment_id, run_name="train", nested=active is not None) as run:
        yield run.info.run_id


def _experiment(uri: str, name: str, artifact_location: str | None) -> str:
    client = client_of(uri)
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name, artifact_location=artifact_location))
