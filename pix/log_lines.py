"""Logs of every process: one JSON object a line, with time, level, event and what it is about; no personal data.

Configured at process roots, over the standard library's logging, so that libraries' lines come out the same way.
``sentinela logs`` makes them readable again.
"""

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, TextIO

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_log_level, add_logger_name
from structlog.typing import EventDict, WrappedLogger

from pix.redaction import is_random_id, redacted

FIRST = ("time", "level", "process", "event", "trace_id", "request_id", "route", "status", "duration_ms")
"""Fields in this order, then the others."""
OURS = ("bentoml", "circus", "uvicorn", "uvicorn.error", "uvicorn.access")
"""Loggers that bring handlers of their own, which would write every line a second time."""
_NOTHING: Mapping[str, str] = {}
_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=_NOTHING)


def about(**names: str) -> None:
    """Say what this task's lines are about from now on, such as ``trace_id``."""
    _ABOUT.set(names)


def configure(process: str, stream: TextIO, level: int = logging.WARNING) -> None:
    """Write this process's logs as JSON lines.

    Args:
        process: Name of the part, as ``sentinela status`` lists it.
        stream: Where.
        level: From which level on.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


class Ration:
    """So many lines a second of a kind that can come by the thousand; what is left out is counted."""

    def __init__(self, per_second: int) -> None:
        """Begin.

        Args:
            per_second: Lines that are written.
        """
        self._per_second = per_second
        self._second = -1
        self._written = 0
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """Ask for a line.

        Args:
            now: Monotonic seconds.

        Returns:
            How many were left out since the last one that was written; None if this one is left out, too.
        """
        if int(now) != self._second:
            self._second, self._written = int(now), 0
        if self._written >= self._per_second:
            self._left_out += 1
            return None
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def formatter(process: str) -> logging.Formatter:
    """What makes a log record one line of JSON."""

    def named(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {"process": process, **_ABOUT.get(), **event}

    return ProcessorFormatter(
        foreign_pre_chain=[
            add_logger_name,
            add_log_level,
            ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        ],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            named,
            _clean,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )


def readable(line: str) -> str:
    """A line for people: time, level, event, then the other fields; a line that is no JSON stays as it is."""
    try:
        content = json.loads(line)
    except ValueError:
        return line
    if not isinstance(content, dict) or not {"time", "level", "event"} <= content.keys():
        return line
    told = f"{content.pop('time')} {content.pop('level').upper():8} {content.pop('event')}"
    trace = content.pop("exception", "")
    content.pop("process", None)
    fields = "".join(f"  {name}={value}" for name, value in content.items())
    return f"{told}{fields}\n{trace}\n" if trace else f"{told}{fields}\n"


def _clean(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    ordered = [*(name for name in FIRST if name in event), *(name for name in event if name not in FIRST)]
    # A caller finds its request by this name, and most callers make a UUID of it.
    kept = {"request_id"} if is_random_id(str(event.get("request_id"))) else set()
    return {name: event[name] if name in kept else _cleaned(event[name]) for name in ordered}


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {redacted(str(name)): _cleaned(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_cleaned(each) for each in value]
    if value is None or isinstance(value, (bool, float)):
        return value
    text = redacted(str(value))
    # A number that is an identifier is one all the same.
    return value if isinstance(value, int) and text == str(value) else text
