"""The BentoML service: its processes, their sockets, their beginning and end. What decides is ``serving.worker``.

The process that watches over the workers reads this module too, so nothing here loads the kernel, the lake or a model:
that would double the time until the first payment.
"""

from typing import TYPE_CHECKING

import bentoml
from starlette.types import Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS

from serving.version import PREFIX

if TYPE_CHECKING:
    from serving.worker import Worker

# BentoML names no protocol. uvicorn's own waits for a request's head for ever, and would walk through BentoML's layers.
HTTP_PROTOCOLS["auto"] = "serving.worker:FrontProtocol"


async def api(scope: Scope, receive: Receive, send: Send) -> None:
    """The API, loaded by the process that serves it."""
    from serving.worker import app

    await app(scope, receive, send)


@bentoml.service(
    name="sentinela",
    workers=1,
    logging={"access": {"enabled": False}},
    # Their label is the raw path: every EndToEndId asked for, and whatever a stranger tries, would stay for ever.
    metrics={"enabled": False},
    # serving.tracing makes the spans, where they are wanted.
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(api, path=PREFIX)
class DecisionService:
    """Decides Pix payments; see ``serving.http`` for the routes and ``serving.front`` for the probes."""

    _worker: "Worker"

    def __init__(self) -> None:
        from serving.worker import Worker

        self._worker = Worker()

    @bentoml.on_startup
    async def start(self) -> None:
        """Take payments."""
        await self._worker.start()

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Flush and close."""
        await self._worker.stop()
