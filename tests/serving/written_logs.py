"""Lake and Kafka by hand: what was published, by topic and partition, and how much of it bronze has."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from zlib import crc32

from pix.store.interface import Message, Store
from serving.logs import Ends, Messages

PARTITIONS = 2


@dataclass
class WrittenLogs:
    """See ``serving.logs.Logs``; ``taken`` is where bronze ends."""

    topics: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)
    taken: Ends = field(default_factory=dict)

    def publish(self, messages: list[Message]) -> None:
        for message in messages:
            place = (message.topic, crc32(message.key.encode()) % PARTITIONS)
            self.topics.setdefault(place, []).append(message.value)

    def ingest(self) -> None:
        """Bronze takes all that is there now."""
        self.taken = self.ends()

    def rows(self) -> int:
        return sum(self.taken.values())

    def lake(self, containing: str = "") -> Iterator[Messages]:
        for messages in self._read({}, self.taken):
            yield [(topic, value) for topic, value in messages if containing.encode() in value]

    def lake_ends(self) -> Ends:
        return dict(self.taken)

    def ends(self) -> Ends:
        return {place: len(values) for place, values in self.topics.items()}

    def tail(self, start: Ends, ends: Ends) -> Iterator[Messages]:
        yield from self._read(start, ends)

    def newest(self, count: int) -> Messages:
        return [(topic, value) for (topic, _), values in self.topics.items() for value in values[-count:]]

    def _read(self, start: Ends, ends: Ends) -> Iterator[Messages]:
        for (topic, part), values in self.topics.items():
            place = (topic, part)
            for at in range(start.get(place, 0), ends.get(place, 0), 50):
                yield [(topic, value) for value in values[at : min(at + 50, ends[place])]]


def flushed(store: Store, logs: WrittenLogs) -> bool:
    """What the service's sweeper does."""
    while waiting := store.unpublished(2**62, 100):
        logs.publish(waiting)
        store.published([message.record_id for message in waiting])
    return True
