"""A second import, a new layout, a lost store while payments go on: nothing lost, nothing decided wrongly."""

import json
import random
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import redis
from site_by_hand import ACCOUNTS, Lake, Past, Site, keeper, past
from traffic import Clock, StubbornModel, arrival, pipeline, random_message
from written_logs import WrittenLogs, flushed

from pix import topics
from pix.contracts import Payment, PaymentMessage
from pix.engines import kernel
from pix.engines.events import kind_of
from pix.engines.layout import STATE_LAYOUT
from pix.engines.online import Desk, pack
from pix.logged import ReferenceChange, folds_of_decision, folds_of_record
from pix.store.errors import LayoutMismatch, StoreLoading, StoreLost
from pix.store.generation import LEASE_MS
from pix.store.interface import LIVE_NUMBERS, Store, open_store
from pix.store.memory import MemoryStore
from serving.keeper import Order
from serving.outcomes import Done

NEWER = "newer"
FIRST, SECOND = past(1, 400), past(2, 700, seed=8)
WORKERS = 3
RETRY_SECONDS = 0.005


class Traffic:
    """Payers of their own pace, each asking again until a payment is decided, by the newest build that reads the store.

    Attributes:
        records: What was answered, by payment's id.
        refused: Why somebody had to ask again.
    """

    def __init__(self, stores: Iterable[Store], now_ms: int) -> None:
        self.records: dict[str, bytes] = {}
        self.refused: set[str] = set()
        self._stores = list(stores)
        self._now_ms = now_ms
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._workers = [threading.Thread(target=self._watched, args=(number,)) for number in range(WORKERS)]

    def __enter__(self) -> Self:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.join()
        assert self._failed == []

    def goes_on(self, payments: int = 40) -> None:
        """Return when so many more payments have been decided."""
        wanted = len(self.records) + payments
        while len(self.records) < wanted:
            assert not self._failed, self._failed
            self._stop.wait(0.01)

    def _watched(self, number: int) -> None:
        try:
            self._pay(number)
        except BaseException as failed:
            self._failed.append(failed)
            raise

    def _pay(self, number: int) -> None:
        draw, clock, count = random.Random(number), Clock(self._now_ms), 0
        while not self._stop.is_set():
            clock.now_ms += 1
            count += 1
            self._until_decided(random_message(draw, (number + 1) * 10**6 + count, clock.now_ms, ACCOUNTS), clock)
            self._stop.wait(0.002)

    def _until_decided(self, paid: PaymentMessage, clock: Clock) -> None:
        build = 0
        while True:
            try:
                outcome = pipeline(self._stores[build], clock, StubbornModel()).decide(paid, arrival(clock.now_ms))
            except LayoutMismatch:
                self.refused.add("layout")
                build += 1
                continue
            except StoreLoading:
                self.refused.add("fence")
                time.sleep(RETRY_SECONDS)
                continue
            assert isinstance(outcome, Done)
            self.records[paid.end_to_end_id] = outcome.record
            return


@pytest.fixture
def empty(valkey: str) -> str:
    redis.Redis.from_url(valkey).flushall()
    return valkey


@pytest.fixture
def sites(empty: str) -> Iterator[tuple[Site, Site]]:
    """A service of this build and one of the next, on one store."""
    site = Site(open_store(empty, STATE_LAYOUT))
    newer = Site(open_store(empty, NEWER), site.logs, site.clock)
    yield site, newer
    for each in (site, newer):
        each.store.close()


def test_payments_go_on_while_the_store_changes(sites: tuple[Site, Site], empty: str, tmp_path: Path) -> None:
    site, newer = sites
    lake = Lake(tmp_path / "lake")
    lake.write(FIRST.rows, 1)
    kept = keeper(site, lake)
    kept.look()
    site.live(1, 0, 300)
    with Traffic([site.store, newer.store], site.clock.now_ms) as traffic:
        traffic.goes_on()
        lake.write(SECOND.rows, 2)
        _, work = kept.begin(Order(is_forced=False))
        assert work is not None
        work()
        traffic.goes_on()
        lake.write(SECOND.rows, 2, layout=NEWER)
        renewed = keeper(newer, lake, layout=NEWER, name="newer")
        renewed.look()
        renewed.require()
        traffic.goes_on()
        # The service of the build before does not take the store back.
        kept.look()
        with pytest.raises(StoreLoading, match=f"generation 3.*layout {NEWER}.*restart this service"):
            kept.require()
        traffic.goes_on()
    assert "layout" in traffic.refused
    assert [(each.identity.imports, each.identity.layout, each.state) for each in newer.store.generations()] == [
        (2, STATE_LAYOUT, "retired"),
        (2, NEWER, "active"),
    ]
    flushed(newer.store, site.logs)
    before = newer.store.states()
    decided = _decided(site.logs)
    assert traffic.records.items() <= decided.items()
    assert {json.loads(record)["store_generation"] for record in traffic.records.values()} == {1, 2, 3}
    assert _wrongly_decided(site.logs, {1: FIRST, 2: SECOND}) == []

    redis.Redis.from_url(empty).flushall()
    with pytest.raises(StoreLost):
        newer.store.snapshot("x", [])
    renewed.look()
    renewed.require()
    assert newer.store.snapshot("x", []).generation == 4
    assert newer.store.states() == before
    assert sum(found.number >= LIVE_NUMBERS for found in before.values()) >= 1_000
    for identity, record in list(decided.items())[::50]:
        assert newer.store.snapshot(f"default|decision|{identity}", []).record == record


class Killed(BaseException):
    """The builder ends where it stands and cleans nothing up, as by kill -9."""


def build_until_killed(site: Site, lives: int) -> None:
    """Build until the clock was looked at so often; at the latest behind the fence."""
    left = iter(range(lives))

    def now_ms() -> int:
        if next(left, None) is None:
            raise Killed
        return site.clock.now_ms

    def flush() -> bool:
        raise Killed

    builder = replace(site.builder(), now_ms=now_ms, flush=flush)
    with pytest.raises(Killed):
        builder.build(builder.begin(SECOND, layout=STATE_LAYOUT, token_key_version=1), SECOND)


@pytest.mark.faults
def test_builders_are_killed_again_and_again_under_traffic(sites: tuple[Site, Site], tmp_path: Path) -> None:
    """While the base is written, while the logs are read, and behind the fence."""
    site, _ = sites
    fences = 0
    lake = Lake(tmp_path / "lake")
    lake.write(FIRST.rows, 1)
    kept = keeper(site, lake)
    kept.look()
    site.live(1, 0, 300)
    flushed(site.store, site.logs)
    with Traffic([site.store], site.clock.now_ms) as traffic:
        for lives in (1, 2, 3, 5, 8, 13, 1_000):
            build_until_killed(site, lives)
            fences += any(each.state == "fenced" for each in site.store.generations())
            site.clock.now_ms += LEASE_MS
            kept.look()
            kept.require()
            traffic.goes_on(20)
        lake.write(SECOND.rows, 2)
        _, work = kept.begin(Order(is_forced=False))
        assert work is not None
        work()
        traffic.goes_on(20)
    assert fences > 0
    flushed(site.store, site.logs)
    assert traffic.records.items() <= _decided(site.logs).items()
    assert _wrongly_decided(site.logs, {1: FIRST, 2: SECOND}) == []
    fresh = Site(MemoryStore(STATE_LAYOUT), site.logs, site.clock)
    fresh.build(SECOND)
    assert site.store.states() == fresh.store.states()


def _decided(logs: WrittenLogs) -> dict[str, bytes]:
    """Payment's id -> the record of its decision, of which there is one."""
    found: dict[str, bytes] = {}
    for (topic, _), values in logs.topics.items():
        for value in values if topic == topics.DECISIONS else []:
            identity = json.loads(value)["end_to_end_id"]
            assert found.setdefault(identity, value) == value, identity
    return found


def _wrongly_decided(logs: WrittenLogs, bases: dict[int, Past]) -> list[str]:
    """Decisions whose vector is not what base and logs say at the numbers that they read."""
    folds: dict[str, dict[int, Any]] = {}
    for (topic, _), values in logs.topics.items():
        of = folds_of_decision if topic == topics.DECISIONS else folds_of_record
        for fold in (fold for value in set(values) for fold in of(json.loads(value))):
            if not isinstance(fold.what, ReferenceChange):
                assert folds.setdefault(fold.key, {}).setdefault(fold.got, fold.what) == fold.what
    states = {imports: _by_number(base, folds) for imports, base in bases.items()}
    desk, wrong = Desk(), []
    for identity, record in ((identity, json.loads(value)) for identity, value in _decided(logs).items()):
        payment, known = Payment(**record["payment"]), states[record["generation"]]
        packed = pack(payment, {role: state["key"] for role, state in record["states"].items()})
        read = {state["key"]: state["read"] for state in record["states"].values()}
        desk.load(packed, record["event_time_ms"], [known[key][read[key]] for key in packed.slots])
        if list(kernel.listed(desk.read()[0])) != record["features"]:
            wrong.append(identity)
    return wrong


def _by_number(base: Past, folds: dict[str, dict[int, Any]]) -> dict[str, dict[int, bytes | None]]:
    """Key -> number -> state, with this base beneath the live folds."""
    rows = {key: (number, blob) for key, number, blob in base.rows}
    found: dict[str, dict[int, bytes | None]] = {}
    for key, live in folds.items():
        number, blob = rows.get(key, (0, None))
        of_key = found.setdefault(key, {number: blob})
        for got in sorted(live):
            steps = kernel.Steps(kind_of(key))
            steps.add(key, kernel.FOLD, live[got][0], live[got])
            blob = steps.run({key: blob} if blob else {}).states[key]
            of_key[got] = blob
    return found
