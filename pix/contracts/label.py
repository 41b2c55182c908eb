"""The label: what became known about a payment, by the Pix MED or by an analyst."""

from hashlib import sha256
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pix.contracts.errors import FieldError, InvalidFields
from pix.contracts.fields import MINUTE_MS, EndToEndId, Instant, Sha256, StrictMessage, Tenant, validated
from pix.contracts.json_text import canonical_json, parse_json_object
from pix.contracts.note import Note

LabelKind = Literal["contested", "accepted", "rejected", "reversed", "confirmed", "dismissed"]
FraudType = Literal["SCAM", "ACCOUNT_TAKEOVER", "COERCION", "FRAUDULENT_ACCESS", "OTHER", "UNKNOWN"]
FRAUD_KINDS = frozenset({"accepted", "confirmed"})
MAX_AHEAD_MS = MINUTE_MS
CLOSING = frozenset({("analyst", "confirmed"), ("analyst", "dismissed")})
"""Source and kind of the labels that may close a review."""


class ReviewVerdict(StrictMessage):
    """A review that was closed with the label, and by whom."""

    closed_by: str = Field(min_length=1, max_length=100, description="Name of the client that closed it.")
    note: Note | None = Field(None, description="What the analyst wrote; names nobody.")


class LabelMessage(StrictMessage):
    """What became known about a payment, by the Pix MED or by an analyst."""

    label_id: Sha256 = Field(description="SHA-256 over the canonical JSON of the label's other fields.")
    end_to_end_id: EndToEndId = Field(description="EndToEndId of the payment that the label is about.")
    kind: LabelKind = Field(
        description="What happened: contested, accepted, rejected or reversed in the MED; confirmed or dismissed "
        "by an analyst."
    )
    fraud_type: FraudType | None = Field(None, description="Kind of fraud, by the MED's list.")
    effective_at: Instant = Field(description="When it took effect.")
    known_at: Instant = Field(description="When its source knew it.")
    source: str = Field(pattern=r"^[a-z0-9_.-]{1,32}$", description="Who says so, such as med or analyst.")
    tenant: Tenant = Field("default", description="Tenant of the payment.")
    review: ReviewVerdict | None = Field(None, description="Only on the verdict that closed the payment's review.")

    @model_validator(mode="after")
    def _closes_what_a_person_closes(self) -> Self:
        if self.review is not None and (self.source, self.kind) not in CLOSING:
            raise ValueError("review stands only on a label of source analyst that is confirmed or dismissed")
        return self


def parse_label(raw: bytes) -> LabelMessage:
    """A label from the bytes of its message.

    Raises:
        NotJson: The bytes are not one JSON object.
        InvalidFields: Fields break the contract.
    """
    return label_from(parse_json_object(raw))


def label_from(content: dict[str, Any]) -> LabelMessage:
    """A label from a JSON object that ``parse_json_object`` let through.

    Raises:
        InvalidFields: Fields break the contract.
    """
    label = validated(LabelMessage, content)
    # Only now: hashing what has not been looked at would mean hashing anything, however deep.
    if label.label_id != label_id(content):
        wrong = FieldError("label_id", "is not the hash of the label's other fields")
        raise InvalidFields(wrong, end_to_end_id=label.end_to_end_id)
    return label


def check_label_live(label: LabelMessage, received_at_ms: int) -> None:
    """The rule of the live door: nothing is known long before it is known.

    A label folds at its known time; one from next year would move the clocks of its payment's accounts there and make
    them forget everything.

    Args:
        label: The parsed label.
        received_at_ms: When it arrived, epoch milliseconds.

    Raises:
        InvalidFields: ``known_at`` is too far ahead.
    """
    if label.known_at > received_at_ms + MAX_AHEAD_MS:
        ahead = FieldError("known_at", f"is more than {MAX_AHEAD_MS // 1000} s ahead of the label's arrival")
        raise InvalidFields(ahead, end_to_end_id=label.end_to_end_id)


def label_id(fields_of_label: dict[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a label's fields, without the id itself."""
    content = {name: value for name, value in fields_of_label.items() if name != "label_id"}
    return sha256(canonical_json(content)).hexdigest()
