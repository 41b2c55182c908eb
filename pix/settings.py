"""The one place where configuration enters.

``Settings`` is built at process roots only: the command line, Dagster's resources, the BentoML
service and the stream entry points. Everything below takes plain values.

Order of authority: constructor arguments, ``SENTINELA_*`` environment variables, then
``$SENTINELA_HOME/runtime.json``, where ``sentinela up`` records the ports it chose and the environment
it was told, then that environment's file (``pix.environments``).
"""

import json
import os
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pix import environments

RUNTIME_FILE = "runtime.json"
FIRST_DAY = date(2020, 11, 16)
"""Pix began on this day."""


class RuntimeFileSource(PydanticBaseSettingsSource):
    """Values that ``sentinela up`` recorded in the home; absent on a home never started."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Required by the interface; ``__call__`` gives all values at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Recorded values of known fields."""
        home = self.current_state.get("home") or Settings.model_fields["home"].default
        path = Path(home) / RUNTIME_FILE
        if not path.exists():
            return {}
        recorded = json.loads(path.read_text())
        return {name: value for name, value in recorded.get("settings", {}).items() if name in Settings.model_fields}


class EnvironmentFileSource(PydanticBaseSettingsSource):
    """Values of the environment's file."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Required by the interface; ``__call__`` gives all values at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """What the file says of fields that nothing of more authority sets.

        Raises:
            pix.environments.BadEnvironment: There is no such file, or it cannot be used.
        """
        named = self.current_state.get("environment") or Settings.model_fields["environment"].default
        return filed(named, self.current_state)


class Settings(BaseSettings):
    """Where everything is. Every field can be set as ``SENTINELA_<FIELD>``."""

    model_config = SettingsConfigDict(env_prefix="SENTINELA_", extra="ignore")

    home: Path = Field(Path(".sentinela"), description="All local state lives under this folder.")

    environment: str = Field(
        "local", description="Whose settings count: a name in config/environments, or the path of a .yaml file."
    )

    kafka_port: int = Field(9092, description="Port of the local broker.")
    kafka_controller_port: int = Field(9093, description="Port of the local broker's controller.")
    kafka_bootstrap: str = Field("", description="Your own cluster; empty starts the local broker.")
    kafka_config: dict[str, str] = Field(default_factory=dict, description="librdkafka options, e.g. TLS and SASL.")
    kafka_partitions: int = Field(4, description="Partitions of topics that are created.")
    kafka_replication: int = Field(1, description="Replication factor of topics that are created.")

    store_url: str = Field("", description="lmdb:///path or redis://host:port/db; empty is LMDB in the home.")

    store_replicas: int = Field(
        0, ge=0, description="Replicas of Redis that must have a commit before it is published."
    )

    store_timeout_seconds: float = Field(
        0.3, gt=0, description="How long a payment waits for one answer of Redis before that counts as silence."
    )
    decision_deadline_seconds: float = Field(
        2.0, gt=0, lt=30, description="A payment is answered within about so long; BentoML ends requests after 30 s."
    )

    first_day: date = Field(
        FIRST_DAY,
        description="Days begin here: earlier payments are kept, but their days are no partitions in Dagster.",
    )
    lake_root: str = Field("", description="Root of the Delta tables: a path or s3a://; empty is <home>/lake.")
    spark_master: str = Field("local[2]", description="Spark master.")
    spark_config: dict[str, str] = Field(default_factory=dict, description="Further Spark settings.")
    spark_memory: str = Field("1500m", description="Heap of a Spark driver.")

    mlflow_port: int = Field(5000, description="Port of the local MLflow server.")
    mlflow_uri: str = Field("", description="Your own MLflow server; empty starts a local one.")
    model_name: str = Field("pix_fraud", description="Registered model whose champion is served.")

    promotion: Literal["automatic", "approval"] = Field(
        "automatic", description="Whether a challenger that every gate lets pass serves at once, or waits for a person."
    )

    serving_port: int = Field(3000, description="Port of the decision service.")
    serving_url: str = Field("", description="Your own deployment of the service; empty starts a local one.")
    policy_file: Path = Field(Path("config/policy.yaml"), description="The decision policy.")
    tls_in_front: bool = Field(
        False, description="Says that a proxy in front ends TLS; without it the service listens on loopback only."
    )
    test_accounts: bool = Field(
        True, description="Accounts that force an action (docs/api.md); only where no part is somebody else's."
    )

    otlp_endpoint: str = Field(
        "", description="Where spans go, OTLP over HTTP, such as http://host:4318/v1/traces; empty: no tracing."
    )
    trace_share: float = Field(
        0.01, ge=0, le=1, description="Share of traces that are kept, of those that begin in the service."
    )

    dagster_port: int = Field(3070, description="Port of the Dagster webserver.")
    dagster_code_port: int = Field(4266, description="Port of the Dagster code server.")

    scoring_instances: int = Field(
        1, ge=1, le=64, description="Scoring jobs that share pix.transactions; more than it has partitions stay idle."
    )
    stream_trigger_seconds: float = Field(2.0, description="Trigger of the Kafka to bronze query.")
    stream_lifetime_seconds: float = Field(6 * 3600, description="A stream renews itself after this long.")
    label_wait_seconds: float = Field(120.0, description="How long a label waits for its payment.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then variables, then what ``up`` recorded, then the environment's file."""
        return init_settings, env_settings, RuntimeFileSource(settings_cls), EnvironmentFileSource(settings_cls)

    @property
    def root(self) -> Path:
        """The home as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def offers_test_accounts(self) -> bool:
        """Whether they are wanted, and every part of the instance is this home's own."""
        elsewhere = (self.kafka_bootstrap, self.store_url, self.lake_root, self.mlflow_uri, self.serving_url)
        return self.test_accounts and not any(elsewhere)

    @property
    def lake(self) -> str:
        """Root of the Delta tables; tables are ``<lake>/<layer>/<table>``."""
        return self.lake_root or str(self.root / "lake")

    @property
    def store(self) -> str:
        """Address of the online store."""
        return self.store_url or f"lmdb://{self.root / 'store'}"

    @property
    def bootstrap(self) -> str:
        """Kafka bootstrap servers."""
        return self.kafka_bootstrap or f"127.0.0.1:{self.kafka_port}"

    @property
    def kafka(self) -> dict[str, str]:
        """Configuration of librdkafka, shared by every client."""
        # A broker that is back is found within a second; left to itself a client waits for up to ten.
        return {"bootstrap.servers": self.bootstrap, "reconnect.backoff.max.ms": "1000", **self.kafka_config}

    @property
    def mlflow(self) -> str:
        """Tracking URI of MLflow."""
        return self.mlflow_uri or f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def service(self) -> str:
        """Base URL of the decision service."""
        return self.serving_url or f"http://127.0.0.1:{self.serving_port}"

    @property
    def dagster(self) -> str:
        """Base URL of the Dagster webserver."""
        return f"http://127.0.0.1:{self.dagster_port}"

    @property
    def secrets(self) -> Path:
        """Folder of local keys, readable by the owner only."""
        return self.root / "secrets"

    @property
    def metrics(self) -> Path:
        """Folder where each stream leaves the address of its metrics, as Prometheus' file-based discovery reads it."""
        return self.root / "metrics"

    @property
    def keepers(self) -> Path:
        """Folder where each stream's keeper leaves a note of what it saw."""
        return self.root / "run" / "keepers"

    @property
    def locks(self) -> Path:
        """Folder of the operating system's locks that make writers and streams unique."""
        return self.root / "locks"


def filed(environment: str, given: Collection[str]) -> dict[str, Any]:
    """What an environment's file sets of the fields that are not given.

    Raises:
        pix.environments.BadEnvironment: There is no such file, or it cannot be used.
    """
    fields = Settings.model_fields.keys() - {"home", "environment"}
    return environments.read(environment, known=fields, given=given, variables=os.environ)
