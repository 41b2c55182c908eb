"""The supervisor: dead parts come back, living ones are left alone, and Prometheus is told."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from fraud_streaming import keeping
from fraud_streaming.keeping import FLAPPING, SILENT_SECONDS, Note
from pix import locks
from pix.settings import Settings
from sentinela.runtime import ports, processes, revival, services, supervisor
from sentinela.runtime.home import Home
from sentinela.runtime.processes import Record
from sentinela.runtime.revival import Deaths, Gauges, Revival, pause_seconds

SLEEP = "import time; time.sleep(60)"
Look = Callable[[], None]


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def record(pid: int, started_at: float) -> Record:
    return Record(name="kafka", pid=pid, identity=f"boot:{pid}", fingerprint="f", started_at=started_at)


def test_a_part_that_dies_again_and_again_waits_longer_each_time() -> None:
    clock, waits = Clock(), []
    deaths = Deaths(clock)
    for pid in range(6):
        died = record(pid, clock.now - 1)
        began = clock.now
        while not deaths.is_due(died):
            clock.now += 0.5
        waits.append(clock.now - began)
    assert waits == [0, 2, 4, 8, 16, 32]
    assert [pause_seconds(count) for count in (7, 50)] == [60, 60]


def test_a_part_that_had_lived_for_a_while_comes_back_at_once() -> None:
    clock = Clock()
    deaths = Deaths(clock)
    for pid in range(3):
        deaths.is_due(record(pid, clock.now - 1))
    assert not deaths.is_due(record(2, clock.now - 1))
    assert deaths.is_due(record(3, clock.now - revival.HEALTHY_SECONDS - 1))


@pytest.fixture
def service() -> services.Service:
    """MLflow's place, taken by a process that sleeps and has a child."""
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {SLEEP}"
    return services.Service(
        name="mlflow", command=(sys.executable, "-c", code), probe=lambda: None, deadline_seconds=5, url=None
    )


@pytest.fixture
def look(runtime_home: Home, service: services.Service) -> Iterator[Look]:
    settings = Settings(home=runtime_home.root)
    supervisor.begin(service, settings, runtime_home, print)
    watching = Revival([service], settings, runtime_home, Gauges(CollectorRegistry()))
    yield watching.look
    processes.end(runtime_home, service.name, ())


def until(look: Look, true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        look()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(home: Home) -> int:
    found = processes.read_record(home, "mlflow")
    return found.pid if found and found.alive else 0


def test_what_died_is_started_again_and_its_orphans_are_ended(runtime_home: Home, look: Look) -> None:
    first = alive(runtime_home)
    until(look, lambda: len(processes.of_service(runtime_home, "mlflow")) == 2)
    orphans = {process.pid for process in processes.of_service(runtime_home, "mlflow")} - {first}
    for _ in range(5):
        look()
    assert alive(runtime_home) == first
    os.kill(first, signal.SIGKILL)
    until(look, lambda: alive(runtime_home) not in (0, first))
    left = {process.pid for process in processes.of_service(runtime_home, "mlflow")}
    assert not left & (orphans | {first})
    until(look, lambda: locks.holder(runtime_home.locks / supervisor.LOCK) == 0)


def test_no_other_instance_may_take_a_port_while_its_server_is_dead(runtime_home: Home, port: int) -> None:
    settings = Settings(home=runtime_home.root, mlflow_port=port)
    service = services.Service(
        name="mlflow", command=(), probe=lambda: None, deadline_seconds=5, url=None, ports=("mlflow_port",)
    )
    Revival([service], settings, runtime_home, Gauges(CollectorRegistry())).look()
    assert not ports.Claims().take(port)


def test_nothing_is_started_while_somebody_changes_the_home_or_has_ended_it(runtime_home: Home, look: Look) -> None:
    code = (
        "import sys; from pathlib import Path; from pix.locks import hold;"
        "hold(Path(sys.argv[1])); print(1, flush=True); input()"
    )
    words = [sys.executable, "-c", code, str(runtime_home.locks / supervisor.LOCK)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        os.kill(alive(runtime_home), signal.SIGKILL)
        for _ in range(10):
            look()
            time.sleep(0.05)
        assert alive(runtime_home) == 0
        # As `down` does, while it has the lock.
        processes.end(runtime_home, "mlflow", ())
        other.kill()
    for _ in range(10):
        look()
        time.sleep(0.05)
    assert processes.read_record(runtime_home, "mlflow") is None


def test_prometheus_is_told_of_every_part_and_stream(runtime_home: Home) -> None:
    settings, clock = Settings(home=runtime_home.root), Clock()
    gauges = Gauges(CollectorRegistry(), clock)
    keeping.write(settings.keepers, "label_stream", Note(at=clock.now, says="waiting", failures=4, why="no broker"))
    locks.hold(settings.locks / "score_stream")
    gauges.judged(settings, runtime_home)
    clock.now += 30
    gauges.judged(settings, runtime_home)
    locks.release(settings.locks / "score_stream")

    def value(metric: str, **labels: str) -> float | None:
        return gauges.registry.get_sample_value(metric, labels)

    for part in set(services.listed(settings)) - set(services.stream_names(settings)) - {services.SUPERVISOR}:
        assert value("sentinela_part_down_seconds", part=part) == 30
    assert value("sentinela_stream_down_seconds", stream="score_stream") == 0
    assert value("sentinela_stream_down_seconds", stream="bronze_stream") == 30
    assert value("sentinela_stream_failures_in_a_row", stream="label_stream") == 4


@pytest.mark.parametrize(
    ("note", "alive", "told"),
    [
        (None, True, None),
        (Note(at=1_000, says="", failures=FLAPPING - 1, why="x"), True, None),
        (Note(at=1_000, says="", failures=FLAPPING, why="the topic is gone"), True, "the topic is gone"),
        (None, False, "never looked"),
        (Note(at=1_000 - SILENT_SECONDS - 1, says="run 1 is STARTED"), False, "not looked for 61 s"),
        (Note(at=995, says="waiting 17 s", failures=2, why="no broker"), False, "waiting 17 s; the last"),
        (Note(at=995, says="run 1 is QUEUED"), False, "run 1 is QUEUED"),
    ],
)
def test_a_stream_that_is_not_kept_alive_says_why(note: Note | None, alive: bool, told: str | None) -> None:
    found = keeping.problem(note, alive=alive, now=1_000)
    assert (found is None) == (told is None)
    assert told is None or (found is not None and told in found)


def test_a_note_that_is_not_whole_counts_as_none(tmp_path: Path) -> None:
    assert keeping.read(tmp_path, "score_stream") is None
    (tmp_path / "score_stream.json").write_text('{"at": 1')
    assert keeping.read(tmp_path, "score_stream") is None
