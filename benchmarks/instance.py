"""An instance to measure: its own home, the real broker, MLflow with a champion of the recipe's size, the service."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from benchmarks.champion import register_champion
from learning.signing import ensure_signing_keys
from pix.contracts import canonical_json
from pix.settings import Settings
from pix.tokens import ensure_keys
from sentinela.configuration import REPOSITORY
from sentinela.runtime import home as homes
from sentinela.runtime import processes, services
from sentinela.runtime.home import Home

ACCOUNTS = 3_000
READY_SECONDS = 180.0
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Instance:
    """A home of its own with a broker that runs, and a service that is started when asked."""

    settings: Settings
    home: Home
    draw: Random
    numbers: Iterator[int]

    @contextmanager
    def serving(self) -> Iterator[float]:
        """The service, ready; how long that took, seconds."""
        with running(self.settings, self.home, services.SERVING) as seconds:
            yield seconds

    @property
    def key_file(self) -> Path:
        """Where the service's key is."""
        return self.settings.secrets / "api-key"

    def bodies(self, count: int) -> list[bytes]:
        """New payments between known accounts, a part of them from a known device, as of now."""
        return [payment_body(self.draw, next(self.numbers)) for _ in range(count)]

    def resident_bytes(self) -> tuple[int, int]:
        """Resident memory of the worker, and how much of it is pages of the store's file, which the kernel may drop."""
        worker = max(processes.of_service(self.home, services.SERVING), key=lambda each: each.memory_info().rss)
        mapped = sum(part.rss for part in worker.memory_maps() if part.path.endswith("data.mdb"))
        return worker.memory_info().rss, mapped


@contextmanager
def instance(folder: Path) -> Iterator[Instance]:
    """Broker and registry run, the model is the champion; the service is started when asked."""
    ports = free_ports(4)
    settings = Settings(
        home=folder / "home",
        kafka_port=ports[0],
        kafka_controller_port=ports[1],
        serving_port=ports[2],
        mlflow_port=ports[3],
        policy_file=REPOSITORY / "config" / "policy.yaml",
    )
    home = Home(settings.root)
    homes.prepare(home)
    ensure_keys(settings.secrets)
    ensure_signing_keys(settings.secrets)
    with running(settings, home, services.BROKER), running(settings, home, services.TRACKING):
        register_champion(settings, folder / "artefacts")
        yield Instance(settings, home, Random(4), iter(range(10**9)))  # noqa: S311 - a benchmark's payments


@contextmanager
def running(settings: Settings, home: Home, name: str) -> Iterator[float]:
    """One part of an instance, as ``sentinela up`` starts it; how long it took until it could be used, seconds."""
    service = next(part for part in services.local(settings, home) if part.name == name)
    service.prepare()
    given = {
        f"SENTINELA_{key.upper()}": str(getattr(settings, key))
        for key in ("kafka_port", "kafka_controller_port", "serving_port", "mlflow_port", "policy_file")
    }
    start = time.perf_counter()
    processes.start(
        home,
        name,
        service.command,
        environment={**services.common_environment(home, os.environ), **service.environment, **given},
        folder=REPOSITORY,
        fingerprint="benchmark",
    )
    try:
        while problem := service.probe():
            if time.perf_counter() - start > READY_SECONDS:
                raise SystemExit(f"{name} is not ready: {problem}; see {home.log(name).read_text()[-2000:]}")
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - start
        service.finish()
        yield seconds
    finally:
        processes.end(home, name, services.ENDING[name])


def payment_body(draw: Random, number: int) -> bytes:
    """The smallest payment of a known payer and device, as of now."""
    payer, payee = draw.sample(range(1, ACCOUNTS), 2)
    now = datetime.now(UTC)
    return canonical_json(
        {
            "end_to_end_id": f"E12345678{now:%Y%m%d%H%M}{number:011d}",
            "initiated_at": now.isoformat(timespec="milliseconds"),
            "amount_cents": draw.randint(100, 50_000),
            "payer_account": f"12345678-0001-{payer}",
            "payee_account": f"87654321-0001-{payee}",
            "device_id": f"device-{payer}",
            "payer_balance_cents": draw.randint(10**6, 10**7),
            "initiation": "MANU",
        }
    )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    import socket

    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
