import json
import os
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGTERM

import pytest

from sentinela.runtime import processes
from sentinela.runtime.home import Home
from sentinela.runtime.processes import Record, Step

POLITE = (Step(SIGTERM, everyone=True, wait_seconds=3),)
SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)
# A child that leaves session and group and loses its parent, as daemons do.
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True); {SLEEP}"


def start(runtime_home: Home, name: str, code: str) -> Record:
    command = [sys.executable, "-c", code]
    return processes.start(
        runtime_home, name, command, environment=os.environ, folder=runtime_home.root, fingerprint="f"
    )


def await_processes(runtime_home: Home, name: str, count: int) -> set[int]:
    deadline = time.monotonic() + 10
    while len(found := {process.pid for process in processes.of_service(runtime_home, name)}) < count:
        assert time.monotonic() < deadline, f"{name} has only {found}"
        time.sleep(0.05)
    return found


def test_a_started_process_is_recorded_and_ended(runtime_home: Home) -> None:
    record = start(runtime_home, "kafka", SLEEP)
    assert processes.read_record(runtime_home, "kafka") == record
    assert record.alive
    assert processes.end(runtime_home, "kafka", POLITE) == [record.pid]
    assert not record.alive
    assert processes.read_record(runtime_home, "kafka") is None


def test_it_runs_in_its_own_session_and_writes_to_its_log(runtime_home: Home) -> None:
    record = start(runtime_home, "kafka", f"print('hello', flush=True); {SLEEP}")
    assert os.getsid(record.pid) == record.pid
    deadline = time.monotonic() + 10
    while "hello" not in runtime_home.log("kafka").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes.end(runtime_home, "kafka", POLITE)


def test_an_orphan_in_another_session_is_found_and_ended(runtime_home: Home) -> None:
    record = start(runtime_home, "serving", PARENT)
    everyone = await_processes(runtime_home, "serving", 2)
    os.kill(record.pid, 9)
    while record.alive:
        time.sleep(0.02)
    orphan = everyone - {record.pid}
    assert {process.pid for process in processes.of_service(runtime_home, "serving")} == orphan
    assert set(processes.end(runtime_home, "serving", POLITE)) == orphan


def test_a_process_that_ignores_signals_is_killed(runtime_home: Home) -> None:
    record = start(runtime_home, "kafka", STUBBORN)
    while "deaf" not in runtime_home.log("kafka").read_text():
        time.sleep(0.02)
    processes.end(runtime_home, "kafka", (Step(SIGTERM, everyone=True, wait_seconds=0.3),))
    assert not record.alive


def test_a_stale_record_never_names_a_stranger(runtime_home: Home) -> None:
    """The recorded pid now belongs to somebody else: it is not alive, and not ended."""
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP])
    stale = {"name": "kafka", "pid": stranger.pid, "identity": "another boot:1", "fingerprint": "f", "started_at": 1.0}
    (runtime_home.run / "kafka.json").write_text(json.dumps(stale))
    record = processes.read_record(runtime_home, "kafka")
    assert record is not None
    assert not record.alive
    assert processes.end(runtime_home, "kafka", POLITE) == []
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_two_homes_do_not_see_each_other(runtime_home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    for folder in (other.run, other.logs):
        folder.mkdir(parents=True)
    mine, theirs = start(runtime_home, "kafka", SLEEP), start(other, "kafka", SLEEP)
    assert processes.end(runtime_home, "kafka", POLITE) == [mine.pid]
    assert theirs.alive
    processes.end(other, "kafka", POLITE)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_an_unreadable_record_counts_as_none(runtime_home: Home, content: str) -> None:
    (runtime_home.run / "kafka.json").write_text(content)
    assert processes.read_record(runtime_home, "kafka") is None


def test_what_a_service_started_as_another_service_is_not_ended_with_it(runtime_home: Home) -> None:
    """The supervisor is the parent of whatever it brought back."""
    starts = (
        "import os, sys, time; from pathlib import Path; from sentinela.runtime import processes;"
        "from sentinela.runtime.home import Home;"
        f"processes.start(Home(Path({str(runtime_home.root)!r})), 'kafka', [sys.executable, '-c', {SLEEP!r}],"
        "environment=os.environ, folder=Path('/'), fingerprint='f'); time.sleep(60)"
    )
    record = processes.start(
        runtime_home, "supervisor", [sys.executable, "-c", starts],
        environment=os.environ, folder=Path(__file__).parents[2], fingerprint="f",
    )  # fmt: skip
    (child,) = await_processes(runtime_home, "kafka", 1)
    assert processes.end(runtime_home, "supervisor", POLITE) == [record.pid]
    assert processes.end(runtime_home, "kafka", POLITE) == [child]
