"""What was decided without the store is folded when it is back: a record on ``pix.folds`` of the kind ``payment``.

Degraded decisions are found on ``pix.decisions``, whoever made them, so none is forgotten when its worker dies. The
store remembers up to which offsets all of them are folded; a store that was lost has forgotten, and reads from the
beginning. A payment that has a reference is folded already: by a decision with the store, or by another worker.
"""

import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

from pix import topics
from pix.contracts import canonical_json
from pix.engines import kernel
from pix.engines.events import kind_of
from pix.labels import PaymentReference, reference_key
from pix.logged import events_of_payment, is_without_states
from pix.store.interface import (
    AlreadyKnown,
    CommitResult,
    Committed,
    Fold,
    Message,
    Snapshot,
    Store,
    next_number,
)
from serving.logs import Ends, LogLost, Logs, Messages
from serving.outcomes import TooManyRaces, decision_id
from serving.pipeline import MAX_RACES, next_folds
from serving.records import parse_record
from serving.review_replay import ReviewReplay

MARK = "reconciled"
OF_DECISION = ("tenant", "end_to_end_id", "payment", "outcome", "event_time_ms", "carried")
"""What a fold record takes from its decision."""
SIGN = b'"mode":"degraded:store"'
"""Stands in the bytes of every degraded decision, and in no text of a payment: there the quotes are escaped."""


class Reconciler:
    """Folds degraded decisions into one store."""

    def __init__(self, store: Store, logs: Logs, now_ms: Callable[[], int]) -> None:
        """Begin.

        Args:
            store: The online store.
            logs: Lake and Kafka.
            now_ms: The clock, epoch milliseconds.
        """
        self._store = store
        self._logs = logs
        self._now_ms = now_ms

    def run(self) -> int:
        """Fold all degraded decisions that are in the logs now; how many were folded.

        Raises:
            LogsAway: Kafka or the lake does not answer.
            pix.store.errors.StoreError: The store does not answer.
        """
        ends = self._logs.ends()
        start, folded = self._marked(), 0
        if start is not None:
            try:
                folded = self._fold_all(self._logs.tail(_decisions_only(start, ends), ends))
            except LogLost:
                # Kafka has forgotten what the lake still has.
                start = None
        if start is None:
            start = self._logs.lake_ends()
            folded += self._fold_all(self._logs.lake(SIGN.decode()))
            folded += self._fold_all(self._logs.tail(_decisions_only(start, ends), ends))
        self._mark(ends)
        return folded

    def _marked(self) -> Ends | None:
        raw = self._store.remembered(MARK)
        if raw is None:
            return None
        return {(topics.DECISIONS, int(part)): offset for part, offset in json.loads(raw).items()}

    def _mark(self, ends: Ends) -> None:
        places = {str(part): end for (topic, part), end in ends.items() if topic == topics.DECISIONS}
        if self._marked() != {(topics.DECISIONS, int(part)): end for part, end in places.items()}:
            self._store.remember(MARK, json.dumps(places).encode())

    def _fold_all(self, chunks: Iterable[Messages]) -> int:
        return sum(
            self.fold(value)
            for messages in chunks
            for topic, value in messages
            if topic == topics.DECISIONS and SIGN in value
        )

    def fold(self, record: bytes) -> bool:
        """Fold one degraded decision, unless its payment is folded already; whether it was.

        Raises:
            TooManyRaces: The commit lost its race too often.
            pix.store.errors.StoreError: The store does not answer.
        """
        content = parse_record(record)
        tenant, identity = content["tenant"], content["end_to_end_id"]
        record_id, reference = decision_id(tenant, identity), reference_key(tenant, identity)
        # First: from here on, whoever asks for the id gets this decision.
        self._store.restore_records([(record_id, record, content["decided_at_ms"])], self._now_ms())
        keys = [reference, *dict.fromkeys(state["key"] for state in content["states"].values())]
        for _ in range(MAX_RACES):
            snapshot = self._store.snapshot(record_id, keys)
            if snapshot.record is not None and snapshot.record != record:
                self._supersede(record_id, record, snapshot)
            if snapshot.states[reference].number:
                return False
            # Before the fold: whoever dies in between finds the payment not folded, and does both again.
            self._queue_review(record)
            result = self._commit(content, record, reference, snapshot)
            if isinstance(result, (Committed, AlreadyKnown)):
                return isinstance(result, Committed)
        raise TooManyRaces(f"{identity}: lost {MAX_RACES} races for its accounts; it is folded later")

    def _queue_review(self, record: bytes) -> None:
        """Let the queue have the review that this decision opens, or none if it opens none."""
        reviews = ReviewReplay(self._now_ms())
        reviews.take([(topics.DECISIONS, record)])
        reviews.restore(self._store)

    def _commit(self, content: dict[str, Any], record: bytes, reference: str, snapshot: Snapshot) -> CommitResult:
        now_ms = self._now_ms()
        keys = {role: state["key"] for role, state in content["states"].items()}
        events = events_of_payment(content)
        blobs = kernel.fold_all([(snapshot.states[key].blob, kind_of(key), event) for key, event in events.items()])
        folds = next_folds(snapshot, events, blobs, now_ms)
        made = Fold(reference, 0, next_number(0, now_ms), PaymentReference(keys).pack())
        states = {role: {"key": key, "read": folds[key].read, "got": folds[key].got} for role, key in keys.items()}
        numbers = {"generation": snapshot.imports, "store_generation": snapshot.generation, "folded_at_ms": now_ms}
        message = _fold_message(content, record, states, made, numbers)
        return self._store.commit(message, [*folds.values(), made], snapshot.generation)

    def _supersede(self, record_id: str, record: bytes, snapshot: Snapshot) -> None:
        """A decision with the store was made, too; the first one on ``pix.decisions`` counts.

        Its folds happened in any case, so they are logged by themselves: silver passes over later decisions of an id.
        Where it is not published yet, it will not be, and the degraded one answers for the id.
        """
        other = snapshot.record or b""
        made = parse_record(other)
        if is_without_states(made):
            return
        self._queue_review(record)
        numbers = {name: made[name] for name in ("generation", "store_generation")}
        numbers["folded_at_ms"] = made["decided_at_ms"]
        reference = reference_key(made["tenant"], made["end_to_end_id"])
        got = Fold(reference, 0, made["decided_at_ms"], b"")
        message = _fold_message(made, other, made["states"], got, numbers)
        self._store.commit(message, [], snapshot.generation)
        if not snapshot.is_published:
            self._store.replace_record(record_id, record, parse_record(record)["decided_at_ms"], self._now_ms())


def _fold_message(
    content: dict[str, Any], record: bytes, states: dict[str, Any], reference: Fold, numbers: dict[str, int]
) -> Message:
    """The record on ``pix.folds`` of a decision's payment."""
    fold_id = sha256(record).hexdigest()
    fold = {
        "fold_id": fold_id,
        "kind": "payment",
        **{name: content[name] for name in OF_DECISION},
        **numbers,
        "states": states,
        "reference": {"key": reference.key, "read": reference.read, "got": reference.got},
    }
    record_id = f"{content['tenant']}|fold|{fold_id}"
    value = canonical_json(fold)
    return Message(record_id, topics.FOLDS, content["end_to_end_id"], value, numbers["folded_at_ms"])


def _decisions_only(start: Ends, ends: Ends) -> Ends:
    """Where to begin: folds are of no interest here."""
    return {place: start.get(place, 0) if place[0] == topics.DECISIONS else end for place, end in ends.items()}
