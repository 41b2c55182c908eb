"""Committed records on their way to Kafka: idempotent, acknowledged by all replicas, awaited."""

import asyncio
from collections.abc import Sequence
from threading import Event, Thread

from confluent_kafka import KafkaError, KafkaException, Producer

from pix.store.interface import Message
from pix.tracecontext import HEADER

POLL_SECONDS = 0.1


class Publisher:
    """One producer, a thread that collects delivery reports, and a future per record under way."""

    def __init__(self, kafka: dict[str, str], loop: asyncio.AbstractEventLoop) -> None:
        """Start producing.

        Args:
            kafka: librdkafka configuration of the cluster.
            loop: The loop on which ``publish`` is awaited.
        """
        self._producer = Producer(
            {
                **kafka,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "delivery.timeout.ms": 30_000,
                "compression.type": "lz4",
            }
        )
        self._loop = loop
        self._under_way: dict[str, asyncio.Future[bool]] = {}
        self._stopped = Event()
        self._thread = Thread(target=self._poll, name="delivery-reports", daemon=True)
        self._thread.start()

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Produce without waiting for acknowledgement; from any thread.

        Raises:
            BufferError: Too much is under way.
        """
        self._producer.produce(topic, key=key, value=value)

    async def publish(self, messages: Sequence[Message], timeout_seconds: float) -> list[str]:
        """Produce and wait for acknowledgement.

        Returns:
            Ids of the records that Kafka holds now; the others stay in the store's outbox.
        """
        waiting = {message.record_id: self._produced(message) for message in messages}
        if waiting:
            await asyncio.wait(waiting.values(), timeout=timeout_seconds)
        return [record_id for record_id, sent in waiting.items() if sent.done() and sent.result()]

    def _produced(self, message: Message) -> asyncio.Future[bool]:
        if message.record_id in self._under_way:
            return self._under_way[message.record_id]
        future: asyncio.Future[bool] = self._loop.create_future()

        def delivered(error: KafkaError | None, _: object) -> None:
            self._loop.call_soon_threadsafe(self._settle, message.record_id, error is None)

        self._under_way[message.record_id] = future
        try:
            context = message.traceparent
            headers: dict[str, str | bytes | None] | None = {HEADER: context} if context else None
            self._producer.produce(
                message.topic, key=message.key, value=message.value, headers=headers, on_delivery=delivered
            )
        except (BufferError, KafkaException):
            self._settle(message.record_id, is_delivered=False)
        return future

    def _settle(self, record_id: str, is_delivered: bool) -> None:
        future = self._under_way.pop(record_id, None)
        if future is not None and not future.done():
            future.set_result(is_delivered)

    def _poll(self) -> None:
        while not self._stopped.is_set():
            self._producer.poll(POLL_SECONDS)

    def close(self) -> None:
        """Flush what is under way, then stop."""
        self._producer.flush(5)
        self._stopped.set()
        self._thread.join(2)
