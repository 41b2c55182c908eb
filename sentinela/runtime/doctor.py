"""Is this machine, and this home, fit to run an instance? Each finding names the next step."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import psutil

from pix import locks
from pix.settings import Settings
from sentinela import configuration
from sentinela.configuration import REPOSITORY
from sentinela.errors import SentinelaError
from sentinela.runtime import ports, processes, services, supervisor
from sentinela.runtime.home import LAYOUT_VERSION, Home

Verdict = Literal["ok", "warn", "fail"]
GIB = 1024**3
DISK_BYTES = 5 * GIB
MEMORY_BYTES = 6 * GIB
OLDEST_JAVA = 17
# What the parts of an instance are made of; the rest follows from the lock file.
MAIN_PACKAGES = (
    "bentoml",
    "catboost",
    "confluent-kafka",
    "dagster",
    "dagster-webserver",
    "delta-spark",
    "deltalake",
    "evidently",
    "great-expectations",
    "lmdb",
    "mlflow",
    "pyspark",
)
CLOCK_SLACK_SECONDS = 300
LAST_PLAUSIBLE_YEAR = 2100


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; ``next_step`` is empty when nothing is to be done."""

    name: str
    verdict: Verdict
    found: str
    next_step: str = ""


def examine() -> list[Finding]:
    """Look at everything. One thing that is wrong never hides another."""
    findings = [python(sys.version_info[:3]), *java(), *jars(REPOSITORY), packages(REPOSITORY / "requirements.lock")]
    findings.append(clock(time.time(), REPOSITORY))
    try:
        settings, home, configured = configuration.for_start()
    except SentinelaError as error:
        return [*findings, Finding(name="home", verdict="fail", found=str(error), next_step="see the sentence above")]
    running = any(processes.of_service(home, name) for name in services.ENDING)
    return [
        *findings,
        disk(home),
        memory(psutil.virtual_memory().available, running=running),
        *free_ports(settings, home, configured),
        layout(home),
        *held_locks(home),
    ]


def python(found: tuple[int, ...]) -> Finding:
    """The interpreter that runs this."""
    text = ".".join(map(str, found))
    if (3, 11) <= tuple(found) < (3, 14):
        return Finding(name="python", verdict="ok", found=text)
    step = "install Python 3.11 to 3.13, remove .venv, run `make setup`"
    return Finding(name="python", verdict="fail", found=text, next_step=step)


def java() -> list[Finding]:
    """Java for the broker and Spark."""
    step = "sudo apt-get update && sudo apt-get install -y openjdk-17-jdk-headless"
    command = shutil.which("java")
    if command is None:
        return [Finding(name="java", verdict="fail", found="no `java` on the PATH", next_step=step)]
    said = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    line = next((line for line in said.stderr.splitlines() if " version " in line), said.stderr.strip())
    major = re.search(r'version "(\d+)', line)
    fit = major is not None and int(major.group(1)) >= OLDEST_JAVA
    return [Finding(name="java", verdict="ok" if fit else "fail", found=line, next_step="" if fit else step)]


def jars(repository: Path) -> list[Finding]:
    """The jars that `make setup` fetches."""
    findings = []
    for folder, needed in (("kafka", "kafka_2.13-*.jar"), ("spark", "delta-spark_*.jar")):
        path = repository / ".jars" / folder
        there = any(path.glob(needed))
        found = f"{len(list(path.glob('*.jar')))} in {path}" if there else f"no {needed} in {path}"
        step = "" if there else "run `make setup`"
        findings.append(Finding(name="jars", verdict="ok" if there else "fail", found=found, next_step=step))
    return findings


def packages(lock: Path) -> Finding:
    """The main packages against the lock file."""
    try:
        wanted = dict(re.findall(r"^([a-z0-9-]+)==([^ \\;]+)", lock.read_text(), flags=re.MULTILINE))
    except OSError as error:
        return Finding(name="packages", verdict="fail", found=f"{lock}: {error}", next_step="restore that file")
    different = [
        f"{name} {found or 'missing'} instead of {wanted[name]}"
        for name in MAIN_PACKAGES
        if name in wanted and (found := _installed(name)) != wanted[name]
    ]
    if different:
        return Finding(name="packages", verdict="fail", found="; ".join(different), next_step="run `make setup`")
    return Finding(name="packages", verdict="ok", found=f"{len(MAIN_PACKAGES)} main packages as locked")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def clock(now: float, repository: Path) -> Finding:
    """The clock against the files of the checkout, which cannot be from the future.

    Live doors refuse payments by their time, so a clock that is off refuses everything.
    """
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    newest = max((file.stat().st_mtime for file in repository.glob("*.*") if file.is_file()), default=0.0)
    step = "set the clock, e.g. sudo timedatectl set-ntp true"
    if now < newest - CLOCK_SLACK_SECONDS or time.gmtime(now).tm_year >= LAST_PLAUSIBLE_YEAR:
        found = f"{shown} cannot be right: files of this checkout are newer"
        return Finding(name="clock", verdict="fail", found=found, next_step=step)
    synchronised = _synchronised()
    if synchronised is None:
        return Finding(name="clock", verdict="ok", found=f"{shown}; whether it is synchronised cannot be told here")
    if not synchronised:
        return Finding(name="clock", verdict="warn", found=f"{shown}, not synchronised", next_step=step)
    return Finding(name="clock", verdict="ok", found=f"{shown}, synchronised")


def _synchronised() -> bool | None:
    command = shutil.which("timedatectl")
    if command is None:
        return None
    words = [command, "show", "--property=NTPSynchronized", "--value"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=False, timeout=5)  # noqa: S603
    except subprocess.TimeoutExpired:
        return None
    return {"yes": True, "no": False}.get(said.stdout.strip())


def disk(home: Home) -> Finding:
    """Free space where the home is or will be."""
    there = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / GIB:.1f} GiB free at {there}"
    if free >= DISK_BYTES:
        return Finding(name="disk", verdict="ok", found=found)
    step = f"free {DISK_BYTES // GIB} GiB there, or set SENTINELA_HOME to a roomier place"
    return Finding(name="disk", verdict="fail", found=found, next_step=step)


def memory(available: int, *, running: bool) -> Finding:
    """Available memory; an instance that already runs has taken its part."""
    found = f"{available / GIB:.1f} GiB available" + (", with this instance running" if running else "")
    if running or available >= MEMORY_BYTES:
        return Finding(name="memory", verdict="ok", found=found)
    step = f"close something: an instance wants {MEMORY_BYTES // GIB} GiB; SENTINELA_SPARK_MEMORY=1g makes it smaller"
    return Finding(name="memory", verdict="fail", found=found, next_step=step)


def free_ports(settings: Settings, home: Home, configured: frozenset[str]) -> list[Finding]:
    """Every port an instance listens on. A taken default is no fault: `up` chooses another."""
    owner = {port: service.name for service in services.local(settings, home) for port in service.ports}
    pids: Callable[[str], set[int]] = lambda name: {p.pid for p in processes.of_service(home, name)}  # noqa: E731
    taken = {
        name: getattr(settings, name)
        for name in owner
        if not ports.is_free(getattr(settings, name))
        and ports.listener(getattr(settings, name)) not in pids(owner[name])
    }
    findings = []
    for name, port in taken.items():
        found = f"{name} {port} is held by {ports.describe(port)}"
        if name in configured:
            step = f"end that process, or set another SENTINELA_{name.upper()}"
            findings.append(Finding(name="ports", verdict="fail", found=found, next_step=step))
        else:
            step = "nothing: `sentinela up` will choose another"
            findings.append(Finding(name="ports", verdict="warn", found=found, next_step=step))
    shown = ", ".join(str(getattr(settings, name)) for name in owner)
    return findings or [Finding(name="ports", verdict="ok", found=f"{shown} are free or ours")]


def layout(home: Home) -> Finding:
    """The home's layout, already checked by whoever built the settings."""
    if not home.runtime_file.exists():
        step = "run `sentinela up`"
        return Finding(name="home", verdict="ok", found=f"{home.root} was never started", next_step=step)
    return Finding(name="home", verdict="ok", found=f"{home.root}, layout {LAYOUT_VERSION}")


def held_locks(home: Home) -> Sequence[Finding]:
    """Who is at work on this home."""
    busy = locks.holder(home.locks / supervisor.LOCK)
    if busy:
        found, step = f"process {busy} is changing this home", "wait for it"
        return [Finding(name="locks", verdict="warn", found=found, next_step=step)]
    shown = ", ".join(f"{name} by process {pid}" for name, pid in services.running_streams(home).items())
    readable = not home.locks.exists() or os.access(home.locks, os.R_OK | os.W_OK)
    if not readable:
        step = f"give {home.root} to this user"
        return [Finding(name="locks", verdict="fail", found=f"{home.locks} cannot be used", next_step=step)]
    return [Finding(name="locks", verdict="ok", found=f"held: {shown}" if shown else "none held")]
