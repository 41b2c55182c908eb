"""I4: the store is rebuilt from lake and logs, equal to what it was; and generations change under traffic."""

import json
import random
import threading
from pathlib import Path

import pytest
from site_by_hand import ACCOUNTS, Past, Site, past
from traffic import Clock, StubbornModel, arrival, message, pipeline, random_message
from written_logs import flushed

from pix import topics
from pix.contracts import DAY_MS
from pix.engines.events import kind_of
from pix.engines.layout import STATE_LAYOUT
from pix.labels import reference_key
from pix.store.errors import StoreError, StoreLoading
from pix.store.interface import LIVE_NUMBERS, open_store
from pix.store.memory import MemoryStore
from serving.build import Builder, BuildFailed
from serving.outcomes import Conflict, Done


@pytest.fixture(params=["memory", "lmdb"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    url = "memory://" if request.param == "memory" else f"lmdb://{tmp_path / 'store'}"
    return Site(open_store(url, STATE_LAYOUT))


BASE = past(1, 500)


def test_a_lost_store_is_rebuilt_equal_key_by_key(site: Site, tmp_path: Path) -> None:
    site.build(BASE)
    site.live(1, 0, 400)
    site.logs.ingest()
    site.live(2, 1_000, 300)
    before, published = site.store.states(), flushed(site.store, site.logs)
    assert published
    assert len(before) >= 1_000
    assert sum(each.number >= LIVE_NUMBERS for each in before.values()) >= 1_000
    site.store.close()

    again = Site(open_store(f"lmdb://{tmp_path / 'new'}", STATE_LAYOUT), site.logs, site.clock)
    again.build(BASE)
    assert again.store.states() == before
    for record in site.decided:
        content = json.loads(record)
        kind, identity = (
            ("label", content["fold_id"]) if "fold_id" in content else ("decision", content["end_to_end_id"])
        )
        found = again.store.snapshot(f"default|{kind}|{identity}", [])
        assert (found.record, found.is_published) == (record, True)


def test_a_new_history_and_a_roll_back_under_traffic(site: Site) -> None:
    """Decisions of three threads go on; none is lost, none reads a state that the logs do not have."""
    site.build(BASE)
    site.live(1, 0, 100)
    stop, refused, counts, lock = threading.Event(), [], [], threading.Lock()
    records: list[bytes] = []

    def pay(worker: int) -> None:
        draw, clock, count = random.Random(worker), Clock(site.clock.now_ms), 0
        decider = pipeline(site.store, clock, StubbornModel())
        while not stop.is_set():
            clock.now_ms += 1
            paid = random_message(draw, worker * 10**6 + count, clock.now_ms, ACCOUNTS)
            try:
                outcome = decider.decide(paid, arrival(clock.now_ms, count))
            except StoreLoading:
                refused.append(worker)
                continue
            assert isinstance(outcome, Done)
            count += 1
            with lock:
                records.append(outcome.record)
            stop.wait(0.002)
        counts.append(count)

    workers = [threading.Thread(target=pay, args=(worker,)) for worker in (1, 2, 3)]
    for worker in workers:
        worker.start()
    site.build(past(2, 800, seed=8))
    assert site.store.snapshot("x", []).generation == 2
    builder = site.builder()
    builder.catch_up(builder.roll_back(1))
    assert site.store.snapshot("x", []).generation == 1
    stop.set()
    for worker in workers:
        worker.join()

    flushed(site.store, site.logs)
    logged = {value for (topic, _), values in site.logs.topics.items() for value in values if topic == topics.DECISIONS}
    assert set(records) <= logged
    assert len({json.loads(record)["end_to_end_id"] for record in logged}) == len(logged)
    assert {json.loads(record)["store_generation"] for record in records} >= {1}
    assert sum(counts) == len(records) > 20

    before = site.store.states()
    fresh = Site(MemoryStore(STATE_LAYOUT), site.logs, site.clock)
    fresh.build(BASE)
    assert fresh.store.states() == before


def test_a_new_history_reaches_accounts_that_were_already_live(site: Site) -> None:
    site.live(1, 0, 60)
    live = site.store.states()
    site.build(BASE)
    built = site.store.states()
    kept = {key: found.number for key, found in live.items() if kind_of(key) != "payment"}
    assert {key: built[key].number for key in kept} == kept
    with_past = [key for key, number, _ in BASE.rows if key in kept]
    assert with_past
    assert all(built[key].blob != live[key].blob for key in with_past)


def test_the_folds_after_the_change_are_in_the_generation_before_it(site: Site) -> None:
    site.build(BASE)
    site.live(1, 0, 80)
    site.build(past(2, 100, seed=9))
    site.live(2, 1_000, 80)
    builder = site.builder()
    builder.catch_up(builder.roll_back(1))
    fresh = Site(MemoryStore(STATE_LAYOUT), site.logs, site.clock)
    fresh.build(BASE)
    assert site.store.states() == fresh.store.states()


def test_a_missing_fold_is_named_and_nothing_changes(site: Site) -> None:
    """The planted fault: the log has lost one decision of a busy account."""
    site.build(BASE)
    site.live(1, 0, 120)
    flushed(site.store, site.logs)
    payers = [json.loads(value)["payment"]["payer_account"] for value in site.decided if b'"payment"' in value]
    busiest = max(set(payers), key=payers.count)
    lost = next(value for value in site.decided if busiest.encode() in value)
    for values in site.logs.topics.values():
        values[:] = [value for value in values if value != lost]
    with pytest.raises(BuildFailed, match="--accept-gaps") as failed:
        site.build(BASE)
    assert f"default|account|{busiest}" in str(failed.value)
    assert [(each.number, each.state) for each in site.store.generations()] == [(1, "active"), (2, "failed")]
    assert site.store.snapshot("x", []).generation == 1
    site.build(BASE, accept_gaps=True)
    assert site.store.generations()[-1].gaps > 0


def test_kafka_away_behind_the_fence_leaves_the_store_open(site: Site) -> None:
    site.build(BASE)
    builder = site.builder()
    stuck = Builder(store=site.store, logs=site.logs, flush=lambda: False, now_ms=site.clock, name="stuck")
    with pytest.raises(BuildFailed, match="outbox"):
        stuck.build(stuck.begin(BASE, layout=STATE_LAYOUT, token_key_version=1), BASE)
    assert site.store.snapshot("x", []).generation == 1
    assert builder.begin(BASE, layout=STATE_LAYOUT, token_key_version=1).number == 3


def test_a_decided_payment_in_the_base_is_refused(site: Site) -> None:
    site.live(1, 0, 1)
    record = json.loads(site.decided[0])
    key = reference_key("default", record["end_to_end_id"])
    stale = Past(version=1, imports=1, keys=1, _table=None, rows=((key, 1, b"x"),))
    flushed(site.store, site.logs)
    with pytest.raises(BuildFailed, match="decided live since"):
        site.build(stale)


def test_an_answer_that_is_no_longer_kept_is_a_conflict(site: Site) -> None:
    site.live(1, 0, 1)
    flushed(site.store, site.logs)
    site.clock.now_ms += 9 * DAY_MS
    fresh = Site(MemoryStore(STATE_LAYOUT), site.logs, site.clock)
    fresh.build(past(1, 1))
    record = json.loads(site.decided[0])
    repeated = message(1).model_copy(update={"end_to_end_id": record["end_to_end_id"]})
    outcome = fresh.decider.decide(repeated, arrival(site.clock.now_ms))
    assert isinstance(outcome, Conflict)
    assert "long ago" in outcome.reason


def test_there_is_nothing_to_roll_back_to(site: Site) -> None:
    with pytest.raises(StoreError, match="store status"):
        site.builder().roll_back(1)
