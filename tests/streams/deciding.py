"""The decision service as a process that starts in a second: everything of it but BentoML's shell and the champion."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route

from pix.clock import epoch_ms
from pix.engines.layout import STATE_LAYOUT
from pix.store.interface import open_store
from pix.tokens import ensure_keys, load_keyring
from serving.door import door_by_hand
from serving.http import create_app
from serving.pipeline import DecisionPipeline
from serving.policy import load_policy
from serving.publisher import Publisher
from serving.running import Running

POLICY = Path(__file__).resolve().parents[2] / "config" / "policy.yaml"
SWEEP_SECONDS = 0.5


def main(bootstrap: str, home: str, port: str) -> None:
    """Serve ``/v1`` and ``/readyz`` until SIGTERM."""
    keys, policy, app = Path(home) / "secrets", load_policy(POLICY), create_app()
    ensure_keys(keys)
    pipeline = DecisionPipeline(
        store=open_store(f"lmdb://{home}/store", STATE_LAYOUT), keyring=load_keyring(keys), champion=lambda: None,
        policy=lambda: policy, now_ms=epoch_ms, build="test",
    )  # fmt: skip

    async def keep_sweeping(running: Running) -> None:
        while True:
            await running.delivery.sweep(epoch_ms(), older_than_ms=1_000)
            await asyncio.sleep(SWEEP_SECONDS)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        publisher = Publisher({"bootstrap.servers": bootstrap}, asyncio.get_running_loop())
        app.state.running = Running(pipeline, publisher, door_by_hand({"key": {}}, epoch_ms))
        sweeping = asyncio.create_task(keep_sweeping(app.state.running))
        yield
        sweeping.cancel()
        await asyncio.to_thread(publisher.close)
        pipeline.store.close()

    whole = Starlette(routes=[Route("/readyz", lambda _: Response()), Mount("/v1", app)], lifespan=lifespan)
    uvicorn.run(whole, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
