"""What the routes share: the running service's parts."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request

from pix.store.errors import StoreAway
from serving.breakers import Breakers
from serving.champion import Models
from serving.deciding import Decisions
from serving.delivery import Delivery, Publisher
from serving.door import Door
from serving.keeper import StoreKeeper
from serving.metrics import Meters
from serving.outage import Outage
from serving.payee_payments import PayeePayments, no_lake
from serving.pipeline import DecisionPipeline
from serving.policy_keeper import PolicyKeeper
from serving.review_queue import ReviewQueue

if TYPE_CHECKING:
    from serving.tracing import Tracing

DEFERRED = {"Sentinela-Delivery": "deferred"}


@dataclass(slots=True)
class Running:
    """What the routes need; set when the service has started.

    Attributes:
        pipeline: Decides.
        publisher: Brings records to Kafka.
        door: Knows who holds which key.
        under_way: How many requests are being answered.
        keeper: Keeps the store usable; None in a service without one.
        builds: Generations of the store that are being built.
        test_accounts: Payee's account -> action that it forces; empty outside local mode.
        models: Champion and challenger; None in a service without a registry.
        policies: The policy in use and its file; None in a service whose policy does not change.
        deadline_seconds: A request is answered within about so long.
        breakers: Around store and broker.
        outage: Whether payments are decided without the store now.
        payee_payments: Given tenant and account, what the account got lately.
        meters: Count for Prometheus.
        tracing: Makes spans; None where that is off.
        delivery: The way from the outbox to Kafka.
        decisions: Decides under the deadline, whatever store and broker do.
        reviews: The queue of what waits for a person.
    """

    pipeline: DecisionPipeline
    publisher: Publisher
    door: Door
    under_way: int = 0
    keeper: StoreKeeper | None = None
    builds: set[asyncio.Future[None]] = field(default_factory=set)
    test_accounts: Mapping[str, str] = field(default_factory=dict)
    models: Models | None = None
    policies: PolicyKeeper | None = None
    deadline_seconds: float = 2.0
    breakers: Breakers = field(default_factory=Breakers)
    outage: Outage = field(default_factory=Outage)
    payee_payments: Callable[[str, str], Awaitable[PayeePayments]] = no_lake
    meters: Meters = field(default_factory=Meters.unread)
    tracing: "Tracing | None" = None
    delivery: Delivery = field(init=False)
    decisions: Decisions = field(init=False)
    reviews: ReviewQueue = field(init=False)

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
        self.reviews = ReviewQueue(self.pipeline.store, self.pipeline.now_ms)

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
