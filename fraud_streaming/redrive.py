"""Dead letters: read, opened, and their messages sent to their topic again.

A message goes to its old partition as it was sent, so that a payer's order is kept whatever partitioner the sender has,
with a header that names its letter. The letter stays; once the broker confirmed the message, a note beside the letter
says when it was sent and where it stands now. Whoever is killed between the two leaves a message without its note; the
next redriving sends it again, which the doors absorb: a payment is decided once (I2), a label folded once. Kafka's
transactions would close that gap, and their markers would stand in the topics as offsets that no message has, which
committed offsets and bronze could never reach.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import orjson
from confluent_kafka import KafkaError, KafkaException, Message
from cryptography.exceptions import InvalidTag
from pydantic import ValidationError

from fraud_streaming.kafka import DELIVERY_TIMEOUT_MS, DeadLetters
from fraud_streaming.lifetime import Stop
from fraud_streaming.ranges import Part, Topics, place_of
from fraud_streaming.replay import careful_producer, produce
from pix import topics
from pix.contracts import (
    HOUR_MS,
    MAX_AGE_MS,
    DeadLetterRecord,
    FieldError,
    InvalidMessage,
    RedrivenRecord,
    parse_instant,
    parse_json_object,
)
from pix.deadletter import MAX_PAYLOAD_BYTES, REDRIVEN_FROM, DeadLetter, Origin, redriven_note
from pix.tokens import Keyring, MissingKeys, body_sha256

KEY_FIELD = {topics.TRANSACTIONS: "payer_account", topics.LABELS: "end_to_end_id"}
"""By topic that letters come from: the field that its senders take for the key."""
TOMBSTONE = "tombstone"
# Sent before their notes are; so many a kill leaves without one at most.
AT_ONCE = 500
CHUNK_BYTES = 32 * 2**20
NOTE_SECONDS = 60.0
REDRIVEN, CUT, TOO_OLD, NOT_OPENED, FAILED = "redriven", "cut", "too_old", "not_opened", "failed"
OUTCOMES = (REDRIVEN, CUT, TOO_OLD, NOT_OPENED, FAILED)
# A payment must still be young when its turn comes.
AGE_LEFT_MS = HOUR_MS


class NotOpened(Exception):
    """A letter's payload cannot be opened, or is not its message."""


@dataclass(frozen=True, slots=True)
class Redriving:
    """One sending of a letter's message again: when, epoch milliseconds, and where it then stood."""

    at_ms: int
    to: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One refused message, without its payload.

    Attributes:
        origin: Where the message stands, or stood.
        at: Where its first letter stands on ``pix.dlq``.
        reason: One stable word.
        errors: Its broken fields.
        received_at_ms: When Kafka got the message.
        end_to_end_id: The payment, where its id could be read.
        body_token: Token of the message's SHA-256.
        payload_bytes: Length of the whole message.
        redriven_from: Origin of the letter that the message was sent again from, if it was.
        redrivings: How it was sent again, in order of the notes.
        refused_again: Origins of the letters that came of that.
    """

    origin: Origin
    at: Origin
    reason: str
    errors: tuple[FieldError, ...]
    received_at_ms: int
    end_to_end_id: str | None
    body_token: str
    payload_bytes: int
    redriven_from: Origin | None
    redrivings: tuple[Redriving, ...] = ()
    refused_again: tuple[Origin, ...] = ()

    @property
    def is_cut(self) -> bool:
        """Whether only the message's beginning was kept."""
        return self.payload_bytes > MAX_PAYLOAD_BYTES


@dataclass(frozen=True, slots=True)
class Mailbox:
    """``pix.dlq`` as it was read.

    Attributes:
        letters: By origin.
        unreadable: Records that are neither a letter nor a note.
    """

    letters: Mapping[Origin, Letter]
    unreadable: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one letter: ``REDRIVEN`` and where to, or another of the words above and why."""

    origin: Origin
    outcome: str
    to: Origin | None = None
    why: str = ""


def read_mailbox(source: Topics) -> Mailbox:
    """Every letter that Kafka still has, with its notes; of the letters of one message the first.

    Raises:
        StreamError: The topic cannot be read.
    """
    letters: dict[Origin, Letter] = {}
    notes: dict[Origin, list[Redriving]] = {}
    unreadable = 0
    for message in source.messages(source.parts(topics.DLQ)):
        read = _read(message)
        if isinstance(read, Letter):
            letters.setdefault(read.origin, read)
        elif isinstance(read, RedrivenRecord):
            note = Redriving(read.redriven.at_ms, Origin(**read.redriven.to.model_dump()))
            notes.setdefault(Origin(**read.origin.model_dump()), []).append(note)
        else:
            unreadable += 1
    again: dict[Origin, list[Origin]] = {}
    for letter in letters.values():
        if letter.redriven_from is not None:
            again.setdefault(letter.redriven_from, []).append(letter.origin)
    linked = {
        origin: replace(letter, redrivings=tuple(notes.get(origin, ())), refused_again=tuple(again.get(origin, ())))
        for origin, letter in letters.items()
    }
    return Mailbox(linked, unreadable)


def _read(message: Message) -> Letter | RedrivenRecord | None:
    raw = message.value() or b""
    try:
        if b'"redriven":' in raw[:MAX_PAYLOAD_BYTES]:
            return RedrivenRecord.model_validate_json(raw)
        content = DeadLetterRecord.model_validate_json(raw)
    except ValidationError:
        return None
    fields: dict[str, Any] = content.model_dump(exclude={"payload"})
    linked = fields["redriven_from"]
    return Letter(
        **fields
        | {
            "origin": Origin(**fields["origin"]),
            "errors": tuple(FieldError(**error) for error in fields["errors"]),
            "redriven_from": Origin(**linked) if linked else None,
            "at": place_of(message),
        }
    )


def payloads(source: Topics, letters: Sequence[Letter]) -> dict[Origin, str]:
    """Sealed payloads by origin of their letters, read once more from ``pix.dlq``."""
    wanted = {letter.at for letter in letters}
    parts = []
    for partition in sorted({at.partition for at in wanted}):
        offsets = [at.offset for at in wanted if at.partition == partition]
        parts.append(Part(topics.DLQ, partition, min(offsets), max(offsets) + 1, min(offsets), min(offsets)))
    found: dict[Origin, str] = {}
    for message in source.messages(parts):
        if place_of(message) in wanted:
            record = DeadLetterRecord.model_validate_json(message.value() or b"")
            found[Origin(**record.origin.model_dump())] = record.payload
    return found


def opened(letter: Letter, sealed: str, keyring: Keyring) -> bytes | None:
    """The message as it was sent, or its beginning where it was cut; None for a tombstone.

    Raises:
        NotOpened: The payload cannot be opened, or is not the message that the letter tells of.
    """
    try:
        raw = keyring.open(sealed)
    except (MissingKeys, InvalidTag, ValueError) as problem:
        raise NotOpened(f"its payload cannot be opened: {problem or 'it was altered'}") from None
    if not letter.is_cut and letter.body_token not in keyring.body_tokens(body_sha256(raw)):
        raise NotOpened("its payload is not the message that it tells of")
    return None if letter.reason == TOMBSTONE and not raw else raw


def key_of(topic: str, body: bytes | None) -> bytes | None:
    """The key that a sender gives a message; None where it cannot be read."""
    try:
        # What it says is judged by the door; a sender only wants one field, and quickly.
        content = orjson.loads(body or b"")
    except orjson.JSONDecodeError:
        return None
    key = content.get(KEY_FIELD[topic]) if isinstance(content, dict) else None
    return key.encode() if isinstance(key, str) else None


def is_too_old(topic: str, body: bytes | None, now_ms: int) -> bool:
    """Whether the door would now refuse a payment for its age alone, even one that is decided."""
    if topic != topics.TRANSACTIONS:
        return False
    try:
        initiated_ms = parse_instant(parse_json_object(body or b"").get("initiated_at"))
    except (InvalidMessage, ValueError):
        return False
    return initiated_ms < now_ms - MAX_AGE_MS + AGE_LEFT_MS


def redrive(
    source: Topics,
    kafka: Mapping[str, str],
    letters: Sequence[Letter],
    keyring: Keyring,
    *,
    now_ms: Callable[[], int],
    on_open: Callable[[Letter], None],
) -> Iterator[Outcome]:
    """Send the letters' messages to their topics again, each once, in the order in which they stood there.

    Args:
        source: Reads the payloads.
        kafka: librdkafka configuration.
        letters: Which ones.
        keyring: Opens them.
        now_ms: Clock of the notes.
        on_open: Told of each letter before it is opened.

    Raises:
        StreamError: Kafka cannot be read, or refuses the notes.
    """
    in_order = sorted(letters, key=lambda letter: (letter.origin.topic, letter.origin.partition, letter.origin.offset))
    sending = _Sending(kafka, now_ms)
    try:
        for chunk in _chunks([letter for letter in in_order if not letter.is_cut]):
            sealed = payloads(source, chunk)
            messages = []
            for letter in chunk:
                on_open(letter)
                try:
                    body = opened(letter, sealed.get(letter.origin, ""), keyring)
                except NotOpened as problem:
                    yield Outcome(letter.origin, NOT_OPENED, why=str(problem))
                    continue
                if is_too_old(letter.origin.topic, body, now_ms()):
                    yield Outcome(letter.origin, TOO_OLD, why="it began 7 days ago or earlier, which the door refuses")
                else:
                    messages.append((letter, body))
            yield from sending.send(messages)
    finally:
        sending.close()
    for letter in in_order:
        if letter.is_cut:
            why = f"only {MAX_PAYLOAD_BYTES:,} of its {letter.payload_bytes:,} bytes were kept"
            yield Outcome(letter.origin, CUT, why=f"{why}; its sender has to send it")


def _chunks(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    chunk: list[Letter] = []
    size = 0
    for letter in letters:
        if chunk and (len(chunk) == AT_ONCE or size + letter.payload_bytes > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(letter)
        size += letter.payload_bytes
    if chunk:
        yield chunk


class _Sending:
    """Messages first, then the notes of those that the broker confirmed."""

    def __init__(self, kafka: Mapping[str, str], now_ms: Callable[[], int]) -> None:
        self._producer = careful_producer(kafka)
        self._notes = DeadLetters(kafka)
        self._now_ms = now_ms

    def send(self, messages: Sequence[tuple[Letter, bytes | None]]) -> list[Outcome]:
        outcomes: dict[Origin, Outcome] = {}
        notes: list[DeadLetter] = []

        def delivered(letter: Letter, error: KafkaError | None, message: Message) -> None:
            if error is not None:
                outcomes[letter.origin] = Outcome(letter.origin, FAILED, why=error.str())
                return
            to = place_of(message)
            outcomes[letter.origin] = Outcome(letter.origin, REDRIVEN, to)
            notes.append(
                redriven_note(
                    origin=letter.origin,
                    received_at_ms=letter.received_at_ms,
                    body_token=letter.body_token,
                    to=to,
                    at_ms=self._now_ms(),
                )
            )

        for letter, body in messages:
            try:
                self._produce(letter, body, partial(delivered, letter))
            except KafkaException as error:
                outcomes[letter.origin] = Outcome(letter.origin, FAILED, why=error.args[0].str())
        self._producer.flush(DELIVERY_TIMEOUT_MS / 1000 + 1)
        if not self._notes.send(notes, Stop(lifetime_seconds=NOTE_SECONDS)):
            why = f"it was sent, and {topics.DLQ} did not confirm the note of that; redrive it again, which is safe"
            noted = {note.key for note in notes}
            outcomes |= {
                origin: replace(found, outcome=FAILED, why=why)
                for origin, found in outcomes.items()
                if origin.key in noted
            }
        silent = {letter.origin: Outcome(letter.origin, FAILED, why="Kafka did not answer") for letter, _ in messages}
        return list((silent | outcomes).values())

    def _produce(self, letter: Letter, body: bytes | None, on_delivery: Callable[..., None]) -> None:
        origin = letter.origin
        content: dict[str, Any] = {
            "key": key_of(origin.topic, body),
            "value": body,
            "partition": origin.partition,
            "headers": [(REDRIVEN_FROM, str(origin).encode())],
            "on_delivery": on_delivery,
        }
        produce(partial(self._producer.produce, origin.topic, **content), self._producer)

    def close(self) -> None:
        self._notes.close()


def told(letter: Letter) -> dict[str, Any]:
    """A letter as a JSON document; places are topic/partition/offset."""
    return {
        "origin": str(letter.origin),
        "reason": letter.reason,
        "errors": [asdict(error) for error in letter.errors],
        "received_at_ms": letter.received_at_ms,
        "end_to_end_id": letter.end_to_end_id,
        "body_token": letter.body_token,
        "payload_bytes": letter.payload_bytes,
        "is_cut": letter.is_cut,
        "redriven_from": str(letter.redriven_from) if letter.redriven_from else None,
        "redrivings": [{"at_ms": each.at_ms, "to": str(each.to)} for each in letter.redrivings],
        "refused_again": [str(origin) for origin in letter.refused_again],
    }
