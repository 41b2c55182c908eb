"""A store that is lost, behind or of another layout is not used before it is built anew; and how that is shown."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from documented import ApiClient
from site_by_hand import Lake, Site, keeper, past
from traffic import NOW_MS, Clock, body
from written_logs import WrittenLogs, flushed

from pix.engines.events import kind_of
from pix.engines.layout import STATE_LAYOUT
from pix.store.errors import StoreLoading
from pix.store.interface import Store, open_store
from pix.store.memory import MemoryStore
from serving.base import BaseRefused, read_base
from serving.comparison import compare
from serving.door import door_by_hand
from serving.http import create_app
from serving.keeper import Order, StoreKeeper
from serving.logs import LogsAway, Messages
from serving.running import Running

BASE = past(1, 60)
LATER = past(2, 90, seed=8)
BACKUP_BYTES = 10**7
KEY = {"Authorization": "Bearer key"}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(open_store(f"lmdb://{tmp_path / 'store'}", STATE_LAYOUT))
    yield made
    made.store.close()


class AwayLogs(WrittenLogs):
    """Kafka does not answer."""

    def newest(self, count: int) -> Messages:  # noqa: ARG002
        raise LogsAway("Kafka does not answer")


def test_a_new_home_is_usable_at_once_and_not_before(site: Site, lake: Lake) -> None:
    kept = keeper(site, lake)
    with pytest.raises(StoreLoading, match="compared"):
        kept.require()
    kept.look()
    kept.require()
    assert [(each.number, each.state, each.identity.imports) for each in site.store.generations()] == [(1, "active", 0)]


def test_a_deleted_store_is_rebuilt_before_it_is_used(site: Site, lake: Lake, tmp_path: Path) -> None:
    lake.write(BASE.rows, 1)
    keeper(site, lake).look()
    site.live(1, 0, 60)
    flushed(site.store, site.logs)
    before = site.store.states()
    site.store.close()
    shutil.rmtree(tmp_path / "store")
    site.store = open_store(f"lmdb://{tmp_path / 'store'}", STATE_LAYOUT)
    kept = keeper(site, lake, name="next")
    with pytest.raises(StoreLoading):
        kept.require()
    kept.look()
    kept.require()
    assert site.store.states() == before
    # The number of the store that was lost does not come again.
    assert site.store.snapshot("x", []).generation == 2


def test_a_store_that_misses_the_last_commits_is_built_anew(site: Site, lake: Lake, tmp_path: Path) -> None:
    """A backup was put back: every state is sound, and older than what was answered."""
    keeper(site, lake).look()
    site.live(1, 0, 30)
    back_up(tmp_path / "store", tmp_path / "backup")
    site.live(2, 1_000, 30)
    flushed(site.store, site.logs)
    before = site.store.states()
    site.store.close()
    site.store = open_store(f"lmdb://{tmp_path / 'backup'}", STATE_LAYOUT)
    assert site.store.states() != before
    kept = keeper(site, lake, name="next")
    kept.look()
    kept.require()
    assert (site.store.states(), site.store.snapshot("x", []).generation) == (before, 2)


def back_up(store: Path, copy: Path) -> None:
    """As an operator does it, beside the process that has the file open; the file is sparse, its copy is not."""
    copy.mkdir()
    code = "import lmdb, sys; lmdb.open(sys.argv[1], readonly=True).copy(sys.argv[2], compact=True)"
    subprocess.run([sys.executable, "-c", code, store, copy], check=True)
    assert sum(file.stat().st_size for file in copy.iterdir()) < BACKUP_BYTES


def test_a_new_layout_needs_a_base_of_that_layout(site: Site, lake: Lake, tmp_path: Path) -> None:
    lake.write(BASE.rows, 1, layout="older")
    kept = keeper(site, lake)
    kept.look()
    with pytest.raises(StoreLoading, match="layout older.*materialise features/base_states"):
        kept.require()
    lake.write(BASE.rows, 1, layout=None)
    with pytest.raises(BaseRefused, match="layout unknown"):
        read_base(str(lake.root), STATE_LAYOUT, 1)
    lake.write(BASE.rows, 1)
    again = keeper(site, lake, name="again")
    again.look()
    again.require()
    site.live(1, 0, 5)
    flushed(site.store, site.logs)
    site.store.close()
    # Another build reads another layout: beside the old generation it makes its own.
    lake.write(BASE.rows, 1, layout="newer")
    site.store = open_store(f"lmdb://{tmp_path / 'store'}", "newer")
    newer = keeper(site, lake, layout="newer", name="newer")
    newer.look()
    newer.require()
    assert [(each.identity.layout, each.state) for each in site.store.generations()] == [
        (STATE_LAYOUT, "retired"),
        ("newer", "active"),
    ]


def test_a_new_token_key_needs_the_history_imported_again(site: Site, lake: Lake) -> None:
    lake.write(BASE.rows, 1)
    keeper(site, lake).look()
    kept = keeper(site, lake, token_key=2, name="next")
    kept.look()
    with pytest.raises(StoreLoading, match="import the history's files again under the new key"):
        kept.require()
    renewed = tuple((key.replace("k1:", "k2:"), number, blob) for key, number, blob in BASE.rows)
    lake.write(BASE.rows + renewed, 2)
    again = keeper(site, lake, token_key=2, name="again")
    again.look()
    again.require()


def test_a_restart_without_kafka_goes_on_unless_the_store_is_empty(site: Site, lake: Lake) -> None:
    keeper(site, lake).look()
    site.logs = AwayLogs()
    kept = keeper(site, lake, name="next")
    kept.look()
    kept.require()
    empty = keeper(Site(MemoryStore(STATE_LAYOUT), AwayLogs()), lake)
    empty.look()
    with pytest.raises(StoreLoading, match="cannot be known"):
        empty.require()


def test_a_fence_of_a_dead_builder_is_lifted(site: Site, lake: Lake) -> None:
    kept = keeper(site, lake)
    kept.look()
    dead = site.builder()
    site.store.fence(dead.begin(BASE, layout=STATE_LAYOUT, token_key_version=1))
    kept.look()
    with pytest.raises(StoreLoading):
        site.store.snapshot("x", [])
    site.clock.now_ms += 60_000
    kept.look()
    assert site.store.snapshot("x", []).generation == 1


def test_the_same_history_again_builds_nothing(site: Site, lake: Lake) -> None:
    lake.write(BASE.rows, 1)
    kept = keeper(site, lake)
    kept.look()
    assert kept.begin(Order(is_forced=False))[1] is None
    lake.write(LATER.rows, 2)
    begun, work = kept.begin(Order(is_forced=False))
    assert work is not None
    work()
    assert (site.store.snapshot("x", []).generation, begun.number, begun.identity.imports) == (2, 2, 2)
    kept.require()


class Broker:
    """Takes everything into the logs."""

    def __init__(self, logs: WrittenLogs) -> None:
        self._logs = logs

    async def publish(self, messages, timeout_seconds):  # type: ignore[no-untyped-def]  # noqa: ARG002
        self._logs.publish(list(messages))
        return [message.record_id for message in messages]


@pytest.fixture
def served(site: Site, lake: Lake) -> Iterator[tuple[ApiClient, StoreKeeper]]:
    kept = keeper(site, lake)
    app = create_app()
    app.state.running = Running(site.decider, Broker(site.logs), door_by_hand({"key": {}}, site.clock), keeper=kept)  # type: ignore[arg-type]
    with ApiClient(app, headers=KEY) as opened:
        yield opened, kept


def settled(client: ApiClient) -> list[tuple[int, str]]:
    for _ in range(200):
        found = client.get("/store").json()["generations"]
        if all(each["state"] != "building" for each in found):
            return [(each["number"], each["state"]) for each in found]
        threading.Event().wait(0.02)
    pytest.fail("still building")


def test_payments_wait_until_the_store_can_be_used(
    served: tuple[ApiClient, StoreKeeper], site: Site, lake: Lake
) -> None:
    client, kept = served
    refused = client.post("/decisions", json=body(1))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    batch = client.post("/decisions:batch", json={"payments": [body(1)]}).json()["results"]
    assert [result["status"] for result in batch] == [503]
    kept.look()
    assert client.post("/decisions", json=body(1)).status_code == 200
    lake.write(BASE.rows, 1)
    assert client.post("/store:rebuild", json={}).json() == {"generation": 2, "already_built": False}
    assert settled(client) == [(1, "retired"), (2, "active")]
    assert client.post("/store:rebuild", json={"force": False}).json() == {"generation": 2, "already_built": True}
    assert client.post("/decisions", json=body(2, NOW_MS)).status_code == 200
    assert client.post("/store:roll-back", json={}).json()["generation"] == 1
    assert settled(client) == [(1, "active"), (2, "retired")]
    assert client.post("/decisions", json=body(2, NOW_MS)).status_code == 200
    assert len({value for values in site.logs.topics.values() for value in values}) == 2


@pytest.mark.parametrize(
    ("path", "content", "field"),
    [
        ("/store:rebuild", {"version": "1"}, "version"),
        ("/store:rebuild", {"force": 1}, "force"),
        ("/store:rebuild", {"forced": True}, "forced"),
        ("/store:roll-back", {"generation": True}, "generation"),
    ],
)
def test_a_wrong_order_is_refused(
    served: tuple[ApiClient, StoreKeeper], path: str, content: dict[str, object], field: str
) -> None:
    answer = served[0].post(path, json=content)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_base_that_cannot_be_used_is_refused(served: tuple[ApiClient, StoreKeeper], lake: Lake) -> None:
    lake.write(BASE.rows, 1, layout="older")
    answer = served[0].post("/store:rebuild", json={})
    assert answer.status_code == 424
    assert "materialise features/base_states" in answer.json()["detail"]


def compared(site: Site, store: Store | None = None):
    return compare(store or site.store, site.logs, lambda _: BASE, now_ms=site.clock(), sleep=lambda _: None)


def test_the_comparison_finds_what_was_planted(site: Site, lake: Lake) -> None:
    lake.write(BASE.rows, 1)
    keeper(site, lake).look()
    site.live(1, 0, 50)
    flushed(site.store, site.logs)
    assert compared(site).ok
    live = site.store.states()
    busy = max((key for key in live if kind_of(key) == "account"), key=lambda key: live[key].number)
    other = next(key for key in live if kind_of(key) == "account" and live[key].blob != live[busy].blob)
    site.store.write_states(1, [(busy, live[busy].number, live[other].blob or b"")])
    found = compared(site)
    assert (found.ok, found.differing, found.equal) == (False, 1, found.keys - 1)
    assert found.examples[0].startswith(f"{busy}: other bytes")
    site.store.write_states(1, [(busy, live[busy].number + 1, live[busy].blob or b"")])
    assert (compared(site).missing_in_logs, compared(site).ok) == (1, False)
    short = MemoryStore(STATE_LAYOUT)
    made = Site(short, site.logs, Clock(site.clock.now_ms))
    keeper(made, lake).look()
    gone = {key: found for key, found in short.states().items() if key != busy}
    while short.drop_states(2, 1_000):
        pass
    short.write_states(2, [(key, found.number, found.blob or b"") for key, found in gone.items()])
    found = compared(made)
    assert (found.missing_in_store, found.ok) == (1, False)
    assert found.examples == (f"{busy}: not in the store",)


def test_a_busy_store_is_compared_while_payments_go_on(site: Site, lake: Lake) -> None:
    lake.write(BASE.rows, 1)
    keeper(site, lake).look()
    site.live(1, 0, 30)
    pauses = []

    def pay(_: float) -> None:
        pauses.append(len(pauses))
        site.live(10 + len(pauses), 1_000 * len(pauses), 5)
        flushed(site.store, site.logs)

    found = compare(site.store, site.logs, lambda _: BASE, now_ms=site.clock(), sleep=pay)
    assert found.ok, found.examples
    assert json.dumps(found.described())
