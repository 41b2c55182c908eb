"""A sender as a bank's system would be one: writes down what it sends, then sends it.

The log is the sender's own proof. Each line is on disk before its payment leaves, so that `verify` can
hold Sentinela to it whatever died in between.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO

import httpx
import stamina

from pix.contracts import InvalidMessage, parse_json_object, readable_id
from pix.tokens import body_sha256
from sentinela.errors import BadUse, NotRunning

REST_ATTEMPTS = 8
REST_TIMEOUT_SECONDS = 10.0
FINAL_REFUSALS = frozenset({400, 401, 403, 404, 409, 413, 415, 422})


@dataclass
class Sent:
    """What a sending came to.

    Attributes:
        payments: How many were sent.
        refused: How many REST refused for good.
        unanswered: How many REST did not answer before the attempts ran out.
        latencies_ms: REST only, from each request's start to its answer.
    """

    payments: int = 0
    refused: int = 0
    unanswered: int = 0
    latencies_ms: list[float] = field(default_factory=list)


class SentLog:
    """The sender's log, one line per attempt, synced before each send."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, body: bytes, **outcome: object) -> None:
        """Append a line and wait until it is on disk."""
        identity, amount = _readable(body)
        line = {
            "end_to_end_id": identity,
            "amount_cents": amount,
            "body_sha256": body_sha256(body),
            "sent_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **outcome,
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _readable(body: bytes) -> tuple[str | None, int | None]:
    try:
        content = parse_json_object(body)
    except InvalidMessage:
        return None, None
    amount = content.get("amount_cents")
    return readable_id(content), amount if isinstance(amount, int) and not isinstance(amount, bool) else None


@contextmanager
def open_log(path: Path) -> Iterator[SentLog]:
    """Open a log for appending; several senders must not share one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        yield SentLog(file)


def read_bodies(path: Path) -> list[bytes]:
    """The lines of a file, as they are; empty ones are skipped.

    Raises:
        BadUse: The file cannot be read.
    """
    try:
        return [line for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise BadUse(
            f"cannot read {path}: {error.strerror}; `sentinela simulate --out DIR` writes such a file"
        ) from None


def paced(bodies: Iterable[bytes], rate: float | None) -> Iterator[bytes]:
    """Hand out bodies at a steady rate, counted from the start; all at once without one.

    Args:
        bodies: What to send.
        rate: Payments per second, None for as fast as possible.
    """
    start = time.monotonic()
    for number, body in enumerate(bodies):
        if rate:
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
        yield body


def send_to_kafka(bodies: Iterable[bytes], log: SentLog | None, kafka: dict[str, str], *, topic: str) -> Sent:
    """Produce with acknowledgement by all replicas; a payment's key is its payer's account.

    Raises:
        NotRunning: The broker did not take everything.
    """
    from confluent_kafka import KafkaError, Producer

    from fraud_streaming.redrive import key_of

    producer = Producer({**kafka, "acks": "all", "enable.idempotence": True, "linger.ms": 5})
    failed: list[str] = []

    def delivered(error: KafkaError | None, _: object) -> None:
        if error is not None:
            failed.append(str(error))

    sent = Sent()
    for body in bodies:
        if log:
            log.write(body)
        while True:
            try:
                producer.produce(topic, key=key_of(topic, body), value=body, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
        sent.payments += 1
    waiting = producer.flush(60)
    if failed or waiting:
        raise NotRunning(f"{waiting + len(failed)} messages were not acknowledged by Kafka ({failed[:1]}); is it up?")
    return sent


def send_to_rest(bodies: Iterable[bytes], log: SentLog | None, service: str, api_key: str) -> Sent:
    """Post one by one; what may be answered later is tried again with the same body, which is safe."""
    sent = Sent()
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    with httpx.Client(base_url=service, headers=headers, timeout=REST_TIMEOUT_SECONDS) as client:
        for body in bodies:
            if log:
                log.write(body)
            start = time.monotonic()
            status = _post(partial(client.post, "/v1/decisions", content=body))
            sent.payments += 1
            if status is None:
                sent.unanswered += 1
                if log:
                    log.write(body, unanswered=True)
            elif status in FINAL_REFUSALS:
                sent.refused += 1
                if log:
                    log.write(body, refused=status)
            else:
                sent.latencies_ms.append((time.monotonic() - start) * 1000)
    return sent


def _post(call: Callable[[], httpx.Response]) -> int | None:
    try:
        for attempt in stamina.retry_context(on=httpx.HTTPError, attempts=REST_ATTEMPTS, timeout=60):
            with attempt:
                answer = call()
                if answer.status_code not in FINAL_REFUSALS:
                    answer.raise_for_status()
                return answer.status_code
    except httpx.HTTPError:
        return None
    return None
