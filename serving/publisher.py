"""Committed records on their way to Kafka: idempotent, acknowledged by all replicas, awaited."""

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from threading import Event, Thread

from confluent_kafka import KafkaError, KafkaException, Producer

from pix.store.interface import Message
from pix.tracecontext import HEADER

POLL_SECONDS = 0.1


class _Awaited:
    """Records that one caller waits for.

    Attributes:
        delivered: Ids of those that Kafka holds.
        settled: Done when the fate of all of them is known.
    """

    def __init__(self, count: int, settled: asyncio.Future[None]) -> None:
        self.delivered: set[str] = set()
        self.settled = settled
        self._left = count

    def settle(self, record_id: str, *, is_delivered: bool) -> None:
        """The fate of one of them."""
        if is_delivered:
            self.delivered.add(record_id)
        self._left -= 1
        if not self._left and not self.settled.done():
            self.settled.set_result(None)


class Publisher:
    """One producer, and a thread that collects delivery reports and tells the loop of many at once."""

    def __init__(self, kafka: dict[str, str], loop: asyncio.AbstractEventLoop) -> None:
        """Start producing.

        Args:
            kafka: librdkafka configuration of the cluster.
            loop: The loop on which ``publish`` is awaited.
        """
        self._kafka = kafka
        self._producer = self._connected()
        self._retired: deque[Producer] = deque()
        self._loop = loop
        self._under_way: dict[str, list[_Awaited]] = {}
        self._reports: deque[tuple[str, bool]] = deque()
        self._stopped = Event()
        self._thread = Thread(target=self._poll, name="delivery-reports", daemon=True)
        self._thread.start()

    def _connected(self) -> Producer:
        return Producer(
            {
                **self._kafka,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "delivery.timeout.ms": 30_000,
                "compression.type": "lz4",
            }
        )

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
        once = {message.record_id: message for message in messages}
        if not once:
            return []
        awaited = _Awaited(len(once), self._loop.create_future())
        for message in once.values():
            self._produce(message, awaited)
        await asyncio.wait((awaited.settled,), timeout=timeout_seconds)
        return [record_id for record_id in once if record_id in awaited.delivered]

    def _produce(self, message: Message, awaited: _Awaited) -> None:
        if others := self._under_way.get(message.record_id):
            others.append(awaited)
            return
        self._under_way[message.record_id] = [awaited]
        context = message.traceparent
        headers: dict[str, str | bytes | None] | None = {HEADER: context} if context else None
        told = partial(self._report, message.record_id)
        try:
            self._producer.produce(
                message.topic, key=message.key, value=message.value, headers=headers, on_delivery=told
            )
        except (BufferError, KafkaException) as error:
            if isinstance(error, KafkaException) and error.args[0].code() == KafkaError._FATAL:  # noqa: SLF001 - its name
                self._replace()
            self._settle(message.record_id, is_delivered=False)

    def _replace(self) -> None:
        """Begin anew: an idempotent producer that lost its sequence never produces again.

        What was under way stays in the outbox, and consumers take the first record of an id.
        """
        self._retired.append(self._producer)
        self._producer = self._connected()

    def _report(self, record_id: str, error: KafkaError | None, _: object) -> None:
        self._reports.append((record_id, error is None))

    def _read_reports(self) -> None:
        while self._reports:
            record_id, is_delivered = self._reports.popleft()
            self._settle(record_id, is_delivered=is_delivered)

    def _settle(self, record_id: str, *, is_delivered: bool) -> None:
        for awaited in self._under_way.pop(record_id, ()):
            awaited.settle(record_id, is_delivered=is_delivered)

    def _poll(self) -> None:
        while not self._stopped.is_set():
            self._producer.poll(POLL_SECONDS)
            while self._retired:
                old = self._retired.popleft()
                old.purge()
                old.flush(1)
            self._tell()
        # What a last flush brought.
        self._tell()

    def _tell(self) -> None:
        # Waking the loop costs more than a report does, and a poll brings all that are there.
        if self._reports:
            self._loop.call_soon_threadsafe(self._read_reports)

    def close(self) -> None:
        """Flush what is under way, then stop."""
        self._producer.flush(5)
        self._stopped.set()
        self._thread.join(2)
