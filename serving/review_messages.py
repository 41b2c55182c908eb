"""What the API takes and answers about reviews, as models; see ``serving.messages``."""

from typing import Any, Literal

from pydantic import Field

from pix.contracts.decision import Action, Reason, TokenisedPayment
from pix.contracts.fields import EndToEndId, Sha256, StrictMessage, Tenant, Token
from pix.contracts.fields import Instant as InstantText
from pix.contracts.label import FraudType
from pix.contracts.note import Note

Outcome = Literal["ALLOW", "BLOCK"]
Shared = Literal["payer_account", "payee_account", "device", "payer_person", "payee_person"]


class Confirmation(StrictMessage):
    """The verdict that the payment was a fraud."""

    fraud_type: FraudType | None = Field(None, description="Kind of fraud, by the MED's list.")
    note: Note | None = Field(None, description="Why, in words that name nobody: they go where only tokens may be.")


class Dismissal(StrictMessage):
    """The verdict that the payment was no fraud."""

    note: Note | None = Field(None, description="Why, in words that name nobody: they go where only tokens may be.")


class ReviewClosing(StrictMessage):
    """The verdict that closed a review."""

    verdict: Literal["confirmed", "dismissed"] = Field(description="It was a fraud, or it was none.")
    closed_by: str = Field(description="Name of the client that closed it.")
    closed_at: InstantText = Field(description="When.")
    note: str | None = Field(description="What the analyst wrote; null if nothing.")
    fraud_type: FraudType | None = Field(description="Kind of fraud; null if it was not said.")
    label_id: Sha256 = Field(description="The label on pix.labels that says all this.")


class Review(StrictMessage):
    """A decision that waits, or waited, for a person."""

    end_to_end_id: EndToEndId = Field(description="The payment; with the tenant the review's identity.")
    tenant: Tenant = Field(description="Tenant of the payment.")
    status: Literal["open", "closed", "expired"] = Field(
        description="open; closed by a verdict; or expired: nobody closed it before its deadline."
    )
    action: Literal["REVIEW", "BLOCK_AND_REVIEW"] = Field(
        description="REVIEW: the payment went on. BLOCK_AND_REVIEW: it waits."
    )
    amount_cents: int = Field(ge=1, description="Amount of the payment, centavos.")
    fraud_probability: float | None = Field(ge=0, le=1, description="By the model; null where none was asked.")
    expected_loss_cents: int | None = Field(
        ge=0, description="Probability times amount, centavos; null without a probability."
    )
    reasons: list[Reason] = Field(description="Of the decision.")
    rule_hits: list[str] = Field(description="Of the decision.")
    mode: str = Field(description="Of the decision: normal, or degraded by what was missing.")
    payer_account: Token = Field(description="Token of the payer's account.")
    payee_account: Token = Field(description="Token of the payee's account.")
    decided_at: InstantText = Field(description="When it was decided, and the review opened.")
    expires_at: InstantText | None = Field(description="Its deadline; null where the policy declares none.")
    seconds_left: int | None = Field(ge=0, description="Until the deadline; null without one, or when it is over.")
    outcome_at_expiry: Outcome | None = Field(
        description="What the policy declares for the deadline; null without one."
    )
    outcome: Outcome | None = Field(
        description="What became of the payment: by the verdict on one that was held, or by the policy at the "
        "deadline. Null while it is open, and for a verdict on a payment that had gone on before."
    )
    ended_at: InstantText | None = Field(description="When it was closed or expired; null while it is open.")
    closing: ReviewClosing | None = Field(description="The verdict; null without one.")


class ReviewPage(StrictMessage):
    """A part of a list of reviews."""

    as_of: InstantText = Field(description="The time by which deadlines were judged.")
    reviews: list[Review] = Field(description="In the list's order.")
    next_cursor: str | None = Field(description="For the next part; null at the end.")


class RelatedReview(Review):
    """A review that shares something with another one."""

    shares: list[Shared] = Field(description="Roles of the other payment whose account, device or person it has, too.")


class PayeePayment(StrictMessage):
    """A payment that a payee got."""

    end_to_end_id: str = Field(description="Its EndToEndId.")
    at: InstantText = Field(description="Its event time.")
    amount_cents: int = Field(ge=1, description="Centavos.")
    payer_account: Token = Field(description="Token of the payer's account.")
    source: Literal["live", "history"] = Field(description="Decided here, or imported from the past.")
    outcome: Literal["allowed", "attempted"] = Field(description="attempted if it was held or blocked.")
    action: Action | None = Field(description="What was decided; null for imports.")
    is_fraud: bool | None = Field(description="By the newest known label; null while none says so or otherwise.")


class PayeeHistory(StrictMessage):
    """The payee's newest payments, from the lake."""

    as_of: InstantText | None = Field(description="When that part of the lake was last brought up to date.")
    payments: list[PayeePayment] = Field(description="The newest first, at most 20.")
    problem: str | None = Field(description="Why there are none to show; null if they could be read.")


class ReviewCase(Review):
    """A review with what an analyst needs to decide."""

    payment: TokenisedPayment | None = Field(
        description="The payment, with tokens for whoever it is about; null once the store has forgotten the decision."
    )
    counts_as_fraud: bool | None = Field(description="By all labels folded so far; null if the payment is not known.")
    payee_payments: PayeeHistory = Field(description="What the payee got lately.")
    related: list[RelatedReview] = Field(
        description="Reviews of the same accounts, device or persons, of any status, the newest first, at most 20."
    )


MODELS: tuple[Any, ...] = (Confirmation, Dismissal, Review, ReviewPage, ReviewCase)
