"""Names for requests: every answer carries its request (``X-Request-Id``) and its trace (``traceparent``).

They are the caller's where it sent usable ones, else new ones. What failed unforeseen is a problem, too, and named.
"""

import logging
import re
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.callers import CALL, NOBODY, Call
from serving.problems import INTERNAL, problem_response

log = logging.getLogger(__name__)

# Version ff is none; versions after 00 may append fields (W3C Trace Context).
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# Only what can stand in a header and in a log line without doing harm there.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


def trace_of(headers: Mapping[bytes, bytes], new_id: Callable[[], str]) -> tuple[str, str]:
    """The trace that a request belongs to.

    Args:
        headers: The request's.
        new_id: Makes 32 hex digits.

    Returns:
        Trace id (32 hex digits), flags (2 hex digits).
    """
    found = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    if found is not None:
        version, trace, span, flags, tail = found.groups()
        if trace != _NO_TRACE and span != _NO_SPAN and not (version == b"00" and tail):
            return trace.decode(), flags.decode()
    return new_id(), "00"


class Correlation:
    """Names requests before anything else sees them."""

    def __init__(self, inner: ASGIApp, new_id: Callable[[], str]) -> None:
        """Stand before an application.

        Args:
            inner: What lies behind.
            new_id: Makes 32 random hex digits.
        """
        self._inner = inner
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name and pass on."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = dict(scope["headers"])
        trace_id, flags = trace_of(headers, self._new_id)
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else self._new_id()
        scope[CALL] = Call(NOBODY, trace_id, request_id)
        traceparent = f"00-{trace_id}-{self._new_id()[:16]}-{flags}"
        names = (b"x-request-id", request_id.encode()), (b"traceparent", traceparent.encode())
        has_begun = False

        async def named(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message.get("headers", ()), *names]
            await send(message)

        try:
            await self._inner(scope, receive, named)
        except Exception:
            log.exception("request %s failed", request_id)
            if has_begun:
                raise
            fault = problem_response(INTERNAL, f"see the service's log for request {request_id}")
            await fault(scope, receive, named)
