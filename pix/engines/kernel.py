"""The one meaning of an entity state, for every engine: the compiled kernel behind ordinary functions.

Used as it is by the online service and by the offline engine in Spark; refereed by
``pix.engines.oracle``. A state is a blob (``pix.engines.layout``); its size does not depend on how busy
the entity is, and equal sequences of folds give equal blobs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pix.contracts import Payment
from pix.engines import compiled
from pix.engines.events import Event
from pix.engines.layout import (
    HEADER_WORDS,
    INTEGERS,
    LIST_CAP,
    N_READS,
    PLANS,
    PROGRAM,
    READ_AT,
    RING_WORDS,
    RINGS,
)
from pix.engines.online import BrokenBlob, desk_of_this_thread, is_flagged, pack
from pix.features import FACT_NAMES, FEATURES, MISSING, ROLES, facts

__all__ = ["BrokenBlob", "is_flagged"]

Integers = NDArray[np.int64]
Vector = NDArray[np.float64]
Reads = Mapping[str, Integers | Sequence[int] | None]
"""Role -> the integers read from its state; None (or no entry) without such an entity."""

WORD = 8
READ, FOLD = 2, 1
_FACTS = len(FACT_NAMES)
_NO_INTEGERS = np.full(INTEGERS, MISSING, np.int64)
_LIST_WORDS = [HEADER_WORDS + 3 * listed for listed in range(LIST_CAP + 1)]
# What a blob begins with (`META`) -> its length in words: a list's number of events, or the mark of rings.
_WORDS = {
    kind: {
        **{listed.to_bytes(WORD, "little"): words for listed, words in enumerate(_LIST_WORDS)},
        RINGS.to_bytes(WORD, "little", signed=True): int(plan[RING_WORDS]),
    }
    for kind, plan in PLANS.items()
}


def fold(blob: bytes | None, kind: str, event: Event) -> bytes:
    """The state after one more event.

    Late events count where they belong, as far as some window still reaches back to them. An event
    more than ``FORGET_AFTER_MS`` after the key's clock starts from empty.
    """
    return fold_all([(blob, kind, event)])[0]


def fold_all(folds: Sequence[tuple[bytes | None, str, Event]]) -> list[bytes]:
    """New states of several keys, each from its blob, its kind and its event; ``Desk`` is faster for a payment.

    Raises:
        BrokenBlob: A blob has an impossible length.
    """
    done = []
    for blob, kind, event in folds:
        steps = Steps(kind)
        steps.add("", FOLD, event.time_ms, event.words())
        done.append(steps.run({"": blob} if blob else {}).states[""])
    return done


def _words(blob: bytes | None, kind: str) -> int:
    """Length of a blob in words; a wrong one would make the compiled code read elsewhere."""
    if not blob:
        return 0
    words = _WORDS[kind].get(blob[:WORD], 0)
    if words * WORD != len(blob):
        raise BrokenBlob(f"a state of kind {kind} has {len(blob)} bytes, its header says {words * WORD}")
    return words


def features(
    payment: Payment, event_ms: int, states: Mapping[str, bytes | None], *, is_imported: bool = False
) -> Vector:
    """All features of a payment that is not folded yet, in the order of ``FEATURES``; NaN is missing.

    Args:
        payment: The payment behind the door.
        event_ms: Its event time, epoch milliseconds.
        states: Role -> blob, for every entity that the payment has; None if it has no state yet.
        is_imported: Whether it comes from imported history, where attempts are unknown.

    Raises:
        BrokenBlob: A blob has an impossible length.
    """
    desk = desk_of_this_thread()
    desk.load(pack(payment, {role: role for role in states}), event_ms, list(states.values()), is_imported=is_imported)
    return desk.read()[0]


def read(blob: bytes | None, role: str, time_ms: int, *, is_imported: bool = False) -> Integers:
    """The integers of one role for a payment at ``time_ms``; see ``pix.engines.layout`` for their names.

    Args:
        blob: The entity's state, None if it has none.
        role: Role that the entity plays in the payment.
        time_ms: The payment's event time, epoch milliseconds.
        is_imported: Whether the payment comes from imported history.
    """
    kind = ROLES[role]
    steps = Steps(kind)
    steps.add("", READ, time_ms, is_imported=is_imported)
    row: Integers = steps.run({"": blob} if blob else {}).reads[0]
    return row


def vector(payment: Payment, event_ms: int, reads: Reads) -> Vector:
    """All features of a payment from what its entities' states said; NaN is missing."""
    row = integers_of(payment, event_ms, reads)
    out = np.empty((1, len(FEATURES)))
    compiled.evaluate(PROGRAM, row.reshape(1, INTEGERS), out)
    row_of_features: Vector = out[0]
    return row_of_features


def integers_of(payment: Payment, event_ms: int, reads: Reads) -> Integers:
    """What ``evaluate`` starts from: the payment's facts, then its roles' integers."""
    row: Integers = _NO_INTEGERS.copy()
    row[:_FACTS] = facts(payment, event_ms)
    for role, values in reads.items():
        if values is not None:
            row[READ_AT[role] : READ_AT[role] + len(values)] = values
    return row


def evaluate(integers: Integers) -> Vector:
    """Features of many payments (rows x features) from their integers (rows x ``INTEGERS``)."""
    out = np.empty((len(integers), len(FEATURES)))
    compiled.evaluate(PROGRAM, np.ascontiguousarray(integers), out)
    return out


def listed(values: Vector) -> tuple[float | None, ...]:
    """A vector as records carry it: missing values are None."""
    # Several hundred values: NumPy finds the missing ones in half the time of a loop.
    out = values.astype(object)
    out[np.isnan(values)] = None
    return tuple(out.tolist())


@dataclass(frozen=True, slots=True)
class Replayed:
    """What ``Steps.run`` found.

    Attributes:
        reads: One row per reading step, in their order.
        states: Key -> its blob after all steps; only keys that have one.
    """

    reads: Integers
    states: dict[str, bytes]


class Steps:
    """Many folds and reads of keys of one kind, in order, for one call of the compiled kernel."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._places: dict[str, int] = {}
        self._folds: list[int] = []
        self._rows: list[tuple[int, int, int, int, int, int]] = []
        self._reading = 0

    def add(
        self,
        key: str,
        action: int,
        time_ms: int,
        words: tuple[int, int, int] = (0, 0, 0),
        *,
        is_imported: bool = False,
    ) -> int:
        """One more step.

        Args:
            key: Key of the state.
            action: ``READ``, ``FOLD``, or ``READ | FOLD``, which reads first.
            time_ms: Event time to read at; that of the event if it is folded.
            words: The event's words; ignored by ``READ``.
            is_imported: Whether it is read for imported history.

        Returns:
            Row of the next read: of this step's, if it reads.
        """
        place = self._places.setdefault(key, len(self._places))
        if place == len(self._folds):
            self._folds.append(0)
        self._folds[place] += action & FOLD
        self._rows.append((place, action, time_ms, words[1], words[2], is_imported))
        row = self._reading
        self._reading += bool(action & READ)
        return row

    def run(self, before: Mapping[str, bytes] | None = None) -> Replayed:
        """Take all steps.

        Args:
            before: Key -> blob to begin with; other keys begin without a state.
        """
        plan = PLANS[self._kind]
        blobs = {place: (before or {}).get(key) for key, place in self._places.items()}
        lengths = np.array([_words(blobs[place], self._kind) for place in range(len(blobs))], np.int64)
        most = HEADER_WORDS + 3 * LIST_CAP
        room = np.maximum(lengths, HEADER_WORDS) + 3 * np.array(self._folds, np.int64)
        room = np.where(room > most, plan[RING_WORDS], room)
        room = np.maximum(room, lengths)
        starts = np.cumsum(room) - room
        states = np.empty(int(room.sum()), np.int64)
        for place, blob in blobs.items():
            if blob:
                states[starts[place] : starts[place] + lengths[place]] = np.frombuffer(blob, np.int64)
        reads = np.empty((self._reading, int(plan[N_READS])), np.int64)
        compiled.replay(plan, np.array(self._rows, np.int64).reshape(-1, 6), starts, lengths, states, reads)
        after = {
            key: states[starts[place] : starts[place] + lengths[place]].tobytes()
            for key, place in self._places.items()
            if lengths[place]
        }
        return Replayed(reads, after)
