"""Bronze dies at every point of a batch, while messages arrive; its successor loses and doubles nothing."""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Message, Producer
from deltalake import DeltaTable

from fraud_streaming.bronze_tables import table_path
from pix import topics as names
from pix.tokens import body_sha256, ensure_keys, load_keyring
from tests.streams.bronze_job import LAST_WORDS, POINTS, Order
from tests.streams.support import MALFORMED, PARTITIONS, label, payment, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
BUSY = (names.TRANSACTIONS, names.DECISIONS, names.LABELS, names.FOLDS)
A_SECOND = 100
Figures = Callable[[str, object], None]
Sent = dict[tuple[str, int, int], bytes | None]


class Sender:
    """Sends to several topics at a rate, and keeps what Kafka says it took, and where."""

    def __init__(self, bootstrap: str) -> None:
        self.sent: Sent = {}
        self._producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        number = 0
        while not self._ended.wait(1 / A_SECOND):
            topic = BUSY[number % len(BUSY)]
            value = self._value(topic, number)
            self._producer.produce(
                topic, value=value, partition=number // len(BUSY) % PARTITIONS, on_delivery=self._took
            )
            self._producer.poll(0)
            number += 1

    def _value(self, topic: str, number: int) -> bytes | None:
        if topic == names.TRANSACTIONS:
            return MALFORMED[number // 40 % len(MALFORMED)][0] if number % 40 == 0 else payment(number)
        if topic == names.LABELS:
            return label("E12345678202611211230abcdefghijk", now_ms=1_795_000_000_000 + number)
        return f'{{"number":{number},"text":"{"x" * (number % 3_000)}"}}'.encode()

    def _took(self, error: object, message: Message) -> None:
        assert error is None
        self.sent[message.topic(), message.partition(), message.offset()] = message.value()  # type: ignore[index]

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        assert self._producer.flush(30) == 0


@dataclass(frozen=True)
class Found:
    """Tables against what was sent."""

    rows: int
    lost: int
    doubled: int
    other: int


class Lives:
    """One bronze job after the other over one broker and one home."""

    def __init__(self, bootstrap: str, home: Path) -> None:
        self.bootstrap, self.home = bootstrap, home
        self.recovery_seconds: list[float] = []
        self._job: subprocess.Popen[bytes] | None = None
        self._count = 0
        ensure_keys(home / "secrets")

    def start(self, order: Order) -> "subprocess.Popen[bytes]":
        words = [self.bootstrap, str(self.home), json.dumps(asdict(order))]
        self._count += 1
        with (self.home / f"job{self._count}.log").open("wb") as log:
            self._job = subprocess.Popen(
                [sys.executable, "-m", "tests.streams.bronze_job", *words],
                cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return self._job

    def log(self) -> str:
        return (self.home / f"job{self._count}.log").read_text(errors="replace")

    def die(self, order: Order) -> bool:
        """A life to its end; whether that was at the point that was asked for."""
        deaths, job = len(self.said("deaths.jsonl")), self.start(order)
        code = job.wait(90)
        new = self.said("deaths.jsonl")[deaths:]
        assert new, f"the job ended with {code} and not at its point: {self.log()[-3000:]}"
        if order.victim == "jvm":
            assert code not in (0, -signal.SIGKILL)
            # What ended it, and not something that went wrong while the process cleaned up.
            assert "QueryFailed: Spark's process is gone" in (self.home / LAST_WORDS).read_text()
        else:
            assert code == -signal.SIGKILL
        return self._was_there(new[0])

    def _was_there(self, death: dict[str, Any]) -> bool:
        """What the point claims, by the tables and the checkpoint alone."""
        checkpoint = self.home / "streams" / "bronze"
        assert (checkpoint / "offsets" / str(death["batch"])).exists()
        assert not (checkpoint / "commits" / str(death["batch"])).exists()
        if death["point"] == "written":
            folder = Path(table_path(str(self.home / "lake"), death["topic"]))
            in_log = any(death["orphan"] in path.read_text() for path in (folder / "_delta_log").glob("*.json"))
            return (folder / death["orphan"]).exists() and not in_log
        have, present = set(death["have"]), set(death["present"])
        return {
            "called": not have,
            "made": not have and len(present) > 1,
            "between": bool(have) and have < present,
            "done": have == present and len(present) > 1,
        }[str(death["point"])]

    def said(self, name: str) -> list[dict[str, Any]]:
        path = self.home / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def recoveries(self) -> list[float]:
        """Seconds from each death to its successor's first rows, where it lived so long."""
        rows, deaths = self.said("rows.jsonl"), self.said("deaths.jsonl")
        firsts: dict[int, float] = {}
        for row in rows:
            firsts.setdefault(row["pid"], row["at"])
        nexts = zip(deaths, [*deaths[1:], {"pid": rows[-1]["pid"]}], strict=True)
        return [firsts[after["pid"]] - death["at"] for death, after in nexts if after["pid"] in firsts]

    def finish(self, sent: Sent) -> Found:
        """The last one catches up and is asked to end."""
        job = self.start(Order())
        wait_until(lambda: job.poll() is not None or {place for place, _ in self.rows()} >= sent.keys(), seconds=90)
        time.sleep(2)
        job.send_signal(signal.SIGTERM)
        assert job.wait(30) == 0, self.log()[-3000:]
        rows, keyring = self.rows(), load_keyring(self.home / "secrets")
        times = Counter(place for place, _ in rows)

        def is_other(place: tuple[str, int, int], row: dict[str, Any]) -> bool:
            raw = sent[place]
            if place[0] in (names.DECISIONS, names.FOLDS):
                return bool(row["value"].encode() != raw)
            if row["body_token"] != keyring.body_token(body_sha256(raw or b"")):
                return True
            if place[0] == names.LABELS:
                return bool(row["value"].encode() != raw)
            fine = raw is not None and raw.startswith(b'{"end_to_end_id"')
            is_same = fine and json.loads(row["value"])["end_to_end_id"] == json.loads(raw or b"")["end_to_end_id"]
            return not is_same if fine else row["value"] is not None or not row["reason"]

        return Found(
            rows=len(rows),
            lost=len(sent.keys() - times.keys()),
            doubled=sum(count - 1 for count in times.values()),
            other=sum(place not in sent or is_other(place, row) for place, row in rows),
        )

    def rows(self) -> list[tuple[tuple[str, int, int], dict[str, Any]]]:
        found = []
        for topic in names.ALL:
            table = DeltaTable(table_path(str(self.home / "lake"), topic))
            columns = ["partition", "offset", "value", "body_token", "reason"]
            rows = pa.table(table.scan(columns=columns).read_all()).to_pylist()
            found += [((topic, row["partition"], row["offset"]), row) for row in rows]
        return found

    def end(self) -> None:
        if self._job is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._job.pid, signal.SIGKILL)
            self._job.wait()


@pytest.fixture
def lives(topics: str, tmp_path: Path) -> Iterator[Lives]:
    made = Lives(topics, tmp_path)
    yield made
    made.end()


@pytest.fixture
def sender(topics: str) -> Iterator[Sender]:
    made = Sender(topics)
    yield made
    made.end()


def run(lives: Lives, sender: Sender, orders: list[Order]) -> str:
    """Every order until it was met; then all rows against all messages."""
    missed = 0
    for order in orders:
        while not lives.die(order):
            missed += 1
            assert missed <= len(orders), "the point is missed again and again"
    sender.end()
    found = lives.finish(sender.sent)
    assert (found.lost, found.doubled, found.other) == (0, 0, 0)
    assert found.rows == len(sender.sent)
    for quiet in set(names.ALL) - set(BUSY):
        assert DeltaTable(table_path(str(lives.home / "lake"), quiet)).version() == 0
    took = lives.recoveries()
    kinds = Counter(f"{order.point} ({order.victim})" for order in orders)
    return (
        f"{', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}; {missed} missed and repeated; "
        f"{found.rows} rows, lost 0, duplicated 0, different 0; from kill to a successor's first rows "
        f"median {statistics.median(took):.1f} s, longest {max(took):.1f} s of {len(took)}"
    )


@pytest.mark.timeout(180)
def test_a_job_that_dies_in_a_batch_loses_and_doubles_nothing(
    lives: Lives, sender: Sender, record_property: Figures
) -> None:
    orders = [Order("written", 1, "group"), Order("done", 0, "jvm")]
    record_property("figures", run(lives, sender, orders))


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_the_same_without_its_protections_doubles_rows(lives: Lives, sender: Sender) -> None:
    lives.die(Order("done", 1, forgets=True))
    lives.die(Order("done", 0, forgets=True))
    sender.end()
    assert lives.finish(sender.sent).doubled > 0


@pytest.mark.faults
@pytest.mark.timeout(1500)
def test_deaths_at_every_point(lives: Lives, sender: Sender, record_property: Figures) -> None:
    draw = random.Random(41)
    victims = ("group", "python", "group", "jvm", "group")
    orders = [
        # The commit itself runs in Python: without its JVM it would come after all.
        Order(point, draw.choice((0, 1, 1, 2)), "group" if point == "written" and victim == "jvm" else victim)
        for victim in victims
        for point in POINTS
    ]
    draw.shuffle(orders)
    record_property("seed", 41)
    record_property("runs", f"{len(orders)} deaths, {len(victims)} at each point, {A_SECOND} messages/s")
    record_property("figures", run(lives, sender, orders))
