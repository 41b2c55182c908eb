"""What was decided without the store is folded when it is back: a record on ``pix.folds`` of the kind ``payment``.

Degraded decisions are found on ``pix.decisions``, whoever made them, so none is forgotten when its worker dies. The
store remembers up to which offsets all of them are folded; a store that was lost has forgotten, and reads from the
beginning. A payment that has a reference is folded already: by a decision with the store, or by another worker.
"""

import json
from collections.abc import Callable, Iterable
from hashlib import sha256

from pix import topics
from pix.contracts import canonical_json
from pix.engines import kernel
from pix.engines.events import NOTHING_CARRIED, kind_of
from pix.labels import PaymentReference, reference_key
from pix.logged import events_of_payment
from pix.store.interface import AlreadyKnown, Committed, Fold, Message, Store, next_number
from serving.logs import Ends, LogLost, Logs, Messages
from serving.pipeline import MAX_RACES, TooManyRaces, decision_id, next_folds, parse_record

MARK = "reconciled"
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
        # First: from here on, whoever asks for the id gets this decision.
        kept = (decision_id(tenant, identity), record, content["decided_at_ms"])
        self._store.restore_records([kept], self._now_ms())
        fold_id, reference = sha256(record).hexdigest(), reference_key(tenant, identity)
        record_id = f"{tenant}|fold|{fold_id}"
        keys = {role: state["key"] for role, state in content["states"].items()}
        for _ in range(MAX_RACES):
            snapshot = self._store.snapshot(record_id, [reference, *dict.fromkeys(keys.values())])
            if snapshot.record is not None or snapshot.states[reference].number:
                return False
            now_ms = self._now_ms()
            events = events_of_payment(content, NOTHING_CARRIED)
            blobs = kernel.fold_all([(snapshot.states[key].blob, kind_of(key), event) for key, event in events.items()])
            folds = next_folds(snapshot, events, blobs, now_ms)
            made = Fold(reference, 0, next_number(0, now_ms), PaymentReference(keys).pack())
            states = {role: {"key": key, "read": folds[key].read, "got": folds[key].got} for role, key in keys.items()}
            folded = {
                "fold_id": fold_id,
                "kind": "payment",
                **{name: content[name] for name in ("tenant", "end_to_end_id", "payment", "outcome", "event_time_ms")},
                "generation": snapshot.imports,
                "store_generation": snapshot.generation,
                "folded_at_ms": now_ms,
                "states": states,
                "reference": {"key": reference, "read": 0, "got": made.got},
            }
            value = canonical_json(folded)
            message = Message(record_id, topics.FOLDS, identity, value, now_ms)
            result = self._store.commit(message, [*folds.values(), made], snapshot.generation)
            if isinstance(result, (Committed, AlreadyKnown)):
                return isinstance(result, Committed)
        raise TooManyRaces(f"{identity}: lost {MAX_RACES} races for its accounts; it is folded later")


def _decisions_only(start: Ends, ends: Ends) -> Ends:
    """Where to begin: folds are of no interest here."""
    return {place: start.get(place, 0) if place[0] == topics.DECISIONS else end for place, end in ends.items()}
