"""What the routes share: the running service's parts, and who calls."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request

from pix.store.errors import StoreAway
from serving.breakers import Breakers
from serving.champion import Models
from serving.deciding import Decisions
from serving.delivery import Delivery, Publisher
from serving.keeper import StoreKeeper
from serving.metrics import Meters
from serving.outage import Outage
from serving.pipeline import DecisionPipeline

if TYPE_CHECKING:
    from serving.tracing import Tracing

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
        traceparent: What belongs to the request, belongs to this; as the answer says.
    """

    caller: Caller
    trace_id: str
    request_id: str
    traceparent: str = ""


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
        models: Champion and challenger; None in a service without a registry.
        deadline_seconds: A request is answered within about so long.
        breakers: Around store and broker.
        outage: Whether payments are decided without the store now.
        meters: Count for Prometheus.
        tracing: Makes spans; None where that is off.
        delivery: The way from the outbox to Kafka.
        decisions: Decides under the deadline, whatever store and broker do.
    """

    pipeline: DecisionPipeline
    publisher: Publisher
    api_key: str
    under_way: int = 0
    keeper: StoreKeeper | None = None
    builds: set[asyncio.Future[None]] = field(default_factory=set)
    test_accounts: Mapping[str, str] = field(default_factory=dict)
    models: Models | None = None
    deadline_seconds: float = 2.0
    breakers: Breakers = field(default_factory=Breakers)
    outage: Outage = field(default_factory=Outage)
    meters: Meters = field(default_factory=Meters.unread)
    tracing: "Tracing | None" = None
    delivery: Delivery = field(init=False)
    decisions: Decisions = field(init=False)

    def __post_init__(self) -> None:
        """Put the parts together."""
        self.delivery = Delivery(self.pipeline.store, self.publisher, self.breakers.broker, self.meters)
        self.decisions = Decisions(
            self.pipeline,
            self.delivery,
            self.breakers,
            self.outage,
            self.deadline_seconds,
            self.meters,
            self.tracing,
        )
        self.decisions.require = self.require_store

    def require_store(self) -> None:
        """Refuse what needs the store while it cannot be used.

        Raises:
            StoreError: Why it cannot.
        """
        if self.outage.reason is not None:
            raise StoreAway(f"payments are decided without the online store now: {self.outage.reason}")
        if self.keeper is not None:
            self.keeper.require()


def running_of(request: Request) -> Running:
    """The parts behind the routes."""
    running: Running = request.app.state.running
    return running


def call_of(request: Request) -> Call:
    """What the guard knows of the request."""
    call: Call = request.scope[CALL]
    return call
