"""Names for requests: every answer carries its request (``X-Request-Id``) and its trace (``traceparent``).

They are the caller's where it sent usable ones, else new ones. What failed unforeseen is a problem, too, and named.
Every request is counted and timed here; those that failed or took long are logged, with their names and no content.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pix.log_lines import Ration, about
from serving.bodies import BODY_BYTES
from serving.callers import CALL, NOBODY, Call
from serving.problems import INTERNAL, TOOK_TOO_LONG, problem_response
from serving.running import Running

if TYPE_CHECKING:
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)

SLOW_SECONDS = 1.0
"""Answers that took longer are logged."""
LINES_PER_SECOND = 20
"""While everything fails, some lines tell as much as all of them."""
GIVEN_UP_SECONDS = 30.0
"""No answer takes longer; a payment's own deadline is far shorter."""
SERVER_ERROR = 500
CALLER_LEFT = 499
"""What is counted as the status of an answer that nobody waited for."""

# Version ff is none; versions after 00 may append fields (W3C Trace Context).
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# Only what can stand in a header and in a log line without doing harm there.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


def trace_of(headers: Mapping[bytes, bytes], new_id: Callable[[], str]) -> tuple[str, str, str]:
    """The trace that a request belongs to.

    Args:
        headers: The request's.
        new_id: Makes 32 hex digits.

    Returns:
        Trace id (32 hex digits), the caller's span in it (16, or nothing where the trace begins here), flags (2).
    """
    found = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    if found is not None:
        version, trace, span, flags, tail = found.groups()
        if trace != _NO_TRACE and span != _NO_SPAN and not (version == b"00" and tail):
            return trace.decode(), span.decode(), flags.decode()
    return new_id(), "", "00"


def request_id_of(headers: Mapping[bytes, bytes], new_id: Callable[[], str]) -> str:
    """The caller's name for the request where it can be used, else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else new_id()


class Correlation:
    """Names requests before anything else sees them."""

    def __init__(
        self, inner: ASGIApp, new_id: Callable[[], str], app: Starlette, route_of: Callable[[Scope], str]
    ) -> None:
        """Stand before an application.

        Args:
            inner: What lies behind.
            new_id: Makes 32 random hex digits.
            app: The application that the service puts its parts into.
            route_of: Method and path template of a request that was answered.
        """
        self._inner = inner
        self._new_id = new_id
        self._app = app
        self._route_of = route_of
        self._lines = Ration(LINES_PER_SECOND)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name, pass on, count."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began_ns = time.perf_counter_ns()
        headers = dict(scope["headers"])
        running: Running | None = getattr(self._app.state, "running", None)
        call, span = self._named(headers, running, began_ns)
        scope[CALL] = call
        about(trace_id=call.trace_id, request_id=call.request_id)
        names = (b"x-request-id", call.request_id.encode()), (b"traceparent", call.traceparent.encode())
        status = 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *names]
            await send(message)

        limit = asyncio.timeout(GIVEN_UP_SECONDS)
        try:
            async with limit:
                await self._inner(scope, receive, named)
        except Exception:
            kind = TOOK_TOO_LONG if limit.expired() else INTERNAL
            log.exception("request failed")
            if status:
                raise
            fault = problem_response(kind, f"see the service's log for request {call.request_id}")
            await fault(scope, receive, named)
        finally:
            self._answered(scope, running, status, (time.perf_counter_ns() - began_ns) * 1e-9, span)

    def _named(
        self, headers: Mapping[bytes, bytes], running: Running | None, began_ns: int
    ) -> "tuple[Call, Span | None]":
        trace_id, parent, flags = trace_of(headers, self._new_id)
        request_id = request_id_of(headers, self._new_id)
        if running is None or running.tracing is None:
            return Call(NOBODY, trace_id, request_id, f"00-{trace_id}-{self._new_id()[:16]}-{flags}"), None
        span = running.tracing.begin("request", parent and f"00-{trace_id}-{parent}-{flags}", trace_id, began_ns)
        return Call(NOBODY, trace_id, request_id, running.tracing.inside(span)), span

    def _answered(
        self, scope: Scope, running: Running | None, status: int, seconds: float, span: "Span | None"
    ) -> None:
        route, status = self._route_of(scope), status or CALLER_LEFT
        if running is not None:
            running.meters.request(route, status, seconds, scope.get(BODY_BYTES))
            if running.tracing is not None and span is not None:
                running.tracing.answered(span, route, status)
        if status < SERVER_ERROR and seconds <= SLOW_SECONDS:
            return
        left_out = self._lines.take(time.monotonic())
        if left_out is not None:
            kind = "answered with an error" if status >= SERVER_ERROR else "answered late"
            told = {"route": route, "status": status, "duration_ms": round(seconds * 1e3, 1), "left_out": left_out}
            log.warning(kind, extra=told)
