"""Locks of the operating system on files in ``<home>/locks``.

The kernel frees them when their holder dies, however it dies, so a lock is never stale and a held
lock is proof of life. POSIX record locks: the kernel can tell who holds one.
"""

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sentinela.errors import NotRunning

# struct flock of Linux on 64 bits: type, whence, start, length, pid.
FLOCK = "hhqqi"
POLL_SECONDS = 0.2


def holder(path: Path) -> int | None:
    """Process id of who holds the lock; None when it is free or was never taken."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(descriptor)
    kind, _, _, _, pid = struct.unpack(FLOCK, answer)
    return None if kind == fcntl.F_UNLCK else pid


@contextmanager
def held(path: Path, *, wait_seconds: float, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock for the block; wait for another holder, saying who it is.

    Raises:
        NotRunning: another process still holds it after ``wait_seconds``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(descriptor, path, wait_seconds, say)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, wait_seconds: float, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + wait_seconds
    said = False
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                raise NotRunning(
                    f"{path} is held by process {holder(path)} for over {wait_seconds:.0f} s; wait for it or end it"
                ) from None
            if not said:
                say(f"waiting for process {holder(path)}, which is changing this home")
                said = True
            time.sleep(POLL_SECONDS)
        else:
            return
