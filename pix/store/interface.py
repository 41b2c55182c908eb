"""What the online store promises, whoever keeps it.

The store is a cache of folded events (it can be rebuilt from lake and logs) with four parts: entity
states, each with the number of its newest fold, in generations beside each other (``pix.store.generation``);
final records by id (idempotency); an outbox of records not yet published; and the queue of what waits for a
person. One read brings everything a payment needs; one atomic compare-and-set writes everything it changes.

Numbers: imported history counts 1, 2, ... per key; a key's first live fold gets its time in epoch
milliseconds, later ones add one, so numbers never repeat and never fall.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pix.contracts import DAY_MS
from pix.store.generation import Generation, Identity, Offsets

LIVE_NUMBERS = 10**12
"""Numbers from here on belong to live folds (epoch milliseconds passed it in 2001)."""

GENERATION_KEY = "generation"
QUEUE_KEY = "queue"
LOOKED_AT = 10_000
"""More messages of an outbox are not read to tell how old it is."""
RECORD_LIFE_MS = 8 * DAY_MS
"""How long a record answers for its id."""


class Stored(NamedTuple):
    """One key's newest state; a tuple, because a payment makes many and a dataclass takes three times as long.

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
        generation: Number of the generation that was read; a commit must name it.
        imports: How many imports of history its base holds.
        states: Per asked key.
        record: Final bytes under the asked record id, None if it is new.
        is_published: False while that record waits in the outbox.
    """

    generation: int
    imports: int
    states: dict[str, Stored]
    record: bytes | None
    is_published: bool


class Fold(NamedTuple):
    """A new state of one key; valid only if the key's number is still ``read``."""

    key: str
    read: int
    got: int
    blob: bytes


class Queued(NamedTuple):
    """An entry of the queue.

    Attributes:
        id: Its id, the same for good.
        content: What it says; never empty.
        places: Texts of printable ASCII under which it is found in their order, each its own alone. They follow from
            the content.
    """

    id: str
    content: bytes
    places: tuple[str, ...]


class QueueChange(NamedTuple):
    """An entry before and after; valid only if its content is still the one before. None: it is not there."""

    before: Queued | None
    after: Queued | None

    @property
    def id(self) -> str:
        """Of the entry."""
        return next(entry.id for entry in self if entry is not None)


@dataclass(frozen=True, slots=True)
class Message:
    """A record on its way to Kafka.

    Attributes:
        record_id: Its id in the store.
        topic: Kafka topic.
        key: Kafka key.
        value: The record's final bytes.
        committed_at_ms: Epoch milliseconds.
        traceparent: W3C context of the request, for its header in Kafka; the outbox does not keep it.
    """

    record_id: str
    topic: str
    key: str
    value: bytes
    committed_at_ms: int
    traceparent: str = field(default="", compare=False)


class Waiting(NamedTuple):
    """What the outbox holds.

    Attributes:
        messages: How many wait to be published.
        oldest_ms: When the oldest was committed, epoch milliseconds, of the first ``LOOKED_AT``; None if none waits.
    """

    messages: int
    oldest_ms: int | None


@dataclass(frozen=True, slots=True)
class Committed:
    """Everything was written."""


@dataclass(frozen=True, slots=True)
class AlreadyKnown:
    """Nothing was written: the record id has a record."""

    record: bytes


@dataclass(frozen=True, slots=True)
class Raced:
    """Nothing was written: these keys (or the generation, or the queue's entry, by the names above) moved on."""

    keys: frozenset[str]


CommitResult = Committed | AlreadyKnown | Raced


class Store(Protocol):
    """The online store."""

    def snapshot(self, record_id: str, keys: Sequence[str]) -> Snapshot:
        """Record and states in one round trip.

        Raises:
            StoreLoading: The store is fenced; see ``pix.store.errors`` for what else it may say.
            StoreAway: It does not answer.
        """

    def commit(
        self, message: Message, folds: Sequence[Fold], generation: int, change: QueueChange | None = None
    ) -> CommitResult:
        """Write states, record, outbox entry and a change of the queue, or nothing; the same record again changes none.

        Raises:
            StoreLoading: The store is fenced.
            StoreAway: It does not answer, and wrote nothing.
            OutcomeUnknown: It did not say whether it wrote everything or nothing.
        """

    def published(self, record_ids: Sequence[str]) -> None:
        """Take messages out of the outbox."""

    def unpublished(self, committed_before_ms: int, limit: int) -> list[Message]:
        """Messages still in the outbox that were committed before a time, oldest ids first."""

    def waiting(self) -> Waiting:
        """How much is in the outbox, and how old it is."""

    def force_to_disk(self) -> None:
        """Return when everything committed so far would survive a power loss of this store; from any thread."""

    def warnings(self) -> list[str]:
        """What is not as it should be though the store answers."""

    def restore_records(self, records: Iterable[tuple[str, bytes, int]], now_ms: int) -> int:
        """Put back records that the store lost; those it has stay as they are.

        Args:
            records: Id, final bytes, committed at in epoch milliseconds.
            now_ms: Epoch milliseconds; records past their life are left out.

        Returns:
            How many were put back.
        """

    def replace_record(self, record_id: str, record: bytes, committed_at_ms: int, now_ms: int) -> None:
        """Let another record, which is published, answer for an id; the one before leaves the outbox, too."""

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Id and final bytes of every record that is there from begin to end of the reading; not for the request path.

        One that comes meanwhile may be among them, and one may come twice.
        """

    def queue(self, after: str, before: str, limit: int) -> list[tuple[str, bytes]]:
        """Places of the queue strictly between two texts, in their order.

        Each comes with its entry's content, which may stand elsewhere by now; empty if the entry is gone.
        """

    def queued(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Contents of those of these entries that the queue has."""

    def change_queue(self, changes: Iterable[QueueChange]) -> int:
        """Change entries of the queue without a record, each by itself; returns how many were still valid."""

    def generations(self) -> list[Generation]:
        """Every generation that the store holds or holds the memory of, oldest first."""

    def active(self) -> Generation | None:
        """The generation in use, fenced or not; None in a store in which nothing was ever built."""

    def remembered(self, name: str) -> bytes | None:
        """What ``remember`` kept under this name; None in a store that never did, or was lost since."""

    def remember(self, name: str, value: bytes) -> None:
        """Keep something beside the generations; durable when this returns."""

    def begin(self, identity: Identity, builder: str, now_ms: int, *, at_least: int = 1) -> Generation:
        """Begin to build the next generation; see ``GenerationBook`` for this and the next six."""

    def resume(self, number: int, builder: str, now_ms: int) -> Generation:
        """Take a retired generation up again."""

    def note(self, building: Generation, step: str, done: int, total: int, now_ms: int) -> None:
        """Say how far the build is."""

    def fence(self, building: Generation) -> None:
        """Refuse reads and commits until ``flip`` or ``lift``."""

    def lift(self, builder: str) -> bool:
        """Open the store again if this builder fenced it."""

    def lift_of_the_dead(self, now_ms: int) -> str | None:
        """Open a store whose builder died behind its fence."""

    def flip(self, building: Generation, complete_to: Offsets, gaps: int = 0) -> None:
        """Use the built generation from now on."""

    def give_up(self, building: Generation, problem: str) -> None:
        """Mark a build as failed and delete its states."""

    def load_base(self, imports: int, states: Iterable[tuple[str, int, bytes]]) -> int:
        """Begin a generation from folded history alone and use it at once."""

    def read_states(self, number: int, keys: Sequence[str]) -> dict[str, Stored]:
        """States of one generation, fenced or not; for builders and comparisons."""

    def write_states(self, number: int, states: Iterable[tuple[str, int, bytes]]) -> int:
        """Put states (key, number, blob) into a generation that is being built; returns how many."""

    def drop_states(self, number: int, limit: int) -> bool:
        """Delete up to ``limit`` states of a generation; whether some are left."""

    def count(self) -> int:
        """How many keys have a state in the generation in use."""

    def states(self, number: int | None = None) -> dict[str, Stored]:
        """Every state of a generation, by default of the one in use; not for the request path."""

    def other_server(self) -> str | None:
        """Name of the server that answers now, if payments may not reach it: it may lack the last commits."""

    def trust(self, server: str) -> None:
        """Let payments reach this server, and no other; its content was compared with the logs."""

    def close(self) -> None:
        """Release files and connections."""


def next_number(read: int, now_ms: int) -> int:
    """Number of a key's next live fold.

    Args:
        read: The key's newest number, 0 if none.
        now_ms: Fold time, epoch milliseconds.
    """
    return read + 1 if read >= LIVE_NUMBERS else now_ms


def open_store(url: str, layout: str, replicas: int = 0, timeout_seconds: float = 0.3) -> Store:
    """The store behind an address.

    Args:
        url: ``memory://``, ``lmdb:///folder`` or ``redis://host:port/db``.
        layout: Version of the state blobs that this build reads; a generation of another one is not read.
        replicas: How many replicas must have a commit before it counts; Redis and Valkey only.
        timeout_seconds: How long a payment waits for one answer of the server; Redis and Valkey only.

    Raises:
        ValueError: The address names no known store.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        from pix.store.memory import MemoryStore

        return MemoryStore(layout)
    if scheme == "lmdb":
        from pix.store.lmdb import LmdbStore

        return LmdbStore(rest, layout)
    if scheme in ("redis", "rediss", "unix"):
        from pix.store.redis import RedisStore

        return RedisStore(url, layout, replicas, timeout_seconds)
    raise ValueError(f"store {url!r} is not one of memory://, lmdb:///folder, redis://host:port/db")
