"""The API behind a real server with the service's own protocol, on a port of its own."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from serving.patience import PatientProtocol

Address = tuple[str, int]


@contextmanager
def served(app: Starlette, **config: object) -> Iterator[Address]:
    """Where it answers; ended with the block."""
    whole = Starlette(routes=[Mount("/v1", app)])
    running = uvicorn.Server(uvicorn.Config(whole, port=0, log_level="error", http=PatientProtocol, **config))  # type: ignore[arg-type]
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield running.servers[0].sockets[0].getsockname()
    running.should_exit = True
    thread.join(10)
