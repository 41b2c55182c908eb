"""Hand-written stand-ins and short ways to Kafka for the streams' tests."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from fraud_streaming.kafka import Standing, Taken
from fraud_streaming.lifetime import Stop
from fraud_streaming.service import ServiceClient
from pix import topics
from pix.clock import epoch_ms
from pix.contracts import label_id
from pix.deadletter import DeadLetter, Origin
from pix.identifiers import make_end_to_end_id

PARTITIONS = 2
MALFORMED: tuple[tuple[bytes | None, str], ...] = (
    (b"not json", "not_json"),
    (b"\xff\x00\xfe", "not_json"),
    (None, "tombstone"),
    (b"x" * 20_000, "not_json"),
    (b'{"amount_cents": NaN}', "not_json"),
)


def instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def payment(number: int, *, now_ms: int | None = None, **changes: object) -> bytes:
    at_ms = epoch_ms() if now_ms is None else now_ms
    content: dict[str, object] = {
        "end_to_end_id": make_end_to_end_id("12345678", at_ms, f"a{number:010}"),
        "initiated_at": instant(at_ms),
        "amount_cents": 100 + number,
        "payer_account": f"12345678-0001-{number % 50 + 1}",
        "payee_account": f"87654321-0001-{number % 70 + 1}",
        "payer_tax_id": "52998224725",
    } | changes
    return json.dumps({name: value for name, value in content.items() if value is not None}).encode()


def label(
    end_to_end_id: str, *, kind: str = "accepted", now_ms: int = 1_795_000_000_000, tenant: str | None = None
) -> bytes:
    content = {
        "end_to_end_id": end_to_end_id,
        "kind": kind,
        "fraud_type": "SCAM",
        "effective_at": instant(now_ms),
        "known_at": instant(now_ms),
        "source": "med",
    }
    content |= {"tenant": tenant} if tenant else {}
    return json.dumps({**content, "label_id": label_id(content)}).encode()


def create_topics(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in topics.ALL]).values():
        done.result(30)
    wait_until(lambda: set(topics.ALL) <= set(admin.list_topics(timeout=5).topics), seconds=30)


def delete_topics(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.delete_topics(list(topics.ALL)).values():
        done.result(30)
    wait_until(lambda: not set(topics.ALL) & set(admin.list_topics(timeout=5).topics), seconds=30)


def produce_by_payer(bootstrap: str, payments: Iterable[bytes]) -> None:
    """As a sender does: the key, and so the partition, follows the payer's account."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for value in payments:
        producer.produce(topics.TRANSACTIONS, value=value, key=json.loads(value)["payer_account"])
    assert producer.flush(30) == 0


def produce(bootstrap: str, topic: str, values: Iterable[bytes | None], key: str | None = None) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for number, value in enumerate(values):
        producer.produce(topic, value=value, key=key, partition=number % PARTITIONS)
        if number % 1000 == 0:
            producer.poll(0)
    assert producer.flush(30) == 0


def read_all(bootstrap: str, topic: str, partitions: int = PARTITIONS) -> list[tuple[bytes, bytes]]:
    """Every message of a topic now, as (key, value)."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"test-{random.random()}"})
    parts = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)]
    expected = sum(consumer.get_watermark_offsets(part, timeout=10)[1] for part in parts)
    consumer.assign(parts)
    found: list[tuple[bytes, bytes]] = []
    deadline = time.monotonic() + 20
    while len(found) < expected and time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            found.append((message.key() or b"", message.value() or b""))
    consumer.close()
    return found


def committed(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    parts = consumer.committed([TopicPartition(topic, number) for number in range(PARTITIONS)], timeout=10)
    consumer.close()
    return {part.partition: part.offset for part in parts}


def wait_until(true: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


TRY_AGAIN: dict[str, object] = {"status": 503, "problem": {"title": "try again"}}


class FakeService:
    """Answers the batch endpoints like the decision service: idempotent, and as flaky as asked.

    Attributes:
        decided: How often each payment was answered 200, by id.
        bodies: The first body hash of each id; another one is a conflict.
        folded: Labels folded, by id.
        known: Payments that labels may name; None means all.
        orders: Payer's account -> its payments' ids in the order in which they were decided first.
    """

    def __init__(self, *, failures: float = 0.0, seed: int = 1) -> None:
        self.decided: Counter[str] = Counter()
        self.bodies: dict[str, str] = {}
        self.folded: Counter[str] = Counter()
        self.known: set[str] | None = None
        self.orders: dict[str, list[str]] = {}
        self.failures = failures
        self.requests = 0
        self.key = "key"
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with fake._lock:
                    status, content = fake.answer(self.path, self.headers["Authorization"], body)
                text = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, authorization: str, body: bytes) -> tuple[int, object]:
        self.requests += 1
        if authorization != f"Bearer {self.key}":
            return 401, {"title": "no"}
        if self._random.random() < self.failures:
            return self._random.choice([500, 503, 429]), {}
        content = json.loads(body)
        if path == "/v1/decisions:batch":
            return 200, {"results": self._decisions(content["payments"], content["origins"])}
        return 200, {"results": [self._fold(entry["label"]) for entry in content["labels"]]}

    def _decisions(self, payments: Sequence[dict[str, Any]], origins: Sequence[dict[str, Any]]) -> list[object]:
        assert len(payments) == len(origins)
        results: list[object] = []
        undecided: set[str] = set()
        for one, origin in zip(payments, origins, strict=True):
            result = TRY_AGAIN if one["payer_account"] in undecided else self._decide(one, origin)
            if result is TRY_AGAIN:
                undecided.add(one["payer_account"])
            results.append(result)
        return results

    def _decide(self, one: dict[str, Any], origin: dict[str, Any]) -> dict[str, object]:
        name = one["end_to_end_id"]
        if self._random.random() < self.failures / 4:
            return TRY_AGAIN
        if self.bodies.setdefault(name, origin["body_sha256"]) != origin["body_sha256"]:
            return {"status": 409, "problem": {"title": "conflict", "detail": "same id, other body"}}
        if not self.decided[name]:
            self.orders.setdefault(one["payer_account"], []).append(name)
        self.decided[name] += 1
        return {"status": 200}

    def _fold(self, content: dict[str, Any]) -> dict[str, object]:
        if self.known is not None and content["end_to_end_id"] not in self.known:
            return {"status": 404, "problem": {"title": "payment unknown"}}
        self.folded[content["label_id"]] += 1
        return {"status": 200, "fold": {}}


def at(offset: int, value: bytes | None = b"{}", partition: int = 0) -> Taken:
    return Taken(Origin("pix.labels", partition, offset), 1_795_000_000_000, value)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class MemoryGroup:
    """A consumer group that remembers what was committed."""

    problem: str | None = None

    def __init__(self, *batches: Sequence[Taken]) -> None:
        self.batches = list(batches)
        self.committed: dict[int, int] = {}
        self.paused: set[int] = set()
        self.next_call: Callable[[], object] | None = None

    def join(
        self,
        *,
        got: Callable[[list[int]], None],
        giving_up: Callable[[list[int]], None],
        lost: Callable[[list[int]], None],
    ) -> None:
        self.got, self.giving_up, self.lost = got, giving_up, lost
        got(sorted({taken.origin.partition for batch in self.batches for taken in batch}))

    def pause(self, partitions: Iterable[int]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Iterable[int]) -> None:
        self.paused -= set(partitions)

    def take(self, limit: int, timeout_seconds: float) -> list[Taken]:  # noqa: ARG002
        """A rebalance is told from within, as Kafka's client does."""
        call, self.next_call = self.next_call, None
        if call is not None:
            call()
        if not self.batches:
            time.sleep(0.01)
        return list(self.batches.pop(0)) if self.batches else []

    def commit(self, offsets: Mapping[int, int]) -> bool:
        self.committed |= offsets
        return True

    def standing(self) -> Standing:
        return Standing(dict(self.committed), 0, 0)


class MemoryLetters:
    """Dead letters kept in a list."""

    def __init__(self, *, confirms: bool = True) -> None:
        self.letters: list[DeadLetter] = []
        self.confirms = confirms

    def send(self, letters: Sequence[DeadLetter], stop: Stop) -> bool:  # noqa: ARG002
        self.letters += letters
        return self.confirms or not letters

    @property
    def reasons(self) -> list[str]:
        return [json.loads(letter.value)["reason"] for letter in self.letters]


def client(fake: FakeService) -> ServiceClient:
    return ServiceClient(fake.url, fake.key, randomness=random.Random(1))
