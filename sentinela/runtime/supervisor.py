"""Starting, judging and ending an instance.

``up`` keeps what is healthy, replaces what is dead or half-dead, and waits on health, never on time.
``down`` ends exactly what ``up`` started, streams first and the broker last.
"""

import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from signal import SIGINT, SIGTERM
from typing import Any

from fraud_streaming import keeping, meters
from pix import locks
from pix.settings import Settings
from sentinela import configuration
from sentinela.configuration import REPOSITORY
from sentinela.errors import NotRunning, SentinelaError
from sentinela.progress import Say
from sentinela.runtime import ports, processes, services
from sentinela.runtime.home import Home, prepare, read_runtime, write_runtime
from sentinela.runtime.processes import Step
from sentinela.runtime.services import External, Service

LOCK = "up"
LOCK_WAIT_SECONDS = 300.0
POLL_SECONDS = 0.3
# A service that has been up for long may miss one probe on a busy machine and is not half-dead.
PATIENCE_SECONDS = 12.0
WORK_SECONDS = 2.0
TAIL_LINES = 15
STREAM_STEPS = (Step(SIGINT, everyone=False, wait_seconds=20), Step(SIGTERM, everyone=True, wait_seconds=5))


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One line of ``status``.

    Attributes:
        state: running, starting, unhealthy, stopped, external or embedded.
        problem: Why it is not healthy.
    """

    name: str
    healthy: bool
    pid: int | None
    url: str | None
    state: str
    problem: str | None


@contextmanager
def changing(home: Home, wait_seconds: float, say: Say) -> Iterator[None]:
    """Be the only one who starts or ends parts of this home; waits for another one.

    Raises:
        NotRunning: The other one is not done after ``wait_seconds``.
    """

    def tell(pid: int) -> None:
        say(f"waiting for process {pid}, which is changing this home")

    try:
        with locks.held(home.locks / LOCK, patience_seconds=wait_seconds, on_wait=tell):
            yield
    except locks.LockHeld as other:
        raise NotRunning(
            f"{other.path} is held by process {other.pid} for over {wait_seconds:.0f} s; wait for it or end it"
        ) from other


def up(say: Say, proposed: Mapping[str, Any] | None = None) -> Settings:
    """Start the instance; returns its settings once everything is healthy.

    Args:
        say: Told of the progress.
        proposed: Settings for a home that nobody configured otherwise.

    Raises:
        BadUse: a configured port is taken, or the home cannot be used.
        NotRunning: a part did not become healthy; the others are left running.
    """
    from learning.signing import ensure_signing_keys
    from pix.tokens import ensure_keys

    home = configuration.find_home()
    prepare(home)
    ensure_keys(home.secrets)
    ensure_signing_keys(home.secrets)
    with changing(home, LOCK_WAIT_SECONDS, say), ports.Claims(_claimed(home)) as claims:
        settings, home, configured = configuration.for_start(proposed)
        settings = _with_ports(settings, home, configured, claims, say)
        write_runtime(home, settings=configuration.to_record(settings))
        _Start(settings, home, say).run()
    return settings


def _claimed(home: Home) -> set[int]:
    """Ports that the home's supervisor claims."""
    record = processes.read_record(home, services.SUPERVISOR)
    if record is None or not record.alive:
        return set()
    recorded = read_runtime(home).get("settings", {})
    return {recorded[name] for name in configuration.PORTS if name in recorded}


def _with_ports(settings: Settings, home: Home, configured: frozenset[str], claims: ports.Claims, say: Say) -> Settings:
    owner = {port: service.name for service in services.local(settings, home) for port in service.ports}

    def ours(name: str, port: int) -> bool:
        return ports.listener(port) in {process.pid for process in processes.of_service(home, owner[name])}

    wanted = {name: getattr(settings, name) for name in owner}
    # Seeded by the home, so that a home draws the same ports again.
    randomness = random.Random(str(home.root))  # noqa: S311
    chosen = ports.choose(wanted, configured=configured, ours=ours, randomness=randomness, claims=claims)
    for name, port in chosen.items():
        if port != wanted[name]:
            say(f"port {wanted[name]} is held by {ports.describe(wanted[name])}; {name} is {port} instead")
    return settings.model_copy(update=chosen)


class _Start:
    """One ``up``: every part is started as soon as what it needs is healthy."""

    def __init__(self, settings: Settings, home: Home, say: Say) -> None:
        self.settings, self.home, self.say = settings, home, say
        self.healthy: set[str] = set()
        self.failed: dict[str, str] = {}
        self.give_up_at: dict[str, float] = {}
        self.fresh: set[str] = set()
        self.asked_at: dict[str, float] = {}
        self.told: dict[str, str] = {}

    def run(self) -> None:
        parts = services.parts(self.settings, self.home)
        for part in parts:
            if isinstance(part, External):
                self._external(part)
        waiting = [part for part in parts if isinstance(part, Service)]
        while waiting:
            for service in waiting:
                self._advance(service)
            waiting = [s for s in waiting if s.name not in self.healthy and s.name not in self.failed]
            if waiting:
                time.sleep(POLL_SECONDS)
        self._store()
        if self.failed:
            raise NotRunning("\n".join(f"{name}: {why}" for name, why in self.failed.items()))

    def _external(self, part: External) -> None:
        problem = part.probe()
        if problem is None:
            self._finish(part)
        else:
            self.failed[part.name] = f"configured to be elsewhere, but {problem}"

    def _advance(self, service: Service) -> None:
        """Bring one service a step further: start it, find it healthy, or give it up."""
        missing = [name for name in service.needs if name in self.failed]
        settled = self.healthy | self.failed.keys()
        if missing:
            self.failed[service.name] = f"not started, because it needs {', '.join(missing)}"
        elif service.name in self.give_up_at:
            self._judge(service)
        elif self.healthy.issuperset(service.needs) and settled.issuperset(service.after):
            self._begin(service)

    def _begin(self, service: Service) -> None:
        record = processes.read_record(self.home, service.name)
        if record and record.alive and record.fingerprint == fingerprint(service, self.settings):
            age = max(0.0, time.time() - record.started_at)
            self.give_up_at[service.name] = time.monotonic() + max(service.deadline_seconds - age, PATIENCE_SECONDS)
            self._judge(service)
        else:
            self._start(service)

    def _start(self, service: Service) -> None:
        try:
            begin(service, self.settings, self.home, self.say)
        except SentinelaError as error:
            self.failed[service.name] = str(error)
            return
        self.fresh.add(service.name)
        self.give_up_at[service.name] = time.monotonic() + service.deadline_seconds

    def _judge(self, service: Service) -> None:
        record = processes.read_record(self.home, service.name)
        alive = record is not None and record.alive
        problem = service.probe() if alive else "its process ended"
        if problem is None:
            self._finish(service)
        elif alive and (self._works(service) or time.monotonic() < self.give_up_at[service.name]):
            return
        elif service.name in self.fresh:
            why = problem if not alive else f"not healthy within {service.deadline_seconds:.0f} s: {problem}"
            self.failed[service.name] = f"{why}; its log is {_log_end(self.home, service.name)}"
        else:
            self.say(f"{service.name}: half-dead ({problem}); starting it again")
            self._start(service)

    def _works(self, service: Service) -> bool:
        """Whether it says that it is busy; its time begins anew, and what it says is shown."""
        now = time.monotonic()
        if now < self.asked_at.get(service.name, 0.0):
            return service.name in self.told
        self.asked_at[service.name] = now + WORK_SECONDS
        line = service.working()
        if line is None:
            self.told.pop(service.name, None)
            return False
        if self.told.get(service.name) != line:
            self.say(f"{service.name}: {line}")
        self.told[service.name] = line
        self.give_up_at[service.name] = now + service.deadline_seconds
        return True

    def _finish(self, part: Service | External) -> None:
        try:
            part.finish()
        except SentinelaError as error:
            self.failed[part.name] = str(error)
            return
        self.healthy.add(part.name)
        record = processes.read_record(self.home, part.name)
        if part.name in self.fresh and record:
            how = f"healthy after {time.time() - record.started_at:.1f} s"
        else:
            how = "elsewhere, answers" if isinstance(part, External) else "already running"
        self.say(f"{part.name}: {how}" + (f"  {part.url}" if part.url else ""))

    def _store(self) -> None:
        if services.SERVING in self.failed:
            return
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while problem := services.store_problem(self.settings, self.home):
            if time.monotonic() > give_up_at:
                break
            time.sleep(POLL_SECONDS)
        if problem:
            self.failed[services.STORE] = problem
        else:
            self.say(f"{services.STORE}: healthy  {shown_store(self.settings)}")


def begin(service: Service, settings: Settings, home: Home, say: Say) -> None:
    """Start a service in place of whatever is left of it; whoever calls holds the lock of ``changing``.

    Raises:
        SentinelaError: What it needs before it starts could not be done.
    """
    record = processes.read_record(home, service.name)
    ended = processes.end(home, service.name, services.ENDING[service.name])
    if ended:
        changed = record is not None and record.fingerprint != fingerprint(service, settings)
        why = "its settings changed" if changed else "an earlier start had left it"
        say(f"{service.name}: ended {_pids(ended)}, because {why}")
    service.prepare()
    processes.start(
        home,
        service.name,
        service.command,
        environment={**services.common_environment(home, os.environ), **service.environment},
        folder=REPOSITORY,
        fingerprint=fingerprint(service, settings),
    )


def fingerprint(service: Service, settings: Settings) -> str:
    """Changes when the service would be started differently; then it is started again."""
    read = {k: v for k, v in settings.model_dump(mode="json").items() if k.startswith(service.reads)}
    whole = json.dumps([service.command, dict(service.environment), read], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


def _log_end(home: Home, name: str) -> str:
    path = home.log(name)
    try:
        lines = path.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    except OSError:
        lines = []
    return "\n    ".join([f"{path}, which ends:", *lines])


def _pids(pids: Sequence[int]) -> str:
    return ("process " if len(pids) == 1 else "processes ") + ", ".join(map(str, pids))


def shown_store(settings: Settings) -> str:
    """Address of the store without user and password."""
    before, at, after = settings.store.rpartition("@")
    return f"{before.partition('://')[0]}://{after}" if at else settings.store


def status(settings: Settings, home: Home) -> list[State]:
    """How every part is now, in the order of ``services.listed``."""
    # Each probe may wait seconds for an answer that does not come.
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = list(pool.map(lambda part: _state(part, home), services.parts(settings, home)))
    by_name = {state.name: state for state in found}
    by_name[services.STORE] = _store_state(settings, home, by_name[services.SERVING])
    by_name |= {name: _stream_state(settings, home, name) for name in services.stream_names(settings)}
    return [by_name[name] for name in services.listed(settings)]


def _state(part: Service | External, home: Home) -> State:
    if isinstance(part, External):
        problem = part.probe()
        return _made(part.name, problem, None, part.url, "external")
    record = processes.read_record(home, part.name)
    if record is None or not record.alive:
        why = "not started" if record is None else f"process {record.pid} died"
        return _made(part.name, why, None, part.url, "stopped")
    problem = part.probe()
    young = time.time() - record.started_at < part.deadline_seconds
    state = "running" if problem is None else "starting" if young else "unhealthy"
    return _made(part.name, problem, record.pid, part.url, state)


def _store_state(settings: Settings, home: Home, serving: State) -> State:
    embedded = services.store_folder(settings) is not None
    problem = services.store_problem(settings, home)
    pid = serving.pid if embedded else None
    return _made(services.STORE, problem, pid, shown_store(settings), "embedded" if embedded else "external")


def _stream_state(settings: Settings, home: Home, name: str) -> State:
    pid = services.stream_holder(home, name)
    problem = keeping.problem(keeping.read(settings.keepers, name), alive=pid is not None, now=time.time())
    metrics = meters.address(settings.metrics, name) if pid else None
    state = "stopped" if pid is None else "running" if problem is None else "unhealthy"
    return _made(name, problem, pid, metrics, state)


def _made(name: str, problem: str | None, pid: int | None, url: str | None, state: str) -> State:
    return State(name=name, healthy=problem is None, pid=pid, url=url, state=state, problem=problem)


def down(home: Home, say: Say) -> list[int]:
    """End everything that ``up`` started on this home; returns the pids that were ended."""
    if not home.root.exists():
        say(f"nothing was running: there is no {home.root}")
        return []
    with changing(home, LOCK_WAIT_SECONDS, say):
        ended = [
            # First who would start them again: the supervisor every part, the daemon's sensors the streams.
            *(pid for name in services.REVIVING for pid in _end(home, name, say)),
            *_end_streams(home, say),
            *(pid for name in services.ENDING if name not in services.REVIVING for pid in _end(home, name, say)),
        ]
        shutil.rmtree(home.tmp, ignore_errors=True)
    if not ended:
        say("nothing was running")
    return ended


def _end(home: Home, name: str, say: Say) -> list[int]:
    began = time.monotonic()
    ended = processes.end(home, name, services.ENDING[name])
    if ended:
        say(f"{name}: ended {_pids(ended)} in {time.monotonic() - began:.1f} s")
    return ended


def _end_streams(home: Home, say: Say) -> list[int]:
    """Ask the streams to finish their batch and close; they are the ones whose end matters."""
    holders = services.running_streams(home)
    trees = [process for pid in holders.values() for process in processes.with_children(pid)]
    began = time.monotonic()
    ended = processes.end_processes(lambda: trees, set(holders.values()), STREAM_STEPS)
    for name, pid in holders.items():
        say(f"{name}: ended process {pid} in {time.monotonic() - began:.1f} s")
    return ended
