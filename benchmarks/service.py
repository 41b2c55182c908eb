"""The running service: one BentoML worker with LMDB, a real broker and a champion of the recipe's size.

Load comes from another process (``benchmarks.load``), open loop where a rate is given. What a decision over HTTP costs
is held against its floors, each measured alone in the same run: the bare transport, the store, the ensemble, a record
that Kafka acknowledged. The past of the accounts is sent beforehand, so that the features have something to read.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from benchmarks.floors import acknowledged_us, ensemble_us, store_us, transport_us
from benchmarks.instance import Instance, instance
from sentinela.configuration import REPOSITORY

PAST = 30_000
BATCH = 200
RATES = (200, 500, 1_000)
SECONDS = 15
SINGLE = 4_000


def service_rows() -> list[dict[str, object]]:
    """Every measurement of this file."""
    with tempfile.TemporaryDirectory() as name, instance(Path(name)) as measured:
        with measured.serving():
            batch = _batches(measured, PAST // BATCH)
        cold_seconds = []
        for _ in range(3):
            with measured.serving() as started:
                cold_seconds.append(started)
        with measured.serving():
            loads = [_load(measured, SINGLE // 4, 0), *(_load(measured, rate * SECONDS, rate) for rate in RATES)]
            single = _load(measured, SINGLE, 0)
            resident, mapped = measured.resident_bytes()
        return [
            _over_floors(measured, single),
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


def _load(instance: Instance, count: int, rate: float) -> dict[str, Any]:
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


def _batches(instance: Instance, count: int) -> dict[str, object]:
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


def _over_floors(instance: Instance, single: dict[str, Any]) -> dict[str, object]:
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
