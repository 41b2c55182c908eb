"""What answers first: the API for its own paths; probes, addresses of problem types and the way to the documents here.

BentoML's layers are not asked: each would cost every payment its part, and they say nothing that is not said here.

``/livez`` answers as long as the process does. ``/readyz`` says whether payments are taken, and if not, why.
``/metrics`` is Prometheus' text of all workers: BentoML's own would count by raw paths as well.
``/problems/conflict`` says what that type means, because a problem's type is an address.
"""

import asyncio

from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pix.contracts import canonical_json
from serving.metrics import TEXT, exposition
from serving.problem_page import section
from serving.problems import METHOD, NO_SUCH_ROUTE, NOT_READY, PROBLEM_TYPES, problem_response
from serving.running import Running
from serving.version import PREFIX

READ = ("GET", "HEAD")
# BentoML's own page and documents describe none of the API's routes, and its page asks the internet.
MOVED = {"/": "/v1/docs", "/docs.json": "/v1/openapi.json"}
TYPES = {kind.address: kind for kind in PROBLEM_TYPES}
METRICS = "/metrics"
PATHS = frozenset({"/livez", "/readyz", METRICS, *MOVED, *TYPES})
API = f"{PREFIX}/"


class Front:
    """Stands between the connections and BentoML's application."""

    def __init__(self, inner: ASGIApp, app: Starlette) -> None:
        """Stand before the service.

        Args:
            inner: What is asked for anything but HTTP.
            app: The API, which the service puts its parts into.
        """
        self._inner = inner
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the API answer."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
        # A path with a line's end is nobody's, and the API says so.
        elif scope["path"].startswith(API) or "\n" in scope["path"]:
            scope["root_path"] = PREFIX
            await self._app(scope, receive, send)
        elif scope["path"] == METRICS and scope["method"] in READ:
            text = await asyncio.to_thread(exposition)
            await _uncached(Response(text, headers={"Content-Type": TEXT}))(scope, receive, send)
        elif scope["path"] in PATHS:
            await self._answer(scope["path"], scope["method"])(scope, receive, send)
        else:
            told = problem_response(NO_SUCH_ROUTE, "the API is under /v1/; /v1/docs shows it")
            await told(scope, receive, send)

    def _answer(self, path: str, method: str) -> Response:
        if method not in READ:
            refusal = problem_response(METHOD, f"this route takes {', '.join(READ)}")
            refusal.headers["Allow"] = ", ".join(READ)
            return refusal
        if path in MOVED:
            return RedirectResponse(MOVED[path])
        if path in TYPES:
            return Response(section(TYPES[path]).lstrip(), media_type="text/markdown")
        if path == "/livez":
            return _status("alive")
        reason = why_not(getattr(self._app.state, "running", None))
        return _status("ready") if reason is None else _uncached(problem_response(NOT_READY, reason))


def why_not(running: Running | None) -> str | None:
    """Why no payments are taken; None if they are."""
    if running is None:
        return "the service is starting"
    keeper = running.keeper
    return keeper.problem or running.outage.reason if keeper is not None and not keeper.is_ready else None


def _status(status: str) -> Response:
    return _uncached(Response(canonical_json({"status": status}), media_type="application/json"))


def _uncached(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    return answer
