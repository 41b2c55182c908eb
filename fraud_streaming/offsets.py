"""What Kafka itself says of its topics: where they begin and end, where each hour begins, how far a group is.

Looks only: joins no group, commits nothing. Raises ``fraud_streaming.kafka.KafkaAway`` when no broker answers.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition, admin

from fraud_streaming.kafka import KafkaAway
from fraud_streaming.ranges import Part, Topics

ANSWER_SECONDS = 10.0
GROUP = "sentinela-flow"
COORDINATORS = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}


@dataclass(frozen=True, slots=True)
class Extent:
    """What a partition holds.

    Attributes:
        low: First offset that is still there.
        end: The next offset to be given.
        newest_ms: Greatest time of its messages, epoch milliseconds; −1 if it has none.
    """

    low: int
    end: int
    newest_ms: int


class Watermarks:
    """One look at a cluster; use as a context."""

    def __init__(self, kafka: Mapping[str, str]) -> None:
        """Address it; nothing is asked yet.

        Args:
            kafka: librdkafka's configuration of the cluster.
        """
        self._kafka = {**kafka, "log_level": "0"}

    def extents(self, topic: str) -> dict[int, Extent]:
        """Partition -> what it holds; empty where the topic is not there.

        Raises:
            KafkaAway: No broker answers.
        """
        with self._consumer(GROUP) as consumer:
            described = consumer.list_topics(timeout=ANSWER_SECONDS).topics
            if topic not in described:
                return {}
            partitions = sorted(described[topic].partitions)
            newest = self._newest_ms(topic, partitions)
            found = {
                part: consumer.get_watermark_offsets(TopicPartition(topic, part), timeout=ANSWER_SECONDS)
                for part in partitions
            }
            return {part: Extent(low, end, newest[part]) for part, (low, end) in found.items()}

    def _newest_ms(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        # The stubs do not export it.
        spec: Any = admin.OffsetSpec  # type: ignore[attr-defined]
        asked = {TopicPartition(topic, part): spec.max_timestamp() for part in partitions}
        # Kept until all have answered: a client that is gone answers nobody.
        client = admin.AdminClient({**self._kafka})
        answers = client.list_offsets(asked, request_timeout=ANSWER_SECONDS)
        return {place.partition: int(answer.result().timestamp) for place, answer in answers.items()}

    def firsts(self, topic: str, extents: Mapping[int, Extent], times_ms: Sequence[int]) -> dict[int, list[int]]:
        """Partition -> for each time the first offset of that time or later; the end where there is none.

        Raises:
            KafkaAway: No broker answers.
        """
        found: dict[int, list[int]] = {part: [] for part in extents}
        if not found:
            return found
        with self._consumer(GROUP) as consumer:
            for at_ms in times_ms:
                asked = [TopicPartition(topic, part, at_ms) for part in extents]
                for answer in consumer.offsets_for_times(asked, timeout=ANSWER_SECONDS):
                    end = extents[answer.partition].end
                    # What came since the end was asked for is of no interest.
                    found[answer.partition].append(end if answer.offset < 0 else min(answer.offset, end))
        return found

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Partition -> next offset that a group reads, where it has committed one.

        Raises:
            KafkaAway: No broker answers.
        """
        with self._consumer(group) as consumer:
            described = consumer.list_topics(timeout=ANSWER_SECONDS).topics
            if topic not in described:
                return {}
            places = [TopicPartition(topic, part) for part in described[topic].partitions]
            answers = _patiently(lambda: consumer.committed(places, timeout=ANSWER_SECONDS))
            return {answer.partition: answer.offset for answer in answers if answer.offset >= 0}

    def values(self, topic: str, since: Mapping[int, int]) -> Iterator[bytes | None]:
        """Messages from these offsets to the ends of now; partitions that are not named are read whole.

        Raises:
            KafkaAway: No broker answers.
            RangeGone: Kafka deleted messages that were still to come.
        """
        parts = []
        for number, extent in self.extents(topic).items():
            begin = min(max(extent.low, since.get(number, 0)), extent.end)
            parts.append(Part(topic, number, begin, extent.end, begin, extent.low))
        with Topics(self._kafka) as source:
            for message in source.messages(parts):
                yield message.value()

    @contextmanager
    def _consumer(self, group: str) -> Iterator[Consumer]:
        settings = {**self._kafka, "group.id": group, "enable.auto.commit": False}
        consumer = Consumer(settings)
        try:
            yield consumer
        except KafkaException as error:
            raise self._away(str(error)) from error
        finally:
            consumer.close()

    def _away(self, why: str) -> KafkaAway:
        return KafkaAway(f"Kafka at {self._kafka['bootstrap.servers']} does not answer ({why}); run `sentinela up`")


def _patiently(ask: Callable[[], list[TopicPartition]]) -> list[TopicPartition]:
    """Ask again while a coordinator of groups is only just being found."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in COORDINATORS or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
