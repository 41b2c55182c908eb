"""W3C Trace Context through a real broker: as a header of what is published, and of what is taken."""

import asyncio
import json
from dataclasses import dataclass

from confluent_kafka import Producer

from fraud_streaming import labels
from fraud_streaming.deciding import request_body, split
from fraud_streaming.kafka import Group, Taken
from pix import topics as names
from pix.deadletter import Origin
from pix.store.interface import Message
from pix.tracecontext import HEADER
from serving.publisher import Publisher
from tests.streams.support import payment

SENDER = f"00-{'a1' * 16}-{'b2' * 8}-01"


@dataclass
class Sent:
    """One message and what its sender put into its headers."""

    value: bytes
    headers: list[tuple[str, bytes | None]]
    context: str


def test_what_is_published_carries_its_context_and_the_job_hands_it_on(topics: str) -> None:
    asyncio.run(_publish(topics))
    sent = [
        Sent(payment(1), [(HEADER, SENDER.encode())], SENDER),
        Sent(payment(2), [], ""),
        Sent(payment(3), [(HEADER, b"\xff\x00 nonsense")], ""),
        Sent(payment(4), [(HEADER, None)], ""),
        Sent(payment(5), [(HEADER, b"00-first"), ("other", b"x"), (HEADER, SENDER.encode())], SENDER),
    ]
    producer = Producer({"bootstrap.servers": topics})
    for each in sent:
        producer.produce(names.TRANSACTIONS, value=each.value, headers=each.headers)
    assert producer.flush(10) == 0
    taken = _taken(topics, names.TRANSACTIONS, len(sent) + 1)
    by_value = {each.value: each.traceparent for each in taken}
    assert by_value == {each.value: each.context for each in sent} | {b"published": SENDER}
    payments, _ = split([each for each in taken if each.value != b"published"])
    origins = json.loads(request_body(payments, range(len(payments))))["origins"]
    found = {one.taken.value: origin.get(HEADER, "") for one, origin in zip(payments, origins, strict=True)}
    assert found == {each.value: each.context for each in sent}


async def _publish(bootstrap: str) -> None:
    publisher = Publisher({"bootstrap.servers": bootstrap}, asyncio.get_running_loop())
    try:
        message = Message("id", names.TRANSACTIONS, "key", b"published", 0, SENDER)
        assert await publisher.publish([message], 10) == ["id"]
    finally:
        publisher.close()


def _taken(bootstrap: str, topic: str, count: int) -> list[Taken]:
    group = Group({"bootstrap.servers": bootstrap}, group_id="trace-headers", topic=topic)
    group.join()
    try:
        taken: list[Taken] = []
        for _ in range(40):
            taken += group.take(100, 0.5)
            if len(taken) >= count:
                break
        return taken
    finally:
        group.close()


def test_a_label_is_handed_on_with_its_context() -> None:
    contexts = enumerate([SENDER, ""])
    taken = [Taken(Origin("pix.labels", 0, number), 7, b'{"n":1}', context) for number, context in contexts]
    queue = [labels.Label(taken=each, payment=("default", "E"), known_from=0.0) for each in taken]
    assert json.loads(labels.request_body(queue, [0, 1])) == {
        "labels": [
            {"label": {"n": 1}, "received_at_ms": 7, "traceparent": SENDER},
            {"label": {"n": 1}, "received_at_ms": 7},
        ]
    }
