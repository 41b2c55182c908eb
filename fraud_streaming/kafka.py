"""Kafka for the scoring and the label job: take messages, commit what is finished, write dead letters.

Partitions come and go while others of the group start and end; only those that move are interrupted (cooperative
rebalancing). Membership is static: a successor takes a killed member's place at once.

StreamError
├── KafkaAway           no broker answers at the start
├── TopicMissing        the topic is not there
├── MemberLost          this member can never take or commit again; a successor can
└── DeadLetterRefused   the broker will never take a dead letter
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from fraud_streaming.lifetime import Stop
from pix import topics
from pix.clock import epoch_ms
from pix.deadletter import REDRIVEN_FROM, DeadLetter, Origin, origin_of
from pix.tracecontext import HEADER, usable

CONNECT_SECONDS = 20.0
# While the service is away the label job polls nothing for as long as it takes; the heartbeat goes on meanwhile.
MAX_POLL_INTERVAL_MS = 86_400_000
# So long the others wait for a member's successor before they take over its partitions. The client's heartbeat has a
# thread of its own, so that a busy job is not taken for a dead one.
SESSION_TIMEOUT_MS = 20_000
# What was fetched and not taken yet; pausing a partition throws its part away.
FETCHED_AHEAD_KB = 4_096
DELIVERY_TIMEOUT_MS = 30_000


class StreamError(Exception):
    """A stream cannot go on."""


class KafkaAway(StreamError):
    """No broker answers."""


class TopicMissing(StreamError):
    """A topic is not there."""


class MemberLost(StreamError):
    """This member can never take or commit again; a successor of the same name can."""


class DeadLetterRefused(StreamError):
    """The broker will never take this dead letter."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One message as Kafka gave it.

    Attributes:
        origin: Where it stands.
        received_at_ms: Kafka's timestamp, epoch milliseconds.
        value: Its bytes; None for a tombstone.
        traceparent: W3C context that its sender gave it in a header; empty without a usable one.
        redriven_from: Origin of the dead letter that it was sent again from, as its header says.
    """

    origin: Origin
    received_at_ms: int
    value: bytes | None
    traceparent: str = ""
    redriven_from: Origin | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a group stands on its topic.

    Attributes:
        committed: Next offset to read per partition, as far as one was committed.
        lag: Messages after those.
        expired: Messages that Kafka deleted before they were read; more than 0 is a loss.
    """

    committed: Mapping[int, int]
    lag: int
    expired: int


def finished_offsets(taken: Iterable[Origin], unfinished: Iterable[Origin]) -> dict[int, int]:
    """Offsets that may be committed: per partition the first unfinished, or past the last taken."""
    reached: dict[int, int] = {}
    for origin in taken:
        reached[origin.partition] = max(reached.get(origin.partition, 0), origin.offset + 1)
    return held_back(reached, unfinished)


def held_back(reached: Mapping[int, int], unfinished: Iterable[Origin]) -> dict[int, int]:
    """The offsets reached per partition, but never past an unfinished message."""
    offsets = dict(reached)
    for origin in unfinished:
        offsets[origin.partition] = min(offsets.get(origin.partition, origin.offset), origin.offset)
    return offsets


Partitions = Callable[[list[int]], None]


def _ignore(_: list[int]) -> None:
    """Nothing is kept per partition."""


class Group:
    """One member of a consumer group on one topic; offsets move only by ``commit``."""

    def __init__(
        self,
        kafka: Mapping[str, str],
        *,
        group_id: str,
        topic: str,
        member: int = 1,
        poll_interval_ms: int = MAX_POLL_INTERVAL_MS,
    ) -> None:
        """Connect; nothing is taken before ``join``.

        Args:
            kafka: librdkafka configuration, ``bootstrap.servers`` included.
            group_id: The group's name.
            topic: What it reads.
            member: Number of this member. No two may be alive with the same; the later one fences off the earlier.
            poll_interval_ms: A member that does not take for so long loses its partitions.

        Raises:
            StreamError: Kafka or the topic is not there.
        """
        self.topic = topic
        self.problem: str | None = None
        self._over: KafkaError | None = None
        self._committed: dict[int, int] = {}
        self._consumer = Consumer(
            {
                "session.timeout.ms": SESSION_TIMEOUT_MS,
                **kafka,
                "group.id": group_id,
                # A successor takes a killed member's place at once instead of after its session timeout.
                # The stream's lock makes it the only one of this name.
                "group.instance.id": f"{group_id}-{member}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "max.poll.interval.ms": poll_interval_ms,
                "queued.max.messages.kbytes": FETCHED_AHEAD_KB,
            }
        )
        try:
            require_topics(self._consumer, (topic,), kafka)
        except StreamError:
            self._consumer.close()
            raise

    def join(self, *, got: Partitions = _ignore, giving_up: Partitions = _ignore, lost: Partitions = _ignore) -> None:
        """Become a member; all callbacks come from within ``take`` and ``close``.

        Args:
            got: These partitions are this member's from now on.
            giving_up: These are another's as soon as the call returns; it may still commit.
            lost: These are another's already; nothing can be committed any more.
        """

        def told(partitions: Sequence[TopicPartition], callback: Partitions) -> None:
            numbers = [partition.partition for partition in partitions]
            callback(numbers)
            for number in numbers:
                # While it is another's, that one commits.
                self._committed.pop(number, None)

        self._consumer.subscribe(
            [self.topic],
            on_assign=lambda _, partitions: told(partitions, got),
            on_revoke=lambda _, partitions: told(partitions, giving_up),
            on_lost=lambda _, partitions: told(partitions, lost),
        )

    def take(self, limit: int, timeout_seconds: float) -> list[Taken]:
        """Up to ``limit`` messages that are here; waits at most ``timeout_seconds`` for the first one.

        Raises:
            MemberLost: Another one has this member's name, or Kafka takes this one for its own predecessor.
        """
        self._require_alive()
        first = self._consumer.poll(timeout_seconds)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(limit - 1, 0)] if limit > 1 else [first]
        return [taken for message in messages if (taken := self._read(message)) is not None]

    def pause(self, partitions: Iterable[int]) -> None:
        """Take nothing from these until ``resume``."""
        self._consumer.pause([TopicPartition(self.topic, partition) for partition in partitions])

    def resume(self, partitions: Iterable[int]) -> None:
        """Take from these again."""
        self._consumer.resume([TopicPartition(self.topic, partition) for partition in partitions])

    def _require_alive(self) -> None:
        if self._over is not None:
            raise MemberLost(
                f"Kafka has excluded this member of the group that reads {self.topic} ({self._over.str()}); it has to "
                "be started again, and no second one of its name may live"
            )

    def _read(self, message: Message) -> Taken | None:
        error = message.error()
        if error is not None:
            self._over = error if is_fatal(error) else self._over
            self._require_alive()
            self.problem = error.str()
            return None
        kind, timestamp = message.timestamp()
        origin = Origin(str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
        # Kind 0 means that neither sender nor broker stamped it.
        received = timestamp if kind else epoch_ms()
        value = message.value()
        body = value.encode() if isinstance(value, str) else value
        headers = message.headers()
        if not headers:
            return Taken(origin, received, body)
        return Taken(origin, received, body, usable(_header(headers, HEADER)), _letter_of(headers, origin.topic))

    def commit(self, offsets: Mapping[int, int]) -> bool:
        """Commit synchronously; False when Kafka did not confirm, then the next commit covers it.

        A commit that waited for a broker to come back may reach it after the session timed out. Kafka then takes this
        member for another one of the same name, and it is over (``take`` says so).
        """
        new = {partition: offset for partition, offset in offsets.items() if self._committed.get(partition) != offset}
        if not new:
            return True
        wanted = [TopicPartition(self.topic, partition, offset) for partition, offset in sorted(new.items())]
        try:
            confirmed = self._consumer.commit(offsets=wanted, asynchronous=False) or []
        except KafkaException as error:
            # Told by the next ``take``: this one may be called while partitions are given up.
            self._over = error.args[0] if is_fatal(error.args[0]) else self._over
            self.problem = f"offsets not committed: {error.args[0].str()}"
            return False
        failed = [partition for partition in confirmed if partition.error is not None]
        self._committed |= {done.partition: done.offset for done in confirmed if done.error is None}
        if failed:
            self.problem = f"offsets not committed: {failed[0].error}"
        return not failed

    def standing(self) -> Standing | None:
        """Where the group stands; None when Kafka does not answer."""
        try:
            found = self._consumer.list_topics(self.topic, timeout=5).topics[self.topic].partitions
            asked = [TopicPartition(self.topic, partition) for partition in sorted(found)]
            committed, lag, expired = {}, 0, 0
            for partition in self._consumer.committed(asked, timeout=5):
                low, high = self._consumer.get_watermark_offsets(partition, timeout=5)
                if partition.offset >= 0:
                    committed[partition.partition] = partition.offset
                    expired += max(0, low - partition.offset)
                lag += high - max(low, partition.offset)
        except KafkaException as error:
            self.problem = error.args[0].str()
            return None
        return Standing(committed, lag, expired)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


def is_fatal(error: KafkaError) -> bool:
    """Whether the client can do nothing any more.

    ``KafkaError.fatal`` alone does not say so of what is polled: there the error's code does.
    """
    codes = (KafkaError._FATAL, KafkaError._FENCED, KafkaError.FENCED_INSTANCE_ID)  # noqa: SLF001 - their only names
    return error.fatal() or error.code() in codes


Headers = Mapping[str, Any] | Sequence[tuple[str, Any]]
"""Of a message that was taken always pairs; the client's types say what a sender may give, too."""


def _header(headers: Headers, wanted: str) -> str | None:
    # Of several of one name the last one counts.
    found = dict(headers).get(wanted)
    # Senders write what they like; bytes that are no text mean nothing.
    return found.decode("ascii", "replace") if isinstance(found, bytes) else found


def _letter_of(headers: Headers, topic: str) -> Origin | None:
    """Senders may write this header, too: it links a letter to another one, and nothing is decided by it."""
    try:
        origin = origin_of(_header(headers, REDRIVEN_FROM) or "")
    except ValueError:
        return None
    return origin if origin.topic == topic else None


class DeadLetters:
    """Writes dead letters and waits until the broker has confirmed them."""

    def __init__(self, kafka: Mapping[str, str]) -> None:
        self._producer = Producer(
            {
                **kafka,
                "enable.idempotence": True,
                "acks": "all",
                "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
                "compression.type": "lz4",
            }
        )
        self._refused: KafkaError | None = None
        self._sending = threading.Lock()

    def send(self, letters: Sequence[DeadLetter], stop: Stop) -> bool:
        """Write all of them; False when asked to stop before the broker confirmed every one.

        Several threads may send; one after the other.

        Raises:
            DeadLetterRefused: The broker will never take one of them.
        """
        if not letters:
            return True
        with self._sending:
            return self._send(letters, stop)

    def _send(self, letters: Sequence[DeadLetter], stop: Stop) -> bool:
        waiting = {letter.key: letter for letter in letters}
        while waiting:
            for letter in list(waiting.values()):
                self._produce(letter, waiting)
            while len(self._producer) and not stop:
                self._producer.poll(0.1)
            if self._refused is not None:
                raise DeadLetterRefused(f"{topics.DLQ} does not take a dead letter: {self._refused.str()}")
            if waiting and stop:
                # One last chance: most stops come while everything is well.
                self._producer.flush(2)
                return not waiting
        return True

    def _produce(self, letter: DeadLetter, waiting: dict[bytes, DeadLetter]) -> None:
        def delivered(error: KafkaError | None, message: Message) -> None:  # noqa: ARG001
            if error is None:
                waiting.pop(letter.key, None)
            elif is_fatal(error) or error.code() in (
                KafkaError.MSG_SIZE_TOO_LARGE,
                KafkaError.TOPIC_AUTHORIZATION_FAILED,
            ):
                self._refused = error

        while True:
            try:
                self._producer.produce(topics.DLQ, key=letter.key, value=letter.value, on_delivery=delivered)
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise DeadLetterRefused(f"{topics.DLQ} does not take a dead letter: {error.args[0].str()}") from error
            else:
                return

    def close(self) -> None:
        """Forget what was not confirmed; its messages are not committed and come again."""
        self._producer.purge()
        self._producer.flush(1)


def require_topics(client: Any, names: Iterable[str], kafka: Mapping[str, str]) -> None:
    """See that a broker answers and has the topics.

    Raises:
        KafkaAway: No broker answers.
        TopicMissing: One of them is not there.
    """
    where = kafka.get("bootstrap.servers", "")
    try:
        found = client.list_topics(timeout=CONNECT_SECONDS).topics
    except KafkaException as error:
        raise KafkaAway(
            f"no Kafka broker answers on {where} ({error.args[0].str()}); see `sentinela status`"
        ) from error
    missing = sorted(set(names) - set(found))
    if missing:
        raise TopicMissing(f"no topic {', '.join(missing)} on {where}; `sentinela up` creates the topics")
