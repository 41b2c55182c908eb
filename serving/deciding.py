"""Decisions under a deadline, whatever store and broker do.

the store answers           -> commit, publish or force to disk, answer
it is silent before commit  -> once more, then without it: degraded:store, in Kafka before it is answered
it is silent in the commit  -> asked for the id until the deadline, then 503: never a second decision
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pybreaker
import stamina

from pix import topics
from pix.contracts import LabelMessage, PaymentMessage
from pix.store.errors import OutcomeUnknown, StoreAway, StoreDoubtful, StoreError, StoreLoading, StoreLost
from pix.store.interface import Message
from serving.breakers import Breakers
from serving.degraded import decide_by_rules
from serving.delivery import Delivery
from serving.metrics import PAYMENTS, STAGE_SECONDS, Meters
from serving.outage import Outage
from serving.outcomes import (
    Arrival,
    Conflict,
    Done,
    FoldedBefore,
    Sighting,
    TooManyRaces,
    UnknownPayment,
    decision_id,
)
from serving.pipeline import OTHER_BODY, DecisionPipeline
from serving.records import parse_record
from serving.stopwatch import PUBLISH, RETRY

if TYPE_CHECKING:
    from serving.tracing import Tracing

TRIES = 2
REMEMBERED = 5_000
LAST_TRY_SECONDS = 0.1
POLL_SECONDS = 0.005
BEING_LEFT = "the online store is being brought up to date; try again in a second"
GONE = (StoreAway, StoreLost, StoreDoubtful)
"""Errors of a store that cannot be used now and wrote nothing."""


class Decisions:
    """One process's decisions and their delivery."""

    def __init__(
        self,
        pipeline: DecisionPipeline,
        delivery: Delivery,
        breakers: Breakers,
        outage: Outage,
        deadline_seconds: float,
        meters: Meters,
        tracing: "Tracing | None" = None,
    ) -> None:
        """Begin.

        Args:
            pipeline: Decides with the store.
            delivery: Brings records to Kafka.
            breakers: Of this process.
            outage: Of this process.
            deadline_seconds: A request is answered within about so long.
            meters: Count decisions.
            tracing: Makes spans of them; None where that is off.
        """
        self.require: Callable[[], None] = lambda: None
        """Raises StoreLoading while the store cannot be used."""
        self._pipeline = pipeline
        self._delivery = delivery
        self._breaker = breakers.store
        self._outage = outage
        self._deadline_seconds = deadline_seconds
        self._meters = meters
        self._tracing = tracing
        self._recent: OrderedDict[str, bytes] = OrderedDict()
        self._doubtful: OrderedDict[str, None] = OrderedDict()
        self._unsettled: OrderedDict[str, None] = OrderedDict()

    def deadline(self) -> float:
        """When a request that begins now must be answered, of ``time.monotonic``."""
        return time.monotonic() + self._deadline_seconds

    async def decide(self, message: PaymentMessage, arrival: Arrival, deadline: float) -> Done | Conflict:
        """Decide one payment, or return what was decided before.

        Args:
            message: The payment.
            arrival: How it came.
            deadline: See ``deadline``.

        Raises:
            StoreError: It cannot be decided now, or whether it was is not known; the same payment may be sent again.
            TooManyRaces: The commit lost its race too often.
        """
        if self._tracing is None:
            return await self._counted(message, arrival, deadline)
        span = self._tracing.begin("decide", arrival.traceparent, arrival.trace_id, arrival.stopwatch.began_ns)
        outcome: Done | Conflict | None = None
        try:
            inside = replace(arrival, traceparent=self._tracing.inside(span))
            outcome = await self._counted(message, inside, deadline)
            return outcome
        finally:
            facts = outcome.facts if isinstance(outcome, Done) else None
            self._tracing.decided(span, arrival.stopwatch, facts)

    async def _counted(self, message: PaymentMessage, arrival: Arrival, deadline: float) -> Done | Conflict:
        try:
            outcome = await self._decided(message, arrival, deadline)
        except (StoreError, TooManyRaces):
            self._meters.count(PAYMENTS, "unavailable")
            raise
        if isinstance(outcome, Conflict):
            self._meters.count(PAYMENTS, "conflict")
        elif outcome.facts is None:
            self._meters.count(PAYMENTS, "repeated")
        else:
            self._meters.decided(outcome.facts, arrival.stopwatch)
        return outcome

    async def _decided(self, message: PaymentMessage, arrival: Arrival, deadline: float) -> Done | Conflict:
        if self._outage.is_leaving:
            await self._until_left(deadline)
        # A degraded decision that Kafka did not acknowledge may be there all the same: it stays the decision.
        is_unsettled = decision_id(message.tenant, message.end_to_end_id) in self._unsettled
        if self._outage.reason is not None or is_unsettled:
            return await self._without_store(self._pipeline.seen(message, arrival), deadline)
        self.require()
        try:
            return self._kept(message, self._asked(message, arrival))
        except (*GONE, OutcomeUnknown, StoreLoading) as trouble:
            return await self._again(message, arrival, deadline, trouble)

    def fold_label(self, label: LabelMessage, received_at_ms: int) -> Done | UnknownPayment | FoldedBefore:
        """Fold one label; see ``DecisionPipeline.fold_label``.

        Raises:
            StoreError: It cannot be folded now; the same label may be sent again.
            TooManyRaces: The commit lost its race too often.
        """
        if self._outage.reason is not None:
            raise StoreAway(f"labels wait while payments are decided without the store: {self._outage.reason}")
        self.require()
        try:
            return self._breaker.call(self._pipeline.fold_label, label, received_at_ms)
        except pybreaker.CircuitBreakerError as is_open:
            raise StoreAway("the online store did not answer repeatedly; try again in some seconds") from is_open

    async def deliver(self, outcomes: Sequence[Done], deadline: float) -> bool:
        """Bring committed records to Kafka; see ``Delivery.deliver``."""
        messages = self._delivery.missing([each.message for each in outcomes if each.message is not None])
        if not messages:
            return True
        began_ns = time.perf_counter_ns()
        try:
            return await self._delivery.deliver(messages, max(deadline - time.monotonic(), LAST_TRY_SECONDS))
        finally:
            self._meters.observe(STAGE_SECONDS, (time.perf_counter_ns() - began_ns) * 1e-9, PUBLISH)
            if self._tracing is not None:
                self._tracing.published([message.traceparent for message in messages], began_ns)

    def _asked(self, message: PaymentMessage, arrival: Arrival) -> Done | Conflict:
        try:
            return self._breaker.call(self._pipeline.decide, message, arrival)
        except pybreaker.CircuitBreakerError as is_open:
            raise StoreAway("the online store did not answer repeatedly") from is_open

    async def _again(
        self, message: PaymentMessage, arrival: Arrival, deadline: float, trouble: StoreError
    ) -> Done | Conflict:
        """Ask again what failed once; a decision is asked for by its id, so asking again is safe."""
        is_unknown, tries = isinstance(trouble, OutcomeUnknown), 1

        def is_worth_it(error: Exception) -> bool:
            nonlocal is_unknown, tries
            tries += 1
            is_unknown = is_unknown or isinstance(error, OutcomeUnknown)
            return is_unknown or isinstance(error, StoreLoading) or tries < TRIES

        left = max(deadline - time.monotonic(), LAST_TRY_SECONDS)
        waits = {"wait_initial": 0.01, "wait_max": 0.2, "wait_jitter": 0.05}
        try:
            async for attempt in stamina.retry_context(is_worth_it, attempts=None, timeout=left, **waits):
                with attempt:
                    arrival.stopwatch.lap(RETRY)
                    # Whether it was committed matters more than a breaker: it is asked past that, in a thread.
                    if is_unknown:
                        done = await asyncio.to_thread(self._pipeline.decide, message, arrival)
                    else:
                        done = self._asked(message, arrival)
                    return self._kept(message, done)
        except (*GONE, OutcomeUnknown, StoreLoading) as last:
            trouble = last
        sighting = self._pipeline.seen(message, arrival)
        if is_unknown:
            _remember(self._doubtful, sighting.record_id, None)
            raise OutcomeUnknown(_unknown(sighting)) from trouble
        if isinstance(trouble, StoreLoading):
            raise trouble
        self._outage.begin(str(trouble))
        return await self._without_store(sighting, deadline)

    async def _without_store(self, sighting: Sighting, deadline: float) -> Done | Conflict:
        """Decide by rules alone, and publish that before it is answered."""
        if sighting.record_id in self._doubtful:
            raise OutcomeUnknown(_unknown(sighting))
        record = self._recent.get(sighting.record_id)
        done = Done(record, None) if record is not None else None
        if done is not None and parse_record(done.record)["payment_digest"] != sighting.digest:
            return Conflict(OTHER_BODY)
        with self._outage.deciding():
            if self._outage.is_leaving:
                # Whoever leaves it may have looked for decisions under way before this one was.
                raise StoreLoading(BEING_LEFT)
            if done is None:
                done = decide_by_rules(self._pipeline, sighting)
                _remember(self._recent, sighting.record_id, done.record)
            key, context = sighting.payment.payer_account, sighting.arrival.traceparent
            message = Message(sighting.record_id, topics.DECISIONS, key, done.record, self._pipeline.now_ms(), context)
            if not await self._delivery.publish([message], max(deadline - time.monotonic(), LAST_TRY_SECONDS)):
                _remember(self._unsettled, sighting.record_id, None)
                raise StoreAway(f"neither the online store nor Kafka answers: {self._outage.reason}")
        self._unsettled.pop(sighting.record_id, None)
        return done

    def _kept(self, message: PaymentMessage, outcome: Done | Conflict) -> Done | Conflict:
        """Remember this worker's own decisions: what it can know while the store is away."""
        if isinstance(outcome, Done):
            record_id = decision_id(message.tenant, message.end_to_end_id)
            _remember(self._recent, record_id, outcome.record)
            self._doubtful.pop(record_id, None)
        return outcome

    async def _until_left(self, deadline: float) -> None:
        while self._outage.is_leaving:
            if time.monotonic() > deadline:
                raise StoreLoading(BEING_LEFT)
            await asyncio.sleep(POLL_SECONDS)


def _unknown(sighting: Sighting) -> str:
    return (
        f"whether {sighting.payment.end_to_end_id} was decided is not known, because the online store did not answer; "
        "send the same payment again"
    )


def _remember(kept: OrderedDict[str, Any], record_id: str, value: bytes | None) -> None:
    kept[record_id] = value
    if len(kept) > REMEMBERED:
        kept.popitem(last=False)
