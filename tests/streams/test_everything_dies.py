"""One real home under load, whose parts are killed one after the other; nothing is lost, doubled or changed."""

import os
import random
import statistics
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pix.settings import Settings
from tests.streams.killing import (
    COMMAND,
    REPOSITORY,
    Broker,
    Bronze,
    BronzeJvm,
    Daemon,
    Kill,
    Killer,
    LabelJob,
    ScoringJob,
    ServiceParent,
    ServiceWorker,
    Victim,
)
from tests.streams.load import Load
from tests.streams.support import wait_until

Figures = Callable[[str, object], None]
SEED = 71
KILLS = 100
# Recovering from them takes longest, and they stand for one victim of the six.
DRIVERS = (Bronze, BronzeJvm)
SERVICES = (ServiceParent, ServiceWorker)
BROKER_BACK_SECONDS, BROKER_DONE_SECONDS = 30.0, 120.0


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Settings]:
    """Everything that `sentinela up` starts, in a home of its own."""
    environment = {**os.environ, "SENTINELA_HOME": str(tmp_path / "home")}
    started = subprocess.run([COMMAND, "up"], env=environment, cwd=REPOSITORY, capture_output=True, text=True)
    try:
        assert started.returncode == 0, started.stderr
        yield Settings(home=tmp_path / "home")
    finally:
        subprocess.run([COMMAND, "down"], env=environment, cwd=REPOSITORY, capture_output=True, check=False)


@pytest.fixture
def load(home: Settings, tmp_path: Path) -> Iterator[Load]:
    made = Load(home, tmp_path / "sent")
    yield made
    made.end()


def order(seed: int, count: int) -> list[type[Victim]]:
    """Victims in rounds of six, each round in an order of its own; the daemon is the last of its round."""
    draw, victims = random.Random(seed), list[type[Victim]]()
    for number in range(-(-count // 6)):
        round_of = [ScoringJob, LabelJob, DRIVERS[number % 2], Broker, SERVICES[number % 2]]
        draw.shuffle(round_of)
        victims += [*round_of, Daemon]
    return victims[:count]


def told(kills: Sequence[Kill], verified: int, counts: dict[str, int]) -> str:
    """The figures of a run."""
    by_victim: dict[str, list[Kill]] = defaultdict(list)
    for kill in kills:
        by_victim[kill.victim].append(kill)
    lines = []
    for victim, of_it in sorted(by_victim.items()):
        points = Counter(kill.point for kill in of_it)
        back, done = ([getattr(kill, name) for kill in of_it] for name in ("back_seconds", "recovered_seconds"))
        lines.append(
            f"{victim}: {len(of_it)} ({', '.join(f'{count} {point}' for point, count in sorted(points.items()))}), "
            f"{sum(kill.missed for kill in of_it)} missed and repeated, back after median "
            f"{statistics.median(back):.1f} s, longest {max(back):.1f} s, all done after median "
            f"{statistics.median(done):.1f} s, longest {max(done):.1f} s"
        )
    return (
        f"{'; '.join(lines)}; verified {verified} times, at last sent={counts['sent']} decided={counts['decided']} "
        f"lost=0 duplicated=0 mismatched=0"
    )


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_a_hundred_kills_of_everything(home: Settings, load: Load, tmp_path: Path, record_property: Figures) -> None:
    record_property("seed", SEED)
    count = int(os.environ.get("SENTINELA_TEST_KILLS", KILLS))
    killer, verified, counts = Killer(home, load, SEED, tmp_path / "kills.jsonl"), 0, {}
    wait_until(lambda: all(killer.instance.holder(name) for name in names_of(home)), seconds=120)
    time.sleep(10)
    for victim in order(SEED, count):
        killer.kill(victim(killer.instance))
        if victim is Daemon:
            counts, verified = killer.verify(tmp_path), verified + 1
    counts, verified = killer.verify(tmp_path), verified + 1
    record_property("runs", f"{len(killer.kills)} kills with work in flight")
    record_property("figures", told(killer.kills, verified, counts))
    brokers = [kill for kill in killer.kills if kill.victim == Broker.name]
    assert max(kill.back_seconds for kill in brokers) <= BROKER_BACK_SECONDS
    assert max(kill.recovered_seconds for kill in brokers) <= BROKER_DONE_SECONDS


def names_of(settings: Settings) -> tuple[str, ...]:
    from sentinela.runtime import services

    return services.stream_names(settings)
