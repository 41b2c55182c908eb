"""What a label does to its payment: the one state machine, online and offline.

A payment counts as fraud from the time a label *accepted* (MED) or *confirmed* (analyst) becomes known,
until *rejected*, *reversed* or *dismissed* becomes known. *Contested* alone changes nothing: nine in ten
contested payments are honest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgpack

from pix.contracts import FRAUD_KINDS
from pix.engines.kernel import Labelled

CLEARING_KINDS = frozenset({"rejected", "reversed", "dismissed"})


@dataclass(frozen=True, slots=True)
class PaymentReference:
    """What must be remembered of a payment to fold its labels.

    Attributes:
        payee_key: Key of the payee's account state.
        counted_at_ms: Time under which it is counted as fraud; None while it is not.
    """

    payee_key: str
    counted_at_ms: int | None = None

    def pack(self) -> bytes:
        """The reference as a blob of the online store."""
        packed: bytes = msgpack.packb([self.payee_key, self.counted_at_ms])
        return packed


def unpack_reference(blob: bytes) -> PaymentReference:
    """The reference that ``pack`` wrote."""
    return PaymentReference(*msgpack.unpackb(blob))


def reference_key(tenant: str, end_to_end_id: str) -> str:
    """Key of a payment's reference in the online store."""
    return f"{tenant}|payment|{end_to_end_id}"


def apply_label(reference: PaymentReference, kind: str, known_ms: int) -> tuple[PaymentReference, Labelled | None]:
    """The reference after a label, and the event to fold into the payee's state, if any.

    Args:
        reference: The payment's reference before the label.
        kind: Kind of the label.
        known_ms: When it became known, epoch milliseconds.
    """
    counted = reference.counted_at_ms
    if kind in FRAUD_KINDS and counted is None:
        return PaymentReference(reference.payee_key, known_ms), Labelled(known_ms, "in", 1, known_ms)
    if kind in CLEARING_KINDS and counted is not None:
        return PaymentReference(reference.payee_key, None), Labelled(known_ms, "in", -1, counted)
    return reference, None


def fold_labels(payee_key: str, labels: Sequence[tuple[int, str, str]]) -> tuple[PaymentReference, list[Labelled]]:
    """A payment's reference and events after all its labels.

    Args:
        payee_key: Key of the payee's account state.
        labels: (known at in epoch milliseconds, label id, kind), in any order.
    """
    reference, events = PaymentReference(payee_key), []
    for known_ms, _, kind in sorted(labels):
        reference, event = apply_label(reference, kind, known_ms)
        if event is not None:
            events.append(event)
    return reference, events
