"""Labels on a real broker, through the real job and the real service, as processes that are killed."""

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from fraud_streaming.labels import GROUP
from pix import topics as names
from pix.clock import epoch_ms
from pix.engines.layout import STATE_LAYOUT
from pix.features import FEATURE_NAMES
from pix.labels import PaymentReference, apply_label, reference_key, unpack_reference
from pix.store.lmdb import LmdbStore
from pix.tokens import ensure_keys
from tests.conftest import free_ports
from tests.streams.replayed import Logs
from tests.streams.support import MALFORMED, PARTITIONS, committed, label, payment, read_all, wait_until

# Longer than any label of the traffic here is ahead of its payment.
WAIT_SECONDS = "2"
REPOSITORY = Path(__file__).resolve().parents[2]
COURSES = (
    ("contested",),
    ("accepted",),
    ("contested", "accepted"),
    ("contested", "rejected"),
    ("accepted", "reversed"),
    ("confirmed", "reversed", "accepted"),
    ("dismissed", "confirmed"),
)


class Parts:
    """A service and a label job over one broker and one home, each a process of its own."""

    def __init__(self, bootstrap: str, home: Path) -> None:
        self.bootstrap = bootstrap
        self.home = home
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self._started: list[subprocess.Popen[bytes]] = []
        self._http = httpx.Client(base_url=self.url, headers={"Authorization": "Bearer key"})
        self._producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
        self._looking = Consumer({"bootstrap.servers": bootstrap, "group.id": "looking"})
        ensure_keys(home / "secrets")
        (home / "secrets" / "api-key").write_text("key")

    def start(self, module: str, *words: str) -> "subprocess.Popen[bytes]":
        with (self.home / f"{module}{len(self._started)}.log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", module, *words], cwd=REPOSITORY, stdout=log, stderr=log)
        self._started.append(process)
        return process

    def service(self) -> "subprocess.Popen[bytes]":
        process = self.start("tests.streams.deciding", self.bootstrap, str(self.home), str(self.port))
        wait_until(self._answers, seconds=30)
        return process

    def label_job(self) -> "subprocess.Popen[bytes]":
        return self.start(
            "tests.streams.job", "labels", self.bootstrap, self.url, str(self.home / "secrets"), WAIT_SECONDS
        )

    def _answers(self) -> bool:
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def pay(self, *payments: bytes) -> None:
        """Post payments until each is decided; posting one again is safe."""
        body = {"payments": [json.loads(one) for one in payments]}
        while True:
            try:
                results = self._http.post("/v1/decisions:batch", json=body).json()["results"]
            except httpx.HTTPError:
                time.sleep(0.2)
                continue
            assert [result["status"] for result in results] == [200] * len(payments)
            return

    def tell(self, *labels: tuple[str, bytes | None]) -> None:
        """Produce labels, each with the payment's id as its key."""
        for key, value in labels:
            self._producer.produce(names.LABELS, key=key, value=value)
        assert self._producer.flush(30) == 0

    def judge(self, identity: str, kind: str) -> bytes:
        """Give an analyst's feedback; the label that it became."""
        answer = self._http.post(f"/v1/decisions/{identity}/feedback", json={"kind": kind})
        assert answer.status_code == 202, answer.text
        return answer.content

    def ends(self, topic: str) -> dict[int, int]:
        """End offset of each partition."""
        parts = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return {part.partition: self._looking.get_watermark_offsets(part, timeout=10)[1] for part in parts}

    def all_finished(self) -> bool:
        """Whether every label so far is finished."""
        ends = {partition: end for partition, end in self.ends(names.LABELS).items() if end}
        done = committed(self.bootstrap, GROUP, names.LABELS)
        return all(done[partition] == end for partition, end in ends.items())

    def all_published(self) -> bool:
        """Whether the service's outbox is empty."""
        return bool(self._http.get("/v1/store").json()["unpublished"] == 0)

    def logs(self) -> Logs:
        topics = (names.DECISIONS, names.FOLDS)
        return Logs(*([value for _, value in read_all(self.bootstrap, topic)] for topic in topics))

    def store(self) -> LmdbStore:
        """The service's store; open it only after the service has ended."""
        return LmdbStore(str(self.home / "store"), STATE_LAYOUT)

    def end(self) -> None:
        self._looking.close()
        self._http.close()
        for process in self._started:
            process.kill()
            process.wait()


@pytest.fixture
def parts(topics: str, tmp_path: Path) -> Iterator[Parts]:
    running = Parts(topics, tmp_path)
    yield running
    running.end()


@dataclass
class Traffic:
    """Payments and labels in the order in which they are sent.

    Attributes:
        steps: Each either a payment or a label with its key.
        expected: Payment's id -> ids of its labels, in order.
        orphans: Ids of payments that never come.
        broken: How many messages are no labels.
    """

    steps: list[bytes | tuple[str, bytes | None]] = field(default_factory=list)
    expected: dict[str, list[str]] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)
    broken: int = 0


def traffic(chance: random.Random, payments: int) -> Traffic:
    """Labels before and after their payments, some delivered twice, orphans and broken ones."""
    found, timed = Traffic(), list[tuple[float, Any]]()
    now_ms = epoch_ms()
    for number in range(payments):
        raw = payment(number, now_ms=now_ms, payer_account=f"12345678-0001-{number % 7 + 1}",
                      payee_account=f"87654321-0001-{number % 5 + 1}", device_id=f"device-{number % 3}")  # fmt: skip
        identity = json.loads(raw)["end_to_end_id"]
        is_orphan = number % 12 == 5
        paid_at = chance.random()
        # Most labels come after their payment, a few shortly before it.
        told_at = paid_at + (-0.05 if number % 6 == 0 else chance.uniform(0, 0.5))
        if is_orphan:
            found.orphans.append(identity)
        else:
            timed.append((paid_at, raw))
        course = [label(identity, kind=kind, now_ms=now_ms) for kind in chance.choice(COURSES)]
        if not is_orphan:
            found.expected[identity] = [json.loads(one)["label_id"] for one in course]
        repeated = [*course, course[-1]] if number % 4 == 0 and not is_orphan else course
        timed += [(told_at + 0.001 * place, (identity, one)) for place, one in enumerate(repeated)]
    for value, _ in MALFORMED[:3]:
        timed.append((chance.random(), ("broken", value)))
        found.broken += 1
    timed.sort(key=lambda step: step[0])
    found.steps = [step for _, step in timed]
    return found


def play(parts: Parts, sent: Traffic, seconds: float) -> None:
    """Send everything at an even pace."""
    pause = seconds * 10 / len(sent.steps)
    for start in range(0, len(sent.steps), 10):
        chunk = sent.steps[start : start + 10]
        if payments := [step for step in chunk if isinstance(step, bytes)]:
            parts.pay(*payments)
        parts.tell(*(step for step in chunk if isinstance(step, tuple)))
        time.sleep(pause)


def kill_while(parts: Parts, flowing: threading.Thread, chance: random.Random, *, starts: Callable[[], Any]) -> int:
    """Start a process, kill it -9 at a random moment, and again, while labels flow; returns how often."""
    kills = 0
    while flowing.is_alive():
        process = starts()
        before = parts.ends(names.FOLDS)
        deadline = time.monotonic() + 5
        while flowing.is_alive() and parts.ends(names.FOLDS) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(chance.uniform(0.0, 0.4))
        process.kill()
        process.wait()
        kills += 1
    return kills


def check(parts: Parts, sent: Traffic) -> None:
    """Every label folded once or put away, nothing lost, nothing twice."""
    logs = parts.logs()
    wanted = {label_id for label_ids in sent.expected.values() for label_id in label_ids}
    assert set(logs.folds) == wanted
    assert logs.gaps() == []
    assert logs.mismatches() == []
    store = parts.store()
    try:
        states = store.states()
    finally:
        store.close()
    for key in logs.events:
        assert (states[key].number, states[key].blob) == logs.state(key), key
    for identity, label_ids in sent.expected.items():
        stored = states[reference_key("default", identity)].blob
        assert stored is not None
        reference = PaymentReference(unpack_reference(stored).keys)
        folds = [logs.folds[label_id] for label_id in label_ids]
        assert [fold["time_ms"] for fold in folds] == sorted(fold["time_ms"] for fold in folds)
        for fold in folds:
            reference, _ = apply_label(reference, fold["fold_id"], fold["label_kind"], fold["time_ms"])
        assert unpack_reference(stored) == reference
    check_letters(parts, sent)


def check_letters(parts: Parts, sent: Traffic) -> None:
    """Orphans and broken messages lie in ``pix.dlq``, however often, each under one identity."""
    letters: dict[bytes, dict[str, Any]] = {}
    for key, value in read_all(parts.bootstrap, names.DLQ):
        letter = json.loads(value)
        # The seal's nonce is random; what silver tells letters apart by is not.
        del letter["payload"]
        assert letters.setdefault(key, letter) == letter
    reasons = Counter(letter["reason"] for letter in letters.values())
    assert reasons["payment_unknown"] == sum(isinstance(step, tuple) and step[0] in sent.orphans for step in sent.steps)
    assert sum(reasons.values()) - reasons["payment_unknown"] == sent.broken


def run_under_kills(parts: Parts, *, payments: int, seconds: float, kills: int) -> str:
    """Let labels flow while the job is killed at least so often; then everything must be finished and right."""
    sent = traffic(random.Random(11), payments)
    service = parts.service()
    flowing = threading.Thread(target=play, args=(parts, sent, seconds))
    flowing.start()
    killed = kill_while(parts, flowing, random.Random(12), starts=parts.label_job)
    flowing.join()
    job = parts.label_job()
    wait_until(parts.all_finished, seconds=60)
    job.terminate()
    assert job.wait(20) == 0
    wait_until(parts.all_published, seconds=10)
    service.kill()
    service.wait()
    assert killed >= kills
    check(parts, sent)
    return f"{len(sent.steps)} steps, job killed {killed} times, every label folded once"


@pytest.mark.timeout(120)
def test_every_label_is_folded_once_while_the_job_is_killed(parts: Parts) -> None:
    run_under_kills(parts, payments=36, seconds=1.5, kills=1)


@pytest.mark.faults
@pytest.mark.timeout(280)
def test_every_label_is_folded_once_while_the_job_is_killed_again_and_again(
    parts: Parts, record_property: Callable[[str, object], None]
) -> None:
    record_property("seed", "11, 12")
    record_property("runs", "240 payments in 30 s")
    record_property("figures", run_under_kills(parts, payments=240, seconds=30, kills=8))


@pytest.mark.timeout(120)
def test_a_posted_label_changes_the_next_vector_of_the_payee_within_five_seconds(parts: Parts) -> None:
    parts.service()
    parts.label_job()
    fraud, before, after, last = (payment(number, payee_account="87654321-0001-9") for number in range(4))
    parts.pay(fraud)
    parts.pay(before)
    identity = json.loads(fraud)["end_to_end_id"]
    posted = time.monotonic()
    parts.tell((identity, label(identity, now_ms=epoch_ms())))
    wait_until(lambda: sum(parts.ends(names.FOLDS).values()) == 1, seconds=5)
    parts.pay(after)
    seconds = time.monotonic() - posted
    parts.tell((identity, label(identity, kind="reversed", now_ms=epoch_ms())))
    wait_until(lambda: sum(parts.ends(names.FOLDS).values()) == 2, seconds=5)
    parts.pay(last)
    logs = parts.logs()
    frauds = [
        logs.decisions[json.loads(one)["end_to_end_id"]]["features"][FEATURE_NAMES.index("payee_frauds_7d")]
        for one in (fraud, before, after, last)
    ]
    assert frauds == [0.0, 0.0, 1.0, 0.0]
    assert seconds < 5
    assert logs.mismatches() == []
    # An analyst's verdict goes the same way, and counts once however often it is given.
    given, again = parts.judge(identity, "confirmed"), parts.judge(identity, "confirmed")
    assert given == again
    wait_until(lambda: sum(parts.ends(names.FOLDS).values()) == 3, seconds=5)
    wait_until(parts.all_finished, seconds=10)
    assert [value for _, value in read_all(parts.bootstrap, names.LABELS)].count(given) == 2
    folds = [json.loads(value) for _, value in read_all(parts.bootstrap, names.FOLDS)]
    verdict = json.loads(given)["label_id"]
    assert [(fold["change"], fold["label_kind"]) for fold in folds if fold["fold_id"] == verdict] == [(1, "confirmed")]
