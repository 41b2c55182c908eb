"""What a logged record folded: the events of a payment or a label, at the numbers they got.

The log is the truth; whoever rebuilds states reads it here. Pure: a record in, folds out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pix.contracts import Payment
from pix.engines.events import Carried, Paid, payment_events
from pix.labels import LabelChange, PaymentReference, reference_key, unpack_reference
from pix.store.interface import LIVE_NUMBERS

SIDES = ("payer_flagged", "payee_flagged")
DEGRADED_STORE = "degraded:store"
"""Mode of a decision that was made while the online store was away: it read and folded no state."""

Words = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ReferenceChange:
    """What a record did to its payment's reference.

    Attributes:
        keys: Role -> key of the state, for the reference that a decision made; None for a label.
        label_id: Id of the label; empty for a decision.
        change: What the label changed; None if it changed nothing.
    """

    keys: dict[str, str] | None
    label_id: str = ""
    change: LabelChange | None = None

    def applied(self, blob: bytes | None) -> bytes:
        """The reference's blob after this.

        Raises:
            ValueError: A label's payment has no reference.
        """
        if self.keys is not None:
            return PaymentReference(self.keys).pack()
        if blob is None:
            raise ValueError("a label of a payment that nobody knows")
        return unpack_reference(blob).after(self.label_id, self.change).pack()


@dataclass(frozen=True, slots=True)
class LoggedFold:
    """One fold of one key.

    Attributes:
        key: Key of the state.
        got: Number that the fold got.
        is_first: Whether it is the key's first live fold: those get their own time as a number.
        what: The event's words, or what happened to a payment's reference.
    """

    key: str
    got: int
    is_first: bool
    what: Words | ReferenceChange

    def follows(self, number: int) -> bool:
        """Whether it is the fold right after this number of its key."""
        return self.got == number + 1 if number >= LIVE_NUMBERS else self.is_first


def folds_of_decision(record: dict[str, Any]) -> Iterator[LoggedFold]:
    """The folds of a decision record, one per key, the payment's reference last; none if it was made without states."""
    if not is_without_states(record):
        yield from _folds_of_payment(record, record["decided_at_ms"])


def is_without_states(record: dict[str, Any]) -> bool:
    """Whether a decision was made while the online store was away: its payment is folded by a record of its own."""
    return any(state["got"] is None for state in record["states"].values())


def folds_of_record(record: dict[str, Any]) -> Iterator[LoggedFold]:
    """The folds of a record on ``pix.folds``, one per key, the payment's reference last.

    Raises:
        ValueError: The record is of a build that did not log the reference's number.
    """
    if record["kind"] == "payment":
        yield from _folds_of_payment(record, record["folded_at_ms"])
    else:
        yield from _folds_of_label(record)


def events_of_payment(record: dict[str, Any]) -> dict[str, Paid]:
    """Key -> the payment of a decision or a fold record as its entity sees it."""
    keys = {role: state["key"] for role, state in record["states"].items()}
    is_allowed = record["outcome"] == "allowed"
    payment = Payment(**record["payment"])
    return payment_events(
        payment, keys, record["event_time_ms"], carried_of(record), is_allowed=is_allowed, is_imported=False
    )


def _folds_of_payment(record: dict[str, Any], at_ms: int) -> Iterator[LoggedFold]:
    events = events_of_payment(record)
    for key, got, read in _by_key(record):
        # The read is that of the score: a payee may have moved on since, but never from history to live.
        yield LoggedFold(key, got, got == at_ms and read < LIVE_NUMBERS, events[key].words())
    keys = {role: state["key"] for role, state in record["states"].items()}
    reference = reference_key(record["tenant"], record["end_to_end_id"])
    yield LoggedFold(reference, at_ms, True, ReferenceChange(keys))


def carried_of(record: dict[str, Any]) -> Carried:
    """What the record of a payment carries; records from before anything was carried have an empty object."""
    return Carried(**{side: side in record["carried"] and bool(record["carried"][side]["value"]) for side in SIDES})


def _folds_of_label(record: dict[str, Any]) -> Iterator[LoggedFold]:
    """The folds of a label's record.

    Raises:
        ValueError: The record is of a build that did not log the reference's number.
    """
    at_ms, change, found = record["folded_at_ms"], None, record.get("reference")
    if found is None:
        raise ValueError(
            f"fold {record['fold_id']} does not say which number its payment's reference got; it was written by an "
            "earlier build, whose store cannot be rebuilt exactly"
        )
    if record["states"]:
        keys = {role: state["key"] for role, state in record["states"].items()}
        measure = record.get("measure", "frauds")
        change = LabelChange(record["time_ms"], measure, record["change"], record["counted_at_ms"])
        events = change.events(keys)
        for key, got, read in _by_key(record):
            yield LoggedFold(key, got, got == at_ms and read < LIVE_NUMBERS, events[key].words())
    is_first = found["got"] == at_ms and found["read"] < LIVE_NUMBERS
    yield LoggedFold(found["key"], found["got"], is_first, ReferenceChange(None, record["fold_id"], change))


def _by_key(record: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Key, number got and number read; two roles of one key are one fold."""
    for key, (got, read) in {s["key"]: (s["got"], s["read"]) for s in record["states"].values()}.items():
        yield key, got, read
