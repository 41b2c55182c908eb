"""The store on Redis or Valkey: one primary, shared by the services of several hosts.

One pipeline reads what a payment needs, one script compares and sets. Records expire after the
idempotency period. Keys of one database belong to one Sentinela.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgpack
import redis

from pix.contracts import DAY_MS
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
    StoreLoading,
)

NUMBER = struct.Struct("<q")
RECORD_LIFE_MS = 8 * DAY_MS
LOADING = b"loading"
BASE_CHUNK = 500

COMMIT = """
-- KEYS: meta, record, outbox, then states.  ARGV: generation, record, envelope, record id, life,
-- then per state the expected number and the new value.
local known = redis.call('GET', KEYS[2])
if known then return {'known', known} end
local moved = {'raced'}
if (redis.call('HGET', KEYS[1], 'generation') or '0') ~= ARGV[1] then moved[#moved + 1] = 'generation' end
for i = 4, #KEYS do
  local found = redis.call('GETRANGE', KEYS[i], 0, 7)
  if found ~= ARGV[2 * i - 2] then moved[#moved + 1] = KEYS[i] end
end
if #moved > 1 then return moved end
for i = 4, #KEYS do redis.call('SET', KEYS[i], ARGV[2 * i - 1]) end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[5])
redis.call('HSET', KEYS[3], ARGV[4], ARGV[3])
return {'committed'}
"""

LOAD = """
-- KEYS: states.  ARGV: the first live number, then the new value per state.
local written = 0
for i = 1, #KEYS do
  local found = redis.call('GETRANGE', KEYS[i], 0, 7)
  if found == '' or struct.unpack('<i8', found) < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[i], ARGV[i + 1])
    written = written + 1
  end
end
return written
"""


class RedisStore:
    """See ``Store``."""

    def __init__(self, url: str, layout: str) -> None:
        """Connect.

        Raises:
            LayoutMismatch: The database holds blobs of another layout.
        """
        self._redis: Any = redis.Redis.from_url(url)
        self._commit = self._redis.register_script(COMMIT)
        self._load = self._redis.register_script(LOAD)
        self._redis.hsetnx("meta", LAYOUT_KEY, layout)
        found = self._redis.hget("meta", LAYOUT_KEY)
        if found != layout.encode():
            raise LayoutMismatch(
                f"{url} holds states of layout {found!r}, this build reads {layout}; "
                "use an empty database and import the history again"
            )

    def snapshot(self, record_id: str, keys: Sequence[str]) -> Snapshot:
        """Record and states in one round trip.

        Raises:
            StoreLoading: A new base is being written.
        """
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hget("meta", GENERATION_KEY)
        pipeline.hexists("outbox", record_id)
        pipeline.mget([_record_key(record_id), *map(_state_key, keys)])
        generation, waiting, (record, *values) = pipeline.execute()
        if generation == LOADING:
            raise StoreLoading("the online store is taking a new base; try again in a second")
        states = {key: _stored(value) for key, value in zip(keys, values, strict=True)}
        return Snapshot(int(generation or 0), states, record, not waiting)

    def commit(self, message: Message, folds: Sequence[Fold], generation: int) -> CommitResult:
        """Write states, record and outbox entry in one script, or nothing."""
        envelope = msgpack.packb([message.topic, message.key, message.committed_at_ms])
        arguments: list[Any] = [generation, message.value, envelope, message.record_id, RECORD_LIFE_MS]
        for fold in folds:
            arguments.append(NUMBER.pack(fold.read) if fold.read else b"")
            arguments.append(NUMBER.pack(fold.got) + fold.blob)
        keys = ["meta", _record_key(message.record_id), "outbox", *(_state_key(fold.key) for fold in folds)]
        answer, *rest = self._commit(keys=keys, args=arguments)
        if answer == b"committed":
            return Committed()
        if answer == b"known":
            return AlreadyKnown(rest[0])
        return Raced(frozenset(name.decode().removeprefix("state|") for name in rest))

    def published(self, record_ids: Sequence[str]) -> None:
        """Take messages out of the outbox."""
        if record_ids:
            self._redis.hdel("outbox", *record_ids)

    def unpublished(self, committed_before_ms: int, limit: int) -> list[Message]:
        """Messages still in the outbox that were committed before a time."""
        found: list[Message] = []
        for raw_id, envelope in sorted(self._redis.hgetall("outbox").items()):
            topic, key, committed_at_ms = msgpack.unpackb(envelope)
            if committed_at_ms < committed_before_ms and len(found) < limit:
                value = self._redis.get(_record_key(raw_id.decode()))
                found.append(Message(raw_id.decode(), topic, key, value, committed_at_ms))
        return found

    def force_to_disk(self) -> None:
        """Wait until the append-only file is synced, where the server keeps one."""
        if self._redis.config_get("appendonly").get("appendonly") == "yes":
            self._redis.execute_command("WAITAOF", 1, 0, 1000)

    def load_base(self, generation: int, states: Iterable[tuple[str, int, bytes]]) -> int:
        """Fence the store, write the base in pieces, open it as the new generation."""
        self._redis.hset("meta", GENERATION_KEY, LOADING)
        written = 0
        for chunk in _chunks(states, BASE_CHUNK):
            keys = [_state_key(key) for key, _, _ in chunk]
            values = [NUMBER.pack(number) + blob for _, number, blob in chunk]
            written += self._load(keys=keys, args=[LIVE_NUMBERS, *values])
        self._redis.hset("meta", GENERATION_KEY, generation)
        return written

    def generation(self) -> int:
        """How many history imports the store's base holds."""
        found = self._redis.hget("meta", GENERATION_KEY)
        return 0 if found in (None, LOADING) else int(found)

    def count(self) -> int:
        """How many keys have a state."""
        return sum(1 for _ in self._redis.scan_iter("state|*", count=1000))

    def states(self) -> dict[str, Stored]:
        """Every state."""
        found = {}
        for chunk in _chunks(self._redis.scan_iter("state|*", count=1000), 1000):
            for key, value in zip(chunk, self._redis.mget(chunk), strict=True):
                found[key.decode().removeprefix("state|")] = _stored(value)
        return found

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


def _record_key(record_id: str) -> str:
    return f"record|{record_id}"


def _state_key(key: str) -> str:
    return f"state|{key}"


def _stored(value: bytes | None) -> Stored:
    return ABSENT if value is None else Stored(NUMBER.unpack_from(value)[0], value[NUMBER.size :])


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
