"""What the store remembers of payments that were decided."""

from dataclasses import dataclass

from pix import topics
from pix.labels import PaymentReference, reference_key, unpack_reference
from pix.store.interface import LIVE_NUMBERS, Message, Store
from serving.outcomes import Done, decision_id
from serving.pipeline import parse_record


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the store knows of a payment that was decided.

    Attributes:
        decided_at_ms: Epoch milliseconds; None once its record has expired.
        reference: What is remembered for its labels, much longer.
    """

    decided_at_ms: int | None
    reference: PaymentReference

    @property
    def is_fraud(self) -> bool:
        """Whether it counts as fraud now."""
        return self.reference.counted_at_ms is not None


def recorded(store: Store, tenant: str, end_to_end_id: str) -> Done | None:
    """The decision that was committed for an id, while its record lives.

    Raises:
        pix.store.interface.StoreError: The store cannot answer.
    """
    record_id = decision_id(tenant, end_to_end_id)
    snapshot = store.snapshot(record_id, [])
    if snapshot.record is None:
        return None
    if snapshot.is_published:
        return Done(snapshot.record, None)
    payer = parse_record(snapshot.record)["payment"]["payer_account"]
    return Done(snapshot.record, Message(record_id, topics.DECISIONS, payer, snapshot.record, 0))


def remembered(store: Store, tenant: str, end_to_end_id: str) -> Remembered | None:
    """What is known of a payment that was decided here, however long ago; None of any other.

    Raises:
        pix.store.interface.StoreError: The store cannot answer.
    """
    key = reference_key(tenant, end_to_end_id)
    snapshot = store.snapshot(decision_id(tenant, end_to_end_id), [key])
    found = snapshot.states[key]
    if found.blob is None or found.number < LIVE_NUMBERS:
        return None
    decided_at_ms = parse_record(snapshot.record)["decided_at_ms"] if snapshot.record else None
    return Remembered(decided_at_ms, unpack_reference(found.blob))
