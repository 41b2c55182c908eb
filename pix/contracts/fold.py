"""The fold record: a state that changed outside a decision, published on ``pix.folds``.

The bytes are canonical JSON, written by ``serving.pipeline`` (labels) and ``serving.reconciling`` (payments that were
decided while the online store was away); this model is their schema.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from pix.contracts.decision import CarriedFacts, EntityState, Role, TokenisedPayment, checked_payment
from pix.contracts.fields import EndToEndId, InstantMs, Sha256, StrictMessage, Tenant
from pix.contracts.label import LabelKind

NEEDED = {"label": ("label_kind", "time_ms", "change"), "payment": ("payment", "outcome", "event_time_ms", "carried")}
"""Kind -> fields that it must have."""


class FoldRecord(StrictMessage):
    """One label or payment, folded into the states of the payment's entities. Its bytes are final."""

    fold_id: Sha256 = Field(description="Id of the fold: that of the label, or the SHA-256 of the decision's bytes.")
    kind: Literal["label", "payment"] = Field(description="What was folded.")
    tenant: Tenant = Field(description="Tenant of the payment.")
    end_to_end_id: EndToEndId = Field(description="The payment, or the one that the label is about.")
    label_kind: LabelKind | None = Field(None, description="Kind of the label.")
    time_ms: InstantMs | None = Field(None, description="When the label became known here, epoch milliseconds.")
    measure: Literal["frauds", "contests"] = Field("frauds", description="What is counted: frauds or contests.")
    change: Literal[-1, 0, 1] | None = Field(None, description="Of these: one more, none, one less.")
    counted_at_ms: InstantMs | None = Field(None, description="Time under which it is counted; null without change.")
    payment: Annotated[
        dict[str, Any] | None,
        AfterValidator(lambda content: None if content is None else checked_payment(content)),
        WithJsonSchema(TokenisedPayment.model_json_schema()),
    ] = Field(None, description="The payment that was decided without the online store, tokenised.")
    outcome: Literal["allowed", "attempted"] | None = Field(None, description="attempted if it was held or blocked.")
    event_time_ms: InstantMs | None = Field(None, description="The payment's event time, epoch milliseconds.")
    carried: CarriedFacts | None = Field(None, description="What the payment's decision carried.")
    generation: int = Field(ge=0, description="How many imports of history the store's base held.")
    store_generation: int = Field(0, ge=0, description="Number of the online store's generation.")
    folded_at_ms: InstantMs = Field(description="When it was folded, epoch milliseconds.")
    states: dict[Role, EntityState] = Field(description="By role, the states that changed; empty without change.")
    reference: EntityState | None = Field(None, description="What is remembered of the payment, for its next label.")

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        missing = [name for name in NEEDED[self.kind] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"a fold of a {self.kind} must have {', '.join(missing)}")
        return self
