"""Kafka to decision to Kafka: broker, scoring job, service with one worker, and the sender, all on this machine.

The payments of a backlog lie in ``pix.transactions`` before the job starts; then the time from the first to the last
decision is taken, by the stamps on ``pix.decisions``. For the latency a sender goes on at a rate, and a reader of
``pix.decisions`` notes when it can read each decision. Every payment sent must have its decision, once.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from random import Random
from statistics import median

import numpy as np
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.instance import Instance, instance, payment_body
from pix import topics
from sentinela.configuration import REPOSITORY
from sentinela.runtime import processes, services

WARM, BACKLOG, RATE, SECONDS, ROUNDS = 10_000, 40_000, 200, 30, 5
PATIENCE_SECONDS = 180.0


def scoring_rows() -> list[dict[str, object]]:
    """Every measurement of this file."""
    with tempfile.TemporaryDirectory() as name, instance(Path(name)) as measured, measured.serving():
        _backlog(measured, WARM)
        rate, shares = _backlog(measured, BACKLOG)
        at_rate = _latency(measured)
        # In turn, because the machine gives twice as much at one moment as at another.
        clean, poisoned = zip(
            *((_backlog(measured, WARM)[0], _backlog(measured, WARM, poison_each=1_000)[0]) for _ in range(ROUNDS)),
            strict=True,
        )
    spent = ", ".join(f"{part} {share:.0f}" for part, share in shares.items())
    middle, high = np.percentile(at_rate, [50, 99])
    return [
        {
            "name": f"scoring: Kafka to decision to Kafka, a backlog of {BACKLOG:,}, one worker / 3,000 payments/s",
            "ours_us": 1e6 / rate,
            "reference_us": 1e6 / 3_000,
            "ratio": 3_000 / rate,
            "note": f"{rate:,.0f} payments/s (target 3,000); CPU us a payment: {spent}",
        },
        {
            "name": f"scoring: event produced to decision readable at {RATE} payments/s, p50 / 10 ms",
            "ours_us": middle * 1e6,
            "reference_us": 1e4,
            "ratio": middle / 0.01,
            "ours_p99_us": high * 1e6,
            "note": f"p50 {1e3 * middle:.1f}, p99 {1e3 * high:.1f} ms (targets 10 and 50); "
            f"all {len(at_rate):,} payments decided once",
        },
        {
            "name": "scoring: a backlog of clean payments / one with a message in 1,000 that is none, payments/s",
            "ours_us": 1e6 / median(poisoned),
            "reference_us": 1e6 / median(clean),
            "ratio": median(clean) / median(poisoned),
            "note": f"{median(poisoned):,.0f} / {median(clean):,.0f} payments/s, medians of {ROUNDS} rounds in turn "
            f"(target 1.05); rounds {', '.join(f'{c / p:.2f}' for c, p in zip(clean, poisoned, strict=True))}",
        },
    ]


@contextmanager
def _job(measured: Instance) -> Iterator[int]:
    """A scoring job; its process id."""
    settings = measured.settings
    given = {"SENTINELA_HOME": settings.root, "SENTINELA_KAFKA_PORT": settings.kafka_port}
    given |= {"SENTINELA_SERVING_PORT": settings.serving_port}
    environment = {**os.environ, **{name: str(value) for name, value in given.items()}}
    job = subprocess.Popen([sys.executable, "-m", "benchmarks.scoring_job"], cwd=REPOSITORY, env=environment)  # noqa: S603
    try:
        yield job.pid
    finally:
        job.terminate()
        job.wait(30)


def _backlog(measured: Instance, count: int, poison_each: int = 0) -> tuple[float, dict[str, float]]:
    """Payments decided a second of so many that wait already; and what each part spends on one, CPU microseconds."""
    reader = _Reader(measured)
    bodies = measured.bodies(count)
    sent = _sent(measured, bodies, poison_each)
    with _job(measured) as job:
        found = reader.until(1)
        before = _cpu_seconds(measured, job)
        found |= reader.until(count - len(found))
        after = _cpu_seconds(measured, job)
    _require_each_once(sent, reader.ids)
    stamps = [stamp for stamp, _ in found.values()]
    shares = {part: 1e6 * (after[part] - before[part]) / count for part in after}
    return count / (max(stamps) - min(stamps)), shares


def _latency(measured: Instance) -> "np.typing.NDArray[np.float64]":
    """From produced to readable, seconds, at ``RATE`` a second; the first second, in which all begins, left out."""
    reader, count = _Reader(measured), RATE * SECONDS
    with _job(measured):
        _sent(measured, measured.bodies(1))
        reader.until(1)
        # A process of its own: it must not wait for this one, which reads.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            sender = pool.submit(_paced, dict(measured.settings.kafka), count)
            found = reader.until(count)
            produced = sender.result()
    _require_each_once(produced.keys(), reader.ids[1:])
    return np.array([found[name][1] - at for name, at in list(produced.items())[RATE:]])


def _paced(kafka: dict[str, str], count: int) -> dict[str, float]:
    """Produce new payments at ``RATE`` a second; id -> when, epoch seconds."""
    producer, draw = Producer({**kafka, "enable.idempotence": True, "linger.ms": 0}), Random(6)  # noqa: S311
    begun, produced = time.perf_counter(), dict[str, float]()
    for number in range(count):
        while (left := begun + number / RATE - time.perf_counter()) > 0:
            producer.poll(min(left, 0.001))
        # Made when it is due: its time is what the doors look at.
        body = payment_body(draw, 10**9 + number)
        content = json.loads(body)
        produced[content["end_to_end_id"]] = time.time()
        producer.produce(topics.TRANSACTIONS, value=body, key=content["payer_account"])
    producer.flush(10)
    return produced


def _sent(measured: Instance, bodies: Sequence[bytes], poison_each: int = 0) -> list[str]:
    """Produce by payer, after each so many one message that is none; the ids."""
    producer = Producer({**measured.settings.kafka, "enable.idempotence": True, "linger.ms": 20})
    ids = []
    for number, body in enumerate(bodies, 1):
        if poison_each and number % poison_each == 0:
            producer.produce(topics.TRANSACTIONS, value=b"not json", key=str(number))
        content = json.loads(body)
        ids.append(content["end_to_end_id"])
        while True:
            try:
                producer.produce(topics.TRANSACTIONS, value=body, key=content["payer_account"])
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(60):
        raise SystemExit("the broker did not take the payments; nothing is measured")
    return ids


class _Reader:
    """Reads decisions from now on.

    Attributes:
        ids: Of every decision read, in order.
    """

    def __init__(self, measured: Instance) -> None:
        self.ids: list[str] = []
        self._consumer = Consumer({**measured.settings.kafka, "group.id": "benchmark", "fetch.wait.max.ms": 5})
        partitions = self._consumer.list_topics(topics.DECISIONS).topics[topics.DECISIONS].partitions
        places = [TopicPartition(topics.DECISIONS, number) for number in partitions]
        ends = [self._consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
        self._consumer.assign(
            [TopicPartition(topics.DECISIONS, place.partition, end) for place, end in zip(places, ends, strict=True)]
        )

    def until(self, count: int) -> dict[str, tuple[float, float]]:
        """So many more; id -> (its stamp, when it was read), both in epoch seconds."""
        found: dict[str, tuple[float, float]] = {}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(found) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"only {len(found)} of {count} decisions came; nothing is measured")
            first = self._consumer.poll(0.1)
            read_at = time.time()
            for message in [] if first is None else [first, *self._consumer.consume(1_000, 0)]:
                name = json.loads(message.value() or b"{}")["end_to_end_id"]
                self.ids.append(name)
                found[name] = (message.timestamp()[1] / 1e3, read_at)
        return found


def _require_each_once(sent: Iterable[str], decided: Iterable[str]) -> None:
    if sorted(sent) != sorted(decided):
        raise SystemExit("not every payment has its decision, once; nothing is measured")


def _cpu_seconds(measured: Instance, job: int) -> dict[str, float]:
    parts = {
        "service": [process.pid for process in processes.of_service(measured.home, services.SERVING)],
        "broker": [process.pid for process in processes.of_service(measured.home, services.BROKER)],
        "job": [job],
    }
    return {name: sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids) for name, pids in parts.items()}
