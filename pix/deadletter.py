"""Dead letters: what no door let in, kept with its reason on ``pix.dlq``.

Reason and origin are readable; the message itself is sealed, because it may hold clear identifiers. A letter is never
taken away: one that is sent again (``sentinela dlq redrive``) gets a note of that beside it, under the same key.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pix.contracts import FieldError, canonical_json
from pix.tokens import Keyring, body_sha256

# Base64 adds a third; the record must stay under the broker's 1 MB however large the message was.
MAX_PAYLOAD_BYTES = 256 * 1024
MAX_ERRORS = 50
REDRIVEN_FROM = "sentinela-redriven-from"
"""Header of a message that was sent again: the origin of its dead letter."""
_ORIGIN = re.compile(r"([A-Za-z0-9._-]{1,249})/([0-9]{1,9})/([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a refused message stands in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def key(self) -> bytes:
        """Kafka key of the dead letter; the same however often the message is refused."""
        return str(self).encode()


def origin_of(text: str) -> Origin:
    """The place that ``str`` of an origin names.

    Raises:
        ValueError: It names none.
    """
    found = _ORIGIN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no place in Kafka; those are topic/partition/offset")
    return Origin(found[1], int(found[2]), int(found[3]))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Key and value of one message on ``pix.dlq``: a letter, or a note about one."""

    key: bytes
    value: bytes


def dead_letter(
    *,
    reason: str,
    errors: Sequence[FieldError],
    origin: Origin,
    received_at_ms: int,
    end_to_end_id: str | None,
    raw: bytes | None,
    keyring: Keyring,
    redriven_from: Origin | None = None,
) -> DeadLetter:
    """The dead letter of one refused message.

    Args:
        reason: One stable word, such as ``invalid_fields``.
        errors: The broken fields; at most ``MAX_ERRORS`` are kept.
        origin: Where the message stands.
        received_at_ms: When Kafka got it, epoch milliseconds.
        end_to_end_id: The payment's id, if it could be read.
        raw: The message as sent; None for a tombstone. Only its first ``MAX_PAYLOAD_BYTES`` are kept.
        keyring: Keys for the token of the body and for the sealed payload.
        redriven_from: The origin of the letter that this message was sent again from; None for a first sending.
    """
    body = raw or b""
    content = {
        "reason": reason,
        "errors": [asdict(error) for error in errors[:MAX_ERRORS]],
        "origin": asdict(origin),
        "received_at_ms": received_at_ms,
        "end_to_end_id": end_to_end_id,
        "body_token": keyring.body_token(body_sha256(body)),
        "payload": keyring.seal(body[:MAX_PAYLOAD_BYTES]),
        "payload_bytes": len(body),
    }
    if redriven_from is not None:
        content["redriven_from"] = asdict(redriven_from)
    return DeadLetter(origin.key, canonical_json(content))


def redriven_note(*, origin: Origin, received_at_ms: int, body_token: str, to: Origin, at_ms: int) -> DeadLetter:
    """The note that a letter's message was sent again.

    Args:
        origin: Origin of the letter.
        received_at_ms: When Kafka got the letter's message: the day of its row in the quarantine.
        body_token: Token of its body.
        to: Where it stands now, once more.
        at_ms: When it was sent again, epoch milliseconds.
    """
    content = {
        "origin": asdict(origin),
        "received_at_ms": received_at_ms,
        "body_token": body_token,
        "redriven": {"at_ms": at_ms, "to": asdict(to)},
    }
    return DeadLetter(origin.key, canonical_json(content))
