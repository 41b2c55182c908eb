"""Homes and small real processes for the tests of the local runtime."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinela.runtime.home import Home, prepare
from sentinela.runtime.ports import CHOICE, is_free

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def runtime_home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    prepare(made)
    return made


@pytest.fixture
def port() -> int:
    draw = random.Random()
    return next(port for port in iter(lambda: draw.choice(CHOICE), None) if port and is_free(port))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which only the home is configured."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SENTINELA_")}
    return {**plain, "SENTINELA_HOME": str(tmp_path / "home")}


@pytest.fixture
def server() -> Iterator[Any]:
    """Starts `python -m http.server` on a port, as a process that `up` knows nothing of."""
    started: list[subprocess.Popen[bytes]] = []

    def start(port: int) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
        started.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
