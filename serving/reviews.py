"""A review: one decision that waits for a person, from its opening to a verdict or its deadline. Pure.

open ── an analyst's verdict before the deadline ──► closed   (the verdict is a label on ``pix.labels``)
     ── the deadline of the decision's hold ───────► expired  (the decision said what happens then)

So what becomes of a review follows from two logs, and the online store only finds it quickly: the decision has the
hold, the label has who closed it and when, and a review without such a label is over when its hold is.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pix.contracts import canonical_json, label_id
from pix.contracts.fields import MAX_AMOUNT_CENTS, parse_instant
from pix.store.interface import Queued

OPEN, CLOSED, EXPIRED = "open", "closed", "expired"
DEADLINE, EXPECTED_LOSS = "deadline", "expected_loss"
REVIEWED = frozenset({"REVIEW", "BLOCK_AND_REVIEW"})
"""Actions that a person looks at."""
HELD = "BLOCK_AND_REVIEW"
CONFIRMED, DISMISSED = "confirmed", "dismissed"
OUTCOMES = {CONFIRMED: "BLOCK", DISMISSED: "ALLOW"}
"""Verdict -> what becomes of a payment that was held for it."""
ANALYST = "analyst"

NEVER_MS = 10**14 - 1
LAST = "\x7f"
"""Comes after every place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """A verdict that closed a review.

    Attributes:
        verdict: confirmed (it was a fraud) or dismissed.
        closed_by: Name of the caller.
        closed_at_ms: Epoch milliseconds.
        note: What the analyst wrote, if anything.
        fraud_type: Kind of fraud, if it was said.
        label_id: Of the label that says all this.
    """

    verdict: str
    closed_by: str
    closed_at_ms: int
    note: str | None
    fraud_type: str | None
    label_id: str

    def says(self, verdict: str, closed_by: str, note: str | None, fraud_type: str | None) -> bool:
        """Whether the same person said the same."""
        return (self.verdict, self.closed_by, self.note, self.fraud_type) == (verdict, closed_by, note, fraud_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One review as the queue keeps it.

    Attributes:
        tenant: Of the payment.
        end_to_end_id: Of the payment; with the tenant the review's identity.
        action: REVIEW (the payment went on) or BLOCK_AND_REVIEW (it waits).
        mode: Of the decision.
        decided_at_ms: When it was opened, epoch milliseconds.
        amount_cents: Of the payment.
        fraud_probability: By the model; None without one.
        reasons: Of the decision.
        rule_hits: Of the decision.
        keys: Role -> key of the entity's state, for related reviews.
        expires_at_ms: Deadline; None where the policy declares none.
        outcome_at_expiry: What happens then, ALLOW or BLOCK.
        status: open, closed or expired, as it was when this was written.
        closing: The verdict that closed it.
    """

    tenant: str
    end_to_end_id: str
    action: str
    mode: str
    decided_at_ms: int
    amount_cents: int
    fraud_probability: float | None
    reasons: list[dict[str, Any]]
    rule_hits: list[str]
    keys: Mapping[str, str]
    payer_account: str
    payee_account: str
    expires_at_ms: int | None
    outcome_at_expiry: str | None
    status: str = OPEN
    closing: Closing | None = None

    @property
    def id(self) -> str:
        """Id of its entry in the queue."""
        return review_id(self.tenant, self.end_to_end_id)

    @property
    def expected_loss_cents(self) -> int | None:
        """Probability times amount; None where no model gave a probability."""
        return None if self.fraud_probability is None else round(self.fraud_probability * self.amount_cents)

    @property
    def ended_at_ms(self) -> int | None:
        """When it was closed or expired."""
        if self.closing is not None:
            return self.closing.closed_at_ms
        return self.expires_at_ms if self.status == EXPIRED else None

    @property
    def outcome(self) -> str | None:
        """What became of the payment; None while it is open, and for a verdict on one that had gone on before."""
        if self.status == EXPIRED:
            return self.outcome_at_expiry
        return OUTCOMES[self.closing.verdict] if self.closing is not None and self.action == HELD else None

    def at(self, now_ms: int) -> "Review":
        """The review at a time: one past its deadline has expired, whether or not that was written down."""
        is_over = self.status == OPEN and self.expires_at_ms is not None and self.expires_at_ms <= now_ms
        return replace(self, status=EXPIRED) if is_over else self

    def closed(self, closing: Closing) -> "Review":
        """The review after a verdict."""
        return replace(self, status=CLOSED, closing=closing)

    def entry(self) -> Queued:
        """As the store keeps it; equal reviews make equal entries."""
        return Queued(self.id, canonical_json(asdict(self)), self._places())

    def _places(self) -> tuple[str, ...]:
        lists = [place_of(self.tenant, self.status, sort, self) for sort in (DEADLINE, EXPECTED_LOSS)]
        if self.ended_at_ms is not None:
            lists.append(f"{ended_before(self.ended_at_ms)}|{self.id}")
        elif self.expires_at_ms is not None:
            lists.append(f"{due_before(self.expires_at_ms)}|{self.id}")
        newest_first = f"{NEVER_MS - self.decided_at_ms:014d}|{self.id}"
        return (*lists, *(f"{prefix}{newest_first}" for prefix in sorted(set(map(prefix_of_entity, self._shared())))))

    def _shared(self) -> list[str]:
        return [key for role, key in self.keys.items() if role != "pair"]

    def shares(self, other: "Review") -> list[str]:
        """Roles of this review's payment whose account, device or person the other's payment has, too."""
        theirs = set(other._shared())
        return sorted(role for role, key in self.keys.items() if role != "pair" and key in theirs)

    def entities(self) -> list[str]:
        """Keys of the accounts, device and persons of its payment."""
        return sorted(set(self._shared()))


def review_id(tenant: str, end_to_end_id: str) -> str:
    """Id of a review's entry in the queue."""
    return f"{tenant}|{end_to_end_id}"


def opened(decision: Mapping[str, Any]) -> Review | None:
    """The review that a decision record opens; None where its action asks for no person."""
    if decision["action"] not in REVIEWED:
        return None
    # Records of earlier builds have no hold.
    hold = decision.get("hold")
    return Review(
        tenant=decision["tenant"],
        end_to_end_id=decision["end_to_end_id"],
        action=decision["action"],
        mode=decision["mode"],
        decided_at_ms=decision["decided_at_ms"],
        amount_cents=decision["payment"]["amount_cents"],
        fraud_probability=decision["fraud_probability"],
        reasons=decision["reasons"],
        rule_hits=decision["rule_hits"],
        keys={role: state["key"] for role, state in decision["states"].items()},
        payer_account=decision["payment"]["payer_account"],
        payee_account=decision["payment"]["payee_account"],
        expires_at_ms=parse_instant(hold["expires_at"]) if hold else None,
        outcome_at_expiry=hold["outcome"] if hold else None,
    )


def read(content: bytes) -> Review:
    """The review that an entry of the queue holds."""
    fields = json.loads(content)
    closing = fields.pop("closing")
    return Review(**fields, closing=Closing(**closing) if closing else None)


def closing_label(
    review: Review, verdict: str, closed_by: str, closed_at_ms: int, note: str | None, fraud_type: str | None
) -> dict[str, Any]:
    """The label that closes a review, as it goes to ``pix.labels``."""
    at = datetime.fromtimestamp(closed_at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    content: dict[str, Any] = {
        "end_to_end_id": review.end_to_end_id,
        "kind": verdict,
        "effective_at": at,
        "known_at": at,
        "source": ANALYST,
        "tenant": review.tenant,
        "review": {"closed_by": closed_by} | ({"note": note} if note is not None else {}),
    }
    if fraud_type is not None:
        content["fraud_type"] = fraud_type
    return {**content, "label_id": label_id(content)}


def closing_of(label: Mapping[str, Any]) -> Closing | None:
    """The closing that a label says; None where it closes no review."""
    review = label.get("review")
    if review is None:
        return None
    return Closing(
        verdict=label["kind"],
        closed_by=review["closed_by"],
        closed_at_ms=parse_instant(label["known_at"]),
        note=review.get("note"),
        fraud_type=label.get("fraud_type"),
        label_id=label["label_id"],
    )


def prefix_of_list(tenant: str, status: str, sort: str) -> str:
    """What the places of one list begin with."""
    return f"list|{tenant}|{status}|{sort}|"


def place_of(tenant: str, status: str, sort: str, review: Review) -> str:
    """A review's place in a list: nearest deadline first, or greatest expected loss first."""
    if sort == DEADLINE:
        rank = f"{NEVER_MS if review.expires_at_ms is None else review.expires_at_ms:014d}{review.decided_at_ms:014d}"
    else:
        # Without a probability nobody knows the loss: those come last, the greatest amount first.
        loss = review.expected_loss_cents
        known = review.amount_cents if loss is None else loss
        rank = f"{'1' if loss is None else '0'}{MAX_AMOUNT_CENTS - known:013d}"
    return f"{prefix_of_list(tenant, status, sort)}{rank}|{review.end_to_end_id}"


def prefix_of_entity(key: str) -> str:
    """What the places of reviews that share an account, device or person begin with; the newest comes first."""
    return f"of|{key}|"


def due_before(at_ms: int) -> str:
    """Where open reviews end whose deadline is before a time."""
    return f"due|{at_ms:014d}"


def ended_before(at_ms: int) -> str:
    """Where reviews end that were closed or expired before a time."""
    return f"ended|{at_ms:014d}"
