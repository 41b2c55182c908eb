"""What assets reach the world through, each a thin door over one package. No asset logic here.

``all_resources`` is where the settings of this process enter; below it everything is plain values. Heavy
packages are imported when a door is first used: the code location must load in three seconds.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import dagster as dg

from fraud_assets import reports
from fraud_assets.lake import LakeResource
from fraud_assets.registry import RegistryResource
from pix.clock import epoch_ms
from pix.settings import Settings

if TYPE_CHECKING:
    from fraud_streaming.offsets import Watermarks
    from pix.store.interface import Store
    from pix.tokens import Keyring
    from serving.comparison import Comparison

API_KEY_FILE = "api-key"


class ServiceAway(Exception):
    """The decision service does not do what it was asked."""


class HomeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Folders and files of this instance that are not tables."""

    root: str
    secrets: str
    policy: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The home that the settings name."""
        return cls(root=str(settings.root), secrets=str(settings.secrets), policy=str(settings.policy_file))

    @property
    def inbox(self) -> Path:
        """Histories that wait to be imported, a folder each."""
        return Path(self.root) / "inbox"

    @property
    def studies(self) -> str:
        """Address of the database of searches."""
        path = Path(self.root) / "search" / "studies.db"
        path.parent.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{path}"

    def keep_report(self, name: str, page: bytes, numbers: Mapping[str, Any]) -> Path:
        """Keep a report in ``<home>/reports``, where a page lists them; where it is."""
        return reports.keep(Path(self.root) / "reports", name, page, numbers)

    def save_proposal(self, name: str, text: str) -> Path:
        """Keep a policy that somebody may put in use, in ``<home>/proposals``."""
        path = Path(self.root) / "proposals" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def keyring(self) -> "Keyring":
        """Keys for tokens and sealed payloads.

        Raises:
            pix.tokens.MissingKeys: The home has none yet.
        """
        from pix.tokens import load_keyring

        return load_keyring(Path(self.secrets))


class ServiceResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The decision service, as its operator."""

    url: str
    secrets: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The service that the settings name."""
        return cls(url=settings.service, secrets=str(settings.secrets))

    def rebuild_store(self, version: int, say: Callable[[str], None]) -> dict[str, Any]:
        """Have the online store rebuilt on a version of features/base_states, unless it has that history already.

        Args:
            version: Delta version.
            say: Told of the progress now and then.

        Returns:
            The generation that is in use then, and whether it was there before (``already_built``).

        Raises:
            ServiceAway: The service does not answer, refuses, or could not build it.
        """
        from serving.operator import NotDone, Operator

        key_file = Path(self.secrets) / API_KEY_FILE
        if not key_file.exists():
            raise ServiceAway(
                f"the decision service at {self.url} does not answer to this home, which has no key for it yet: start "
                "it with `sentinela up`; then materialise serving/store_base again"
            )
        try:
            operator = Operator(self.url, key_file.read_text().strip())
            return operator.rebuild({"version": version, "force": False}, say)
        except (NotDone, OSError) as error:
            raise ServiceAway(f"{error}; then materialise serving/store_base again") from error


class OnlineStoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The online store, as an auditor: read, never written."""

    url: str
    lake_root: str
    kafka: dict[str, str]
    secrets: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The store that the settings name."""
        return cls(url=settings.store, lake_root=settings.lake, kafka=settings.kafka, secrets=str(settings.secrets))

    @contextmanager
    def reading(self) -> "Iterator[Store]":
        """The store, to be read.

        Raises:
            pix.store.errors.StoreAway: It does not answer.
        """
        from pix.engines.layout import STATE_LAYOUT
        from pix.store.interface import open_store

        store = open_store(self.url, STATE_LAYOUT)
        try:
            yield store
        finally:
            store.close()

    def compare(self) -> "Comparison | None":
        """The generation in use against base and logs; None while nothing was built."""
        from pix.tokens import load_keyring
        from serving.comparison import compare_online

        return compare_online(
            self.url,
            lake_root=self.lake_root,
            kafka=self.kafka,
            keyring=load_keyring(Path(self.secrets)),
            now_ms=epoch_ms(),
        )


class BrokerResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Kafka, as an auditor: looked at, never written."""

    kafka: dict[str, str]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The cluster that the settings name."""
        return cls(kafka=settings.kafka)

    def watermarks(self) -> "Watermarks":
        """A look at its topics; what is asked of it raises ``KafkaAway`` when no broker answers."""
        from fraud_streaming.offsets import Watermarks

        return Watermarks(self.kafka)


class TrackedRun:
    """dagster-mlflow's tracking, begun when a step asks for it and always ended.

    As dagster-mlflow has it, every Dagster run that merely may train would import MLflow for five seconds and
    open an MLflow run; and one that its hook does not end (Materialize all has no hook) stays RUNNING and
    swallows what the process logs next. So: the run is opened by ``run``, ended as FAILED there if the step
    fails, ended as FINISHED by the hook after the job's last step, or at the latest with this resource.
    """

    def __init__(self, context: dg.InitResourceContext) -> None:
        self._context = context
        self._begun: Iterator[Any] | None = None

    @contextmanager
    def run(self) -> Iterator[Any]:
        """The MLflow run of this Dagster run, active for the block and after it."""
        if self._begun is None:
            self._begin()
        try:
            yield self._tracking
        except BaseException:
            self.end_run(status="FAILED")
            raise

    def _begin(self) -> None:
        from learning import registry

        config = self._context.resource_config
        # Asks the server for its health first: MLflow's own client would retry for minutes.
        registry.champion(config["mlflow_tracking_uri"], config["model_name"])
        with warnings.catch_warnings():
            # dagster-mlflow calls itself beta in every run's log; that is known, and its version is pinned.
            warnings.simplefilter("ignore", dg.BetaWarning)
            from dagster_mlflow import mlflow_tracking

            begin: Any = mlflow_tracking.resource_fn
            begun: Iterator[Any] = begin(self._context)
            self._tracking = next(begun)
            self._begun = begun
        run = self._tracking.active_run()
        dg.get_dagster_logger().info("dagster-mlflow opened MLflow run %s", run.info.run_id)

    @property
    def has_begun(self) -> bool:
        """Whether there is anything to end."""
        return self._begun is not None

    def end_run(self, status: str = "FINISHED") -> None:
        """End the MLflow run, if one was begun."""
        if self._begun is not None:
            self._tracking.end_run(status=status)
            for _ in self._begun:
                pass
            self._begun = None


@dg.resource(
    config_schema={
        "experiment_name": str,
        "mlflow_tracking_uri": str,
        "model_name": str,
        "env": dict,
        "extra_tags": dict,
    }
)
def mlflow_tracking(context: dg.InitResourceContext) -> Iterator[TrackedRun]:
    """dagster-mlflow's ``mlflow_tracking``, begun only when a step trains."""
    tracked = TrackedRun(context)
    try:
        yield tracked
    finally:
        tracked.end_run()


def _end_mlflow_run(context: dg.HookContext, events: Any) -> Any:
    if not context.resources.mlflow.has_begun:
        return dg.HookExecutionResult(hook_name=HOOK, is_skipped=True)
    from dagster_mlflow import end_mlflow_on_run_finished as hook

    return hook.hook_fn(context, events)


HOOK = "end_mlflow_on_run_finished"
end_mlflow_on_run_finished = dg.HookDefinition(name=HOOK, hook_fn=_end_mlflow_run, required_resource_keys={"mlflow"})
"""dagster-mlflow's hook, imported when there is a run to end."""


@dg.io_manager(config_schema=dict)
def small_tables(context: dg.InitResourceContext) -> Any:
    """dagster-deltalake's Arrow IO manager: small unpartitioned tables under the lake's root."""
    from dagster_deltalake import DeltaLakePyarrowIOManager, LocalConfig

    config = context.resource_config
    manager = DeltaLakePyarrowIOManager(root_uri=config["root_uri"], storage_options=LocalConfig())
    return manager.create_io_manager(context)


def all_resources(settings: Settings) -> dict[str, Any]:
    """Every resource of the code location, by its key."""
    from learning.registry import EXPERIMENT, MLFLOW_ENVIRONMENT

    return {
        "lake": LakeResource.of(settings),
        "home": HomeResource.of(settings),
        "service": ServiceResource.of(settings),
        "online_store": OnlineStoreResource.of(settings),
        "broker": BrokerResource.of(settings),
        "registry": RegistryResource.of(settings),
        "mlflow": mlflow_tracking.configured(
            {
                "experiment_name": EXPERIMENT,
                "mlflow_tracking_uri": settings.mlflow,
                "model_name": settings.model_name,
                "env": MLFLOW_ENVIRONMENT,
                "extra_tags": {},
            }
        ),
        "small_tables": small_tables.configured(
            {
                # delta-rs calls S3 by its own name.
                "root_uri": settings.lake.replace("s3a://", "s3://", 1),
                "storage_options": {"local": {}},
                "mode": "overwrite",
                "overwrite_schema": True,
            }
        ),
    }
