"""Who gets in: nobody without a key, nobody who used up what it may ask, nobody at all while too much is under way."""

import re
from dataclasses import replace

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.callers import CALL, Call
from serving.problems import RATE_LIMITED, STARTING, TOO_MANY_REQUESTS, UNAUTHORISED, problem_response
from serving.running import Running
from serving.shedding import MAX_UNDER_WAY

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
        running.under_way += 1
        try:
            await self._inner(scope, receive, send)
        finally:
            running.under_way -= 1


def _refusal(running: Running, scope: Scope) -> Response | None:
    """Why the request goes no farther; None where it may, and then the scope says who calls."""
    holder = running.door.holder(scope["headers"])
    if holder is None:
        return _without_key(running, scope)
    if running.under_way >= MAX_UNDER_WAY:
        return problem_response(TOO_MANY_REQUESTS, f"{MAX_UNDER_WAY} requests are under way")
    call: Call = scope[CALL]
    if holder.allowance is None:
        scope[CALL] = replace(call, caller=holder.caller)
        return None
    wait = holder.allowance.take()
    if wait is not None:
        return problem_response(RATE_LIMITED, "this client has used up what it may ask", retry_after_seconds=wait)
    scope[CALL] = replace(call, caller=holder.caller, charge=holder.allowance.charge)
    return None


def _without_key(running: Running, scope: Scope) -> Response:
    address = scope["client"][0] if scope.get("client") else ""
    wait = running.door.attempts.failed(address)
    if wait is not None:
        told = "too many requests without a valid key come from this address"
        return problem_response(RATE_LIMITED, told, retry_after_seconds=wait)
    # The same whether there is no key, or an unknown, expired or revoked one.
    told = "send one 'Authorization: Bearer <key>' with a valid key; the local one is in secrets/api-key"
    refusal = problem_response(UNAUTHORISED, told)
    refusal.headers["WWW-Authenticate"] = "Bearer"
    return refusal
