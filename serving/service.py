"""The BentoML service: the process root around the decision pipeline.

The hot route is a Starlette application mounted under ``/v1``; BentoML brings processes, health, metrics
and shutdown.
"""

import asyncio
import gc
import logging
import os
import socket
import time
from importlib.metadata import version

import bentoml

from pix.engines.layout import STATE_LAYOUT
from pix.settings import Settings
from pix.store.interface import open_store
from pix.tokens import ensure_keys, load_keyring
from serving.champion import ChampionKeeper
from serving.health import Health
from serving.http import create_app
from serving.keeper import StoreKeeper
from serving.logs import LakeAndKafka
from serving.outbox import drain, sweep
from serving.pipeline import DecisionPipeline
from serving.policy import load_policy
from serving.publisher import Publisher
from serving.running import Running
from serving.trial_accounts import TEST_ACCOUNTS

log = logging.getLogger(__name__)

LOOK_FOR_CHAMPION_SECONDS = 1.0
SWEEP_SECONDS = 1.0
LOOK_AT_STORE_SECONDS = 1.0
SWEEP_OLDER_THAN_MS = 3_000

app = create_app()


def epoch_ms() -> int:
    """The ingress clock."""
    return time.time_ns() // 1_000_000


@bentoml.service(
    name="sentinela",
    workers=1,
    traffic={"timeout": 30, "max_concurrency": 512},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(app, path="/v1")
class DecisionService:
    """Decides Pix payments; see ``serving.http`` for the routes and ``serving.health`` for the probes."""

    def __init__(self) -> None:
        settings = Settings()
        ensure_keys(settings.secrets)
        policy = load_policy(settings.policy_file)
        self._settings = settings
        self._champion = ChampionKeeper(settings.mlflow, settings.model_name, settings.root / "serving" / "models")
        self._pipeline = DecisionPipeline(
            store=open_store(settings.store, STATE_LAYOUT, settings.store_replicas),
            keyring=load_keyring(settings.secrets),
            champion=lambda: self._champion.current,
            policy=lambda: policy,
            now_ms=epoch_ms,
            build=version("sentinela"),
        )
        self._trouble = ""
        self._tasks: list[asyncio.Task[None]] = []

    @bentoml.on_startup
    async def start(self) -> None:
        """Connect, look for the champion once, then keep looking and sweeping."""
        publisher = Publisher(self._settings.kafka, asyncio.get_running_loop())
        api_key = (self._settings.secrets / "api-key").read_text().strip()
        running = Running(self._pipeline, publisher, api_key)
        if self._settings.offers_test_accounts:
            running.test_accounts = TEST_ACCOUNTS
        running.keeper = self._keeper(running)
        await self._refresh_champion()
        self._tasks = [
            asyncio.create_task(self._keep_champion()),
            asyncio.create_task(self._keep_sweeping(running)),
            asyncio.create_task(self._keep_store(running.keeper)),
        ]
        self._publisher = publisher
        gc.collect()
        gc.freeze()
        app.state.running = running

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Flush and close."""
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self._publisher.close)
        self._pipeline.store.close()

    def _keeper(self, running: Running) -> StoreKeeper:
        loop = asyncio.get_running_loop()
        settings = self._settings

        def flush() -> bool:
            # Builders work in threads; the publisher belongs to the loop.
            return asyncio.run_coroutine_threadsafe(drain(running), loop).result()

        return StoreKeeper(
            store=self._pipeline.store,
            logs=LakeAndKafka(settings.lake, settings.kafka),
            lake_root=settings.lake,
            layout=STATE_LAYOUT,
            token_key_version=self._pipeline.keyring.current,
            flush=flush,
            now_ms=epoch_ms,
            name=f"{socket.gethostname()}-{os.getpid()}-{epoch_ms()}",
        )

    async def _keep_store(self, keeper: StoreKeeper) -> None:
        while True:
            try:
                await asyncio.to_thread(keeper.look)
            except Exception:
                log.exception("the online store could not be looked at; trying again")
            await asyncio.sleep(LOOK_AT_STORE_SECONDS)

    async def _refresh_champion(self) -> None:
        try:
            if await asyncio.to_thread(self._champion.refresh) and self._champion.current:
                log.warning("champion now serving: %s", dict(self._champion.current.identity))
            self._trouble = ""
        except Exception as trouble:
            # Asked every second: say it once, not once a second.
            if str(trouble) != self._trouble:
                log.warning("the champion could not be refreshed; serving goes on as it is: %s", trouble)
            self._trouble = str(trouble)

    async def _keep_champion(self) -> None:
        while True:
            await asyncio.sleep(LOOK_FOR_CHAMPION_SECONDS)
            await self._refresh_champion()

    async def _keep_sweeping(self, running: Running) -> None:
        while True:
            try:
                await sweep(running, epoch_ms(), SWEEP_OLDER_THAN_MS)
            except Exception:
                log.exception("the outbox could not be swept; trying again")
            await asyncio.sleep(SWEEP_SECONDS)


# Otherwise the probes would not say why, and the front page would show other documents than the API's.
DecisionService.add_asgi_middleware(Health, app=app)  # type: ignore[attr-defined]
