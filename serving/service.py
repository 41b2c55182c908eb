"""The BentoML service: the process root around the decision pipeline.

The hot route is a Starlette application mounted under ``/v1``; BentoML brings processes, health, metrics
and shutdown.
"""

import asyncio
import gc
import logging
import os
import socket
import sys
import time
from importlib.metadata import version
from itertools import count
from typing import TYPE_CHECKING

import bentoml

from learning.signing import PUBLIC_KEY_FILE
from pix import log_lines, topics
from pix.engines.layout import STATE_LAYOUT
from pix.settings import Settings
from pix.store.errors import StoreError
from pix.store.interface import open_store
from pix.tokens import ensure_keys, load_keyring
from serving.breakers import Breakers
from serving.champion import ChampionKeeper, Models
from serving.delivery import SWEPT_AT_ONCE
from serving.health import Health
from serving.http import PREFIX, create_app
from serving.keeper import StoreKeeper
from serving.logs import LakeAndKafka
from serving.metrics import DROPPED, REFUSED, Meters, forget_the_dead
from serving.pipeline import DecisionPipeline
from serving.policy import load_policy
from serving.publisher import Publisher
from serving.running import Running
from serving.shadow import Shadow
from serving.trial_accounts import TEST_ACCOUNTS
from serving.vitals import take

if TYPE_CHECKING:
    from serving.tracing import Tracing

log = logging.getLogger(__name__)

LOOK_FOR_CHAMPION_SECONDS = 1.0
CHALLENGER_EVERY = 5
SWEEP_SECONDS = 1.0
LOOK_AT_STORE_SECONDS = 1.0
SWEEP_OLDER_THAN_MS = 3_000
POST_SECONDS = 1.0
LOOK_AT_VITALS_EVERY = 5

app = create_app()


def epoch_ms() -> int:
    """The ingress clock."""
    return time.time_ns() // 1_000_000


@bentoml.service(
    name="sentinela",
    workers=1,
    traffic={"timeout": 30, "max_concurrency": 512},
    logging={"access": {"enabled": False}},
    # Their label is the raw path: every EndToEndId asked for, and whatever a stranger tries, would stay for ever.
    metrics={"enabled": False},
)
@bentoml.asgi_app(app, path=PREFIX)
class DecisionService:
    """Decides Pix payments; see ``serving.http`` for the routes and ``serving.health`` for the probes."""

    def __init__(self) -> None:
        settings = Settings()
        log_lines.configure("serving", sys.stdout)
        ensure_keys(settings.secrets)
        policy = load_policy(settings.policy_file)
        self._settings = settings
        # Not before BentoML has set up its registry of metrics for several processes.
        self._meters = meters = Meters()

        def keeper(alias: str) -> ChampionKeeper:
            return ChampionKeeper(
                uri=settings.mlflow,
                model_name=settings.model_name,
                folder=settings.root / "serving" / "models",
                public_key=settings.secrets / PUBLIC_KEY_FILE,
                now_ms=epoch_ms,
                refused=lambda reason: meters.mark(REFUSED, alias, reason),
                alias=alias,
            )

        self._models = Models(keeper)
        self._shadow = Shadow(
            challenger=lambda: self._models.challenger,
            send=lambda key, value: self._publisher.send(topics.SHADOW, key, value),
            dropped=lambda: meters.mark(DROPPED),
            now_ms=epoch_ms,
        )
        self._pipeline = DecisionPipeline(
            store=open_store(settings.store, STATE_LAYOUT, settings.store_replicas, settings.store_timeout_seconds),
            keyring=load_keyring(settings.secrets),
            champion=lambda: self._models.champion,
            policy=lambda: policy,
            now_ms=epoch_ms,
            build=version("sentinela"),
            shadow=self._shadow.offer,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @bentoml.on_startup
    async def start(self) -> None:
        """Connect, take the champion from disk or look for one, then keep looking and sweeping."""
        publisher = Publisher(self._settings.kafka, asyncio.get_running_loop())
        api_key = (self._settings.secrets / "api-key").read_text().strip()
        running = Running(
            self._pipeline,
            publisher,
            api_key,
            models=self._models,
            deadline_seconds=self._settings.decision_deadline_seconds,
            breakers=Breakers(self._meters.breaker),
            meters=self._meters,
            tracing=self._tracing(),
        )
        if self._settings.offers_test_accounts:
            running.test_accounts = TEST_ACCOUNTS
        running.keeper = self._keeper(running)
        if not await asyncio.to_thread(self._models.restore):
            await asyncio.to_thread(self._models.refresh, with_challenger=False)
        self._tasks = [
            asyncio.create_task(self._keep_models()),
            asyncio.create_task(self._keep_sweeping(running)),
            asyncio.create_task(self._keep_store(running.keeper)),
            asyncio.create_task(self._keep_metrics(running)),
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
        await asyncio.to_thread(self._shadow.close)
        await asyncio.to_thread(self._publisher.close)
        self._meters.post()
        running: Running | None = getattr(app.state, "running", None)
        if running is not None and running.tracing is not None:
            await asyncio.to_thread(running.tracing.close)
        self._pipeline.store.close()

    def _tracing(self) -> "Tracing | None":
        if not self._settings.otlp_endpoint:
            return None
        from serving.tracing import towards

        return towards(self._settings.otlp_endpoint, self._settings.trace_share, self._pipeline.build)

    def _keeper(self, running: Running) -> StoreKeeper:
        loop = asyncio.get_running_loop()
        settings = self._settings

        def flush() -> bool:
            # Builders work in threads; the publisher belongs to the loop.
            return asyncio.run_coroutine_threadsafe(running.delivery.drain(), loop).result()

        return StoreKeeper(
            store=self._pipeline.store,
            logs=LakeAndKafka(settings.lake, settings.kafka),
            lake_root=settings.lake,
            layout=STATE_LAYOUT,
            token_key_version=self._pipeline.keyring.current,
            flush=flush,
            now_ms=epoch_ms,
            name=f"{socket.gethostname()}-{os.getpid()}-{epoch_ms()}",
            outage=running.outage,
            breaker=running.breakers.store,
        )

    async def _keep_store(self, keeper: StoreKeeper) -> None:
        while True:
            try:
                await asyncio.to_thread(keeper.look)
            except Exception:
                log.exception("the online store could not be looked at; trying again")
            await asyncio.sleep(LOOK_AT_STORE_SECONDS)

    async def _keep_models(self) -> None:
        for turn in count():
            await asyncio.to_thread(self._models.refresh, with_challenger=turn % CHALLENGER_EVERY == 0)
            await asyncio.sleep(LOOK_FOR_CHAMPION_SECONDS)

    async def _keep_metrics(self, running: Running) -> None:
        for turn in count():
            try:
                if turn % LOOK_AT_VITALS_EVERY == 0:
                    await asyncio.to_thread(forget_the_dead)
                await asyncio.to_thread(take, running, epoch_ms())
                self._meters.post()
            except Exception:
                log.exception("metrics could not be brought up to date; trying again")
            await asyncio.sleep(POST_SECONDS)

    async def _keep_sweeping(self, running: Running) -> None:
        while True:
            swept = 0
            try:
                swept = await running.delivery.sweep(epoch_ms(), SWEEP_OLDER_THAN_MS)
            except StoreError as away:
                log.warning("the outbox could not be swept; trying again: %s", away)
            except Exception:
                log.exception("the outbox could not be swept; trying again")
            if swept < SWEPT_AT_ONCE:
                await asyncio.sleep(SWEEP_SECONDS)


# Otherwise the probes would not say why, and the front page would show other documents than the API's.
DecisionService.add_asgi_middleware(Health, app=app)  # type: ignore[attr-defined]
