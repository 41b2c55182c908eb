"""The dead letter, a message that no door let in, and the note that one was sent again: both on ``pix.dlq``.

``pix.deadletter`` writes them.
"""

from typing import Annotated

from pydantic import Field

from pix.contracts.fields import InstantMs, StrictMessage, Token
from pix.identifiers import END_TO_END_SHAPE, anchored

Word = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]


class BrokenField(StrictMessage):
    """One broken field and why; never its value."""

    field: str = Field(description="Its name; empty where the message as a whole is broken.")
    reason: str = Field(description="The rule that it breaks.")


class DeadLetterOrigin(StrictMessage):
    """Where the refused message stands in Kafka."""

    topic: str = Field(min_length=1, description="Topic of the message.")
    partition: int = Field(ge=0, description="Its partition.")
    offset: int = Field(ge=0, description="Its offset.")


class DeadLetterRecord(StrictMessage):
    """One refused message: reason and origin readable, the message itself sealed."""

    reason: Word = Field(description="One stable word for why, such as invalid_fields.")
    errors: list[BrokenField] = Field(max_length=50, description="Its broken fields.")
    origin: DeadLetterOrigin = Field(description="Where it stands.")
    received_at_ms: InstantMs = Field(description="When Kafka got it, epoch milliseconds.")
    # Only the shape is promised: the minute inside may be what was wrong.
    end_to_end_id: Annotated[str, Field(pattern=anchored(END_TO_END_SHAPE))] | None = Field(
        description="The payment, where its id could be read."
    )
    body_token: Token = Field(description="Token of the SHA-256 of the message as it was sent.")
    payload: str = Field(
        pattern=r"^k[1-9][0-9]{0,8}:[A-Za-z0-9+/]+={0,2}$",
        description="The message (its first 256 KiB), AES-256-GCM under the key version before the colon.",
    )
    payload_bytes: int = Field(ge=0, description="Length of the whole message.")
    redriven_from: DeadLetterOrigin | None = Field(
        None, description="Origin of the letter that it was sent again from; missing for a first sending."
    )


class Redriving(StrictMessage):
    """One sending of a dead letter's message to its topic again."""

    at_ms: InstantMs = Field(description="When it was sent again, epoch milliseconds.")
    to: DeadLetterOrigin = Field(description="Where it stands now.")


class RedrivenRecord(StrictMessage):
    """One dead letter's message was sent to its topic again; the letter itself stays."""

    origin: DeadLetterOrigin = Field(description="Origin of the letter.")
    received_at_ms: InstantMs = Field(description="When Kafka got the letter's message, epoch milliseconds.")
    body_token: Token = Field(description="Token of the SHA-256 of the message as it was sent.")
    redriven: Redriving = Field(description="When it was sent again, and where it stands now.")
