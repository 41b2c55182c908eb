"""What a label does to its payment: the one state machine, online and offline.

A payment counts as fraud from the time a label *accepted* (MED) or *confirmed* (analyst) becomes known,
until *rejected*, *reversed* or *dismissed* becomes known. *Contested* alone makes no fraud: nine in ten
contested payments are honest. It is counted for itself, once and for good, when it first becomes known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgpack

from pix.contracts import FRAUD_KINDS
from pix.engines.events import Labelled, label_events

CLEARING_KINDS = frozenset({"rejected", "reversed", "dismissed"})
CONTESTED = "contested"
ID_LENGTH = 32
"""So much of a label's id is remembered: 128 bits of a hash."""


@dataclass(frozen=True, slots=True)
class PaymentReference:
    """What must be remembered of a payment to fold its labels.

    Attributes:
        keys: Role -> key of the state, for every entity of the payment.
        counted_at_ms: Time under which it is counted as fraud; None while it is not.
        contested_at_ms: Time under which it is counted as contested; None if it never was.
        labels: Beginnings of the ids of its folded labels, in order. A label may be delivered again long after the
            record of its fold has expired.
    """

    keys: Mapping[str, str]
    counted_at_ms: int | None = None
    contested_at_ms: int | None = None
    labels: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """The reference as a blob of the online store; equal references give equal blobs."""
        keys = dict(sorted(self.keys.items()))
        packed: bytes = msgpack.packb([keys, self.counted_at_ms, self.contested_at_ms, self.labels])
        return packed

    def knows(self, label_id: str) -> bool:
        """Whether this label was folded before."""
        return label_id[:ID_LENGTH] in self.labels

    def after(self, label_id: str, change: "LabelChange | None") -> "PaymentReference":
        """The reference after a label that changed this of its payment."""
        labels = (*self.labels, label_id[:ID_LENGTH])
        if change is None:
            return replace(self, labels=labels)
        if change.measure == "contests":
            return replace(self, labels=labels, contested_at_ms=change.counted_at_ms)
        return replace(self, labels=labels, counted_at_ms=change.counted_at_ms if change.change > 0 else None)


@dataclass(frozen=True, slots=True)
class LabelChange:
    """What a label changed of its payment; see ``pix.engines.events.Labelled``."""

    time_ms: int
    measure: str
    change: int
    counted_at_ms: int

    def events(self, keys: Mapping[str, str]) -> dict[str, Labelled]:
        """Key -> event, for the entities in these roles."""
        return label_events(keys, self.time_ms, self.measure, self.change, self.counted_at_ms)


def unpack_reference(blob: bytes) -> PaymentReference:
    """The reference that ``pack`` wrote."""
    keys, counted_at_ms, contested_at_ms, labels = msgpack.unpackb(blob)
    return PaymentReference(keys, counted_at_ms, contested_at_ms, tuple(labels))


def reference_key(tenant: str, end_to_end_id: str) -> str:
    """Key of a payment's reference in the online store."""
    return f"{tenant}|payment|{end_to_end_id}"


def apply_label(
    reference: PaymentReference, label_id: str, kind: str, known_ms: int
) -> tuple[PaymentReference, LabelChange | None]:
    """The reference after a label, and what to fold into the payment's entities, if anything.

    Args:
        reference: The payment's reference before the label; it does not know the label.
        label_id: Id of the label.
        kind: Kind of the label.
        known_ms: When it became known, epoch milliseconds.
    """
    change = _change(reference, kind, known_ms)
    return reference.after(label_id, change), change


def _change(reference: PaymentReference, kind: str, known_ms: int) -> LabelChange | None:
    counted = reference.counted_at_ms
    if kind == CONTESTED and reference.contested_at_ms is None:
        return LabelChange(known_ms, "contests", 1, known_ms)
    if kind in FRAUD_KINDS and counted is None:
        return LabelChange(known_ms, "frauds", 1, known_ms)
    if kind in CLEARING_KINDS and counted is not None:
        return LabelChange(known_ms, "frauds", -1, counted)
    return None


def fold_labels(
    keys: Mapping[str, str], labels: Sequence[tuple[int, str, str]]
) -> tuple[PaymentReference, list[LabelChange]]:
    """A payment's reference and changes after all its labels.

    Args:
        keys: Role -> key of the state, for every entity of the payment.
        labels: (known at in epoch milliseconds, label id, kind), in any order, each once.
    """
    reference, changes = PaymentReference(keys), []
    for known_ms, label_id, kind in sorted(labels):
        reference, change = apply_label(reference, label_id, kind, known_ms)
        if change is not None:
            changes.append(change)
    return reference, changes
