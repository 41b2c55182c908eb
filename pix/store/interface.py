"""What the online store promises, whoever keeps it.

The store is a cache of folded events (it can be rebuilt from lake and logs) with three parts: entity
states, each with the number of its newest fold; final records by id (idempotency); and an outbox of
records not yet published. One read brings everything a payment needs; one atomic compare-and-set
writes everything it changes.

Numbers: imported history counts 1, 2, ... per key; a key's first live fold gets its time in epoch
milliseconds, later ones add one, so numbers never repeat and never fall.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

LIVE_NUMBERS = 10**12
"""Numbers from here on belong to live folds (epoch milliseconds passed it in 2001)."""

LAYOUT_KEY = "layout"
GENERATION_KEY = "generation"


class StoreError(Exception):
    """The store cannot answer.

    StoreError
    ├── LayoutMismatch   its blobs have another layout than this build
    └── StoreLoading     a new base is being written; try again in a moment
    """


class LayoutMismatch(StoreError):
    """The store's blobs have another layout than this build."""


class StoreLoading(StoreError):
    """A new base is being written; try again in a moment."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One key's newest state.

    Attributes:
        number: Number of its newest fold, 0 if there is none.
        blob: The packed state, None if there is none.
    """

    number: int
    blob: bytes | None


ABSENT = Stored(0, None)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one read found.

    Attributes:
        generation: How many history imports the store's base holds.
        states: Per asked key.
        record: Final bytes under the asked record id, None if it is new.
        is_published: False while that record waits in the outbox.
    """

    generation: int
    states: dict[str, Stored]
    record: bytes | None
    is_published: bool


@dataclass(frozen=True, slots=True)
class Fold:
    """A new state of one key; valid only if the key's number is still ``read``."""

    key: str
    read: int
    got: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A record on its way to Kafka.

    Attributes:
        record_id: Its id in the store.
        topic: Kafka topic.
        key: Kafka key.
        value: The record's final bytes.
        committed_at_ms: Epoch milliseconds.
    """

    record_id: str
    topic: str
    key: str
    value: bytes
    committed_at_ms: int


@dataclass(frozen=True, slots=True)
class Committed:
    """Everything was written."""


@dataclass(frozen=True, slots=True)
class AlreadyKnown:
    """Nothing was written: the record id has a record."""

    record: bytes


@dataclass(frozen=True, slots=True)
class Raced:
    """Nothing was written: these keys (or the generation, named by ``GENERATION_KEY``) moved on."""

    keys: frozenset[str]


CommitResult = Committed | AlreadyKnown | Raced


class Store(Protocol):
    """The online store."""

    def snapshot(self, record_id: str, keys: Sequence[str]) -> Snapshot:
        """Record and states in one round trip.

        Raises:
            StoreLoading: A new base is being written.
        """

    def commit(self, message: Message, folds: Sequence[Fold], generation: int) -> CommitResult:
        """Write states, record and outbox entry, or nothing."""

    def published(self, record_ids: Sequence[str]) -> None:
        """Take messages out of the outbox."""

    def unpublished(self, committed_before_ms: int, limit: int) -> list[Message]:
        """Messages still in the outbox that were committed before a time, oldest ids first."""

    def force_to_disk(self) -> None:
        """Return when everything committed so far would survive a power loss of this store."""

    def load_base(self, generation: int, states: Iterable[tuple[str, int, bytes]]) -> int:
        """Take folded history as the base of keys that had no live fold yet.

        Args:
            generation: How many imports the history holds; must be newer than the store's.
            states: Key, number (below ``LIVE_NUMBERS``) and blob.

        Returns:
            How many keys were written.
        """

    def generation(self) -> int:
        """How many history imports the store's base holds."""

    def count(self) -> int:
        """How many keys have a state."""

    def states(self) -> dict[str, Stored]:
        """Every state, for comparison and rebuild; not for the request path."""

    def close(self) -> None:
        """Release files and connections."""


def next_number(read: int, now_ms: int) -> int:
    """Number of a key's next live fold.

    Args:
        read: The key's newest number, 0 if none.
        now_ms: Fold time, epoch milliseconds.
    """
    return read + 1 if read >= LIVE_NUMBERS else now_ms


def open_store(url: str, layout: str) -> Store:
    """The store behind an address.

    Args:
        url: ``memory://``, ``lmdb:///folder`` or ``redis://host:port/db``.
        layout: Version of the state blobs that this build reads.

    Raises:
        LayoutMismatch: The store holds blobs of another layout.
        ValueError: The address names no known store.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        from pix.store.memory import MemoryStore

        return MemoryStore()
    if scheme == "lmdb":
        from pix.store.lmdb import LmdbStore

        return LmdbStore(rest, layout)
    if scheme in ("redis", "rediss", "unix"):
        from pix.store.redis import RedisStore

        return RedisStore(url, layout)
    raise ValueError(f"store {url!r} is not one of memory://, lmdb:///folder, redis://host:port/db")
