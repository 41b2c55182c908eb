"""The supervisor's process: brings back what died of an instance, and tells Prometheus how every part is.

``up`` starts it last, ``down`` ends it first. It looks after what ``up`` has recorded: a part whose process is dead is
started again, at once if it had lived for a while, with growing pauses if not. A living part is never touched. Streams
are runs of Dagster, and their keepers bring them back; here they are looked at. Nobody brings back the supervisor:
where it is missing an alert says so, and ``sentinela up`` starts it.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fraud_streaming import keeping, meters
from pix import locks, log_lines
from pix.metrics import declared
from pix.settings import Settings
from sentinela import configuration
from sentinela.runtime import ports, processes, services, supervisor
from sentinela.runtime.home import Home
from sentinela.runtime.processes import Record
from sentinela.runtime.services import Service

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LOOK_SECONDS = 0.3
JUDGE_SECONDS = 10.0
# A part that lived this long was healthy: what it dies of now is no consequence of what it died of before.
HEALTHY_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 60.0

log = logging.getLogger(__name__)


class Deaths:
    """How often each part died soon after its start, and when it may be started again."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._in_a_row: dict[str, int] = {}
        self._noticed: dict[str, tuple[str, float]] = {}

    def is_due(self, record: Record) -> bool:
        """Whether a dead part may be started again now; counts its death the first time."""
        now = self._clock()
        identity, due_at = self._noticed.get(record.name, ("", 0.0))
        if identity != record.identity:
            lived = now - record.started_at
            self._in_a_row[record.name] = 0 if lived > HEALTHY_SECONDS else self._in_a_row.get(record.name, 0) + 1
            due_at = now + pause_seconds(self._in_a_row[record.name])
            self._noticed[record.name] = (record.identity, due_at)
        return now >= due_at


def pause_seconds(in_a_row: int) -> float:
    """How long to wait after so many deaths that came soon after a start; the first one may have been bad luck."""
    return 0.0 if in_a_row <= 1 else float(min(2.0 ** (in_a_row - 1), LONGEST_PAUSE_SECONDS))


class Gauges:
    """What Prometheus is told."""

    def __init__(self, registry: "CollectorRegistry", clock: Callable[[], float] = time.time) -> None:
        self.registry = registry
        self._clock = clock
        self._metrics: dict[Any, Any] = {each: declared(each, registry) for each in keeping.CATALOGUE}
        self._seen: dict[tuple[Any, str], float] = {}

    def restarted(self, part: str) -> None:
        """Count one part that was started again."""
        self._metrics[keeping.PART_RESTARTS].labels(part).inc()

    def judged(self, settings: Settings, home: Home) -> None:
        """Look at every part."""
        streams = services.stream_names(settings)
        for state in supervisor.status(settings, home):
            if state.name in streams:
                self._down(keeping.STREAM_DOWN, state.name, well=state.pid is not None)
                note = keeping.read(settings.keepers, state.name)
                self._metrics[keeping.STREAM_FAILURES].labels(state.name).set(note.failures if note else 0)
            elif state.name != services.SUPERVISOR:
                self._down(keeping.PART_DOWN, state.name, well=state.healthy)

    def _down(self, metric: Any, name: str, *, well: bool) -> None:
        now = self._clock()
        # One that was never well counts from the first look.
        since = self._seen.setdefault((metric, name), now)
        if well:
            since = self._seen[metric, name] = now
        self._metrics[metric].labels(name).set(now - since)


class Revival:
    """Looks, starts what is dead, and judges, until asked to end."""

    def __init__(self, parts: Sequence[Service], settings: Settings, home: Home, gauges: Gauges) -> None:
        self._services, self._settings, self._home, self._gauges = parts, settings, home, gauges
        self._deaths = Deaths()
        self._claims = ports.Claims()
        # Ending what a dead part left behind may take long, and others may die meanwhile.
        self._pool = ThreadPoolExecutor(max_workers=len(services.ENDING) + 1)
        self._under_way: dict[str, Future[None]] = {}
        self._judge_at = 0.0

    def run(self, ended: threading.Event) -> None:
        """Until the event; what is being started is finished first."""
        while not ended.wait(LOOK_SECONDS):
            self.look()
        self._pool.shutdown()

    def look(self) -> None:
        """Once."""
        for service in self._services:
            for name in service.ports:
                # Until `up` has ended, they are its own.
                self._claims.take(getattr(self._settings, name))
        self._under_way = {name: future for name, future in self._under_way.items() if not future.done()}
        starting = self._under_way.keys() - {services.SUPERVISOR}
        dead = [service for service in self._services if self._is_due(service.name)]
        if dead and (starting or self._may_start()):
            for service in dead:
                self._under_way[service.name] = self._pool.submit(self._start, service)
        elif not dead and not starting:
            locks.release(self._home.locks / supervisor.LOCK)
        if time.monotonic() >= self._judge_at and services.SUPERVISOR not in self._under_way:
            self._judge_at = time.monotonic() + JUDGE_SECONDS
            self._under_way[services.SUPERVISOR] = self._pool.submit(self._judge)

    def _may_start(self) -> bool:
        """Not while ``up`` or ``down`` changes the home."""
        try:
            locks.hold(self._home.locks / supervisor.LOCK)
        except locks.LockHeld as other:
            return other.pid == os.getpid()
        return True

    def _is_due(self, name: str) -> bool:
        if name in self._under_way:
            return False
        record = processes.read_record(self._home, name)
        return record is not None and not record.alive and self._deaths.is_due(record)

    def _start(self, service: Service) -> None:
        record = processes.read_record(self._home, service.name)
        # Whoever held the lock before may have brought it back, or ended it for good.
        if record is None or record.alive:
            return
        log.warning("%s: process %d died; it is started again", service.name, record.pid)
        try:
            supervisor.begin(service, self._settings, self._home, log.warning)
            self._gauges.restarted(service.name)
        except Exception:
            log.exception("%s was not started", service.name)

    def _judge(self) -> None:
        try:
            self._gauges.judged(self._settings, self._home)
        except Exception:
            log.exception("the parts could not be judged")


def main() -> None:
    """Entry point of the process."""
    from prometheus_client import CollectorRegistry

    log_lines.configure(services.SUPERVISOR, sys.stderr)
    settings, home = configuration.current()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    gauges = Gauges(CollectorRegistry())
    folder = services.supervisor_metrics(settings)
    with meters.answering(gauges.registry, folder, services.SUPERVISOR, {}):
        parts = [each for each in services.local(settings, home) if each.name != services.SUPERVISOR]
        Revival(parts, settings, home, gauges).run(ended)


if __name__ == "__main__":
    main()
