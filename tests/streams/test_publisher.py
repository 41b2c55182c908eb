"""A producer that can never produce again is replaced; what it did not deliver stays in the outbox."""

import asyncio
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from pix import topics as names
from pix.store.interface import Message
from serving.publisher import Publisher
from tests.streams.support import read_all


class Dead:
    """Stands for a producer after a fatal error, which no broker can be made to cause at will."""

    def produce(self, *_: Any, **__: Any) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL))

    def poll(self, _: float) -> int:
        return 0

    def purge(self) -> None:
        pass

    def flush(self, _: float) -> int:
        return 0


class DiesOnce(Publisher):
    connected = 0

    def _connected(self) -> Producer:
        self.connected += 1
        return Dead() if self.connected == 1 else super()._connected()  # type: ignore[return-value]


async def _published(bootstrap: str) -> tuple[list[list[str]], int]:
    publisher = DiesOnce({"bootstrap.servers": bootstrap}, asyncio.get_running_loop())
    try:
        messages = [Message(f"id{n}", names.DECISIONS, "key", b"record %d" % n, 0, "") for n in range(2)]
        return [await publisher.publish([message], 10) for message in messages], publisher.connected
    finally:
        publisher.close()


def test_a_dead_producer_is_replaced(topics: str) -> None:
    delivered, connected = asyncio.run(_published(topics))
    assert delivered == [[], ["id1"]]
    assert connected == 2
    assert [value for _, value in read_all(topics, names.DECISIONS)] == [b"record 1"]
