"""From the outbox to Kafka: who waits, who does not, and that sweeping together loses nothing."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from pix.store.errors import StoreError
from pix.store.interface import Message
from pix.store.memory import MemoryStore
from serving.breakers import SILENCES, Breakers
from serving.delivery import TRIM_SECONDS, Delivery
from serving.metrics import Meters


class HandKafka:
    """Takes what it is given after a moment, unless it is away; counts who waited for it."""

    def __init__(self) -> None:
        self.is_away = False
        self.asked = 0
        self.taken: list[bytes] = []

    async def publish(self, messages: Sequence[Message], timeout_seconds: float) -> list[str]:
        self.asked += 1
        await asyncio.sleep(timeout_seconds if self.is_away else 0.001)
        if self.is_away:
            return []
        self.taken += [message.value for message in messages]
        return [message.record_id for message in messages]


class SlowDisk(MemoryStore):
    """Forcing it takes a while; remembers what had been committed when each one began."""

    def __init__(self) -> None:
        super().__init__()
        self.forced: list[set[str]] = []
        self.is_broken = False

    def force_to_disk(self) -> None:
        if self.is_broken:
            raise StoreError("the disk is gone")
        self.forced.append({message.record_id for message in self.unpublished(2**62, 1_000)})
        time.sleep(0.02)


def message(number: int) -> Message:
    return Message(f"id-{number}", "pix.decisions", "key", b"%d" % number, number)


def parts() -> tuple[SlowDisk, HandKafka, Delivery, Breakers]:
    store, kafka, breakers = SlowDisk(), HandKafka(), Breakers()
    breakers.broker.reset_timeout = 0.05
    return store, kafka, Delivery(store, kafka, breakers.broker, Meters.unread()), breakers


def test_while_kafka_is_away_few_wait_and_all_are_on_disk_first() -> None:
    store, kafka, delivery, breakers = parts()
    kafka.is_away = True
    breakers.broker.reset_timeout = 60

    async def commit(number: int) -> None:
        await asyncio.sleep(number / 2_000)
        store.commit(message(number), [], 0)
        assert await delivery.deliver([message(number)], 0.2) is False
        assert any(f"id-{number}" in forced for forced in store.forced)

    async def all_of_them() -> None:
        for number in range(SILENCES):
            await commit(number)
        await asyncio.gather(*(commit(number) for number in range(10, 110)))

    asyncio.run(all_of_them())
    assert kafka.asked == SILENCES
    assert breakers.described()["broker"] == "open"
    assert len(store.forced) < 10


def test_one_trial_at_a_time_closes_the_breaker_again() -> None:
    store, kafka, delivery, breakers = parts()

    async def run() -> None:
        kafka.is_away = True
        for number in range(SILENCES):
            await delivery.publish([message(number)], 0.01)
        await asyncio.sleep(0.06)
        asked = kafka.asked
        await asyncio.gather(*(delivery.publish([message(number)], 0.01) for number in range(20)))
        assert kafka.asked == asked + 1
        kafka.is_away = False
        await asyncio.sleep(0.06)
        assert await delivery.publish([message(1)], 0.01) == ["id-1"]
        assert breakers.described()["broker"] == "closed"

    asyncio.run(run())
    assert store.forced == []


def test_neither_kafka_nor_disk_is_no_delivery() -> None:
    store, kafka, delivery, _ = parts()
    kafka.is_away = store.is_broken = True
    store.commit(message(1), [], 0)
    with pytest.raises(StoreError, match="disk"):
        asyncio.run(delivery.deliver([message(1)], 0.1))


def test_a_disk_that_takes_too_long_is_no_delivery_either() -> None:
    store, kafka, delivery, _ = parts()
    kafka.is_away = True
    store.commit(message(1), [], 0)
    with pytest.raises(StoreError, match="in time"):
        asyncio.run(delivery.deliver([message(1)], 0.01))


def test_sweepers_at_once_lose_nothing() -> None:
    store, kafka, _, _ = parts()
    for number in range(200):
        store.commit(message(number), [], 0)
    sweepers = [Delivery(store, kafka, Breakers().broker, Meters.unread()) for _ in range(3)]

    async def run() -> None:
        while store.unpublished(2**62, 1):
            await asyncio.gather(*(each.sweep(2**62, 0, limit=30) for each in sweepers))

    asyncio.run(run())
    assert set(kafka.taken) == {b"%d" % number for number in range(200)}


def test_what_kafka_holds_is_taken_out_together_and_published_once() -> None:
    store, kafka, delivery, _ = parts()
    taken_out: list[list[str]] = []
    plain = store.published

    def counted(record_ids: Sequence[str]) -> None:
        taken_out.append(sorted(record_ids))
        plain(record_ids)

    store.published = counted  # type: ignore[method-assign]

    async def deliver() -> None:
        for number in range(3):
            store.commit(message(number), [], 0)
        for number in (0, 1, 2, 1):
            assert await delivery.deliver([message(number)], 0.2)
        assert len(store.unpublished(2**62, 9)) == 3
        await asyncio.sleep(3 * TRIM_SECONDS)
        assert store.unpublished(2**62, 9) == []
        # A drain does not publish again what is only still to be taken out.
        store.commit(message(3), [], 0)
        assert await delivery.deliver([message(3)], 0.2)
        assert await delivery.drain()

    asyncio.run(deliver())
    assert taken_out == [["id-0", "id-1", "id-2"], ["id-3"]]
    assert kafka.taken == [b"0", b"1", b"2", b"3"]
