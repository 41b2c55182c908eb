"""The store in a dictionary: for tests and dry runs, gone with its process."""

from collections.abc import Iterable, Sequence
from threading import Lock

from pix.store.interface import (
    ABSENT,
    GENERATION_KEY,
    LIVE_NUMBERS,
    AlreadyKnown,
    CommitResult,
    Committed,
    Fold,
    Message,
    Raced,
    Snapshot,
    Stored,
)


class MemoryStore:
    """See ``Store``."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._generation = 0
        self._states: dict[str, Stored] = {}
        self._records: dict[str, bytes] = {}
        self._outbox: dict[str, Message] = {}

    def snapshot(self, record_id: str, keys: Sequence[str]) -> Snapshot:
        """Record and states in one round trip."""
        with self._lock:
            states = {key: self._states.get(key, ABSENT) for key in keys}
            record = self._records.get(record_id)
            return Snapshot(self._generation, states, record, record_id not in self._outbox)

    def commit(self, message: Message, folds: Sequence[Fold], generation: int) -> CommitResult:
        """Write states, record and outbox entry, or nothing."""
        with self._lock:
            if (known := self._records.get(message.record_id)) is not None:
                return AlreadyKnown(known)
            moved = {fold.key for fold in folds if self._states.get(fold.key, ABSENT).number != fold.read}
            if generation != self._generation:
                moved.add(GENERATION_KEY)
            if moved:
                return Raced(frozenset(moved))
            self._states.update((fold.key, Stored(fold.got, fold.blob)) for fold in folds)
            self._records[message.record_id] = message.value
            self._outbox[message.record_id] = message
            return Committed()

    def published(self, record_ids: Sequence[str]) -> None:
        """Take messages out of the outbox."""
        with self._lock:
            for record_id in record_ids:
                self._outbox.pop(record_id, None)

    def unpublished(self, committed_before_ms: int, limit: int) -> list[Message]:
        """Messages still in the outbox that were committed before a time."""
        with self._lock:
            old = [self._outbox[key] for key in sorted(self._outbox)]
            return [message for message in old if message.committed_at_ms < committed_before_ms][:limit]

    def force_to_disk(self) -> None:
        """Nothing here survives its process anyway."""

    def load_base(self, generation: int, states: Iterable[tuple[str, int, bytes]]) -> int:
        """Take folded history as the base of keys that had no live fold yet."""
        with self._lock:
            written = 0
            for key, number, blob in states:
                if self._states.get(key, ABSENT).number < LIVE_NUMBERS:
                    self._states[key] = Stored(number, blob)
                    written += 1
            self._generation = generation
            return written

    def generation(self) -> int:
        """How many history imports the store's base holds."""
        return self._generation

    def count(self) -> int:
        """How many keys have a state."""
        return len(self._states)

    def states(self) -> dict[str, Stored]:
        """Every state."""
        with self._lock:
            return dict(self._states)

    def close(self) -> None:
        """Nothing to release."""
