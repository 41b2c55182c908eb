"""Processes that outlive the command that started them.

Each runs in a session of its own, writes to its log, and is recorded with its pid *and* its start
time, so a recycled pid is never mistaken. Everything it starts inherits two environment variables
naming home and service: that finds children too that were orphaned or left the group.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from sentinela.runtime.home import Home, write_whole

OWNER = "SENTINELA_RUNTIME_HOME"
SERVICE = "SENTINELA_RUNTIME_SERVICE"
LOG_LIMIT_BYTES = 20_000_000
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One started process, as kept in ``<home>/run/NAME.json``."""

    name: str
    pid: int
    identity: str
    fingerprint: str
    started_at: float

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return identity(self.pid) == self.identity


@dataclass(frozen=True, slots=True)
class Step:
    """One attempt to end processes: a signal, to whom, and how long to wait for it."""

    signal: signal.Signals
    everyone: bool
    wait_seconds: float


KILL = Step(signal.SIGKILL, everyone=True, wait_seconds=10)


def identity(pid: int) -> str | None:
    """What tells this process from any other that ever had its pid; None when it is gone.

    Boot and start tick, not wall-clock time: setting the clock must not change who a process is.
    """
    try:
        # The command name stands in brackets and may itself contain brackets and spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    state, start_tick = fields[0], fields[19]
    return None if state in "ZX" else f"{boot}:{start_tick}"


def read_record(home: Home, name: str) -> Record | None:
    """The record of a process; None when there is none or it is unreadable."""
    try:
        return Record(**json.loads((home.run / f"{name}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def forget(home: Home, name: str) -> None:
    """Remove the record of a process."""
    (home.run / f"{name}.json").unlink(missing_ok=True)


def start(
    home: Home,
    name: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    fingerprint: str,
) -> Record:
    """Start a process in its own session, its output appended to its log, and record it."""
    log = home.log(name)
    _rotate(log)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
            list(command),
            cwd=folder,
            env={**environment, OWNER: str(home.root), SERVICE: name},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    record = Record(
        name=name,
        pid=process.pid,
        identity=identity(process.pid) or "died at once",
        fingerprint=fingerprint,
        started_at=time.time(),
    )
    write_whole(home.run / f"{name}.json", json.dumps(asdict(record)) + "\n")
    return record


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))


def of_service(home: Home, name: str) -> list[psutil.Process]:
    """Every living process of a service: the recorded one, what it started, and orphans of it."""
    found = {process.pid: process for process in _marked(home, name)}
    record = read_record(home, name)
    if record and record.alive:
        for process in with_children(record.pid):
            # The supervisor's children are services of their own.
            if _mark(process.pid) in (None, name):
                found[process.pid] = process
    return [process for process in found.values() if identity(process.pid)]


def _mark(pid: int) -> str | None:
    """Name of the service that a process was started for or by; None when it does not say."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    found = [each for each in variables if each.startswith(f"{SERVICE}=".encode())]
    return found[0].partition(b"=")[2].decode() if found else None


def _marked(home: Home, name: str) -> Iterable[psutil.Process]:
    wanted = {f"{OWNER}={home.root}".encode(), f"{SERVICE}={name}".encode()}
    for pid in psutil.pids():
        if pid == os.getpid():
            continue
        try:
            if wanted <= set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")):
                yield psutil.Process(pid)
        except (OSError, psutil.Error):
            continue


def with_children(pid: int) -> list[psutil.Process]:
    """A process and all its descendants; nothing when it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def end(home: Home, name: str, steps: Sequence[Step]) -> list[int]:
    """End a service, step by step until nothing of it lives; forget it. Returns the pids that were ended."""
    record = read_record(home, name)
    leaders = {record.pid} if record and record.alive else set()
    ended = end_processes(lambda: of_service(home, name), leaders, steps)
    forget(home, name)
    return ended


def end_processes(find: Callable[[], list[psutil.Process]], leaders: set[int], steps: Sequence[Step]) -> list[int]:
    """End what ``find`` finds, step by step until nothing of it lives; KILL is the last step.

    Args:
        find: Asked before each step, because ending processes may start others.
        leaders: Pids that get the signals of steps not meant for everyone.
        steps: What to try.

    Returns:
        The pids that were ended.
    """
    seen: dict[int, psutil.Process] = {}
    for step in (*steps, KILL):
        # Whoever lost its parent is not found again, so those seen before stay in sight.
        seen |= {process.pid: process for process in find() if process.pid not in seen}
        left = [process for process in seen.values() if _lives(process)]
        chosen = [process for process in left if process.pid in leaders]
        _signal(left if step.everyone or not chosen else chosen, step.signal)
        _wait(left, step.wait_seconds)
    return sorted(seen)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)  # psutil refuses a pid that was recycled
            process.send_signal(signal.SIGCONT)  # a stopped process would never see the first one
        except psutil.Error:
            continue


def _wait(processes: Sequence[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(_lives(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
