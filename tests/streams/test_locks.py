"""Locks between real processes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pix.locks import LockHeld, hold, holder, release

HOLD = (
    "import sys; from pathlib import Path; from pix.locks import hold;"
    "hold(Path(sys.argv[1])); print(1, flush=True); input()"
)
ASK = "import sys; from pathlib import Path; from pix.locks import holder; print(holder(Path(sys.argv[1])))"


@pytest.fixture
def other(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """Another process that holds ``tmp_path / "lock"``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_learns_who_holds_the_lock(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    with pytest.raises(LockHeld, match=f"process {other.pid} holds") as held:
        hold(tmp_path / "lock")
    assert held.value.pid == other.pid
    assert holder(tmp_path / "lock") == other.pid


def test_kill_9_frees_the_lock(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    other.kill()
    other.wait()
    assert holder(tmp_path / "lock") == 0
    hold(tmp_path / "lock")
    release(tmp_path / "lock")


def test_looking_at_ones_own_lock_does_not_free_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    hold(path)
    try:
        holder(path)
        with pytest.raises(LockHeld):
            hold(path)
        asked = subprocess.run(
[sys.executable, "-c", ASK, str(path)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert asked.stdout.strip() != "0"
    finally:
        release(path)
    assert holder(path) == 0


def test_a_lock_never_taken_is_free(tmp_path: Path) -> None:
    assert holder(tmp_path / "nobody") == 0
