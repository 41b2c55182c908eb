"""Models in MLflow: a registered model whose aliases are the deployment interface.

``challenger`` is the newest trained version, ``champion`` the one that is served. Each version's run carries a
folder ``champion/``, the signed artefact of ``learning.artefact``, which a service loads without MLflow or pickle
in the way. Whatever is downloaded is verified before anybody sees it. ``learning.succession`` moves ``champion``.

No Dagster here. MLflow reads timeouts from the environment: process roots apply MLFLOW_ENVIRONMENT.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from learning.artefact import ModelCard
from learning.errors import ArtefactRefused, RegistryError, RegistryUnavailable
from learning.signing import verify

CHAMPION = "champion"
CHALLENGER = "challenger"
FOLDER = "champion"
EXPERIMENT = "sentinela"
DATA_VERSION = "data_version."
"""Begin of a run's tags that say which version of a Delta table was read."""
MOST_VERSIONS = 10_000
REST_TIMEOUT_SECONDS = 5.0
# An unknown model, and an unknown alias of a known one.
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
Fetch = Callable[[str, str, Path], Path]
"""Given MLflow's address, a run and a folder, brings the run's artefact there, unverified; raises RegistryError."""

# MLflow's defaults retry for minutes when the server is gone; a run should fail in seconds and say so.
MLFLOW_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionRef:
    """The version an alias points to.

    Attributes:
        name: Registered model.
        version: Version, as text.
        sha256: SHA-256 of its artefact, in hex; see ``learning.signing.artefact_sha256``.
        fingerprint: Feature fingerprint the model was trained on.
        run_id: MLflow run that holds the artefact.
    """

    name: str
    version: str
    sha256: str
    fingerprint: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A version whose files are here and were verified.

    Attributes:
        ref: The version.
        folder: Its files; see ``learning.artefact``.
    """

    ref: ChampionRef
    folder: Path

    @property
    def card(self) -> ModelCard:
        """What is known about it beside its trees."""
        return ModelCard.read(self.folder)


def champion(uri: str, model_name: str, *, alias: str = CHAMPION) -> ChampionRef | None:
    """The version the alias points to, or None while there is none.

    A service asks every second, so a server is asked by its REST API: without loading MLflow's client. What is no
    server, a database by its path, is asked by that client.

    Raises:
        RegistryUnavailable: The server does not answer.
        RegistryError: The version was not registered by this module.
    """
    look_up = _by_rest if _is_server(uri) else _by_client
    found = look_up(uri, model_name, alias)
    if found is None:
        return None
    return _ref(model_name, found, f"{model_name} version {found.version} carries alias {alias} but")


def _by_rest(uri: str, model_name: str, alias: str) -> "_Found | None":
    import httpx

    address = uri.rstrip("/") + "/api/2.0/mlflow/registered-models/alias"
    try:
        answer = _rest_client().get(address, params={"name": model_name, "alias": alias})
        content = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise _unavailable(uri, error) from error
    if answer.is_success:
        version = content["model_version"]
        tags = {tag["key"]: tag.get("value", "") for tag in version.get("tags", ())}
        return _Found(version["version"], version.get("run_id"), tags)
    if content.get("error_code") in NOT_THERE:
        return None
    raise RegistryError(f"MLflow at {shown(uri)} refused to look up {model_name}@{alias}: {content.get('message')}")


def _by_client(uri: str, model_name: str, alias: str) -> "_Found | None":
    from mlflow.exceptions import MlflowException

    try:
        found = client_of(uri).get_model_version_by_alias(model_name, alias)
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None
        raise RegistryError(f"MLflow at {shown(uri)} refused to look up {model_name}@{alias}: {error}") from error
    return _Found(found.version, found.run_id, found.tags)


class _Found(NamedTuple):
    """A registered version as MLflow tells it."""

    version: str
    run_id: str | None
    tags: Mapping[str, str]


def version_of(uri: str, model_name: str, version: str) -> ChampionRef | None:
    """A registered version, whatever aliases point to, or None if there is none.

    Raises:
        RegistryUnavailable: The server does not answer.
        RegistryError: The version was not registered by this module.
    """
    from mlflow.exceptions import MlflowException

    if not version.isdecimal():
        return None
    require_reachable(uri)
    try:
        found = client_of(uri).get_model_version(model_name, version)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise RegistryError(f"MLflow at {shown(uri)} refused to look up {model_name} {version}: {error}") from error
    return _ref(model_name, _Found(found.version, found.run_id, found.tags), f"{model_name} version {found.version}")


def data_versions(uri: str, model_name: str) -> dict[str, dict[str, int]]:
    """Registered version -> Delta table -> the version that it was made from; of every version there is.

    Raises:
        RegistryUnavailable: The server does not answer.
        RegistryError: It refuses.
    """
    from mlflow.exceptions import MlflowException

    require_reachable(uri)
    client, found = client_of(uri), {}
    try:
        for version in client.search_model_versions(f"name='{model_name}'", max_results=MOST_VERSIONS):
            tags = client.get_run(version.run_id).data.tags if version.run_id else {}
            found[str(version.version)] = _tables(tags)
    except MlflowException as error:
        raise RegistryError(f"MLflow at {shown(uri)} refused to list {model_name}: {error}") from error
    return found


@dataclass(frozen=True, slots=True)
class Record:
    """What a version was made from.

    Attributes:
        tags: Of its run.
        tables: Delta table -> version that was read.
        digests: Delta table -> hash of the rows that were read, or what stands for it.
    """

    tags: Mapping[str, str]
    tables: Mapping[str, int]
    digests: Mapping[str, str]


def record_of(uri: str, ref: ChampionRef) -> Record:
    """What a version's run says.

    Raises:
        RegistryUnavailable: The server does not answer.
        RegistryError: It has no such run.
    """
    from mlflow.exceptions import MlflowException

    require_reachable(uri)
    try:
        run = client_of(uri).get_run(ref.run_id)
    except MlflowException as error:
        raise RegistryError(
            f"MLflow at {shown(uri)} does not give the run of {ref.name} {ref.version}: {error}"
        ) from error
    digests = {each.dataset.name: each.dataset.digest for each in run.inputs.dataset_inputs}
    return Record(dict(run.data.tags), _tables(run.data.tags), digests)


def _tables(tags: Mapping[str, str]) -> dict[str, int]:
    return {name.removeprefix(DATA_VERSION): int(said) for name, said in tags.items() if name.startswith(DATA_VERSION)}


def _ref(model_name: str, found: _Found, told: str) -> ChampionRef:
    missing = [tag for tag in ("sha256", "fingerprint") if tag not in found.tags]
    # The version becomes the name of a folder, and the server is not trusted with paths.
    if missing or not found.run_id or not str(found.version).isdecimal():
        raise RegistryError(
            f"{told} lacks {missing or 'its run or number'}; it was not registered by Sentinela. Move the alias to a "
            "version that was, or materialise model/challenger"
        )
    return ChampionRef(
        name=model_name,
        version=str(found.version),
        sha256=found.tags["sha256"],
        fingerprint=found.tags["fingerprint"],
        run_id=found.run_id,
    )


def download_champion(
    uri: str, model_name: str, folder: Path, *, public_key: Path, alias: str = CHAMPION
) -> Downloaded | None:
    """Bring the alias's artefact to ``folder/<version>``, verified; None while there is none.

    Raises:
        RegistryUnavailable: The server does not answer.
        ArtefactRefused: The artefact is not what was registered and signed; nothing is left of it.
    """
    found = champion(uri, model_name, alias=alias)
    return None if found is None else download(uri, found, folder, public_key=public_key)


def artefact_of(uri: str, run_id: str, folder: Path) -> Path:
    """Bring a run's artefact into a folder, unverified; where it lies.

    Raises:
        RegistryError: MLflow does not give it.
    """
    from mlflow.exceptions import MlflowException

    try:
        return Path(client_of(uri).download_artifacts(run_id, FOLDER, str(folder)))
    except (MlflowException, OSError) as error:
        raise RegistryError(str(error)) from error


def download(uri: str, found: ChampionRef, folder: Path, *, public_key: Path, fetch: Fetch = artefact_of) -> Downloaded:
    """Bring a version's artefact to ``folder/<version>``.

    A copy that is there already is verified again, and fetched anew if it fails. The folder appears in one rename,
    so a reader never sees half a model, nor one that was not verified.

    Args:
        uri: Address of MLflow.
        found: The version.
        folder: Where versions are kept.
        public_key: PEM file of the key that it must be signed with.
        fetch: Brings it from MLflow.

    Raises:
        RegistryError: MLflow does not give it.
        ArtefactRefused: The artefact is not what was registered and signed; nothing is left of it.
    """
    target = folder / found.version
    if target.exists():
        try:
            verify(target, found.sha256, public_key)
        except ArtefactRefused:
            shutil.rmtree(target)
        else:
            return Downloaded(found, target)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".incoming-") as scratch:
        try:
            fetched = fetch(uri, found.run_id, Path(scratch))
        except RegistryError as error:
            raise RegistryError(
                f"MLflow at {shown(uri)} does not give the artefact of {found.name} version {found.version}: {error}"
            ) from error
        verify(fetched, found.sha256, public_key)
        try:
            fetched.rename(target)
        except OSError:
            # Another process of this host was faster; its copy passed the same test.
            verify(target, found.sha256, public_key)
    return Downloaded(found, target)


def client_of(uri: str) -> Any:
    """MLflow's client of an address."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def require_reachable(uri: str) -> None:
    """Ask for the server's health, once and briefly, before MLflow's client starts its patient retries."""
    if not _is_server(uri):
        return
    import httpx

    try:
        _rest_client().get(uri.rstrip("/") + "/health").raise_for_status()
    except httpx.HTTPError as error:
        raise _unavailable(uri, error) from error


def _is_server(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _unavailable(uri: str, error: Exception) -> RegistryUnavailable:
    return RegistryUnavailable(
        f"MLflow at {shown(uri)} does not answer ({error}); start it with `sentinela up`, or see what runs with "
        "`sentinela status`"
    )


@cache
def _rest_client() -> Any:
    """One for all: a service asks every second, and setting up TLS takes longer than asking."""
    import httpx

    return httpx.Client(timeout=REST_TIMEOUT_SECONDS)


def shown(uri: str) -> str:
    """The address without credentials, fit for a log."""
    parts = urlsplit(uri)
    return uri if parts.username is None else uri.replace(parts.netloc, parts.netloc.rpartition("@")[2], 1)
