"""The store in a dictionary: for tests, comparisons and dry runs, gone with its process."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from threading import RLock

from pix.store.generation import CURRENT, Change, GenerationBook
from pix.store.interface import (
    ABSENT,
    GENERATION_KEY,
    LOOKED_AT,
    QUEUE_KEY,
    RECORD_LIFE_MS,
    AlreadyKnown,
    CommitResult,
    Committed,
    Fold,
    Message,
    QueueChange,
    Raced,
    Snapshot,
    Stored,
    Waiting,
)


class MemoryStore(GenerationBook):
    """See ``Store``."""

    def __init__(self, layout: str = "memory") -> None:
        super().__init__(layout)
        self._lock = RLock()
        self._book: dict[str, bytes] = {}
        self._states: dict[int, dict[str, Stored]] = {0: {}}
        self._records: dict[str, bytes] = {}
        self._outbox: dict[str, Message] = {}
        self._queue: dict[str, bytes] = {}
        self._places: dict[str, str] = {}

    def _read_book(self) -> Mapping[str, bytes]:
        with self._lock:
            return dict(self._book)

    def _change_book(self, change: Change) -> None:
        with self._lock:
            for name, value in change(dict(self._book)).items():
                if value is None:
                    self._book.pop(name, None)
                else:
                    self._book[name] = value

    def snapshot(self, record_id: str, keys: Sequence[str]) -> Snapshot:
        """Record and states in one round trip."""
        with self._lock:
            current = self._current(self._book.get(CURRENT), self._read_book)
            found = self._states[current.number]
            states = {key: found.get(key, ABSENT) for key in keys}
            record = self._records.get(record_id)
            return Snapshot(current.number, current.imports, states, record, record_id not in self._outbox)

    def commit(
        self, message: Message, folds: Sequence[Fold], generation: int, change: QueueChange | None = None
    ) -> CommitResult:
        """Write states, record, outbox entry and a change of the queue, or nothing."""
        with self._lock:
            current = self._current(self._book.get(CURRENT), self._read_book)
            if (known := self._records.get(message.record_id)) is not None:
                return AlreadyKnown(known)
            states = self._states[current.number]
            moved = {fold.key for fold in folds if states.get(fold.key, ABSENT).number != fold.read}
            if generation != current.number:
                moved.add(GENERATION_KEY)
            if change is not None and not self._holds(change):
                moved.add(QUEUE_KEY)
            if moved:
                return Raced(frozenset(moved))
            if change is not None:
                self._apply(change)
            states.update((fold.key, Stored(fold.got, fold.blob)) for fold in folds)
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

    def waiting(self) -> Waiting:
        """How much is in the outbox, and how old it is."""
        with self._lock:
            times = [message.committed_at_ms for message in self._outbox.values()]
            return Waiting(len(times), min(times[:LOOKED_AT], default=None))

    def force_to_disk(self) -> None:
        """Nothing here survives its process anyway."""

    def warnings(self) -> list[str]:
        """There is nothing to warn of."""
        return []

    def restore_records(self, records: Iterable[tuple[str, bytes, int]], now_ms: int) -> int:
        """Put back records that the store lost."""
        with self._lock:
            before = len(self._records)
            for record_id, record, committed_at_ms in records:
                if committed_at_ms > now_ms - RECORD_LIFE_MS:
                    self._records.setdefault(record_id, record)
            return len(self._records) - before

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Every record, as of now."""
        with self._lock:
            found = list(self._records.items())
        return iter(found)

    def replace_record(self, record_id: str, record: bytes, committed_at_ms: int, now_ms: int) -> None:  # noqa: ARG002
        """Let another record, which is published, answer for an id."""
        with self._lock:
            self._records[record_id] = record
            self._outbox.pop(record_id, None)

    def queue(self, after: str, before: str, limit: int) -> list[tuple[str, bytes]]:
        """Places of the queue strictly between two texts, in their order."""
        with self._lock:
            between = sorted(place for place in self._places if after < place < before)[:limit]
            return [(place, self._queue[self._places[place]]) for place in between]

    def queued(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Contents of those of these entries that the queue has."""
        with self._lock:
            return {entry_id: self._queue[entry_id] for entry_id in ids if entry_id in self._queue}

    def change_queue(self, changes: Iterable[QueueChange]) -> int:
        """Change entries of the queue without a record."""
        changed = 0
        for change in changes:
            with self._lock:
                if self._holds(change):
                    self._apply(change)
                    changed += 1
        return changed

    def _holds(self, change: QueueChange) -> bool:
        return self._queue.get(change.id) == (change.before.content if change.before else None)

    def _apply(self, change: QueueChange) -> None:
        for place in change.before.places if change.before else ():
            del self._places[place]
        self._queue.pop(change.id, None)
        if change.after is not None:
            self._queue[change.id] = change.after.content
            self._places.update((place, change.id) for place in change.after.places)

    def read_states(self, number: int, keys: Sequence[str]) -> dict[str, Stored]:
        """States of one generation."""
        with self._lock:
            found = self._states.get(number, {})
            return {key: found.get(key, ABSENT) for key in keys}

    def write_states(self, number: int, states: Iterable[tuple[str, int, bytes]]) -> int:
        """Put states into a generation that is being built."""
        with self._lock:
            found = self._states.setdefault(number, {})
            written = 0
            for written, (key, fold, blob) in enumerate(states, 1):  # noqa: B007 - the last one is the count
                found[key] = Stored(fold, blob)
            return written

    def drop_states(self, number: int, limit: int) -> bool:
        """Delete up to ``limit`` states of a generation; whether some are left."""
        with self._lock:
            found = self._states.get(number, {})
            for key in list(islice(found, limit)):
                del found[key]
            return bool(found)

    def count(self) -> int:
        """How many keys have a state in the generation in use."""
        return len(self.states())

    def states(self, number: int | None = None) -> dict[str, Stored]:
        """Every state of a generation."""
        with self._lock:
            if number is None:
                active = self.active()
                number = active.number if active else 0
            return dict(self._states.get(number, {}))

    def other_server(self) -> str | None:
        """There is no server to doubt."""
        return None

    def trust(self, server: str) -> None:
        """There is no server to doubt."""

    def close(self) -> None:
        """Nothing to release."""
