"""Dead letters: what no door let in, kept with its reason on ``pix.dlq``.

Reason and origin are readable; the message itself is sealed, because it may hold clear identifiers.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pix.contracts import FieldError, canonical_json
from pix.tokens import Keyring, body_sha256

# Base64 adds a third; the record must stay under the broker's 1 MB however large the message was.
MAX_PAYLOAD_BYTES = 256 * 1024
MAX_ERRORS = 50


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a refused message stands in Kafka."""

    topic: str
    partition: int
    offset: int

    @property
    def key(self) -> bytes:
        """Kafka key of the dead letter; the same however often the message is refused."""
        return f"{self.topic}/{self.partition}/{self.offset}".encode()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Key and value of one message on ``pix.dlq``."""

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
    return DeadLetter(origin.key, canonical_json(content))
