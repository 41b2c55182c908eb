"""What the routes share: the running service's parts, and who calls."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import Request

from pix.store.errors import StoreAway
from serving.breakers import Breakers
from serving.champion import Models
from serving.deciding import Decisions
from serving.delivery import Delivery, Publisher
from serving.keeper import StoreKeeper
from serving.outage import Outage
from serving.pipeline import DecisionPipeline
from serving.policy_keeper import PolicyKeeper

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
        models: Champion and challenger; None in a service without a registry.
        policies: The policy in use and its file; None in a service whose policy does not change.
        deadline_seconds: A request is answered within about so long.
        breakers: Around store and broker.
        outage: Whether payments are decided without the store now.
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
    policies: PolicyKeeper | None = None
    deadline_seconds: float = 2.0
    breakers: Breakers = field(default_factory=Breakers)
    outage: Outage = field(default_factory=Outage)
    delivery: Delivery = field(init=False)
    decisions: Decisions = field(init=False)

    def __post_init__(self) -> None:
        """Put the parts together."""
        self.delivery = Delivery(self.pipeline.store, self.publisher, self.breakers.broker)
        self.decisions = Decisions(self.pipeline, self.delivery, self.breakers, self.outage, self.deadline_seconds)
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
