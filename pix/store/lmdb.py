"""The embedded store: LMDB, shared by the worker processes of one host.

A commit survives the death of its process at once (the pages belong to the kernel) and a power loss
after ``force_to_disk``. A state's key begins with its generation's number, so that generations lie beside
each other and one of them can be deleted in pieces.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar, cast

import lmdb
import msgpack

from pix.store.errors import StoreAway
from pix.store.generation import CURRENT, Change, Current, GenerationBook
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

MAP_BYTES = 64 * 2**30
"""Upper bound of the file; it is sparse, so only what is used takes disk."""

WRITTEN_AT_ONCE = 500
"""States per transaction of a builder: payments wait for no longer than that takes."""
READ_AT_ONCE = 2_000
"""Records per read transaction of whoever reads them all."""

AWAY = (lmdb.MapFullError, lmdb.DiskError, lmdb.ReadersFullError)
"""Errors of a file that takes nothing more; nothing was written."""
NUMBER = struct.Struct("<q")
PREFIX = struct.Struct(">I")
CURRENT_ENTRY = CURRENT.encode()
Item = TypeVar("Item")


class LmdbStore(GenerationBook):
    """See ``Store``."""

    def __init__(self, folder: str, layout: str) -> None:
        """Open or make the store."""
        super().__init__(layout)
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._env = lmdb.open(folder, map_size=MAP_BYTES, max_dbs=7, sync=False, writemap=True, max_readers=512)
        # Slots of workers that were killed while reading would keep old pages alive for ever.
        self._env.reader_check()
        self._states = self._env.open_db(b"generations")
        self._records = self._env.open_db(b"records")
        self._outbox = self._env.open_db(b"outbox")
        self._book = self._env.open_db(b"book")
        self._queue = self._env.open_db(b"queue")
        self._places = self._env.open_db(b"places")

    def _read_book(self) -> Mapping[str, bytes]:
        with self._env.begin() as txn:
            return self._book_in(txn)

    def _book_in(self, txn: lmdb.Transaction) -> dict[str, bytes]:
        return {bytes(name).decode(): bytes(value) for name, value in txn.cursor(db=self._book)}

    def _change_book(self, change: Change) -> None:
        with self._env.begin(write=True) as txn:
            for name, value in change(self._book_in(txn)).items():
                if value is None:
                    txn.delete(name.encode(), db=self._book)
                else:
                    txn.put(name.encode(), value, db=self._book)
        # Rare, and a book that is older than its states would name the wrong ones.
        self._env.sync(True)

    def _current_in(self, txn: lmdb.Transaction) -> Current:
        raw = cast("bytes | None", txn.get(CURRENT_ENTRY, db=self._book))
        return self._current(raw, lambda: self._book_in(txn))

    def snapshot(self, record_id: str, keys: Sequence[str]) -> Snapshot:
        """Record and states in one read transaction."""
        try:
            with self._env.begin() as txn:
                current = self._current_in(txn)
                prefix, get, states = PREFIX.pack(current.number), txn.get, self._states
                found = {key: _stored(get(prefix + key.encode(), db=states)) for key in keys}
                record = get(record_id.encode(), db=self._records)
                waiting = record is not None and get(record_id.encode(), db=self._outbox) is not None
                return Snapshot(current.number, current.imports, found, record, not waiting)
        except AWAY as full:
            raise _away(full) from full

    def commit(
        self, message: Message, folds: Sequence[Fold], generation: int, change: QueueChange | None = None
    ) -> CommitResult:
        """Write states, record, outbox entry and a change of the queue in one transaction, or nothing."""
        try:
            return self._commit(message, folds, generation, change)
        except AWAY as full:
            raise _away(full) from full

    def _commit(
        self, message: Message, folds: Sequence[Fold], generation: int, change: QueueChange | None
    ) -> CommitResult:
        with self._env.begin(write=True) as txn:
            current = self._current_in(txn)
            known = txn.get(message.record_id.encode(), db=self._records)
            if known is not None:
                return AlreadyKnown(known)
            prefix = PREFIX.pack(current.number)
            placed = [(prefix + fold.key.encode(), fold) for fold in folds]
            moved = {fold.key for key, fold in placed if _number(txn.get(key, db=self._states)) != fold.read}
            if generation != current.number:
                moved.add(GENERATION_KEY)
            if change is not None and not self._holds(txn, change):
                moved.add(QUEUE_KEY)
            if moved:
                return Raced(frozenset(moved))
            if change is not None:
                self._apply(txn, change)
            for key, fold in placed:
                txn.put(key, NUMBER.pack(fold.got) + fold.blob, db=self._states)
            txn.put(message.record_id.encode(), message.value, db=self._records)
            envelope = msgpack.packb([message.topic, message.key, message.committed_at_ms])
            txn.put(message.record_id.encode(), envelope, db=self._outbox)
            return Committed()

    def published(self, record_ids: Sequence[str]) -> None:
        """Take messages out of the outbox."""
        with self._env.begin(write=True) as txn:
            for record_id in record_ids:
                txn.delete(record_id.encode(), db=self._outbox)

    def unpublished(self, committed_before_ms: int, limit: int) -> list[Message]:
        """Messages still in the outbox that were committed before a time."""
        found: list[Message] = []
        with self._env.begin() as txn:
            for raw_id, envelope in txn.cursor(db=self._outbox):
                topic, key, committed_at_ms = msgpack.unpackb(envelope)
                if committed_at_ms < committed_before_ms:
                    value = txn.get(raw_id, db=self._records) or b""
                    found.append(Message(raw_id.decode(), topic, key, value, committed_at_ms))
                if len(found) == limit:
                    break
        return found

    def waiting(self) -> Waiting:
        """How much is in the outbox, and how old it is."""
        with self._env.begin() as txn:
            count = txn.stat(self._outbox)["entries"]
            envelopes = islice(txn.cursor(db=self._outbox).iternext(keys=False), LOOKED_AT)
            return Waiting(count, min((msgpack.unpackb(each)[2] for each in envelopes), default=None))

    def force_to_disk(self) -> None:
        """Sync the file."""
        self._env.sync(True)

    def warnings(self) -> list[str]:
        """There is nothing to warn of."""
        return []

    def restore_records(self, records: Iterable[tuple[str, bytes, int]], now_ms: int) -> int:
        """Put back records that the store lost."""
        restored = 0
        for chunk in _chunks(records, WRITTEN_AT_ONCE):
            with self._env.begin(write=True) as txn:
                for record_id, record, committed_at_ms in chunk:
                    if committed_at_ms > now_ms - RECORD_LIFE_MS:
                        restored += txn.put(record_id.encode(), record, db=self._records, overwrite=False)
        return restored

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Every record, some at a time: a reading that lasts keeps pages of all that is written meanwhile."""
        after = b""
        while True:
            with self._env.begin(buffers=False) as txn:
                cursor = txn.cursor(db=self._records)
                # Nothing lies between an id and the same with the smallest byte behind it.
                there = cursor.set_range(after + b"\0" if after else b"\0")
                chunk = list(islice(cast("Iterable[tuple[bytes, bytes]]", cursor), READ_AT_ONCE)) if there else []
            yield from ((key.decode(), value) for key, value in chunk)
            if len(chunk) < READ_AT_ONCE:
                return
            after = chunk[-1][0]

    def replace_record(self, record_id: str, record: bytes, committed_at_ms: int, now_ms: int) -> None:  # noqa: ARG002
        """Let another record, which is published, answer for an id."""
        with self._env.begin(write=True) as txn:
            txn.put(record_id.encode(), record, db=self._records)
            txn.delete(record_id.encode(), db=self._outbox)

    def queue(self, after: str, before: str, limit: int) -> list[tuple[str, bytes]]:
        """Places of the queue strictly between two texts, in one read transaction."""
        found: list[tuple[str, bytes]] = []
        with self._env.begin() as txn:
            cursor = txn.cursor(db=self._places)
            # Nothing lies between a text and the same with the smallest byte behind it.
            there = cursor.set_range(after.encode() + b"\0")
            while there and len(found) < limit and cursor.key() < before.encode():
                found.append((cursor.key().decode(), txn.get(cursor.value(), db=self._queue) or b""))
                there = cursor.next()
        return found

    def queued(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Contents of those of these entries that the queue has."""
        with self._env.begin() as txn:
            found = {entry_id: txn.get(entry_id.encode(), db=self._queue) for entry_id in ids}
            return {entry_id: content for entry_id, content in found.items() if content is not None}

    def change_queue(self, changes: Iterable[QueueChange]) -> int:
        """Change entries of the queue without a record."""
        changed = 0
        try:
            for chunk in _chunks(changes, WRITTEN_AT_ONCE):
                with self._env.begin(write=True) as txn:
                    for change in chunk:
                        if self._holds(txn, change):
                            self._apply(txn, change)
                            changed += 1
        except AWAY as full:
            raise _away(full) from full
        return changed

    def _holds(self, txn: lmdb.Transaction, change: QueueChange) -> bool:
        expected = change.before.content if change.before else None
        return bool(txn.get(change.id.encode(), db=self._queue) == expected)

    def _apply(self, txn: lmdb.Transaction, change: QueueChange) -> None:
        for place in change.before.places if change.before else ():
            txn.delete(place.encode(), db=self._places)
        if change.after is None:
            txn.delete(change.id.encode(), db=self._queue)
            return
        txn.put(change.id.encode(), change.after.content, db=self._queue)
        for place in change.after.places:
            txn.put(place.encode(), change.id.encode(), db=self._places)

    def read_states(self, number: int, keys: Sequence[str]) -> dict[str, Stored]:
        """States of one generation."""
        prefix = PREFIX.pack(number)
        with self._env.begin() as txn:
            return {key: _stored(txn.get(prefix + key.encode(), db=self._states)) for key in keys}

    def write_states(self, number: int, states: Iterable[tuple[str, int, bytes]]) -> int:
        """Put states into a generation that is being built."""
        prefix, written = PREFIX.pack(number), 0
        for chunk in _chunks(states, WRITTEN_AT_ONCE):
            with self._env.begin(write=True) as txn:
                for key, fold, blob in chunk:
                    txn.put(prefix + key.encode(), NUMBER.pack(fold) + blob, db=self._states)
            written += len(chunk)
        return written

    def drop_states(self, number: int, limit: int) -> bool:
        """Delete up to ``limit`` states of a generation; whether some are left."""
        prefix = PREFIX.pack(number)
        with self._env.begin(write=True) as txn:
            cursor = txn.cursor(db=self._states)
            there = cursor.set_range(prefix) and cursor.key().startswith(prefix)
            while there and limit:
                there = cursor.delete() and cursor.key().startswith(prefix)
                limit -= 1
            return bool(there)

    def count(self) -> int:
        """How many keys have a state in the generation in use."""
        number = self._number_in_use()
        with self._env.begin() as txn:
            return sum(1 for _ in self._rows(txn, number))

    def states(self, number: int | None = None) -> dict[str, Stored]:
        """Every state of a generation, in one read transaction."""
        chosen = self._number_in_use() if number is None else number
        with self._env.begin() as txn:
            return {key[PREFIX.size :].decode(): _stored(value) for key, value in self._rows(txn, chosen)}

    def _rows(self, txn: lmdb.Transaction, number: int) -> Iterator[tuple[bytes, bytes]]:
        prefix = PREFIX.pack(number)
        cursor = txn.cursor(db=self._states)
        if cursor.set_range(prefix):
            for key, value in cast("Iterable[tuple[bytes, bytes]]", cursor):
                if not key.startswith(prefix):
                    return
                yield key, value

    def _number_in_use(self) -> int:
        active = self.active()
        return active.number if active else 0

    def other_server(self) -> str | None:
        """There is no server to doubt."""
        return None

    def trust(self, server: str) -> None:
        """There is no server to doubt."""

    def close(self) -> None:
        """Close the files."""
        self._env.close()


def _away(full: lmdb.Error) -> StoreAway:
    return StoreAway(f"the online store takes no commits: {full}; give its disk room and restart the service")


def _number(value: bytes | None) -> int:
    return 0 if value is None else int(NUMBER.unpack_from(value)[0])


def _stored(value: bytes | None) -> Stored:
    return ABSENT if value is None else Stored(NUMBER.unpack_from(value)[0], value[NUMBER.size :])


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
