"""Load on a running home as its senders would make it: payments over Kafka and REST, and labels that overtake some.

Every payment is in a sender's log before it leaves. What is under way, what was acknowledged, and what came out on the
topics is known at any moment, so that a kill can be told to have met work in flight.
"""

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from pix import topics
from pix.clock import epoch_ms
from pix.settings import Settings
from sentinela.sender import open_log
from tests.streams.support import label, payment, wait_until

KAFKA_A_SECOND, REST_A_SECOND, LABEL_EVERY = 25.0, 8.0, 8
CLIENTS = 6
OVERTAKES_BY_SECONDS = 1.5
PAYERS = 997

Ends = dict[tuple[str, int], int]


Said = tuple[str, float | None, str, str]


def said(decision: dict[str, Any]) -> Said:
    """What no two answers about a payment may differ in."""
    action, probability, decided_at, trace = (
        decision[name] for name in ("action", "fraud_probability", "decided_at", "trace_id")
    )
    return action, probability, decided_at, trace


class Outcomes:
    """What stands on pix.decisions and pix.folds, read as it comes; of each record what it takes to compare it.

    Attributes:
        decided: Id -> digests of the records of its decision; more than one is a fault.
        folded: Id of a labelled payment -> digests of its records.
        amounts: Id -> centavos, as decided.
        said: Id -> what the decision says.
        reached: Past the newest message of pix.transactions that is decided, per partition.
    """

    def __init__(self, settings: Settings) -> None:
        self.decided: dict[str, set[bytes]] = defaultdict(set)
        self.folded: dict[str, set[bytes]] = defaultdict(set)
        self.amounts: dict[str, int] = {}
        self.said: dict[str, Said] = {}
        self.reached: Ends = {}
        self._ended = threading.Event()
        self._consumer = Consumer({**settings.kafka, "group.id": f"outcomes-{epoch_ms()}", "log_level": 0})
        parts = [
            TopicPartition(t, p) for t in (topics.DECISIONS, topics.FOLDS) for p in range(settings.kafka_partitions)
        ]
        for part in parts:
            part.offset = self._consumer.get_watermark_offsets(part, timeout=20)[1]
        self._consumer.assign(parts)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._ended.is_set():
            message = self._consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            record, digest = json.loads(message.value()), sha256(message.value()).digest()
            name, origin = record["end_to_end_id"], record.get("origin") or {}
            if message.topic() == topics.FOLDS:
                self.folded[name].add(digest)
                continue
            self.decided[name].add(digest)
            self.amounts[name], self.said[name] = record["payment"]["amount_cents"], said(record)
            if "offset" in origin:
                place = (origin["topic"], origin["partition"])
                self.reached[place] = max(self.reached.get(place, 0), origin["offset"] + 1)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._consumer.close()


class Load:
    """Senders in threads.

    Attributes:
        amounts: Id -> centavos of every payment that was sent.
        unacknowledged: Topics and ids of messages that Kafka has not confirmed.
        taken: Ids of payments that Kafka has confirmed.
        asked: Ids of REST requests that are under way.
        answers: Id -> what REST answered.
        labelled: Payments that have a label.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.logs = (folder / "kafka.jsonl", folder / "rest.jsonl")
        self.amounts: dict[str, int] = {}
        self.unacknowledged: set[tuple[str, str]] = set()
        self.taken: set[str] = set()
        self.asked: set[str] = set()
        self.answers: dict[str, Said] = {}
        self.labelled: dict[str, bytes] = {}
        self.outcomes = Outcomes(settings)
        self._ends: Ends = {}
        self._numbers, self._lock = iter(range(epoch_ms() % 10**8, 10**9)), threading.Lock()
        self._bursts: dict[str, deque[int]] = {"kafka": deque(), "rest": deque()}
        self._requests: deque[bytes] = deque()
        self._ended, self._paused = threading.Event(), threading.Event()
        key = (settings.secrets / "api-key").read_text().strip()
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        workers: list[Callable[[], None]] = [self._to_kafka, self._to_rest, *[self._client] * CLIENTS]
        self._threads = [threading.Thread(target=self._guarded, args=(work,)) for work in workers]
        self.errors: list[BaseException] = []
        for thread in self._threads:
            thread.start()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.errors.append(error)
            raise

    def burst(self, via: str, count: int) -> None:
        """So many more, at once."""
        self._bursts[via].append(count)

    def acknowledged(self) -> Ends:
        """Past the newest message that Kafka confirmed, per partition."""
        return dict(self._ends)

    def _one(self) -> tuple[str, bytes]:
        with self._lock:
            number = next(self._numbers)
        body = payment(number, payer_account=f"12345678-0001-{number * 7919 % PAYERS + 1}")
        content = json.loads(body)
        self.amounts[content["end_to_end_id"]] = content["amount_cents"]
        return content["end_to_end_id"], body

    def _due(self, via: str, rate: float) -> Iterator[int]:
        """How many to send now, again and again until the end."""
        next_at = time.monotonic()
        while not self._ended.is_set():
            if self._paused.is_set():
                time.sleep(0.01)
                next_at = time.monotonic()
                yield 0
                continue
            count = self._bursts[via].popleft() if self._bursts[via] else 0
            while time.monotonic() >= next_at:
                count, next_at = count + 1, next_at + 1 / rate
            yield count
            time.sleep(0.005)

    def _to_kafka(self) -> None:
        producer = Producer(
            {
                **self.settings.kafka,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 5,
                "delivery.timeout.ms": 300_000,
                "log_level": 0,
            }
        )
        early: deque[tuple[float, str, bytes]] = deque()
        sent = 0

        def confirmed(error: object, message: Message, name: str) -> None:
            if error is not None:
                self.errors.append(RuntimeError(f"{name} was not taken: {error}"))
                return
            place = (message.topic(), message.partition())
            self._ends[place] = max(self._ends.get(place, 0), message.offset() + 1)
            self.unacknowledged.discard((message.topic(), name))
            if message.topic() == topics.TRANSACTIONS:
                self.taken.add(name)

        def send(topic: str, name: str, body: bytes) -> None:
            key = name if topic == topics.LABELS else json.loads(body)["payer_account"]
            self.unacknowledged.add((topic, name))
            producer.produce(topic, key=key, value=body, on_delivery=lambda e, m: confirmed(e, m, name))

        with open_log(self.logs[0]) as log:
            for count in self._due("kafka", KAFKA_A_SECOND):
                for _ in range(count):
                    sent += 1
                    name, body = self._one()
                    if sent % LABEL_EVERY == 0:
                        self.labelled[name] = label(name, now_ms=epoch_ms())
                        send(topics.LABELS, name, self.labelled[name])
                        early.append((time.monotonic() + OVERTAKES_BY_SECONDS, name, body))
                    else:
                        log.write(body)
                        send(topics.TRANSACTIONS, name, body)
                while early and early[0][0] <= time.monotonic():
                    _, name, body = early.popleft()
                    log.write(body)
                    send(topics.TRANSACTIONS, name, body)
                producer.poll(0)
            for _, name, body in early:
                log.write(body)
                send(topics.TRANSACTIONS, name, body)
            assert producer.flush(120) == 0

    def _to_rest(self) -> None:
        with open_log(self.logs[1]) as log:
            for count in self._due("rest", REST_A_SECOND):
                for _ in range(count):
                    name, body = self._one()
                    log.write(body)
                    self.asked.add(name)
                    self._requests.append(body)

    def _client(self) -> None:
        with httpx.Client(base_url=self.settings.service, headers=self._headers, timeout=10, trust_env=False) as client:
            while not self._ended.is_set() or self._requests:
                try:
                    body = self._requests.popleft()
                except IndexError:
                    time.sleep(0.005)
                    continue
                name = json.loads(body)["end_to_end_id"]
                self.answers[name] = said(json.loads(self._answered(client, body)))
                self.asked.discard(name)

    def _answered(self, client: httpx.Client, body: bytes) -> bytes:
        """Asked again with the same body until it is decided."""
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                answer = client.post("/v1/decisions", content=body)
            except httpx.HTTPError:
                time.sleep(0.1)
                continue
            if answer.status_code == 200:
                return answer.content
            assert answer.status_code in (429, 503, 504), answer.text
            time.sleep(0.1)
        raise AssertionError("a payment was not answered within four minutes")

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Nothing is sent meanwhile, and everything that was is confirmed or answered."""
        self._paused.set()
        try:
            # A label's payment follows it; the pause keeps those that wait back in the sender's hands, unlogged.
            wait_until(lambda: not self.asked and not self.unacknowledged, seconds=240)
            yield
        finally:
            self._paused.clear()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self.outcomes.end()

    def finished(self) -> set[str]:
        """Payments that Kafka took or REST answered: each of them has to be decided."""
        return self.taken | set(self.answers)

    def faults(self) -> dict[str, int]:
        """What is wrong with what was decided and folded so far, lost ones apart."""
        found = self.outcomes
        several = (*found.decided.copy().values(), *found.folded.copy().values())
        amounts, decided = self.amounts.copy(), found.said.copy()
        other = [name for name, amount in found.amounts.copy().items() if amounts.get(name, amount) != amount]
        other += [name for name, told in self.answers.copy().items() if decided.get(name, told) != told]
        return {"duplicated": sum(len(records) > 1 for records in several), "mismatched": len(other)}


def ends(settings: Settings, names: tuple[str, ...]) -> Ends:
    """Where topics end now."""
    return _asked(
        settings, "ends", lambda consumer, part: int(consumer.get_watermark_offsets(part, timeout=5)[1]), names
    )


def committed(settings: Settings, group: str, topic: str) -> Ends:
    """What a group has finished."""

    def offset(consumer: Consumer, part: TopicPartition) -> int:
        return max(0, int(consumer.committed([part], timeout=5)[0].offset))

    return _asked(settings, group, offset, (topic,))


def _asked(
    settings: Settings, group: str, ask: Callable[[Consumer, TopicPartition], int], names: tuple[str, ...]
) -> Ends:
    consumer = Consumer({**settings.kafka, "group.id": group, "enable.auto.commit": False, "log_level": 0})
    try:
        parts = [TopicPartition(name, number) for name in names for number in range(settings.kafka_partitions)]
        return {(part.topic, part.partition): ask(consumer, part) for part in parts}
    finally:
        consumer.close()


def behind(reached: Ends, wanted: Ends) -> int:
    """Messages of ``wanted`` that ``reached`` has not, over the topics that both know."""
    return sum(max(0, end - reached[place]) for place, end in wanted.items() if place in reached)


def patiently(ask: Callable[[], Any]) -> Any:
    """The answer; None while Kafka is away."""
    try:
        return ask()
    except KafkaException:
        return None
