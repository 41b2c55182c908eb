"""The door of the API: nobody gets in without the key, nobody at all while too much is under way."""

import hmac
import re

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.callers import ALL_TENANTS, CALL, SCOPES, Call, Caller
from serving.problems import STARTING, TOO_MANY_REQUESTS, UNAUTHORISED, problem_response
from serving.running import Running

LOCAL = Caller("local", frozenset(SCOPES), frozenset({ALL_TENANTS}))
MAX_UNDER_WAY = 256
OPEN_PATHS = re.compile(r"/openapi\.json|/docs(?:/[a-z0-9.-]+)?")
"""What a browser shows before anybody typed a key."""


class Guard:
    """Checks and counts requests before a route sees them."""

    def __init__(self, inner: ASGIApp, app: Starlette) -> None:
        """Stand before an application.

        Args:
            inner: What lies behind.
            app: The application that the service puts its parts into.
        """
        self._inner = inner
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, count, pass on."""
        is_open = scope["type"] != "http" or OPEN_PATHS.fullmatch(
            scope["path"].removeprefix(scope.get("root_path", ""))
        )
        if is_open:
            await self._inner(scope, receive, send)
            return
        running: Running | None = getattr(self._app.state, "running", None)
        if running is None:
            await problem_response(STARTING, "the service is starting")(scope, receive, send)
            return
        refusal = _refusal(running, scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        call: Call = scope[CALL]
        scope[CALL] = Call(LOCAL, call.trace_id, call.request_id)
        running.under_way += 1
        try:
            await self._inner(scope, receive, send)
        finally:
            running.under_way -= 1


def _refusal(running: Running, scope: Scope) -> Response | None:
    given = dict(scope["headers"]).get(b"authorization", b"")
    if not hmac.compare_digest(given, b"Bearer " + running.api_key.encode()):
        told = "send 'Authorization: Bearer <key>'; the local key is in secrets/api-key"
        refusal = problem_response(UNAUTHORISED, told)
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal
    if running.under_way >= MAX_UNDER_WAY:
        return problem_response(TOO_MANY_REQUESTS, f"{MAX_UNDER_WAY} requests are under way")
    return None
