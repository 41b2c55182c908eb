"""What was decided, folded and said of it, from the lake and from Kafka behind it; read by whoever rebuilds the store.

Bronze holds each topic from its beginning, by partition and offset; Kafka has what bronze has not taken yet.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pix import topics

if TYPE_CHECKING:
    from deltalake import DeltaTable

LOGS = (topics.DECISIONS, topics.FOLDS, topics.LABELS)
ROWS_AT_ONCE = 10_000
MESSAGES_AT_ONCE = 1_000
TIMEOUT_SECONDS = 5.0
READ_SECONDS = 60.0

Ends = dict[tuple[str, int], int]
"""(topic, partition) -> offset of the next message."""
Messages = list[tuple[str, bytes]]


class LogsAway(Exception):
    """Kafka or the lake does not answer; nothing can be rebuilt now."""


class LogLost(Exception):
    """Messages are in neither Kafka nor the lake."""


class Logs(Protocol):
    """The logs, as a builder reads them."""

    def rows(self) -> int:
        """How many messages the lake has."""

    def lake(self, containing: str = "") -> Iterator[Messages]:
        """What the lake has of messages with this text in them, roughly in the order it was written."""

    def lake_ends(self) -> Ends:
        """Where the lake's part ends."""

    def ends(self) -> Ends:
        """Where Kafka ends now."""

    def tail(self, start: Ends, ends: Ends) -> Iterator[Messages]:
        """What Kafka has between two places."""

    def newest(self, count: int) -> Messages:
        """The last messages of every partition."""


@dataclass(frozen=True, slots=True)
class LakeAndKafka:
    """The logs of an instance.

    Attributes:
        lake_root: Root of the Delta tables.
        kafka: librdkafka configuration, ``bootstrap.servers`` included.
    """

    lake_root: str
    kafka: Mapping[str, str]

    def _tables(self) -> "dict[str, DeltaTable]":
        from deltalake import DeltaTable

        # delta-rs calls S3 by its own name.
        root = self.lake_root.replace("s3a://", "s3://", 1)
        paths = {topic: f"{root}/{topics.bronze_table(topic)}" for topic in LOGS}
        return {topic: DeltaTable(path) for topic, path in paths.items() if DeltaTable.is_deltatable(path)}

    def rows(self) -> int:
        """How many messages the lake has."""
        return sum(table.count() for table in self._tables().values())

    def lake_ends(self) -> Ends:
        """Where the lake's part ends."""
        ends: Ends = {}
        for topic, table in self._tables().items():
            for part, offset in _columns(table, "partition", "offset"):
                ends[topic, part] = max(ends.get((topic, part), 0), offset + 1)
        return ends

    def lake(self, containing: str = "") -> Iterator[Messages]:
        """What the lake has, in slices of Kafka's time; within one, by partition and offset."""
        also = f" and value like '%{containing}%'" if containing else ""
        tables = self._tables()
        times = sorted(at for table in tables.values() for (at,) in _columns(table, "timestamp_ms"))
        cuts = [*dict.fromkeys(times[::ROWS_AT_ONCE]), times[-1] + 1] if times else []
        for low, high in zip(cuts, cuts[1:], strict=False):
            where = f"timestamp_ms >= {low} and timestamp_ms < {high} and value is not null{also}"
            found: Messages = []
            for topic, table in tables.items():
                rows = sorted(_columns(table, "partition", "offset", "value", where=where))
                found += [(topic, value.encode()) for _, _, value in rows]
            yield found

    def ends(self) -> Ends:
        """Where Kafka ends now.

        Raises:
            LogsAway: Kafka does not answer.
        """
        consumer = self._consumer()
        try:
            return {place: high for place, (_, high) in _bounds(consumer).items()}
        finally:
            consumer.close()

    def tail(self, start: Ends, ends: Ends) -> Iterator[Messages]:
        """What Kafka has from ``start`` (its beginning where that names no offset) up to ``ends``.

        Raises:
            LogsAway: Kafka does not answer.
            LogLost: It does not have the messages at ``start`` any more.
        """
        consumer = self._consumer()
        try:
            left = {}
            for (topic, part), (low, _) in _bounds(consumer).items():
                first, end = start.get((topic, part), 0), ends.get((topic, part), 0)
                if first < low and first < end:
                    raise LogLost(
                        f"{topic} partition {part} begins at offset {low}, the lake ends at {first}: what is between "
                        "them is gone; restore the lake's bronze tables from a backup"
                    )
                if first < end:
                    left[topic, part] = (first, end)
            yield from _consumed(consumer, left)
        finally:
            consumer.close()

    def newest(self, count: int) -> Messages:
        """The last messages of every partition.

        Raises:
            LogsAway: Kafka does not answer.
        """
        consumer = self._consumer()
        try:
            bounds = _bounds(consumer)
            left = {place: (max(low, high - count), high) for place, (low, high) in bounds.items() if low < high}
            return [message for chunk in _consumed(consumer, left) for message in chunk]
        finally:
            consumer.close()

    def _consumer(self) -> Any:
        from confluent_kafka import Consumer

        own = {"group.id": "sentinela-store", "enable.auto.commit": False, "enable.partition.eof": False}
        # By default 64 MB of each partition are read ahead, and a worker keeps what it once took.
        own |= {"queued.max.messages.kbytes": 4_096, "fetch.max.bytes": 4 * 2**20}
        return Consumer({**self.kafka, **own, "log_level": 0})


def _columns(table: "DeltaTable", *names: str, where: str | None = None) -> Iterator[tuple[Any, ...]]:
    import pyarrow as pa

    for batch in pa.RecordBatchReader.from_stream(table.scan(columns=list(names), predicate=where)):
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _bounds(consumer: Any) -> dict[tuple[str, int], tuple[int, int]]:
    """First and next offset of every partition; a topic that is not there has none."""
    from confluent_kafka import KafkaException, TopicPartition

    try:
        found = consumer.list_topics(timeout=TIMEOUT_SECONDS).topics
        places = [(topic, part) for topic in LOGS if topic in found for part in found[topic].partitions]
        return {
            place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=TIMEOUT_SECONDS) for place in places
        }
    except KafkaException as error:
        raise LogsAway(f"Kafka does not answer ({error.args[0].str()}); see `sentinela status`") from error


def _consumed(consumer: Any, left: dict[tuple[str, int], tuple[int, int]]) -> Iterator[Messages]:
    """Messages of these ranges, in the order they arrive."""
    from confluent_kafka import TopicPartition

    if not left:
        return
    consumer.assign([TopicPartition(topic, part, first) for (topic, part), (first, _) in left.items()])
    ends = {place: end for place, (_, end) in left.items()}
    give_up_at = time.monotonic() + READ_SECONDS
    while ends:
        messages = consumer.consume(MESSAGES_AT_ONCE, 0.05)
        if messages:
            give_up_at = time.monotonic() + READ_SECONDS
        elif time.monotonic() > give_up_at:
            raise LogsAway(f"Kafka gave no message of {sorted(ends)} for {READ_SECONDS:.0f} s; see `sentinela status`")
        found: Messages = []
        for message in messages:
            place = (message.topic(), message.partition())
            if message.error() is not None or place not in ends:
                continue
            if message.value() is not None and message.offset() < left[place][1]:
                found.append((place[0], message.value()))
            if message.offset() + 1 >= left[place][1]:
                ends.pop(place)
        if found:
            yield found
