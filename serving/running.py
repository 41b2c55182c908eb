"""What the routes share: the running service's parts, who calls, and the way of committed records to Kafka."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from serving.keeper import StoreKeeper
from serving.pipeline import DecisionPipeline, Done
from serving.publisher import Publisher

PUBLISH_SECONDS = 2.0
DEFERRED = {"Sentinela-Delivery": "deferred"}
CALL = "sentinela.call"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as it stands on a decision's origin."""

    name: str


LOCAL = Caller("local")


@dataclass(frozen=True, slots=True)
class Call:
    """One request as its guard let it in.

    Attributes:
        caller: Who asks.
        trace_id: W3C trace, 32 hex digits.
        request_id: The caller's own id of the request, or one made here.
    """

    caller: Caller
    trace_id: str
    request_id: str


@dataclass(slots=True)
class Running:
    """What the routes need; set when the service has started.

    Attributes:
        pipeline: Decides.
        publisher: Brings records to Kafka.
        api_key: The key that opens every route.
        under_way: How many requests are being answered.
        keeper: Keeps the store usable; None in a service without one.
        builds: Generations of the store that are being built.
        test_accounts: Payee's account -> action that it forces; empty outside local mode.
    """

    pipeline: DecisionPipeline
    publisher: Publisher
    api_key: str
    under_way: int = 0
    keeper: StoreKeeper | None = None
    builds: set[asyncio.Future[None]] = field(default_factory=set)
    test_accounts: Mapping[str, str] = field(default_factory=dict)

    def require_store(self) -> None:
        """Refuse payments and labels while the store cannot be used.

        Raises:
            StoreError: Why it cannot.
        """
        if self.keeper is not None:
            self.keeper.require()

    async def publish(self, outcomes: Sequence[Done]) -> bool:
        """Publish what is not yet; what Kafka does not take in time is safe on disk and swept later.

        Returns:
            Whether Kafka holds everything now.
        """
        messages = [outcome.message for outcome in outcomes if outcome.message is not None]
        if not messages:
            return True
        sent = await self.publisher.publish(messages, PUBLISH_SECONDS)
        self.pipeline.store.published(sent)
        if len(sent) < len({message.record_id for message in messages}):
            self.pipeline.store.force_to_disk()
            return False
        return True


def running_of(request: Request) -> Running:
    """The parts behind the routes."""
    running: Running = request.app.state.running
    return running


def call_of(request: Request) -> Call:
    """What the guard knows of the request."""
    call: Call = request.scope[CALL]
    return call
