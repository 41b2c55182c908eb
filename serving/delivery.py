"""Committed records on their way out of the store: published, or forced to disk and swept later.

Several workers may sweep at once: what they publish twice is identical, and taking it out twice is taking it out.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import pybreaker

from pix.store.errors import StoreError
from pix.store.interface import Message, Store
from serving.breakers import NotDelivered
from serving.metrics import DEFERRED, KAFKA_SECONDS, UNACKNOWLEDGED, Meters

KAFKAS_SHARE = 0.75
SWEEP_SECONDS = 2.0
SWEPT_AT_ONCE = 500
DRAIN_SECONDS = 8.0
FOR_EVER_MS = 2**62
TRIM_SECONDS = 0.02
"""So long what Kafka holds may stay in the outbox: one transaction takes out many."""


class Publisher(Protocol):
    """What delivery needs of a producer."""

    async def publish(self, messages: Sequence[Message], timeout_seconds: float) -> list[str]:
        """Produce and wait; ids of what Kafka holds now."""


class Delivery:
    """One process's way from the outbox to Kafka."""

    def __init__(self, store: Store, publisher: Publisher, breaker: pybreaker.CircuitBreaker, meters: Meters) -> None:
        """Begin.

        Args:
            store: Has the outbox.
            publisher: The producer.
            breaker: Opens when Kafka is silent, so that nobody waits for it.
            meters: Count what Kafka took, when, and what it did not.
        """
        self._store = store
        self._publisher = publisher
        self._breaker = breaker
        self._meters = meters
        self._is_trying = False
        self._next_sync: asyncio.Task[None] | None = None
        self._syncing = asyncio.Lock()
        self._held_by_kafka: set[str] = set()

    async def deliver(self, messages: Sequence[Message], seconds: float) -> bool:
        """Publish what was committed, or make sure that it survives until it is.

        Args:
            messages: Committed and not published, as far as is known.
            seconds: How long this may take; a part of it is kept for the disk.

        Returns:
            Whether Kafka holds all of it now.

        Raises:
            StoreError: Neither Kafka nor a disk holds it.
        """
        messages = self.missing(messages)
        if not messages:
            return True
        give_up_at = time.monotonic() + seconds
        sent = await self.publish(messages, seconds * KAFKAS_SHARE)
        if sent and not self._held_by_kafka:
            asyncio.get_running_loop().call_later(TRIM_SECONDS, self.trim)
        self._held_by_kafka.update(sent)
        waiting = {message.record_id for message in messages}.difference(sent)
        if not waiting:
            return True
        try:
            await asyncio.wait_for(self.force_to_disk(), max(give_up_at - time.monotonic(), 0.0))
        except TimeoutError as late:
            raise StoreError("neither Kafka nor the disk took the record in time; send the same again") from late
        self._meters.count(DEFERRED, by=len(waiting))
        return False

    def missing(self, messages: Sequence[Message]) -> list[Message]:
        """Those that Kafka is not known to hold; the others only wait to be taken out of the outbox."""
        return [message for message in messages if message.record_id not in self._held_by_kafka]

    def trim(self) -> None:
        """Take out of the outbox what Kafka holds."""
        held, self._held_by_kafka = self._held_by_kafka, set()
        # What stays there although it was published is published again by a sweep.
        with suppress(StoreError):
            self._store.published(list(held))

    async def publish(self, messages: Sequence[Message], seconds: float) -> list[str]:
        """Produce and wait, unless the broker is known to be away; ids of what Kafka holds now."""
        if self._breaker.current_state == pybreaker.STATE_CLOSED:
            return await self._published(messages, seconds)
        if self._is_trying:
            return []
        # One trial at a time: the others do not wait for a broker that may be still away.
        self._is_trying = True
        try:
            return await self._published(messages, seconds)
        finally:
            self._is_trying = False

    async def _published(self, messages: Sequence[Message], seconds: float) -> list[str]:
        sent: list[str] = []
        began = time.perf_counter()
        with suppress(pybreaker.CircuitBreakerError, NotDelivered), self._breaker.calling():
            sent = await self._publisher.publish(messages, seconds)
            lacking = {message.record_id for message in messages}.difference(sent)
            if lacking:
                self._meters.count(UNACKNOWLEDGED, by=len(lacking))
            else:
                self._meters.observe(KAFKA_SECONDS, time.perf_counter() - began)
            if messages and not sent:
                raise NotDelivered(f"Kafka acknowledged none of {len(messages)} records within {seconds:.1f} s")
        return sent

    async def force_to_disk(self) -> None:
        """Return when everything committed before this call would survive a power loss; shared by all who wait.

        Raises:
            StoreError: It is not certain.
        """
        if self._next_sync is None:
            self._next_sync = asyncio.create_task(self._sync())
        await asyncio.shield(self._next_sync)

    async def _sync(self) -> None:
        async with self._syncing:
            # Whoever comes from here on may have committed too late for this one.
            self._next_sync = None
            await asyncio.to_thread(self._store.force_to_disk)

    async def sweep(self, now_ms: int, older_than_ms: int, limit: int = SWEPT_AT_ONCE) -> int:
        """Publish what was committed a while ago, by whomever, and is still in the outbox.

        Args:
            now_ms: Epoch milliseconds.
            older_than_ms: How long ago it must have been committed, milliseconds.
            limit: At most so many messages.

        Returns:
            How many were published.
        """
        waiting = await asyncio.to_thread(self._store.unpublished, now_ms - older_than_ms, limit)
        sent = await self.publish(waiting, SWEEP_SECONDS) if waiting else []
        await asyncio.to_thread(self._store.published, sent)
        return len(sent)

    async def drain(self) -> bool:
        """Publish everything that waits in the outbox; whether it is empty then."""
        self.trim()
        give_up_at = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < give_up_at:
            if not await asyncio.to_thread(self._store.unpublished, FOR_EVER_MS, 1):
                return True
            if not await self.sweep(FOR_EVER_MS, 0):
                await asyncio.sleep(0.05)
        return False
