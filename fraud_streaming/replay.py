"""Replay: messages of a topic once more, into it or into another one, as they were.

Key, value, headers and Kafka's timestamp stay; a header more says where each came from. A partition's messages stay
together and in order: what stood in partition p goes to partition p modulo the target's number of them. A topic
that stamps arrivals itself (LogAppendTime) gives them new timestamps.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

# The stubs do not export all of these.
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from fraud_streaming.kafka import DELIVERY_TIMEOUT_MS, KafkaAway
from fraud_streaming.ranges import ASK_SECONDS, Part, Topics, headers_of, place_of, stamp
from pix.deadletter import Origin, origin_of

REPLAYED_FROM = "sentinela-replayed-from"
"""Header of a replayed message: topic/partition/offset of the one that it repeats."""
MOST_FAILURES = 10
# The broker says what is too large for it; with its new header a message may be larger than it was.
MOST_MESSAGE_BYTES = 64 * 2**20


Leave = Callable[[Message], str]


@dataclass(slots=True)
class Copied:
    """What a replay did, by partition of the source.

    Attributes:
        read: Messages that were there.
        left: Of them, those that were asked to be left out; by reason, not by partition.
        written: Messages whose writing the broker confirmed.
        failures: What it did not confirm, and why; after ``MOST_FAILURES`` nothing more is read.
    """

    read: Counter[int] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    written: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything that was read is written or was to be left out."""
        return not self.failures and self.read.total() == self.left.total() + self.written.total()


def careful_producer(kafka: Mapping[str, str]) -> Producer:
    """A producer whose messages are on all replicas, each once and in order, when it says so."""
    return Producer(
        {
            **kafka,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": "lz4",
            "message.max.bytes": MOST_MESSAGE_BYTES,
            "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
        }
    )


def copy(
    source: Topics, kafka: Mapping[str, str], parts: Sequence[Part], into: str, *, leave: Leave = lambda _: ""
) -> Copied:
    """Write the messages of parts of one topic into a topic.

    Args:
        source: Reads them.
        kafka: librdkafka configuration.
        parts: Which ones.
        into: The target; it has to be there.
        leave: Says of a message why it is not written; empty for one that is.

    Raises:
        StreamError: They cannot be read.
    """
    partitions = len(source.partitions()[into])
    producer = careful_producer(kafka)
    copied = Copied()
    try:
        for message in source.messages(parts):
            origin = place_of(message)
            copied.read[origin.partition] += 1
            why = leave(message)
            if why:
                copied.left[why] += 1
                continue
            _write(producer, message, origin, into, partitions, copied)
            if len(copied.failures) >= MOST_FAILURES:
                break
    finally:
        producer.flush(DELIVERY_TIMEOUT_MS / 1000 + 1)
    return copied


def _write(producer: Producer, message: Message, origin: Origin, into: str, partitions: int, copied: Copied) -> None:
    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is None:
            copied.written[origin.partition] += 1
        else:
            copied.failures.append(f"{origin}: {error.str()}")

    content: dict[str, Any] = {
        "key": message.key(),
        "value": message.value(),
        "partition": origin.partition % partitions,
        "headers": [*headers_of(message), (REPLAYED_FROM, str(origin).encode())],
        "on_delivery": delivered,
    }
    at_ms = stamp(message)
    if at_ms is not None:
        content["timestamp"] = at_ms
    try:
        produce(partial(producer.produce, into, **content), producer)
    except KafkaException as error:
        copied.failures.append(f"{origin}: {error.args[0].str()}")


def produce(call: "partial[None]", producer: Producer) -> None:
    """Hand a message to a producer, waiting while it has no room."""
    while True:
        try:
            call()
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def settings_of(kafka: Mapping[str, str], topic: str, *names: str) -> dict[str, str]:
    """Settings of a topic.

    Raises:
        KafkaAway: No broker answers.
    """
    resource = ConfigResource(ResourceType.TOPIC, topic)
    # Whoever lets go of the client before the answer is there gets none.
    admin = AdminClient(dict(kafka))
    try:
        (found,) = admin.describe_configs([resource], request_timeout=ASK_SECONDS).values()
        settings = found.result(ASK_SECONDS)
    except KafkaException as error:
        raise KafkaAway(f"the broker does not tell the settings of {topic}: {error.args[0].str()}") from error
    return {name: str(settings[name].value) for name in names}


def create_like(kafka: Mapping[str, str], topics: Topics, source: str, target: str) -> None:
    """Make a topic with as many partitions as another one, which keeps messages as long.

    Raises:
        KafkaAway: The broker did not make it.
    """
    admin = AdminClient(dict(kafka))
    kept = settings_of(kafka, source, "retention.ms")
    new = NewTopic(target, len(topics.partitions()[source]), config=kept)
    try:
        admin.create_topics([new])[target].result(ASK_SECONDS)
    except KafkaException as error:
        raise KafkaAway(f"the topic {target} could not be made: {error.args[0].str()}") from error
    deadline = time.monotonic() + ASK_SECONDS
    while target not in topics.partitions() and time.monotonic() < deadline:
        time.sleep(0.1)


def repeats(message: Message) -> list[Origin]:
    """Where a message stands, and where those stand that it repeats, as its headers say."""
    found = [place_of(message)]
    for name, value in headers_of(message):
        if name == REPLAYED_FROM and isinstance(value, bytes):
            # Senders may write this header, too.
            with suppress(ValueError):
                found.append(origin_of(value.decode("ascii", "replace")))
    return found
