"""The embedded store: LMDB, shared by the worker processes of one host.

A commit survives the death of its process at once (the pages belong to the kernel) and a power loss
after ``force_to_disk``.
"""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import lmdb
import msgpack

from pix.store.interface import (
    ABSENT,
    GENERATION_KEY,
    LAYOUT_KEY,
    LIVE_NUMBERS,
    AlreadyKnown,
    CommitResult,
    Committed,
    Fold,
    LayoutMismatch,
    Message,
    Raced,
    Snapshot,
    Stored,
)

MAP_BYTES = 64 * 2**30
"""Upper bound of the file; it is sparse, so only what is used takes disk."""

NUMBER = struct.Struct("<q")


class LmdbStore:
    """See ``Store``."""

    def __init__(self, folder: str, layout: str) -> None:
        """Open or make the store.

        Raises:
            LayoutMismatch: The folder holds blobs of another layout.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._env = lmdb.open(folder, map_size=MAP_BYTES, max_dbs=4, sync=False, writemap=True, max_readers=512)
        # Slots of workers that were killed while reading would keep old pages alive for ever.
        self._env.reader_check()
        self._states = self._env.open_db(b"states")
        self._records = self._env.open_db(b"records")
        self._outbox = self._env.open_db(b"outbox")
        self._meta = self._env.open_db(b"meta")
        with self._env.begin(write=True) as txn:
            found = txn.get(LAYOUT_KEY.encode(), db=self._meta)
            if found is None:
                txn.put(LAYOUT_KEY.encode(), layout.encode(), db=self._meta)
            elif found != layout.encode():
                raise LayoutMismatch(
                    f"{folder} holds states of layout {found.decode()}, this build reads {layout}; "
                    "move the folder away and import the history again"
                )

    def snapshot(self, record_id: str, keys: Sequence[str]) -> Snapshot:
        """Record and states in one read transaction."""
        with self._env.begin() as txn:
            states = {key: _stored(txn.get(key.encode(), db=self._states)) for key in keys}
            record = txn.get(record_id.encode(), db=self._records)
            waiting = record is not None and txn.get(record_id.encode(), db=self._outbox) is not None
            return Snapshot(self._generation_in(txn), states, record, not waiting)

    def commit(self, message: Message, folds: Sequence[Fold], generation: int) -> CommitResult:
        """Write states, record and outbox entry in one transaction, or nothing."""
        with self._env.begin(write=True) as txn:
            known = txn.get(message.record_id.encode(), db=self._records)
            if known is not None:
                return AlreadyKnown(known)
            moved = {f.key for f in folds if _stored(txn.get(f.key.encode(), db=self._states)).number != f.read}
            if generation != self._generation_in(txn):
                moved.add(GENERATION_KEY)
            if moved:
                return Raced(frozenset(moved))
            for fold in folds:
                txn.put(fold.key.encode(), NUMBER.pack(fold.got) + fold.blob, db=self._states)
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

    def force_to_disk(self) -> None:
        """Sync the file."""
        self._env.sync(True)

    def load_base(self, generation: int, states: Iterable[tuple[str, int, bytes]]) -> int:
        """Write the base in one transaction: no decision sees half of it."""
        written = 0
        with self._env.begin(write=True) as txn:
            for key, number, blob in states:
                if _stored(txn.get(key.encode(), db=self._states)).number < LIVE_NUMBERS:
                    txn.put(key.encode(), NUMBER.pack(number) + blob, db=self._states)
                    written += 1
            txn.put(GENERATION_KEY.encode(), NUMBER.pack(generation), db=self._meta)
        self._env.sync(True)
        return written

    def generation(self) -> int:
        """How many history imports the store's base holds."""
        with self._env.begin() as txn:
            return self._generation_in(txn)

    def count(self) -> int:
        """How many keys have a state."""
        with self._env.begin() as txn:
            return int(txn.stat(self._states)["entries"])

    def states(self) -> dict[str, Stored]:
        """Every state."""
        with self._env.begin() as txn:
            return {key.decode(): _stored(value) for key, value in txn.cursor(db=self._states)}

    def close(self) -> None:
        """Close the files."""
        self._env.close()

    def _generation_in(self, txn: lmdb.Transaction) -> int:
        found = txn.get(GENERATION_KEY.encode(), db=self._meta)
        return 0 if found is None else NUMBER.unpack(found)[0]


def _stored(value: bytes | None) -> Stored:
    return ABSENT if value is None else Stored(NUMBER.unpack_from(value)[0], value[NUMBER.size :])
