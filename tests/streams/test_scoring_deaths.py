"""The scoring job over the real service and broker: it dies in every gap, and each message has one end."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from pix import topics as names
from pix.clock import epoch_ms
from pix.streams import SCORING_GROUP
from pix.tokens import load_keyring
from tests.streams.scoring_nursery import GAPS, Order
from tests.streams.support import MALFORMED, PARTITIONS, committed, payment, read_all, wait_until
from tests.streams.test_labels_real import Parts

Figures = Callable[[str, object], None]
REPOSITORY = Path(__file__).resolve().parents[2]
PAYMENTS_A_WAVE = 60
MOST_WAVES = 20


class Traffic:
    """Payments of a few payers, some of them twice, some ids with another body, and messages that are none.

    Attributes:
        good: Payer's account -> ids in the order in which they were sent first.
        letters: Keys of the dead letters that must be written.
    """

    def __init__(self, bootstrap: str, seed: int) -> None:
        self.draw = random.Random(seed)
        self.good: dict[str, list[str]] = {}
        self.bodies: dict[str, bytes] = {}
        self.letters: set[str] = set()
        self.sent = 0
        self._first = epoch_ms() % 10**8 * 100
        self._producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})

    def wave(self) -> None:
        """Send some more."""
        for _ in range(PAYMENTS_A_WAVE):
            payer = f"12345678-0001-{self.draw.randint(1, 9)}"
            chance = self.draw.random()
            if chance < 0.03:
                self._put_away(self.draw.choice(MALFORMED)[0], payer)
            elif chance < 0.06 and self.bodies:
                body = json.loads(self.bodies[self.draw.choice(list(self.bodies))])
                self._put_away(json.dumps(body | {"amount_cents": 99_999_999}).encode(), body["payer_account"])
            elif chance < 0.16 and self.bodies:
                body = self.bodies[self.draw.choice(list(self.bodies))]
                self._produce(body, json.loads(body)["payer_account"])
            else:
                self._pay(payer)
        assert self._producer.flush(30) == 0

    def _pay(self, payer: str) -> None:
        body = payment(self._first + self.sent, payer_account=payer)
        name = json.loads(body)["end_to_end_id"]
        self.bodies[name] = body
        self.good.setdefault(payer, []).append(name)
        self._produce(body, payer)

    def _put_away(self, value: bytes | None, key: str) -> None:
        self._produce(value, key, lambda _, m: self.letters.add(f"{m.topic()}/{m.partition()}/{m.offset()}"))

    def _produce(self, value: bytes | None, key: str, then: Callable[[Any, Any], object] | None = None) -> None:
        self.sent += 1
        self._producer.produce(names.TRANSACTIONS, value=value, key=key, on_delivery=then)


class Jobs:
    """The nursery of scoring jobs, at most one of them alive."""

    def __init__(self, parts: Parts) -> None:
        self.home, self.bootstrap, self.pid = parts.home, parts.bootstrap, 0
        words = [sys.executable, "-m", "tests.streams.scoring_nursery", parts.bootstrap, parts.url, str(parts.home)]
        with (parts.home / "nursery.log").open("wb") as log:
            self._nursery = subprocess.Popen(
                words, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def bear(self, order: Order) -> None:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps(asdict(order)) + "\n")
        self._nursery.stdin.flush()
        self.pid = int(self._nursery.stdout.readline())

    def is_alive(self) -> bool:
        return psutil.pid_exists(self.pid)

    def deaths(self) -> list[dict[str, Any]]:
        log = self.home / "deaths.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def end(self) -> None:
        if self.pid and self.is_alive():
            os.kill(self.pid, signal.SIGKILL)
        self._nursery.kill()
        self._nursery.wait()


@pytest.fixture
def parts(topics: str, tmp_path: Path) -> Iterator[Parts]:
    running = Parts(topics, tmp_path)
    running.service()
    yield running
    running.end()


@pytest.fixture
def jobs(parts: Parts) -> Iterator[Jobs]:
    nursery = Jobs(parts)
    yield nursery
    nursery.end()


def lives(parts: Parts, jobs: Jobs, seed: int, count: int) -> str:
    """One life after the other ends in a gap under load; then everything is finished and compared."""
    traffic, draw = Traffic(parts.bootstrap, seed), random.Random(seed)
    for life in range(count):
        gap = GAPS[life % len(GAPS)]
        jobs.bear(Order(gap, draw.randrange(3)))
        for _ in range(MOST_WAVES):
            traffic.wave()
            if died(jobs):
                break
    deaths = jobs.deaths()
    assert [death["gap"] for death in deaths] == [GAPS[life % len(GAPS)] for life in range(count)]
    assert all(death["under_way"] for death in deaths)
    traffic.wave()
    jobs.bear(Order())
    ends = parts.ends(names.TRANSACTIONS)
    wait_until(lambda: committed(parts.bootstrap, SCORING_GROUP, names.TRANSACTIONS) == ends, seconds=60)
    wait_until(parts.all_published, seconds=30)
    recoveries = recovered(parts.bootstrap, [death["at"] for death in deaths])
    return check(parts, traffic, deaths) + (
        f"; from a death to the next decision {median(recoveries):.1f} s, at most {max(recoveries):.1f} s"
    )


def died(jobs: Jobs) -> bool:
    """Whether the job dies within a second."""
    deadline = time.monotonic() + 1.0
    while jobs.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not jobs.is_alive()


def recovered(bootstrap: str, deaths: list[float]) -> list[float]:
    """From each death to the next decision on pix.decisions, seconds."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "recovered"})
    consumer.assign([TopicPartition(names.DECISIONS, number, 0) for number in range(PARTITIONS)])
    stamps: list[float] = []
    while (message := consumer.poll(2)) is not None:
        stamps.append(message.timestamp()[1] / 1000)
    consumer.close()
    return [min(stamp for stamp in stamps if stamp > at) - at for at in deaths]


def check(parts: Parts, traffic: Traffic, deaths: list[dict[str, Any]]) -> str:
    """Each payment decided once and in its payer's order, each other message put away with its origin, nothing else."""
    records: dict[str, set[bytes]] = {}
    order: dict[str, list[str]] = {}
    keyring = load_keyring(parts.home / "secrets")
    payer_of = {name: payer for payer, ids in traffic.good.items() for name in ids}
    for _, value in read_all(parts.bootstrap, names.DECISIONS):
        name = json.loads(value)["end_to_end_id"]
        if name not in records:
            order.setdefault(payer_of[name], []).append(name)
        records.setdefault(name, set()).add(value)
    assert records.keys() == payer_of.keys()
    assert all(len(values) == 1 for values in records.values())
    assert order == traffic.good
    letters = read_all(parts.bootstrap, names.DLQ)
    assert {key.decode() for key, _ in letters} == traffic.letters
    reasons = Counter(json.loads(value)["reason"] for value in dict(letters).values())
    assert all(keyring.open(json.loads(value)["payload"]) is not None for _, value in letters)
    by_gap = Counter(death["gap"] for death in deaths)
    return (
        f"{len(deaths)} deaths ({', '.join(f'{gap} {by_gap[gap]}' for gap in GAPS)}) with "
        f"{sum(death['under_way'] for death in deaths)} messages or partitions under way; {traffic.sent} messages, "
        f"{len(records)} decided, {len(traffic.letters)} put away ({dict(reasons)}); lost 0, decided twice 0, "
        f"out of order 0"
    )


@pytest.mark.timeout(150)
def test_a_job_that_dies_in_a_gap_loses_and_doubles_nothing(parts: Parts, jobs: Jobs, record_property: Figures) -> None:
    record_property("figures", lives(parts, jobs, seed=61, count=len(GAPS)))


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_hundred_deaths_of_the_scoring_job(parts: Parts, jobs: Jobs, record_property: Figures) -> None:
    record_property("seed", 62)
    record_property("runs", "102 deaths, a sixth in each gap")
    record_property("figures", lives(parts, jobs, seed=62, count=17 * len(GAPS)))
