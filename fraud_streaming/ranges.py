"""Parts of topics, by offset or by time, and the messages in them; nothing is committed anywhere."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from fraud_streaming.kafka import KafkaAway, StreamError, TopicMissing, is_fatal
from pix.deadletter import Origin

ASK_SECONDS = 10.0
SILENCE_SECONDS = 30.0
TAKEN_AT_ONCE = 500
NO_TIMESTAMP = 0


class Edge(StrEnum):
    """An end of a topic."""

    EARLIEST = "earliest"
    LATEST = "latest"


Place = Edge | int | Mapping[int, int]
"""Where a part begins or ends: an end of the topic, epoch milliseconds, or offsets by partition."""


class RangeGone(StreamError):
    """Kafka deleted messages while they were being read."""


class NoSuchPart(StreamError):
    """A partition is not there, or a part ends before it begins."""


@dataclass(frozen=True, slots=True)
class Part:
    """Messages of one partition.

    Attributes:
        begin: First offset.
        end: Offset after the last one.
        asked: Offset that was asked for; smaller than ``begin`` where Kafka deleted messages.
        low: The partition's first offset that is still there.
    """

    topic: str
    partition: int
    begin: int
    end: int
    asked: int
    low: int

    @property
    def messages(self) -> int:
        """How many offsets there are."""
        return max(0, self.end - self.begin)


class Topics:
    """A broker's topics, to be read; a context manager."""

    def __init__(self, kafka: Mapping[str, str]) -> None:
        """Connect.

        Args:
            kafka: librdkafka configuration, ``bootstrap.servers`` included.
        """
        self._where = kafka.get("bootstrap.servers", "")
        self._consumer = Consumer(
            {
                **kafka,
                # The client demands a name; no group is joined and nothing committed under it.
                "group.id": "sentinela-reading",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def partitions(self) -> dict[str, list[int]]:
        """Topic -> its partitions; without Kafka's own topics.

        Raises:
            KafkaAway: No broker answers.
        """
        try:
            found = self._consumer.list_topics(timeout=ASK_SECONDS).topics
        except KafkaException as error:
            raise self._away(error) from error
        return {name: sorted(topic.partitions) for name, topic in sorted(found.items()) if not name.startswith("__")}

    def parts(self, topic: str, begin: Place = Edge.EARLIEST, end: Place = Edge.LATEST) -> list[Part]:
        """The parts of a topic between two places, the second one excluded. Later messages are not in them.

        A partition that is not named where others are is left out.

        Raises:
            KafkaAway: No broker answers.
            TopicMissing: The topic is not there.
            NoSuchPart: A partition is not there, or a part ends before it begins.
        """
        there = self.partitions().get(topic)
        if there is None:
            raise TopicMissing(f"no topic {topic} on {self._where}")
        wanted = set(there)
        for place in (begin, end):
            if isinstance(place, Mapping):
                wanted &= set(place)
                if unknown := sorted(set(place) - set(there)):
                    raise NoSuchPart(f"{topic} has no partition {unknown[0]}; it has {there[0]} to {there[-1]}")
        try:
            ends = {number: self._ends(topic, number) for number in sorted(wanted)}
            begins = self._offsets(topic, begin, ends)
            stops = self._offsets(topic, end, ends)
        except KafkaException as error:
            raise self._away(error) from error
        return [_part(topic, number, begins[number], stops[number], low, high) for number, (low, high) in ends.items()]

    def messages(self, parts: Sequence[Part]) -> Iterator[Message]:
        """The messages of parts of one topic, those of a partition in order.

        Raises:
            KafkaAway: The broker stopped answering.
            RangeGone: Kafka deleted messages that were still to come.
        """
        unread = {part.partition: part.end for part in parts if part.messages}
        self._consumer.assign(
            [TopicPartition(part.topic, part.partition, part.begin) for part in parts if part.messages]
        )
        heard_at = time.monotonic()
        while unread:
            for message in self._here():
                heard_at = time.monotonic()
                partition = int(message.partition() or 0)
                error = message.error()
                if error is not None:
                    if self._is_at_end(error):
                        unread.pop(partition, None)
                    continue
                offset = int(message.offset() or 0)
                if partition in unread and offset < unread[partition]:
                    yield message
                if offset >= unread.get(partition, 0) - 1:
                    unread.pop(partition, None)
            if time.monotonic() - heard_at > SILENCE_SECONDS:
                raise KafkaAway(f"the broker on {self._where} has sent nothing for {SILENCE_SECONDS:.0f} s")
        self._consumer.unassign()

    def times(self, part: Part) -> tuple[int | None, int | None]:
        """Kafka's timestamps of a part's first and last message, epoch milliseconds; None of an empty part."""
        if not part.messages:
            return None, None
        first = Part(part.topic, part.partition, part.begin, part.begin + 1, part.begin, part.low)
        last = Part(part.topic, part.partition, part.end - 1, part.end, part.end - 1, part.low)
        found = [[stamp(message) for message in self.messages([one])] for one in (first, last)]
        return next(iter(found[0]), None), next(iter(found[1]), None)

    def _here(self) -> list[Message]:
        """Messages that are here; waits a second for the first one."""
        first = self._consumer.poll(1.0)
        return [] if first is None else [first, *self._consumer.consume(TAKEN_AT_ONCE - 1, 0)]

    def _ends(self, topic: str, partition: int) -> tuple[int, int]:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ASK_SECONDS)
        return int(low), int(high)

    def _offsets(self, topic: str, place: Place, ends: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        if isinstance(place, Edge):
            return {number: low if place is Edge.EARLIEST else high for number, (low, high) in ends.items()}
        if isinstance(place, Mapping):
            return {number: place[number] for number in ends}
        asked = [TopicPartition(topic, number, place) for number in ends]
        found = self._consumer.offsets_for_times(asked, timeout=ASK_SECONDS) if asked else []
        # Kafka has no offset for a time after its newest message.
        return {one.partition: one.offset if one.offset >= 0 else ends[one.partition][1] for one in found}

    def _is_at_end(self, error: KafkaError) -> bool:
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its only name
            return True
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001
            raise RangeGone("Kafka deleted messages of this range while it was read; ask again for what is left")
        if is_fatal(error):
            raise KafkaAway(f"the broker on {self._where} cannot be read: {error.str()}")
        return False

    def _away(self, error: KafkaException) -> KafkaAway:
        return KafkaAway(f"no Kafka broker answers on {self._where} ({error.args[0].str()}); see `sentinela status`")


def _part(topic: str, partition: int, begin: int, end: int, low: int, high: int) -> Part:
    if begin > end:
        raise NoSuchPart(f"in partition {partition} of {topic} the range ends at {end}, before it begins at {begin}")
    return Part(topic, partition, min(max(begin, low), high), max(min(end, high), low), begin, low)


def place_of(message: Message) -> Origin:
    """Where a message stands."""
    return Origin(str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))


def stamp(message: Message) -> int | None:
    """Kafka's timestamp of a message, epoch milliseconds; None without one."""
    kind, at_ms = message.timestamp()
    return int(at_ms) if kind != NO_TIMESTAMP else None


def headers_of(message: Message) -> list[tuple[str, Any]]:
    """A message's headers, repeated ones included."""
    headers = message.headers() or []
    return list(headers.items() if isinstance(headers, dict) else headers)
