"""A home with a small simulated history, run through the assets in this process."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraud_assets import definitions
from fraud_assets.daily import partition_of
from fraud_assets.lake import LakeResource
from pix.offline import inbox
from pix.settings import Settings
from pix.simulator.simulation import SimulationPlan, write
from pix.tokens import ensure_keys

START_MS = 1_790_000_000_000
NO_SERVICE = "http://127.0.0.1:9"
STORE_BASE = "serving/store_base"


def key(name: str) -> dg.AssetKey:
    return dg.AssetKey(name.split("/"))


@dataclass(frozen=True)
class Place:
    """A home and its code location; MLflow is a file, and no service runs."""

    settings: Settings
    instance: dg.DagsterInstance

    @property
    def lake(self) -> LakeResource:
        return LakeResource.of(self.settings)

    def run(self, *assets: str, job: str = "everything_job", config: Any = None) -> dg.ExecuteInProcessResult:
        loaded = definitions.build(self.settings).resolve_job_def(job)
        return loaded.execute_in_process(
            run_config=config,
            instance=self.instance,
            raise_on_error=False,
            partition_key=partition_of(datetime.now(UTC)) if loaded.partitions_def else None,
            asset_selection=[key(name) for name in assets] or None,
        )

    def told(self, result: dg.ExecuteInProcessResult) -> dict[str, str]:
        """What failed steps said, by step."""
        found = {}
        for event in result.all_events:
            if event.is_step_failure:
                said, error = event.step_failure_data.user_failure_data, event.step_failure_data.error
                found[event.step_key] = said.description if said else str(error.cause or error)
        red = (each for each in result.get_asset_check_evaluations() if not each.passed and each.blocking)
        return found | {each.check_name: f"{each.description}: {_plain(each.metadata)}" for each in red}

    def newest(self, name: str) -> dict[str, Any]:
        """Metadata of an asset's newest materialisation."""
        event = self.instance.get_latest_materialization_event(key(name))
        assert event is not None
        assert event.asset_materialization is not None
        return {label: value.value for label, value in event.asset_materialization.metadata.items()}


def _plain(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


@pytest.fixture(scope="session")
def place(spark: Any) -> Iterator[Callable[[Path], Place]]:  # noqa: ARG001 - assets join the running session
    """Makes a home in a folder."""
    from mlflow import MlflowClient

    with dg.DagsterInstance.ephemeral() as instance:

        def make(folder: Path) -> Place:
            settings = Settings(home=folder, mlflow_uri=f"sqlite:///{folder}/mlflow.db", serving_url=NO_SERVICE)
            ensure_keys(settings.secrets)
            MlflowClient(settings.mlflow).create_experiment("sentinela", artifact_location=str(folder / "artifacts"))
            return Place(settings, instance)

        yield make


@pytest.fixture(scope="session")
def trained(place: Callable[[Path], Place], tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A home whose history went all the way to a champion."""
    folder = tmp_path_factory.mktemp("trained")
    made = place(folder)
    # A fixed past: what a challenger earns must not depend on the day the test runs.
    plan = SimulationPlan(seed=3, start_ms=START_MS, days=40, accounts=300, payments=2_500, fraud_per_100k=6_000)
    write(plan, folder / "simulated")
    inbox.deposit(made.settings.root / "inbox", folder / "simulated", "live", None)
    assets = definitions.build(made.settings).resolve_job_def("everything_job").asset_layer.executable_asset_keys
    names = [asset.to_user_string() for asset in assets if asset != key(STORE_BASE)]
    config = {"ops": {"model__challenger": {"config": {"iterations": 60, "depth": 4}}}}
    result = made.run(*names, config=config)
    assert result.success, made.told(result)
    return made
