"""One real home under load, whose parts are killed one after the other; nothing is lost, doubled or changed."""

import os
import random
import statistics
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pix.settings import Settings
from pix.streams import names
from tests.streams.killing import COMMAND, REPOSITORY, Killer, shown, told
from tests.streams.load import Load
from tests.streams.support import wait_until
from tests.streams.victims import (
    Broker,
    Bronze,
    BronzeJvm,
    Daemon,
    LabelJob,
    QueueingDaemon,
    ScoringJob,
    ServiceParent,
    ServiceWorker,
    Victim,
)

Figures = Callable[[str, object], None]
STREAMS = names(1)
# Four homes with their own seeds, 25 kills each: a verification takes longer than a kill.
SEEDS, KILLS = (71, 72, 73, 74), 25
# Recovering from them takes longest, and they stand for one victim of the six.
DRIVERS = (Bronze, BronzeJvm)
SERVICES = (ServiceParent, ServiceWorker)
DAEMONS = (Daemon, QueueingDaemon)
BROKER_BACK_SECONDS, BROKER_DONE_SECONDS = 30.0, 120.0


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Everything that `sentinela up` starts, in a home of its own; parameters are further variables."""
    environment = {**os.environ, "SENTINELA_HOME": str(tmp_path / "home"), **getattr(request, "param", {})}
    started = subprocess.run([COMMAND, "up"], env=environment, cwd=REPOSITORY, capture_output=True, text=True)
    try:
        assert started.returncode == 0, started.stderr
        yield Settings(home=tmp_path / "home")
    finally:
        subprocess.run([COMMAND, "down"], env=environment, cwd=REPOSITORY, capture_output=True, check=False)


@pytest.fixture
def load(running: Settings, tmp_path: Path) -> Iterator[Load]:
    made = Load(running, tmp_path / "sent")
    yield made
    made.end()


def order(seed: int, count: int) -> list[type[Victim]]:
    """Victims in rounds of six, one of each; between two deaths of a stream lies a round.

    A stream that dies within a minute of its start waits for its back-off, and that is not what is measured here.
    """
    draw, victims = random.Random(seed), list[type[Victim]]()
    for number in range(-(-count // 6)):
        between = [Broker, SERVICES[number % 2]]
        draw.shuffle(between)
        victims += [ScoringJob, between[0], DRIVERS[number % 2], between[1], LabelJob, DAEMONS[number % 2]]
    return victims[:count]


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_hundred_kills_of_everything(
    seed: int, running: Settings, load: Load, tmp_path: Path, record_property: Figures
) -> None:
    """Each kill lands while work is in flight, and everything sent is verified after it; FAULTS_KILLS makes fewer."""
    count = int(os.environ.get("FAULTS_KILLS", KILLS))
    killer, verified, counts = Killer(running, load, seed, tmp_path / "kills.jsonl"), 0, dict[str, object]()
    record_property("seed", seed)
    wait_until(lambda: all(killer.instance.holder(name) for name in STREAMS), seconds=120)
    try:
        for victim in order(seed, count):
            killer.kill(victim(killer.instance))
            counts = killer.verify()
            verified += 1
    finally:
        record_property("runs", f"{len(killer.kills)} kills with work in flight, of {count}")
        record_property("figures", told(killer.kills))
        record_property("figures", f"verified {verified} times, at last {shown(counts) if counts else 'not'}")
    brokers = [kill for kill in killer.kills if kill.victim == Broker.name]
    assert all(kill.back_seconds <= BROKER_BACK_SECONDS for kill in brokers)
    assert all(kill.recovered_seconds <= BROKER_DONE_SECONDS for kill in brokers)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("running", [{"SENTINELA_STREAM_LIFETIME_SECONDS": "20"}], indirect=True)
def test_renewals_lose_nothing(running: Settings, load: Load, tmp_path: Path, record_property: Figures) -> None:
    """Every stream ends when its time is over and is started again, several times under load."""
    killer, gaps = Killer(running, load, SEEDS[0], tmp_path / "kills.jsonl"), defaultdict[str, list[float]](list)
    holders, free_since, ends_at = dict.fromkeys(STREAMS, 0), dict[str, float](), time.monotonic() + 150
    while time.monotonic() < ends_at:
        for name in STREAMS:
            pid, now = killer.instance.holder(name), time.monotonic()
            if not pid and holders[name]:
                free_since[name] = now
            if pid and name in free_since:
                gaps[name].append(now - free_since.pop(name))
            holders[name] = pid
        time.sleep(0.02)
    under_load = killer.verified()
    assert under_load["sent"] > 0
    counts = killer.verify()
    states = Counter(state for _, _, state in killer.instance.every_run() if state not in ("STARTED", "STARTING"))
    assert set(states) == {"SUCCESS"}
    assert all(len(gaps[name]) >= 2 for name in STREAMS)
    record_property("runs", f"{states['SUCCESS']} runs ended, lifetime 20 s")
    free = (f"{name} {statistics.median(of):.1f} s, longest {max(of):.1f} s" for name, of in sorted(gaps.items()))
    record_property("figures", f"nobody held the lock for median {'; '.join(free)}; {shown(counts)}")
