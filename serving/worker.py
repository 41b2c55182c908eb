"""One worker process of the service: the root around the decision pipeline.

It reads the settings, puts the parts together, and keeps looking: for models, policies, keys, what waits in the outbox,
reviews past their deadline, the state of the store.
"""

import asyncio
import gc
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import cache
from importlib.metadata import version
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING, Any, cast

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from learning.fetching import fetch_apart
from learning.signing import PUBLIC_KEY_FILE
from pix import log_lines, topics
from pix.clock import epoch_ms
from pix.engines.layout import STATE_LAYOUT
from pix.settings import Settings
from pix.store.errors import StoreError
from pix.store.interface import open_store
from pix.tokens import ensure_keys, load_keyring
from serving import policy_archive
from serving.breakers import Breakers
from serving.champion import ChampionKeeper, Models
from serving.correlation import request_id_of, trace_of
from serving.delivery import SWEPT_AT_ONCE
from serving.door import KeyWatch
from serving.front import Front
from serving.holds import is_by_day
from serving.http import create_app, route_of
from serving.keeper import StoreKeeper
from serving.logs import LakeAndKafka
from serving.metrics import DROPPED, POLICY_REFUSED, REFUSED, WITHOUT_VALUE, Meters, forget_the_dead
from serving.payee_payments import PayeeReader
from serving.pipeline import DecisionPipeline
from serving.policy_keeper import PolicyKeeper
from serving.problems import TOO_MANY_REQUESTS, problem_response
from serving.publisher import Publisher
from serving.review_queue import SETTLED_AT_ONCE
from serving.running import Running
from serving.shadow import Shadow
from serving.shedding import MAX_UNDER_WAY, SheddingProtocol
from serving.shelter import listening_hosts, require_shelter
from serving.trial_accounts import TEST_ACCOUNTS
from serving.version import PREFIX
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


def new_id() -> str:
    """32 random hex digits."""
    return token_hex(16)


app = create_app(new_id)
"""The API; one in a process."""


def _policies(settings: Settings, token_key_version: int, meters: Meters) -> PolicyKeeper:
    return PolicyKeeper(
        settings.policy_file,
        settings.root / "serving" / "policy",
        keep=lambda text, at_ms: policy_archive.keep(settings.lake, text, at_ms),
        now_ms=epoch_ms,
        token_key_version=token_key_version,
        told=lambda is_refused: meters.set(POLICY_REFUSED, is_refused),
    )


class Worker:
    """The parts of one process, and what it does beside answering."""

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
                fetch=fetch_apart,
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
        running.keeper = keeper = self._keeper(running)
        running.policies = self._policies
        # The calendar is made once per year, and better now than for the first payment that is held.
        is_by_day(epoch_ms())
        running.payee_payments = PayeeReader(self._settings.lake).of
        if not await asyncio.to_thread(self._models.restore):
            await asyncio.to_thread(self._models.refresh, with_challenger=False)
        self._tasks = [asyncio.create_task(duty) for duty in self._duties(running, keeper, watch)]
        self._publisher = publisher
        gc.collect()
        gc.freeze()
        app.state.running = running

    async def stop(self) -> None:
        """Flush and close."""
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self._shadow.close)
        await asyncio.to_thread(self._publisher.close)
        self._meters.post()
        running: Running | None = getattr(app.state, "running", None)
        if running is not None:
            running.delivery.trim()
            if running.tracing is not None:
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

    def _duties(self, running: Running, keeper: StoreKeeper, watch: KeyWatch) -> "list[Coroutine[Any, Any, None]]":
        """What is looked at again and again."""
        model_turns, metric_turns = count(), count()

        async def models() -> None:
            with_challenger = next(model_turns) % CHALLENGER_EVERY == 0
            await asyncio.to_thread(self._models.refresh, with_challenger=with_challenger)

        async def metrics() -> None:
            if next(metric_turns) % LOOK_AT_VITALS_EVERY == 0:
                await asyncio.to_thread(forget_the_dead)
            await asyncio.to_thread(take, running, epoch_ms())
            self._meters.post()

        async def sweep() -> bool:
            return await running.delivery.sweep(epoch_ms(), SWEEP_OLDER_THAN_MS) >= SWEPT_AT_ONCE

        async def settle() -> bool:
            return await asyncio.to_thread(running.reviews.settle) >= SETTLED_AT_ONCE

        async def keys() -> None:
            watch.look()

        return [
            _again("the models could not be looked for", LOOK_FOR_CHAMPION_SECONDS, models),
            _again("the policy file could not be looked at", LOOK_AT_POLICY_SECONDS, in_thread(self._policies.look)),
            _again("the outbox could not be swept", SWEEP_SECONDS, sweep),
            _again("reviews past their deadline could not be moved on", SETTLE_SECONDS, settle),
            _again("the online store could not be looked at", LOOK_AT_STORE_SECONDS, in_thread(keeper.look)),
            _again("the keys could not be looked at", LOOK_AT_KEYS_SECONDS, keys),
            _again("metrics could not be brought up to date", POST_SECONDS, metrics),
        ]


def in_thread(look: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    """The same for the loop; what blocks belongs into a thread."""

    async def looked() -> None:
        await asyncio.to_thread(look)

    return looked


async def _again(trouble: str, pause_seconds: float, look: Callable[[], Awaitable[bool | None]]) -> None:
    """Look for ever, with a pause unless there is more at once; what goes wrong is logged and tried again."""
    while True:
        has_more: bool | None = False
        try:
            has_more = await look()
        except StoreError as away:
            log.warning("%s; trying again: %s", trouble, away)
        except Exception:
            log.exception("%s; trying again", trouble)
        if not has_more:
            await asyncio.sleep(pause_seconds)


class FrontProtocol(SheddingProtocol):
    """uvicorn's protocol with an end to its patience and to its load, and the front in place of BentoML's layers."""

    def __init__(self, config: Config, **named: Any) -> None:
        super().__init__(config, **named)
        self.app = fronted(config)

    def refusal(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> bytes:
        """The problem, under the names of its request, and counted."""
        running: Running | None = getattr(app.state, "running", None)
        if running is not None:
            scope = {"type": "http", "method": method, "path": path, "root_path": PREFIX}
            running.meters.request(route_of(scope), TOO_MANY_REQUESTS.status, 0.0, None)
        trace_id, _, flags = trace_of(headers, new_id)
        names = f"x-request-id: {request_id_of(headers, new_id)}\r\ntraceparent: 00-{trace_id}-{new_id()[:16]}-{flags}"
        return b"%s%s\r\n\r\n%s" % (_REFUSED_HEAD, names.encode(), _REFUSED.body)


_REFUSED = problem_response(TOO_MANY_REQUESTS, f"{MAX_UNDER_WAY} requests are under way")
_REFUSED_HEAD = b"HTTP/1.1 429 Too Many Requests\r\n" + b"".join(b"%s: %s\r\n" % pair for pair in _REFUSED.raw_headers)


@cache
def fronted(config: Config) -> ASGIApp:
    """What answers the connections of a server: its reading of proxies' headers, then the front."""
    # uvicorn and Starlette have names of their own for the types of ASGI.
    behind = config.loaded_app
    if isinstance(behind, ProxyHeadersMiddleware):
        front: Any = Front(cast("ASGIApp", behind.app), app)
        return cast("ASGIApp", ProxyHeadersMiddleware(front, trusted_hosts=config.forwarded_allow_ips))
    return Front(cast("ASGIApp", behind), app)
