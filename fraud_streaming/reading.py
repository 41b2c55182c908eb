"""Reading a message's bytes under a contract; shared by the jobs and by the bronze query's workers."""

from collections.abc import Callable
from typing import TypeVar

from pix.contracts import FieldError, InvalidMessage, NotJson

Parsed = TypeVar("Parsed")

_NOT_UTF8 = NotJson(FieldError("", "is not valid JSON in UTF-8"))


class Tombstone(InvalidMessage):
    """A message without a value."""


def read(raw: bytes | None, parse: Callable[[bytes], Parsed]) -> Parsed:
    """The parsed message.

    Raises:
        Tombstone: There is no value.
        InvalidMessage: It breaks the contract, or is not plain UTF-8.
    """
    if raw is None:
        raise Tombstone(FieldError("", "is empty"))
    # The bytes are spliced into a larger document as they are; the JSON parser also reads UTF-16 and
    # byte order marks, which would break that document.
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _NOT_UTF8 from None
    if text.startswith("\ufeff") or "\x00" in text:
        raise _NOT_UTF8
    return parse(raw)


def reason(invalid: InvalidMessage) -> str:
    """One stable word for a refusal."""
    if isinstance(invalid, Tombstone):
        return "tombstone"
    return "not_json" if isinstance(invalid, NotJson) else "invalid_fields"
