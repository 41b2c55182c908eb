"""What the decision pipeline takes and gives: how a payment came, what was concluded, what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pix.contracts import Payment
from pix.engines.events import Carried
from pix.engines.kernel import Vector
from pix.store.interface import Message
from serving.holds import Hold, hold_of
from serving.policy import Policy, Verdict
from serving.stopwatch import Stopwatch


class TooManyRaces(Exception):
    """Other payments kept changing the same entities; the sender should try again."""


class Model(Protocol):
    """What the pipeline needs of a champion."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Name, version and SHA-256, as they stand on a decision."""

    def raw_score(self, vector: Vector) -> float:
        """Log-odds of fraud, before calibration."""

    def probability(self, raw_score: float) -> float:
        """Calibrated probability of fraud."""

    def contributions(self, vector: Vector) -> list[float]:
        """What each feature adds to the raw score."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a payment reached the service.

    Attributes:
        received_at_ms: Ingress clock, epoch milliseconds.
        body_sha256: SHA-256 of the bytes as sent, hex.
        origin: ``{"kind": "rest", "client"}`` or ``{"kind": "kafka", "topic", "partition", "offset"}``.
        trace_id: 32 hex digits.
        forced: Action that a test account asks for; only in local mode.
        traceparent: W3C context that the decision belongs to; empty if there is none.
        stopwatch: Measures the decision's steps; it began when the body was there.
    """

    received_at_ms: int
    body_sha256: str
    origin: Mapping[str, object]
    trace_id: str
    forced: str | None = None
    traceparent: str = ""
    stopwatch: Stopwatch = field(default_factory=Stopwatch, compare=False, repr=False)


class DecisionFacts(NamedTuple):
    """What is counted of a new decision.

    Attributes:
        action: What was decided.
        mode: ``normal``, or ``degraded:`` by what was missing.
        model_version: Of the champion; None without one.
        policy_version: Of the policy.
        probability: Of fraud; None without a champion.
        gaps: Role -> folds of others between the state that was read and the decision's own.
        races: ``payer`` or ``payee`` -> commits that were forestalled on that side.
    """

    action: str
    mode: str
    model_version: str | None
    policy_version: str
    probability: float | None
    gaps: Mapping[str, int]
    races: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Done:
    """A committed record.

    Attributes:
        record: Its final bytes.
        message: What is still to be published; None if it was before.
        facts: What is counted of a decision that is new; None if it was made before.
        public: What its caller is told, as the record says it as well; None if it was made before.
    """

    record: bytes
    message: Message | None
    facts: DecisionFacts | None = field(default=None, compare=False)
    public: Mapping[str, object] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Conflict:
    """The id is taken by another payment; nothing was changed."""

    reason: str


@dataclass(frozen=True, slots=True)
class UnknownPayment:
    """A label's payment has not been seen (yet)."""


@dataclass(frozen=True, slots=True)
class FoldedBefore:
    """The label was folded so long ago that its record has expired; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A payment as it came in.

    Attributes:
        payment: The payment behind the door.
        digest: Digest of its canonical form; tells retries from conflicts.
        event_ms: Its event time, epoch milliseconds.
        arrival: How it came.
    """

    payment: Payment
    digest: str
    event_ms: int
    arrival: Arrival

    @property
    def record_id(self) -> str:
        """Id of its record in the store."""
        return decision_id(self.payment.tenant, self.payment.end_to_end_id)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was concluded from one reading of the states.

    The policy's lists and holds look at ``decided_at_ms``, so that is when it was concluded, however often the commit
    is tried.
    """

    generation: int
    imports: int
    read: dict[str, int]
    features: tuple[float | None, ...]
    carried: Carried
    raw_score: float | None
    probability: float | None
    verdict: Verdict
    reasons: list[dict[str, object]]
    model: Mapping[str, str] | None
    policy: Policy
    decided_at_ms: int

    @property
    def hold(self) -> Hold | None:
        """Until when it waits for a person."""
        return hold_of(self.verdict.action, self.decided_at_ms, self.policy)

    @property
    def is_allowed(self) -> bool:
        """Whether the payment goes on: it is not held or blocked."""
        return self.verdict.action in ("ALLOW", "REVIEW")

    @property
    def mode(self) -> str:
        """Of a decision for which the states were read."""
        return "normal" if self.model else "degraded:model"

    def facts(self, mode: str, gaps: Mapping[str, int], races: Mapping[str, int]) -> DecisionFacts:
        """What is counted of the decision that this became."""
        version = self.model["version"] if self.model else None
        return DecisionFacts(self.verdict.action, mode, version, self.policy.version, self.probability, gaps, races)


def decision_id(tenant: str, end_to_end_id: str) -> str:
    """Id of a decision's record in the store."""
    return f"{tenant}|decision|{end_to_end_id}"
