"""W3C Trace Context as it travels with payments: a header of HTTP requests and of Kafka messages."""

import re

HEADER = "traceparent"
PATTERN = r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
_SHAPE = re.compile(PATTERN[1:-1])
_NONE = re.compile(r"00-0{32}-.*|.{36}0{16}-.*")


def usable(text: str | None) -> str:
    """A sender's context, or nothing where it is none: a broken header must not stop a payment."""
    return text if text is not None and _SHAPE.fullmatch(text) and not _NONE.fullmatch(text) else ""


def trace_id_of(traceparent: str) -> str:
    """The trace of a usable context, 32 hex digits."""
    return traceparent[3:35]
