"""The running service: one BentoML worker with LMDB, a real broker and a champion of the recipe's size.

Load comes from another process (``benchmarks.load``), open loop where a rate is given. What a decision over HTTP costs
is held against its floors, each measured alone in the same run: the bare transport, the store, the ensemble, a record
that Kafka acknowledged. The past of the accounts is sent beforehand, so that the features have something to read.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import httpx

from benchmarks.champion import register_champion
from benchmarks.floors import acknowledged_us, ensemble_us, store_us, transport_us
from learning.signing import ensure_signing_keys
from pix.contracts import canonical_json
from pix.settings import Settings
from pix.tokens import ensure_keys
from sentinela.configuration import REPOSITORY
from sentinela.runtime import home as homes
from sentinela.runtime import processes, services
from sentinela.runtime.home import Home

ACCOUNTS = 3_000
PAST = 30_000
BATCH = 200
RATES = (200, 500, 1_000)
SECONDS = 15
SINGLE = 4_000
READY_SECONDS = 180.0
POLL_SECONDS = 0.02


def service_rows() -> list[dict[str, object]]:
    """Every measurement of this file."""
    with tempfile.TemporaryDirectory() as name, _instance(Path(name)) as instance:
        with instance.serving():
            batch = _batches(instance, PAST // BATCH)
        cold_seconds = []
        for _ in range(3):
            with instance.serving() as started:
                cold_seconds.append(started)
        with instance.serving():
            loads = [_load(instance, SINGLE // 4, 0), *(_load(instance, rate * SECONDS, rate) for rate in RATES)]
            single = _load(instance, SINGLE, 0)
            resident, mapped = instance.resident_bytes()
        return [
            _over_floors(instance, single),
            *[_rated(rate, load) for rate, load in zip(RATES, loads[1:], strict=True)],
            batch,
            _row(
                "service: from its start to ready, model and kernel cached", statistics.median(cold_seconds), 6.0, "s"
            ),
            _row(
                f"service: resident memory of the worker after all that, without {mapped >> 20} MB of the store's file",
                (resident - mapped) / 2**20,
                600.0,
                "MB",
            ),
        ]


@dataclass(frozen=True, slots=True)
class _Instance:
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
def _instance(folder: Path) -> Iterator[_Instance]:
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
        yield _Instance(settings, home, Random(4), iter(range(10**9)))  # noqa: S311 - a benchmark's payments


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


def _load(instance: _Instance, count: int, rate: float) -> dict[str, Any]:
    """What the sender in its own process says of so many payments; one connection where no rate is given."""
    file = instance.home.root / "bodies.jsonl"
    file.write_bytes(b"\n".join(instance.bodies(count)) + b"\n")
    command = [sys.executable, "-m", "benchmarks.load", str(file), "--port", str(instance.settings.serving_port)]
    command += ["--key-file", str(instance.key_file), "--rate", str(rate), "--connections", "64" if rate else "1"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)  # noqa: S603 - our own
    told: dict[str, Any] = json.loads(done.stdout)
    if told["statuses"] != {"200": count}:
        raise SystemExit(f"of {count} payments {told['statuses']} were answered; nothing is measured")
    return told


def _batches(instance: _Instance, count: int) -> dict[str, object]:
    """The batch endpoint, one request after the other; payments a second of the worker."""
    key = instance.key_file.read_text().strip()
    bodies = [b'{"payments":[' + b",".join(instance.bodies(BATCH)) + b"]}" for _ in range(count)]
    seconds = []
    with httpx.Client(base_url=instance.settings.service, headers={"Authorization": f"Bearer {key}"}) as client:
        for body in bodies:
            start = time.perf_counter()
            answer = client.post("/v1/decisions:batch", content=body, headers={"Content-Type": "application/json"})
            seconds.append(time.perf_counter() - start)
            if [each["status"] for each in answer.json()["results"]] != [200] * BATCH:
                raise SystemExit(f"a batch was answered {answer.text[:300]}; nothing is measured")
    rate = BATCH / statistics.median(seconds)
    return {
        "name": f"service: batches of {BATCH} payments, one after the other, one worker",
        "ours_us": 1e6 / rate,
        "reference_us": 1e6 / 5_000,
        "ratio": 5_000 / rate,
        "note": f"{rate:,.0f} payments/s (target 5,000)",
    }


def _over_floors(instance: _Instance, single: dict[str, Any]) -> dict[str, object]:
    body = instance.bodies(1)[0]
    floors: dict[str, Callable[[], float]] = {
        "transport": lambda: transport_us(body, instance.home.root),
        "store": lambda: store_us(instance.home.root),
        "ensemble": lambda: ensemble_us(instance.settings),
        "acknowledged produce": lambda: asyncio.run(acknowledged_us(instance.settings.kafka, instance.home.root)),
    }
    measured = {name: floor() for name, floor in floors.items()}
    ours, reference = single["ms"]["p50"] * 1e3, sum(measured.values())
    return {
        "name": "service: a decision over HTTP, p50, one at a time / sum of its floors",
        "ours_us": ours,
        "reference_us": reference,
        "ratio": ours / reference,
        "note": ", ".join(f"{name} {value:.0f} us" for name, value in measured.items())
        + f"; p99 of ours {single['ms']['p99']:.2f} ms",
    }


def _rated(rate: int, load: dict[str, Any]) -> dict[str, object]:
    ms = load["ms"]
    return {
        "name": f"service: {rate:,} decisions/s over HTTP, open loop, one worker, p50 / 1 ms",
        "ours_us": ms["p50"] * 1e3,
        "reference_us": 1e3,
        "ratio": ms["p50"],
        "ours_p99_us": ms["p99"] * 1e3,
        "note": f"p50 {ms['p50']:.2f}, p90 {ms['p90']:.2f}, p99 {ms['p99']:.2f}, p99.9 {ms['p999']:.2f} ms "
        f"(targets 1 and 5 ms at 1,000/s); {load['answered']:,} of {load['sent']:,} answered 200",
    }


def _row(name: str, value: float, target: float, unit: str) -> dict[str, object]:
    note = f"{value:.1f} {unit} (target {target:g})"
    return {"name": name, "ours_us": value, "reference_us": target, "ratio": value / target, "note": note}


def payment_body(draw: Random, number: int) -> bytes:
    """A payment as of now between two of the known accounts."""
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
    """Ports that nobody listens on now."""
    import socket

    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
