"""What a decision over HTTP cannot be without, each part alone: bytes over HTTP, the store, the ensemble, Kafka."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.decisions import recorded_work
from learning.ensemble import load_ensemble
from pix import topics
from pix.features import FEATURE_NAMES
from pix.settings import Settings
from pix.store.interface import open_store
from sentinela.configuration import REPOSITORY
from serving.publisher import Publisher

TIMES = 2_000
ANSWER_BYTES = 700
BARE = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
async def answer(request):
    await request.body()
    return Response(b"x" * int(sys.argv[2]))
app = Starlette(routes=[Route("/v1/decisions", answer, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
"""


def transport_us(body: bytes, folder: Path) -> float:
    """p50 of the same bytes in and about as many out, over bare Starlette under uvicorn; microseconds."""
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    file, key = folder / "floor.jsonl", folder / "floor-key"
    file.write_bytes((body + b"\n") * TIMES)
    key.write_text("key")
    bare = subprocess.Popen([sys.executable, "-c", BARE, str(port), str(ANSWER_BYTES)])  # noqa: S603 - our own words
    try:
        _wait_for(port)
        command = [sys.executable, "-m", "benchmarks.load", str(file), "--port", str(port), "--key-file", str(key)]
        done = subprocess.run(  # noqa: S603 - our own words
            [*command, "--connections", "1"], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        return float(json.loads(done.stdout)["ms"]["p50"]) * 1e3
    finally:
        bare.terminate()
        bare.wait()


def _wait_for(port: int) -> None:
    import socket

    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit("the bare server did not start")


def store_us(folder: Path) -> float:
    """p50 of the reads, the commit and the trimming that a decision asks of LMDB; microseconds."""
    store = open_store(f"lmdb://{folder / 'floor'}", "bench")
    times = []
    for message, folds in recorded_work(folder / "work", TIMES):
        start = time.perf_counter()
        store.snapshot(message.record_id, [fold.key for fold in folds])
        store.commit(message, folds, 0)
        store.published([message.record_id])
        times.append(time.perf_counter() - start)
    store.close()
    return statistics.median(times) * 1e6


def ensemble_us(settings: Settings) -> float:
    """p50 of the champion's own score of a vector, from the files that the service keeps; microseconds."""
    (manifest,) = (settings.root / "serving" / "models").rglob("manifest.json")
    ensemble = load_ensemble(manifest.parent)
    rows = np.random.default_rng(2).normal(scale=1_000, size=(TIMES, len(FEATURE_NAMES)))
    times = []
    for row in rows:
        start = time.perf_counter()
        ensemble.probability(ensemble.raw_score(row))
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


async def acknowledged_us(kafka: dict[str, str], folder: Path) -> float:
    """p50 of a decision's record until the broker acknowledged it; microseconds."""
    publisher = Publisher(kafka, asyncio.get_running_loop())
    times = []
    for decided, _ in recorded_work(folder / "records", TIMES // 2):
        message = replace(decided, topic=topics.SHADOW)
        start = time.perf_counter()
        await publisher.publish([message], 5.0)
        times.append(time.perf_counter() - start)
    publisher.close()
    return statistics.median(times) * 1e6
