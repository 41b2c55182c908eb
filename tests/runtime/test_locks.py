import subprocess
import sys

import pytest

from sentinela.errors import NotRunning
from sentinela.runtime import services
from sentinela.runtime.home import Home
from sentinela.runtime.supervisor import changing

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
    assert services.stream_holder(runtime_home, "score_stream") is None
    process = hold(runtime_home.locks / "score_stream")
    assert services.stream_holder(runtime_home, "score_stream") == process.pid
    end(process)
    assert services.stream_holder(runtime_home, "score_stream") is None


def test_a_lock_that_stays_held_is_an_error_naming_the_holder(runtime_home: Home) -> None:
    process = hold(runtime_home.locks / "up")
    said: list[str] = []
    with (
        pytest.raises(NotRunning, match=str(process.pid)),
        changing(runtime_home, 0.5, said.append),
    ):
        pass
    assert said == [f"waiting for process {process.pid}, which is changing this home"]
    end(process)


def test_a_freed_lock_can_be_taken_again(runtime_home: Home) -> None:
    for _ in range(2):
        with changing(runtime_home, 1, print):
            pass
