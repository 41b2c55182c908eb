"""Whether the online store can be used, and what is done when it cannot.

A store is used when its generation has this build's layout and token key and knows what the logs know. One that
was lost, is of another layout or misses commits is built anew at once; until then no payment is decided. What the
store says of itself is looked at every second, the logs' end when the service starts and whenever that changes.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pybreaker

from pix import topics
from pix.store.errors import BuildBusy, StoreAway, StoreDoubtful, StoreError, StoreLoading, StoreLost
from pix.store.generation import Generation
from pix.store.interface import Store
from serving.base import Base, BaseRefused, read_base
from serving.build import MOST_ROUNDS, NEAR_THE_END, Builder, BuildFailed
from serving.logs import LogLost, Logs, LogsAway
from serving.outage import Outage
from serving.reconciling import Reconciler
from serving.replay import Replay
from serving.review_replay import ReviewReplay

log = logging.getLogger(__name__)

LAST_MESSAGES = 256
"""So many commits can be under way at once, so the newest is among as many last messages of a partition."""
TRY_AGAIN_SECONDS = 10.0
RECONCILE_SECONDS = 60.0
"""So often is looked for degraded decisions of workers that died before they folded them."""
QUIET_SECONDS = 5.0
PROBE = "probe"
"""Id of no record."""
NOT_EXAMINED = "the online store was not compared with the logs yet; try again in a second"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked for.

    Attributes:
        version: Delta version of the base; the newest if None.
        is_forced: Build also where the generation in use is of the same history, layout and token key.
        accept_gaps: Fold over missing folds.
    """

    version: int | None = None
    is_forced: bool = True
    accept_gaps: bool = False


class StoreKeeper:
    """Keeps one service's store usable. ``look`` belongs into a thread, about once a second."""

    def __init__(
        self,
        *,
        store: Store,
        logs: Logs,
        lake_root: str,
        layout: str,
        token_key_version: int,
        flush: Callable[[], bool],
        now_ms: Callable[[], int],
        name: str,
        outage: Outage,
        breaker: pybreaker.CircuitBreaker,
    ) -> None:
        """Begin with a store that was not examined.

        Args:
            store: The online store.
            logs: Lake and Kafka.
            lake_root: Root of the Delta tables, for the base.
            layout: Layout of the blobs that this build reads.
            token_key_version: Key version of the tokens that this service makes.
            flush: Publishes what waits in the outbox; whether it is empty then.
            now_ms: The clock, epoch milliseconds.
            name: Unique name of this process.
            outage: Of this process: begun here when the store is gone, ended here when all is folded.
            breaker: Of this process's payments around the store.
        """
        self.problem: str | None = NOT_EXAMINED
        self._store = store
        self._logs = logs
        self._lake_root = lake_root
        self._layout = layout
        self._token_key_version = token_key_version
        self._builder = Builder(store=store, logs=logs, flush=flush, now_ms=now_ms, name=name)
        self._now_ms = now_ms
        self._examined: int | None = None
        self._has_served = False
        self._not_before = 0.0
        self._outage = outage
        self._breaker = breaker
        self._reconciler = Reconciler(store, logs, now_ms)
        self._reconcile_at = 0.0
        self._busy = threading.Lock()

    def require(self) -> None:
        """Let payments through.

        Raises:
            StoreLoading: The store cannot be used now; the message says why.
        """
        if self.problem is not None:
            raise StoreLoading(self.problem)

    @property
    def is_ready(self) -> bool:
        """Whether traffic should come here.

        A service that lost its store answers degraded and stays: all of its kind have lost it. One that never
        reached its store answers, too, but asks for no traffic: its configuration may be wrong, and others may be well.
        """
        return self.problem is None or (self._has_served and self._outage.reason is not None)

    def look(self) -> None:
        """Notice what happened to the store, and build it anew where that is needed."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            self._look()
        except StoreError as away:
            self._examined, self.problem = None, str(away)
            if isinstance(away, (StoreAway, StoreLost, StoreDoubtful)):
                self._outage.begin(str(away))
        finally:
            self._busy.release()

    def _look(self) -> None:
        server = self._store.other_server()
        if (dead := self._store.lift_of_the_dead(self._now_ms())) is not None:
            log.warning("builder %s died behind its fence; the store is open again", dead)
        number = self._number()
        if server is None and number is not None and number == self._examined:
            self._settle()
            return
        if self._examined is not None:
            # Another worker flipped, the content is gone, or another server answers.
            self._examined, self.problem = None, NOT_EXAMINED
        if time.monotonic() >= self._not_before and self._examine(server) and server is not None:
            log.warning("another server answers for the online store; payments reach it from now on")
            self._store.trust(server)
        if self._examined is not None:
            self._settle()

    def _settle(self) -> None:
        """Fold what was decided without the store, then end the outage; without one, look for others' once a while."""
        try:
            if self._outage.reason is not None:
                self._leave()
            elif time.monotonic() >= self._reconcile_at:
                self._reconcile()
        except LogsAway as away:
            self._reconcile_at = time.monotonic() + TRY_AGAIN_SECONDS
            log.warning("degraded decisions cannot be looked for now: %s", away)

    def _reconcile(self) -> int:
        """Fold what was decided without the store; how many payments that were."""
        try:
            folded = self._reconciler.run()
        except LogLost as lost:
            # What is gone cannot be folded by waiting; payments must not wait for it either.
            log.error("degraded decisions cannot be looked for in all of the log: %s", lost)
            return 0
        finally:
            self._reconcile_at = time.monotonic() + RECONCILE_SECONDS
        if folded:
            log.warning("%d payments that were decided without the store were folded", folded)
        return folded

    def _leave(self) -> None:
        try:
            # As a payment reads it: a store that answers late is away.
            with self._breaker.calling():
                self._store.snapshot(PROBE, [])
        except (pybreaker.CircuitBreakerError, StoreError):
            return
        rounds = 0
        while self._reconcile() > NEAR_THE_END and rounds < MOST_ROUNDS:
            rounds += 1
        self._outage.is_leaving = True
        try:
            give_up_at = time.monotonic() + QUIET_SECONDS
            while not self._outage.is_quiet:
                if time.monotonic() > give_up_at:
                    return
                time.sleep(0.005)
            self._reconcile()
            log.warning("payments are decided with the online store again")
            self._outage.end()
        finally:
            self._outage.is_leaving = False

    def _number(self) -> int | None:
        active = self._store.active()
        return active.number if active else None

    def _examine(self, server: str | None) -> bool:
        """Compare with the logs, and build anew where that is needed; whether the store can be used now."""
        try:
            reason = self._why()
            if reason is not None:
                log.warning("building the online store anew: %s", reason)
                if self._has_served:
                    self._outage.begin(reason)
                self.problem = f"{reason}; it is being built from lake and logs, see `sentinela store status`"
                self._build(Order())
            if server is None:
                # Folding goes the payments' way, which leads to no other server before that is trusted.
                self._reconcile()
        except LogsAway as away:
            self._not_before = time.monotonic() + TRY_AGAIN_SECONDS
            self.problem = self._problem_without_logs(server, away)
            return False
        except (BaseRefused, BuildFailed, BuildBusy, LogLost) as refused:
            self._not_before = time.monotonic() + TRY_AGAIN_SECONDS
            self.problem = str(refused)
            return False
        self._examined, self.problem, self._has_served = self._number(), None, True
        return True

    def _problem_without_logs(self, server: str | None, away: LogsAway) -> str | None:
        if server is not None:
            return (
                f"another server answers for the online store, and whether it has all commits cannot be known: {away}"
            )
        if self._number() is None:
            return f"the online store is empty, and whether it must be cannot be known: {away}"
        # A restart while Kafka is away must not stop payments; the comparison is made up for later.
        return None

    def _why(self) -> str | None:
        """Why the store must be built; None if it can be used."""
        active = self._store.active()
        if active is None:
            return self._why_not_empty()
        foreign = self._foreign(active)
        if foreign is not None and self._has_served:
            # Taking it back would make the two builds change over for ever.
            raise StoreError(
                f"another service changed the online store to generation {active.number}: {foreign}; restart this "
                "service with that build and key, or end the other one"
            )
        return foreign or self._behind(active)

    def _foreign(self, active: Generation) -> str | None:
        if active.identity.layout != self._layout:
            return f"its states are of layout {active.identity.layout}, this build reads {self._layout}"
        if active.identity.token_key_version != self._token_key_version:
            return (
                f"its keys are tokens of key {active.identity.token_key_version}, this service makes those of key "
                f"{self._token_key_version}"
            )
        return None

    def _why_not_empty(self) -> str | None:
        base = self._base(None)
        if base.keys == 0 and not self._logs.newest(1) and not self._logs.rows():
            begun = self._builder.begin(base, layout=self._layout, token_key_version=self._token_key_version)
            self._builder.build(begun, base)
            return None
        return "the online store is empty, but the lake or the logs are not"

    def _behind(self, active: Generation) -> str | None:
        """What the newest messages say that the store does not know: commits that a failover lost."""
        replay, messages = Replay(self._store, active.number), self._logs.newest(LAST_MESSAGES)
        replay.take(messages)
        newest = replay.newest_numbers()
        stored = self._store.read_states(active.number, list(newest))
        missing = sorted(key for key, number in newest.items() if stored[key].number < number)
        if not missing:
            reviews = ReviewReplay(self._now_ms())
            # A verdict that a failover lost leaves no gap in any number; saying it again changes nothing.
            reviews.take(message for message in messages if message[0] == topics.LABELS)
            reviews.restore(self._store)
            return None
        return f"it misses commits that are in the logs, of {len(missing)} keys such as {missing[0]}"

    def _base(self, version: int | None) -> Base:
        return read_base(self._lake_root, self._layout, self._token_key_version, version)

    def begin(self, order: Order) -> tuple[Generation, Callable[[], None] | None]:
        """Take an order to build.

        Returns:
            The generation, and the work that makes it, to be done in a thread; no work where the generation in
            use is of that history already.

        Raises:
            BaseRefused: The base cannot be used.
            BuildBusy: Somebody else builds.
        """
        if not self._busy.acquire(blocking=False):
            raise BuildBusy("this service builds a generation already; see `sentinela store status`")
        try:
            base = self._base(order.version)
            active = self._store.active()
            if active is not None and not order.is_forced and self._is_of(active, base):
                self._busy.release()
                return active, None
            begun = self._announced(base)
        except BaseException:
            self._busy.release()
            raise
        return begun, lambda: self._ordered(lambda: self._builder.build(begun, base, accept_gaps=order.accept_gaps))

    def roll_back(self, number: int | None) -> tuple[Generation, Callable[[], None]]:
        """Take an order to return to a retired generation, by default the newest one.

        Raises:
            StoreError: There is none, or somebody else builds.
        """
        retired = [each.number for each in self._store.generations() if each.state == "retired"]
        if number is None and not retired:
            raise StoreError("there is no retired generation to roll back to; see `sentinela store status`")
        if not self._busy.acquire(blocking=False):
            raise BuildBusy("this service builds a generation already; see `sentinela store status`")
        try:
            begun = self._builder.roll_back(max(retired) if number is None else number)
        except BaseException:
            self._busy.release()
            raise
        return begun, lambda: self._ordered(lambda: self._builder.catch_up(begun))

    def _ordered(self, work: Callable[[], None]) -> None:
        try:
            work()
            self._examined, self.problem = self._number(), None
        except BuildFailed as failed:
            log.warning("%s", failed)
        finally:
            self._busy.release()

    def _build(self, order: Order) -> None:
        base = self._base(order.version)
        self._builder.build(self._announced(base), base, accept_gaps=order.accept_gaps)

    def _announced(self, base: Base) -> Generation:
        # Numbers of a store that was lost stand in the logs; they must not come again.
        known = Replay(self._store, 0)
        known.take(self._logs.newest(LAST_MESSAGES))
        return self._builder.begin(
            base,
            layout=self._layout,
            token_key_version=self._token_key_version,
            at_least=known.newest_generation + 1,
        )

    def _is_of(self, active: Generation, base: Base) -> bool:
        found = active.identity
        return (found.imports, found.layout, found.token_key_version) == (
            base.imports,
            self._layout,
            self._token_key_version,
        )
