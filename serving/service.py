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
from uvicorn.config import HTTP_PROTOCOLS

from learning.signing import PUBLIC_KEY_FILE
from pix import log_lines, topics
from pix.engines.layout import STATE_LAYOUT
from pix.settings import Settings
from pix.store.errors import StoreError
from pix.store.interface import open_store
from pix.tokens import ensure_keys, load_keyring
from serving import policy_archive
from serving.breakers import Breakers
from serving.champion import ChampionKeeper, Models
from serving.delivery import SWEPT_AT_ONCE
from serving.door import KeyWatch
from serving.health import Health
from serving.holds import is_by_day
from serving.http import PREFIX, create_app
from serving.keeper import StoreKeeper
from serving.logs import LakeAndKafka
from serving.metrics import DROPPED, POLICY_REFUSED, REFUSED, WITHOUT_VALUE, Meters, forget_the_dead
from serving.payee_payments import PayeeReader
from serving.pipeline import DecisionPipeline
from serving.policy_keeper import PolicyKeeper
from serving.publisher import Publisher
from serving.review_queue import SETTLED_AT_ONCE, ReviewQueue
from serving.running import Running
from serving.shadow import Shadow
from serving.shelter import listening_hosts, require_shelter
from serving.trial_accounts import TEST_ACCOUNTS
from serving.vitals import take

if TYPE_CHECKING:
    from serving.tracing import Tracing

log = logging.getLogger(__name__)

LOOK_FOR_CHAMPION_SECONDS = 1.0
CHALLENGER_EVERY = 5
SWEEP_SECONDS = 1.0
LOOK_AT_STORE_SECONDS = 1.0
LOOK_AT_POLICY_SECONDS = 1.0
SETTLE_SECONDS = 2.0
LOOK_AT_KEYS_SECONDS = 1.0
SWEEP_OLDER_THAN_MS = 3_000
POST_SECONDS = 1.0
LOOK_AT_VITALS_EVERY = 5

app = create_app()
# BentoML names no protocol, and uvicorn's own waits for a request's head for ever.
HTTP_PROTOCOLS["auto"] = "serving.patience:PatientProtocol"


def epoch_ms() -> int:
    """The ingress clock."""
    return time.time_ns() // 1_000_000


def _policies(settings: Settings, token_key_version: int, meters: Meters) -> PolicyKeeper:
    return PolicyKeeper(
        settings.policy_file,
        settings.root / "serving" / "policy",
        keep=lambda text, at_ms: policy_archive.keep(settings.lake, text, at_ms),
        now_ms=epoch_ms,
        token_key_version=token_key_version,
        told=lambda is_refused: meters.set(POLICY_REFUSED, is_refused),
    )


@bentoml.service(
    name="sentinela",
    workers=1,
    traffic={"timeout": 30, "max_concurrency": 512},
    logging={"access": {"enabled": False}},
    # Their label is the raw path: every EndToEndId asked for, and whatever a stranger tries, would stay for ever.
    metrics={"enabled": False},
    # serving.tracing makes the spans, where they are wanted; BentoML's would be made for each request and thrown away.
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(app, path=PREFIX)
class DecisionService:
    """Decides Pix payments; see ``serving.http`` for the routes and ``serving.health`` for the probes."""

    def __init__(self) -> None:
        settings = Settings()
        log_lines.configure("serving", sys.stdout)
        ensure_keys(settings.secrets)
        keyring = load_keyring(settings.secrets)
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
        self._policies = _policies(settings, keyring.current, meters)
        self._pipeline = DecisionPipeline(
            store=open_store(settings.store, STATE_LAYOUT, settings.store_replicas, settings.store_timeout_seconds),
            keyring=keyring,
            champion=lambda: self._models.champion,
            policy=self._policies.current,
            now_ms=epoch_ms,
            build=version("sentinela"),
            shadow=self._shadow.offer,
            without_value=lambda names: meters.mark_each(WITHOUT_VALUE, names),
        )
        self._tasks: list[asyncio.Task[None]] = []

    @bentoml.on_startup
    async def start(self) -> None:
        """Connect, take the champion from disk or look for one, then keep looking and sweeping."""
        require_shelter(
            listening_hosts(),
            offers_test_accounts=self._settings.offers_test_accounts,
            has_tls_in_front=self._settings.tls_in_front,
        )
        watch = KeyWatch(self._settings.secrets, epoch_ms)
        publisher = Publisher(self._settings.kafka, asyncio.get_running_loop())
        running = Running(
            self._pipeline,
            publisher,
            watch.door,
            models=self._models,
            deadline_seconds=self._settings.decision_deadline_seconds,
            breakers=Breakers(self._meters.breaker),
            meters=self._meters,
            tracing=self._tracing(),
        )
        if self._settings.offers_test_accounts:
            running.test_accounts = TEST_ACCOUNTS
        running.keeper = self._keeper(running)
        running.policies = self._policies
        # The calendar is made once per year, and better now than for the first payment that is held.
        is_by_day(epoch_ms())
        running.payee_payments = PayeeReader(self._settings.lake).of
        if not await asyncio.to_thread(self._models.restore):
            await asyncio.to_thread(self._models.refresh, with_challenger=False)
        self._tasks = [
            asyncio.create_task(self._keep_models()),
            asyncio.create_task(self._keep_policy()),
            asyncio.create_task(self._keep_sweeping(running)),
            asyncio.create_task(self._keep_reviews(running.reviews)),
            asyncio.create_task(self._keep_store(running.keeper)),
            asyncio.create_task(_keep_keys(watch)),
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

    async def _keep_policy(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._policies.look)
            except Exception:
                log.exception("the policy file could not be looked at; trying again")
            await asyncio.sleep(LOOK_AT_POLICY_SECONDS)

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

    async def _keep_reviews(self, reviews: ReviewQueue) -> None:
        while True:
            settled = 0
            try:
                settled = await asyncio.to_thread(reviews.settle)
            except StoreError as away:
                log.warning("reviews past their deadline could not be moved on; trying again: %s", away)
            except Exception:
                log.exception("reviews past their deadline could not be moved on; trying again")
            if settled < SETTLED_AT_ONCE:
                await asyncio.sleep(SETTLE_SECONDS)


async def _keep_keys(watch: KeyWatch) -> None:
    while True:
        watch.look()
        await asyncio.sleep(LOOK_AT_KEYS_SECONDS)


# Otherwise the probes would not say why, and the front page would show other documents than the API's.
DecisionService.add_asgi_middleware(Health, app=app)  # type: ignore[attr-defined]
