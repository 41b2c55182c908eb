"""The fold record: a state that changed outside a decision, published on ``pix.folds``.

The bytes are canonical JSON, written by ``serving.pipeline``; this model is their schema.
"""

from typing import Literal

from pydantic import Field

from pix.contracts.decision import EntityState, Role
from pix.contracts.fields import EndToEndId, InstantMs, Sha256, StrictMessage, Tenant
from pix.contracts.label import LabelKind


class FoldRecord(StrictMessage):
    """One label, folded into the states of its payment's entities. Its bytes are final."""

    fold_id: Sha256 = Field(description="Id of the fold; that of the label.")
    kind: Literal["label"] = Field(description="What was folded.")
    tenant: Tenant = Field(description="Tenant of the payment.")
    end_to_end_id: EndToEndId = Field(description="Payment that the label is about.")
    label_kind: LabelKind = Field(description="Kind of the label.")
    time_ms: InstantMs = Field(description="When the label became known here, epoch milliseconds.")
    measure: Literal["frauds", "contests"] = Field("frauds", description="What is counted: frauds or contests.")
    change: Literal[-1, 0, 1] = Field(description="Of these: one more, none, one less.")
    counted_at_ms: InstantMs | None = Field(description="Time under which it is counted; null without change.")
    generation: int = Field(ge=0, description="How many imports of history the store's base held.")
    store_generation: int = Field(0, ge=0, description="Number of the online store's generation.")
    folded_at_ms: InstantMs = Field(description="When it was folded, epoch milliseconds.")
    states: dict[Role, EntityState] = Field(description="By role, the states that changed; empty without change.")
    reference: EntityState | None = Field(None, description="What is remembered of the payment, for its next label.")
