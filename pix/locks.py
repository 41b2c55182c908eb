"""Locks of the operating system that make a stream or a writer unique on one host.

POSIX record locks: the kernel frees them when their holder dies, however it dies, and can tell who
holds one. The lock belongs to the process, not to the file descriptor: closing *any* descriptor of the
file in the holding process frees it, so this module never opens a file it already holds.
"""

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# struct flock of Linux on 64 bits: type, whence, start, length, pid.
_FLOCK = "hhqqi"
_POLL_SECONDS = 0.2
_held: dict[str, tuple[int, int]] = {}


class LockHeld(Exception):
    """Another process holds the lock.

    Attributes:
        path: The lock's file.
        pid: Process id of the holder.
    """

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"process {pid} holds {path}; it must end before another one may start")
        self.path = path
        self.pid = pid


def hold(path: Path) -> int:
    """Take the lock without waiting and keep it until ``release`` or the end of this process.

    Returns:
        The file descriptor that carries the lock; do not close it.

    Raises:
        LockHeld: Somebody holds it already, this process included.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_held_here(path):
        raise LockHeld(path, os.getpid())
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pid = _ask_kernel(fd)
        os.close(fd)
        raise LockHeld(path, pid) from None
    _held[_name(path)] = (os.getpid(), fd)
    return fd


def release(path: Path) -> None:
    """Give the lock back; nothing happens where this process does not hold it."""
    if _is_held_here(path):
        _, fd = _held.pop(_name(path))
        os.close(fd)


@contextmanager
def held(path: Path, *, patience_seconds: float, on_wait: Callable[[int], None] | None = None) -> Iterator[None]:
    """Hold the lock for the block, waiting a while for another holder.

    Args:
        path: The lock's file.
        patience_seconds: How long to wait.
        on_wait: Told once, with the holder's process id, when there is somebody to wait for.

    Raises:
        LockHeld: Somebody still holds it when the patience is over.
    """
    give_up_at = time.monotonic() + patience_seconds
    while True:
        try:
            hold(path)
            break
        except LockHeld as other:
            if time.monotonic() >= give_up_at:
                raise
            if on_wait:
                on_wait(other.pid)
                on_wait = None
            time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        release(path)


def holder(path: Path) -> int:
    """Process id of who holds the lock, 0 when it is free."""
    if _is_held_here(path):
        return os.getpid()
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return 0
    try:
        return _ask_kernel(fd)
    finally:
        os.close(fd)


def _ask_kernel(fd: int) -> int:
    question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, question))
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def _is_held_here(path: Path) -> bool:
    # A forked child inherits this table, but not its parent's locks.
    return _held.get(_name(path), (0, 0))[0] == os.getpid()


def _name(path: Path) -> str:
    return os.path.realpath(path)
