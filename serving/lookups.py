"""What the store remembers of payments that were decided."""

from dataclasses import dataclass

from pix import topics
from pix.labels import PaymentReference, reference_key, unpack_reference
from pix.store.interface import LIVE_NUMBERS, Message, Store
from serving.callers import Caller
from serving.outcomes import Done, decision_id
from serving.records import parse_record


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


def recorded(store: Store, caller: Caller, tenant: str, end_to_end_id: str) -> Done | None:
    """The decision that was committed for an id, while its record lives; None of what the caller may not see, too.

    Raises:
        pix.store.interface.StoreError: The store cannot answer.
    """
    record_id = decision_id(tenant, end_to_end_id)
    snapshot = store.snapshot(record_id, [])
    # Looked at in any case, so that an unknown id takes as long as another client's.
    is_visible = caller.acts_for(tenant) and caller.sees(snapshot.record or b"")
    if snapshot.record is None or not is_visible:
        return None
    if snapshot.is_published:
        return Done(snapshot.record, None)
    payer = parse_record(snapshot.record)["payment"]["payer_account"]
    return Done(snapshot.record, Message(record_id, topics.DECISIONS, payer, snapshot.record, 0))


def remembered(store: Store, caller: Caller, tenant: str, end_to_end_id: str) -> Remembered | None:
    """What is known of a payment that was decided here, however long ago; None of any other.

    Who asked for a decision stands on its record alone, so of one whose record has expired only those know who may see
    everybody's.

    Raises:
        pix.store.interface.StoreError: The store cannot answer.
    """
    key = reference_key(tenant, end_to_end_id)
    snapshot = store.snapshot(decision_id(tenant, end_to_end_id), [key])
    found = snapshot.states[key]
    is_visible = caller.acts_for(tenant) and caller.sees(snapshot.record or b"")
    if found.blob is None or found.number < LIVE_NUMBERS or not is_visible:
        return None
    decided_at_ms = parse_record(snapshot.record)["decided_at_ms"] if snapshot.record else None
    return Remembered(decided_at_ms, unpack_reference(found.blob))
