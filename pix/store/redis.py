"""The store on Redis or Valkey: one primary, shared by the services of several hosts.

One pipeline reads what a payment needs, one script compares and sets. Records expire after the idempotency period,
which begins when they leave the outbox: what is not published must not go. Keys of one database belong to one
Sentinela; a state's key holds its generation's number.

With replicas, a commit waits a moment until they have it (``_with_replicas``). Whoever answers after a lost
connection may be a promoted replica that misses the last commits, so payments do not reach another server until
``trust`` names it; builders, comparisons and the outbox do, because they are how one finds out.
"""

import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import msgpack
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pix.store.errors import OutcomeUnknown, StoreAway, StoreDoubtful, StoreError
from pix.store.generation import CURRENT, Change, Current, GenerationBook
from pix.store.interface import (
    ABSENT,
    GENERATION_KEY,
    LOOKED_AT,
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
from pix.store.redis_scripts import CHANGE_QUEUE, COMMIT, COMMIT_SHA, PLACES_SET, QUEUE_HASH, packed

NUMBER = struct.Struct("<q")
BOOK_KEY, OUTBOX_KEY, FORCED_KEY = "book", "outbox", "forced"
CHUNK = 500
SYNC_MS = 2_000
REPLICATION_MS = 100
"""How long a commit waits for its replicas before it is published all the same."""
REPLICAS_AGAIN_SECONDS = 5.0
"""After replicas failed to take a commit in time, they are not waited for again for so long."""
PATIENT_SECONDS = 5.0
"""Timeout of what no payment waits for."""


class RedisStore(GenerationBook):
    """See ``Store``."""

    def __init__(self, url: str, layout: str, replicas: int = 0, timeout_seconds: float = 0.3) -> None:
        """Prepare to connect; the server may be away.

        Args:
            url: Address of the primary.
            layout: Version of the state blobs that this build reads.
            replicas: How many replicas must have a commit before it is published.
            timeout_seconds: How long a payment waits for one answer.
        """
        super().__init__(layout)
        self._trusted: str | None = None
        waiting = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
        if replicas:
            waiting["socket_timeout"] += REPLICATION_MS / 1000
        self._redis: Any = redis.Redis.from_url(url, redis_connect_func=self._greet, retry=_once(), **waiting)
        self._trimming: Any = redis.Redis.from_url(url, retry=_once(), **waiting)
        patient = {"socket_timeout": PATIENT_SECONDS, "socket_connect_timeout": PATIENT_SECONDS}
        self._whoever: Any = redis.Redis.from_url(url, retry=_once(), **patient)
        self._replicas = replicas
        self._unreplicated = 0
        self._replicas_again_at = 0.0
        self._expected = 0

    def _greet(self, connection: Any) -> None:
        """On every new connection of the payments: is it still the server that was compared with the logs?"""
        connection.on_connect()
        connection.send_command("INFO", "server")
        answer = connection.read_response()
        server = _run_id(answer.decode() if isinstance(answer, bytes) else str(answer))
        self._trusted = self._trusted or server
        if server != self._trusted:
            # Left connected, it would be used unasked the next time.
            connection.disconnect()
            raise StoreDoubtful("another server answers for the online store; it is compared with the logs first")

    def other_server(self) -> str | None:
        """Name of the server that answers now, if it is not the trusted one.

        Raises:
            StoreError: None answers.
        """
        with _answering():
            server = str(self._whoever.info("server")["run_id"])
        # Whoever answers first is whom this process starts with; it compares that with the logs anyway.
        self._trusted = self._trusted or server
        return None if server == self._trusted else server

    def trust(self, server: str) -> None:
        """Let payments reach this server, and no other."""
        self._trusted = server
        self._redis.connection_pool.disconnect()

    def _read_book(self) -> Mapping[str, bytes]:
        with _answering():
            return {name.decode(): value for name, value in self._whoever.hgetall(BOOK_KEY).items()}

    def _change_book(self, change: Change) -> None:
        def apply(pipeline: Any) -> None:
            book = {name.decode(): value for name, value in pipeline.hgetall(BOOK_KEY).items()}
            changes = change(book)
            pipeline.multi()
            for name, value in changes.items():
                if value is None:
                    pipeline.hdel(BOOK_KEY, name)
                else:
                    pipeline.hset(BOOK_KEY, name, value)

        # Replicas take everything in one order, so whoever has a commit has the book that it was made under.
        with _answering():
            self._whoever.transaction(apply, BOOK_KEY)

    def _seen(self, raw: bytes | None) -> Current:
        current = self._current(raw, self._read_book)
        self._expected = current.number
        return current

    def snapshot(self, record_id: str, keys: Sequence[str]) -> Snapshot:
        """Record and states in one round trip; in two just after a flip, or if the record is there already.

        Raises:
            StoreError: The server does not answer, or see ``Store``.
        """
        while True:
            expected = self._expected
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.hget(BOOK_KEY, CURRENT)
            pipeline.mget([_record_key(record_id), *(_state_key(expected, key) for key in keys)])
            with _answering():
                raw, (record, *values) = pipeline.execute()
            current = self._seen(raw)
            if current.number == expected:
                states = {key: _stored(value) for key, value in zip(keys, values, strict=True)}
                with _answering():
                    waiting = record is not None and self._redis.hexists(OUTBOX_KEY, record_id)
                return Snapshot(current.number, current.imports, states, record, not waiting)

    def commit(
        self, message: Message, folds: Sequence[Fold], generation: int, change: QueueChange | None = None
    ) -> CommitResult:
        """Write states, record, outbox entry and a change of the queue in one script, or nothing.

        Raises:
            OutcomeUnknown: The server did not answer.
            StoreError: See ``Store``.
        """
        envelope = msgpack.packb([message.topic, message.key, message.committed_at_ms])
        arguments: list[Any] = [generation, message.value, envelope, message.record_id]
        for fold in folds:
            arguments.append(NUMBER.pack(fold.read) if fold.read else b"")
            arguments.append(NUMBER.pack(fold.got) + fold.blob)
        if change is not None:
            arguments.append(packed(change))
        states = (_state_key(generation, fold.key) for fold in folds)
        keys = [BOOK_KEY, _record_key(message.record_id), OUTBOX_KEY, *states]
        answer, *rest = self._run_commit(keys, arguments)
        if answer == b"committed":
            return Committed()
        if answer == b"known":
            return AlreadyKnown(rest[0])
        moved = {name.decode() for name in rest}
        if GENERATION_KEY in moved:
            with _answering():
                self._seen(self._redis.hget(BOOK_KEY, CURRENT))
        return Raced(frozenset(name.removeprefix(f"state|{generation}|") for name in moved))

    def _run_commit(self, keys: list[str], arguments: list[Any]) -> list[Any]:
        script = (COMMIT_SHA, len(keys), *keys, *arguments)
        with _answering(OutcomeUnknown):
            try:
                waits = self._replicas and time.monotonic() >= self._replicas_again_at
                answer: list[Any] = self._with_replicas(script) if waits else self._redis.evalsha(*script)
            except redis.exceptions.NoScriptError:
                self._redis.script_load(COMMIT)
                return self._run_commit(keys, arguments)
        return answer

    def _with_replicas(self, script: tuple[Any, ...]) -> list[Any]:
        """Commit, and wait until replicas have it, so that what Kafka knows a replica knows.

        Replicas that lag do not stop payments: what was published is safe in Kafka, and a replica that is promoted
        without it is found out by comparing with the logs. So they are given up on for a while, and that is shown.
        """
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.evalsha(*script)
        pipeline.execute_command("WAIT", self._replicas, REPLICATION_MS)
        answer, reached = pipeline.execute()
        if reached < self._replicas:
            self._unreplicated += 1
            self._replicas_again_at = time.monotonic() + REPLICAS_AGAIN_SECONDS
        else:
            self._unreplicated = 0
        committed: list[Any] = answer
        return committed

    def warnings(self) -> list[str]:
        """Whether replicas lag."""
        if not self._unreplicated:
            return []
        return [
            f"{self._replicas} replicas should have every commit and did not within {REPLICATION_MS} ms, "
            f"{self._unreplicated} times in a row; look at the replicas"
        ]

    def published(self, record_ids: Sequence[str]) -> None:
        """Take messages out of the outbox."""
        if record_ids:
            pipeline = self._trimming.pipeline(transaction=False)
            for record_id in record_ids:
                pipeline.pexpire(_record_key(record_id), RECORD_LIFE_MS)
            # After that: a record that leaves the outbox without an end would stay for ever.
            pipeline.hdel(OUTBOX_KEY, *record_ids)
            with _answering():
                pipeline.execute()

    def unpublished(self, committed_before_ms: int, limit: int) -> list[Message]:
        """Messages still in the outbox that were committed before a time."""
        with _answering():
            entries = [
                (raw_id.decode(), *msgpack.unpackb(envelope))
                for raw_id, envelope in sorted(self._whoever.hgetall(OUTBOX_KEY).items())
            ]
            old = [entry for entry in entries if entry[3] < committed_before_ms][:limit]
            values = self._whoever.mget([_record_key(entry[0]) for entry in old]) if old else []
        # An entry that another worker just took out may have lost its record by now.
        return [
            Message(record_id, topic, key, value, at_ms)
            for (record_id, topic, key, at_ms), value in zip(old, values, strict=True)
            if value is not None
        ]

    def waiting(self) -> Waiting:
        """How much is in the outbox, and how old it is."""
        with _answering():
            count = int(self._whoever.hlen(OUTBOX_KEY))
            found = islice(self._whoever.hscan_iter(OUTBOX_KEY, count=1_000), LOOKED_AT)
            return Waiting(count, min((msgpack.unpackb(envelope)[2] for _, envelope in found), default=None))

    def force_to_disk(self) -> None:
        """Wait until the append-only file is synced, where the server keeps one.

        Raises:
            StoreError: It is not after two seconds.
        """
        with _answering():
            if self._whoever.config_get("appendonly").get("appendonly") != "yes":
                return
            # WAITAOF speaks of what its own connection wrote, and of everything before that.
            pipeline = self._whoever.pipeline(transaction=False)
            pipeline.set(FORCED_KEY, b"")
            pipeline.execute_command("WAITAOF", 1, 0, SYNC_MS)
            _, (is_synced, _) = pipeline.execute()
        if not is_synced:
            raise StoreError(f"the online store was not forced to disk within {SYNC_MS} ms")

    def restore_records(self, records: Iterable[tuple[str, bytes, int]], now_ms: int) -> int:
        """Put back records that the store lost, each for the rest of its life."""
        restored = 0
        for chunk in _chunks(records, CHUNK):
            pipeline = self._whoever.pipeline(transaction=False)
            for record_id, record, committed_at_ms in chunk:
                left_ms = committed_at_ms + RECORD_LIFE_MS - now_ms
                if left_ms > 0:
                    pipeline.set(_record_key(record_id), record, px=left_ms, nx=True)
            with _answering():
                restored += sum(bool(done) for done in pipeline.execute())
        return restored

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Every record; a scan names a key again when the server's table grows meanwhile."""
        prefix = _record_key("")
        with _answering():
            for keys in _chunks(self._whoever.scan_iter(f"{prefix}*", count=CHUNK), CHUNK):
                for key, value in zip(keys, self._whoever.mget(keys), strict=True):
                    if value is not None:
                        yield key.decode().removeprefix(prefix), value

    def replace_record(self, record_id: str, record: bytes, committed_at_ms: int, now_ms: int) -> None:
        """Let another record, which is published, answer for an id."""
        left_ms = max(1, committed_at_ms + RECORD_LIFE_MS - now_ms)
        pipeline = self._whoever.pipeline(transaction=True)
        pipeline.set(_record_key(record_id), record, px=left_ms)
        pipeline.hdel(OUTBOX_KEY, record_id)
        with _answering():
            pipeline.execute()

    def queue(self, after: str, before: str, limit: int) -> list[tuple[str, bytes]]:
        """Places of the queue strictly between two texts, in their order, in two round trips."""
        with _answering():
            # Behind every entry of that place, and before the first one of that.
            start, end = f"[{after}\1".encode(), f"({before}".encode()
            found = [raw.split(b"\0") for raw in self._whoever.zrangebylex(PLACES_SET, start, end, start=0, num=limit)]
            contents = self._whoever.hmget(QUEUE_HASH, [entry_id for _, entry_id in found]) if found else []
        return [(place.decode(), content or b"") for (place, _), content in zip(found, contents, strict=True)]

    def queued(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Contents of those of these entries that the queue has."""
        with _answering():
            contents = self._whoever.hmget(QUEUE_HASH, ids) if ids else []
        return {entry_id: content for entry_id, content in zip(ids, contents, strict=True) if content is not None}

    def change_queue(self, changes: Iterable[QueueChange]) -> int:
        """Change entries of the queue without a record."""
        changed = 0
        for chunk in _chunks(changes, CHUNK):
            with _answering(OutcomeUnknown):
                changed += int(self._whoever.eval(CHANGE_QUEUE, 0, *(packed(change) for change in chunk)))
        return changed

    def read_states(self, number: int, keys: Sequence[str]) -> dict[str, Stored]:
        """States of one generation."""
        with _answering():
            values = self._whoever.mget([_state_key(number, key) for key in keys]) if keys else []
        return {key: _stored(value) for key, value in zip(keys, values, strict=True)}

    def write_states(self, number: int, states: Iterable[tuple[str, int, bytes]]) -> int:
        """Put states into a generation that is being built."""
        written = 0
        for chunk in _chunks(states, CHUNK):
            with _answering():
                self._whoever.mset({_state_key(number, key): NUMBER.pack(fold) + blob for key, fold, blob in chunk})
            written += len(chunk)
        return written

    def drop_states(self, number: int, limit: int) -> bool:
        """Delete up to ``limit`` states of a generation; whether some are left."""
        with _answering():
            found = list(islice(self._whoever.scan_iter(_state_key(number, "*"), count=1000), limit))
            if found:
                self._whoever.unlink(*found)
        return len(found) == limit

    def count(self) -> int:
        """How many keys have a state in the generation in use."""
        prefix = _state_key(self._number_in_use(), "*")
        with _answering():
            return sum(1 for _ in self._whoever.scan_iter(prefix, count=1000))

    def states(self, number: int | None = None) -> dict[str, Stored]:
        """Every state of a generation."""
        chosen = self._number_in_use() if number is None else number
        prefix, found = _state_key(chosen, ""), {}
        with _answering():
            for chunk in _chunks(self._whoever.scan_iter(f"{prefix}*", count=1000), 1000):
                for key, value in zip(chunk, self._whoever.mget(chunk), strict=True):
                    found[key.decode().removeprefix(prefix)] = _stored(value)
        return found

    def _number_in_use(self) -> int:
        active = self.active()
        return active.number if active else 0

    def close(self) -> None:
        """Close the connections."""
        for client in (self._redis, self._trimming, self._whoever):
            client.close()


def _once() -> Retry:
    """No retries of the client's own: whoever waits knows for how long it may, and what is safe to repeat."""
    return Retry(NoBackoff(), 0)


@contextmanager
def _answering(silence: type[StoreError] = StoreAway) -> Iterator[None]:
    """Say it as a store does when the server is away, or writes nothing (memory full, made a replica).

    Args:
        silence: What it means that there is no answer.

    Raises:
        StoreError: The server does not answer, or refuses.
    """
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as away:
        raise silence(f"the online store does not answer: {away}") from away
    except (redis.OutOfMemoryError, redis.ReadOnlyError) as refused:
        raise StoreAway(f"the online store takes no commits: {refused}") from refused


def _run_id(server: str) -> str:
    return next(line.partition(":")[2].strip() for line in server.splitlines() if line.startswith("run_id:"))


def _record_key(record_id: str) -> str:
    return f"record|{record_id}"


def _state_key(number: int, key: str) -> str:
    return f"state|{number}|{key}"


def _stored(value: bytes | None) -> Stored:
    return ABSENT if value is None else Stored(NUMBER.unpack_from(value)[0], value[NUMBER.size :])


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
