"""What a door says to a message that it does not let in.

InvalidMessage
├── NotJson           the bytes are not one JSON object without doubtful parts
└── InvalidFields     fields that break the contract, each with its reason

A reason never repeats a value: values may be personal data, and reasons are logged, answered and kept.
"""

import re
from dataclasses import dataclass

_SAFE_NAME = re.compile(r"[A-Za-z0-9_.]{0,64}")
_LONG_NUMBER = re.compile(r"[0-9]{6}")


@dataclass(frozen=True, slots=True)
class FieldError:
    """One broken field and why."""

    field: str
    reason: str


class InvalidMessage(Exception):
    """A message that no door lets in.

    Attributes:
        errors: Every broken field; ``field`` is empty where the message as a whole is broken.
        end_to_end_id: Its payment, where that can be read.
    """

    def __init__(self, *errors: FieldError, end_to_end_id: str | None = None) -> None:
        super().__init__("; ".join(f"{error.field or 'message'}: {error.reason}" for error in errors))
        self.errors = errors
        self.end_to_end_id = end_to_end_id


class NotJson(InvalidMessage):
    """The bytes are not one JSON object without doubtful parts."""


class InvalidFields(InvalidMessage):
    """Fields that break the contract."""


def safe_name(name: str) -> str:
    """A field's name for an answer; senders may put personal data into names, too."""
    return name if _SAFE_NAME.fullmatch(name) and not _LONG_NUMBER.search(name) else "(unreadable)"
