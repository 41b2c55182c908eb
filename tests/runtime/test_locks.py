import subprocess
import sys

import pytest

from sentinela.errors import NotRunning
from sentinela.runtime import locks
from sentinela.runtime.home import Home

HOLD = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.lockf(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def hold(path: object) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def test_the_holder_is_known_and_its_death_frees_the_lock(runtime_home: Home) -> None:
    path = runtime_home.locks / "score_stream"
    assert locks.holder(path) is None
    process = hold(path)
    assert locks.holder(path) == process.pid
    end(process)
    assert locks.holder(path) is None


def test_a_lock_that_stays_held_is_an_error_naming_the_holder(runtime_home: Home) -> None:
    process = hold(runtime_home.locks / "up")
    said: list[str] = []
    with (
        pytest.raises(NotRunning, match=str(process.pid)),
        locks.held(runtime_home.locks / "up", wait_seconds=0.5, say=said.append),
    ):
        pass
    assert said == [f"waiting for process {process.pid}, which is changing this home"]
    end(process)


def test_a_freed_lock_can_be_taken_again(runtime_home: Home) -> None:
    for _ in range(2):
        with locks.held(runtime_home.locks / "up", wait_seconds=1, say=print):
            pass
