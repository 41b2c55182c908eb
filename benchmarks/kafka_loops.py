"""The loops that produce and consume, against librdkafka's own performance tool: messages per processor second.

One broker, payments of 300 to 700 bytes. Both sides produce as many messages of the same mean size with the same
settings (idempotent, acknowledged by all), and both read the same messages. Processor seconds are the client's process
alone: what the broker spends is its own. How many messages arrived is compared, and how many bytes.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks import performance_tool
from benchmarks.instance import free_ports, payment_body, running
from fraud_streaming.kafka import Group
from fraud_streaming.scoring import TAKEN_AT_ONCE, WAIT_SECONDS
from pix import topics
from pix.settings import Settings
from pix.store.interface import Message
from sentinela.runtime import home as homes
from sentinela.runtime import services
from sentinela.runtime.home import Home
from sentinela.sender import send_to_kafka
from serving.publisher import Publisher

MESSAGES = int(os.environ.get("SENTINELA_BENCH_KAFKA_MESSAGES", "200000"))
ROUNDS = 3
PARTITIONS = 4
TEXT = "Obrigado pela compra, volte sempre. "
"""Free text of a payment, so that messages are of 300 to 700 bytes."""
AT_ONCE = 200
"""Payments of a batch request; so many records are published and awaited together."""
PATIENCE_SECONDS = 60.0
PRODUCER_TARGET, CONSUMER_TARGET = 0.5, 0.25
SENDERS = {"acks": "all", "enable.idempotence": "true", "linger.ms": "5"}
PUBLISHERS = {"acks": "all", "enable.idempotence": "true", "linger.ms": "0", "compression.codec": "lz4"}
Kafka = dict[str, str]


def kafka_rows() -> list[dict[str, object]]:
    """Every measurement of this file."""
    with tempfile.TemporaryDirectory() as name:
        try:
            tool = performance_tool.build(Path(name) / "tool")
        except performance_tool.NoTool as away:
            raise SystemExit(f"{away}; nothing is measured") from away
        ports = free_ports(2)
        settings = Settings(home=Path(name) / "home", kafka_port=ports[0], kafka_controller_port=ports[1])
        home = Home(settings.root)
        homes.prepare(home)
        with running(settings, home, services.BROKER):
            return _Loops(tool, dict(settings.kafka)).rows()


class _Loops:
    """Both sides on one broker."""

    def __init__(self, tool: Path, kafka: Kafka) -> None:
        self._tool, self._kafka = tool, kafka
        self._mean = round(statistics.mean(len(body) for body in bodies()))
        self._admin = AdminClient(kafka)

    def rows(self) -> list[dict[str, object]]:
        """A row a loop; both sides in turn, the first round not counted."""
        sent = [self._produced(_send, SENDERS, f"sent{n}") for n in range(ROUNDS + 1)][1:]
        published = [self._produced(_publish, PUBLISHERS, f"published{n}") for n in range(ROUNDS + 1)][1:]
        read = [self._consumed(n) for n in range(ROUNDS + 1)][1:]
        return [
            self._row("produce, `sentinela send`", sent, PRODUCER_TARGET),
            self._row(f"produce, the service's publisher, {AT_ONCE} awaited at once", published, PRODUCER_TARGET),
            self._row("consume, the jobs' group", read, CONSUMER_TARGET),
        ]

    def _produced(self, loop: "Callable[[Kafka, str], float]", options: Kafka, topic: str) -> tuple[float, float]:
        """CPU microseconds a message of ours and of the tool's."""
        # The sender knows the keys of payments, so it sends to their topic.
        mine, theirs = topics.TRANSACTIONS if loop is _send else f"{topic}-ours", f"{topic}-tool"
        self._create(*({mine, theirs} - {topics.TRANSACTIONS}))
        before = self._messages(mine) if mine == topics.TRANSACTIONS else 0
        ours = _apart(loop, self._kafka, mine)
        given = [part for name, value in options.items() for part in ("-X", f"{name}={value}")]
        size, count = ("-s", str(self._mean)), ("-c", str(MESSAGES))
        tool = performance_tool.run(self._tool, "-P", "-t", theirs, *self._broker, *size, *count, *given)
        arrived = self._messages(mine) - before, self._messages(theirs)
        if arrived != (MESSAGES, MESSAGES):
            raise SystemExit(f"{arrived} of {MESSAGES} messages arrived; nothing is measured")
        return ours / MESSAGES * 1e6, tool.cpu_seconds / MESSAGES * 1e6

    def _consumed(self, number: int) -> tuple[float, float]:
        topic = f"read{number}"
        self._create(topic)
        _apart(_publish, self._kafka, topic)
        size = sum(map(len, bodies()))
        ours, read = _apart(_consume, self._kafka, topic)
        group = ("-G", f"tool{number}", "-t", topic, "-c", str(MESSAGES), "-X", "auto.offset.reset=earliest")
        tool = performance_tool.run(self._tool, *group, *self._broker)
        if read != (MESSAGES, size) or (tool.messages, tool.bytes) != read:
            raise SystemExit(f"read {read}, the tool {tool}, sent {MESSAGES} of {size} bytes; nothing is measured")
        return ours / MESSAGES * 1e6, tool.cpu_seconds / MESSAGES * 1e6

    @property
    def _broker(self) -> tuple[str, str]:
        return "-b", self._kafka["bootstrap.servers"]

    def _create(self, *names: str) -> None:
        made = self._admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
        for future in made.values():
            future.result(PATIENCE_SECONDS)

    def _messages(self, topic: str) -> int:
        reader = Consumer({**self._kafka, "group.id": "ends"})
        ends = [reader.get_watermark_offsets(TopicPartition(topic, n), timeout=10) for n in range(PARTITIONS)]
        reader.close()
        return sum(high - low for low, high in ends)

    def _row(self, name: str, pairs: list[tuple[float, float]], target: float) -> dict[str, object]:
        mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        rates = [reference / ours for ours, reference in pairs]
        rate = statistics.median(rates)
        return {
            "name": f"Kafka: {name} / librdkafka's tool, CPU a message of {self._mean} B",
            "ours_us": mine,
            "reference_us": theirs,
            "ratio": 1 / rate,
            "rate": rate,
            "note": f"{1e6 / mine:,.0f} / {1e6 / theirs:,.0f} messages per CPU-second = {rate:.2f} (target {target}), "
            f"rounds {', '.join(f'{each:.2f}' for each in rates)}; {MESSAGES:,} messages a side, all of them arrived",
        }


def bodies() -> list[bytes]:
    """The same payments in every process."""
    draw = Random(8)  # noqa: S311 - a benchmark's payments
    return [_with_text(payment_body(draw, number), draw.randint(0, 300)) for number in range(MESSAGES)]


def _with_text(body: bytes, length: int) -> bytes:
    text = (TEXT * (length // len(TEXT) + 1))[:length].strip()
    return body[:-1] + f',"remittance_text":"{text}"}}'.encode() if text else body


def _apart(work: Callable[[Kafka, str], Any], kafka: Kafka, topic: str) -> Any:
    """In a process of its own, as the tool is."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, kafka, topic).result()


def _send(kafka: Kafka, topic: str) -> float:
    payments = bodies()
    start = time.process_time()
    send_to_kafka(payments, None, kafka, topic=topic)
    return time.process_time() - start


def _publish(kafka: Kafka, topic: str) -> float:
    messages = [Message(str(n), topic, str(n % 3_000), body, 0) for n, body in enumerate(bodies())]

    async def publish() -> float:
        publisher = Publisher(kafka, asyncio.get_running_loop())
        start = time.process_time()
        for first in range(0, MESSAGES, AT_ONCE):
            batch = messages[first : first + AT_ONCE]
            if len(await publisher.publish(batch, PATIENCE_SECONDS)) != len(batch):
                raise SystemExit("Kafka did not take the records; nothing is measured")
        spent = time.process_time() - start
        publisher.close()
        return spent

    return asyncio.run(publish())


def _consume(kafka: Kafka, topic: str) -> tuple[float, tuple[int, int]]:
    group = Group(kafka, group_id=f"ours-{topic}", topic=topic)
    group.join()
    start, count, size = time.process_time(), 0, 0
    reached: dict[int, int] = {}
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while count < MESSAGES and time.monotonic() < give_up_at:
        for taken in group.take(TAKEN_AT_ONCE, WAIT_SECONDS):
            count += 1
            size += len(taken.value or b"")
            reached[taken.origin.partition] = taken.origin.offset + 1
    group.commit(reached)
    spent = time.process_time() - start
    group.close()
    return spent, (count, size)
