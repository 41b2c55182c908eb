"""The parts of an instance that are killed: which process it is, what it has in hand, and when it has recovered."""

import json
import os
import signal
import sqlite3
import time
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from fraud_streaming.labels import GROUP as LABEL_GROUP
from pix import locks, topics
from pix import streams as names
from pix.settings import Settings
from pix.streams import SCORING_GROUP
from sentinela.runtime.home import Home
from sentinela.runtime.processes import read_record
from tests.streams.load import Ends, Load, behind, committed, ends, patiently


@dataclass(frozen=True, slots=True)
class Caught:
    """What a stopped victim has in hand."""

    point: str
    in_flight: int


class Instance:
    """A running home, as its operator sees it."""

    def __init__(self, settings: Settings, load: Load) -> None:
        self.settings, self.load = settings, load
        self.home = Home(settings.root)

    def holder(self, stream: str) -> int:
        return locks.holder(self.settings.locks / stream)

    def recorded(self, service: str) -> int:
        record = read_record(self.home, service)
        return record.pid if record and record.alive else 0

    def rows(self, database: str, query: str, *told: object) -> list[Any]:
        path = self.settings.root / "dagster" / database
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as opened:
            return opened.execute(query, told).fetchall()

    def every_run(self) -> list[tuple[str, str, str]]:
        """Job, id and status of every run there ever was."""
        return self.rows("history/runs.db", "select pipeline_name, run_id, status from runs")

    def runs(self, *states: str) -> list[tuple[str, str]]:
        return [(job, run) for job, run, state in self.every_run() if state in states]

    def bronze_reached(self) -> Ends:
        """What the newest batch that Spark's checkpoint calls finished has taken in."""
        checkpoint = self.settings.root / "streams" / "bronze"
        batches = sorted(int(path.name) for path in (checkpoint / "commits").glob("[0-9]*"))
        if not batches:
            return {}
        told = json.loads((checkpoint / "offsets" / str(batches[-1])).read_text().splitlines()[-1])
        return {(topic, int(part)): end for topic, parts in told.items() for part, end in parts.items()}


class Victim(ABC):
    """A part that is killed.

    Attributes:
        most_delay: Seconds between the work that it gets and its kill, at most.
        before: What senders had been told is taken, a moment before it was stopped.
    """

    name = ""
    most_delay = 0.3
    before: Ends

    def __init__(self, instance: Instance) -> None:
        self.instance, self.load, self.settings = instance, instance.load, instance.settings

    @abstractmethod
    def pid(self) -> int:
        """Its process; 0 when it is not there."""

    def provoke(self) -> None:  # noqa: B027 - not abstract: to some the steady load brings enough
        """Bring work, or wait for some."""

    @abstractmethod
    def in_hand(self) -> Caught | None:
        """What it is in the middle of, now that it is stopped."""

    def is_back(self, dead: int) -> bool:
        """Whether a successor is at work."""
        return self.pid() not in (0, dead)

    @abstractmethod
    def is_done(self, wanted: Ends) -> bool:
        """Whether it has finished everything up to there."""


class Group(Victim):
    """A job that reads a topic and commits what is finished."""

    stream, group, topic = "", "", ""

    def pid(self) -> int:
        return self.instance.holder(self.stream)

    def finished(self) -> Ends:
        return committed(self.settings, self.group, self.topic)

    def in_hand(self) -> Caught | None:
        at_stop = self.finished()
        count = behind(at_stop, self.before)
        return Caught(self.point(at_stop), count) if count else None

    @abstractmethod
    def point(self, at_stop: Ends) -> str:
        """The point that it had reached when it was stopped."""

    def is_done(self, wanted: Ends) -> bool:
        reached = patiently(self.finished)
        return reached is not None and behind(reached, wanted) == 0


class ScoringJob(Group):
    name, stream, group, topic = "scoring job", names.SCORE, SCORING_GROUP, topics.TRANSACTIONS

    def provoke(self) -> None:
        self.load.burst("kafka", 150)

    def point(self, at_stop: Ends) -> str:
        # A moment, in which what the service has published arrives here.
        time.sleep(0.05)
        return "some decided, not committed" if behind(at_stop, self.load.outcomes.reached) else "none decided yet"


class LabelJob(Group):
    name, stream, group, topic = "label job", names.LABEL, LABEL_GROUP, topics.LABELS
    most_delay = 2.0

    def point(self, at_stop: Ends) -> str:  # noqa: ARG002
        waiting = [name for name in self.load.labelled if name not in self.load.outcomes.decided]
        return "labels wait for their payments" if waiting else "labels asked for"


class Bronze(Victim):
    """The process of the query."""

    name = "bronze (Python)"
    most_delay = 0.5

    def pid(self) -> int:
        return self.instance.holder(names.BRONZE)

    def provoke(self) -> None:
        """Wait for the next batch to begin."""
        seen, deadline = self._newest(), time.monotonic() + 20
        while self._newest() == seen and time.monotonic() < deadline:
            time.sleep(0.01)

    def _newest(self) -> int:
        folder = self.settings.root / "streams" / "bronze" / "offsets"
        return max((int(path.name) for path in folder.glob("[0-9]*")), default=-1)

    def in_hand(self) -> Caught | None:
        batch = self._newest()
        # Python may just have handed the batch back, and Spark be about to finish it.
        time.sleep(0.05)
        if (self.settings.root / "streams" / "bronze" / "commits" / str(batch)).exists():
            return None
        tables = sum(self._has(topic, batch) for topic in topics.ALL)
        return Caught("a batch, some tables written" if tables else "a batch, no table written", 1)

    def _has(self, topic: str, batch: int) -> bool:
        folder = Path(self.settings.lake) / topics.bronze_table(topic) / "_delta_log"
        newest = max(folder.glob("*.json"), default=None)
        lines = newest.read_text().splitlines() if newest else []
        return any(json.loads(line).get("txn", {}).get("version") == batch for line in lines)

    def is_done(self, wanted: Ends) -> bool:
        return behind(self.instance.bronze_reached(), wanted) == 0


class BronzeJvm(Bronze):
    name = "Spark driver (JVM)"

    def pid(self) -> int:
        python = self.instance.holder(names.BRONZE)
        with suppress(psutil.Error):
            children = psutil.Process(python).children() if python else []
            return next((child.pid for child in children if child.name() == "java"), 0)
        return 0


class Broker(Victim):
    name = "broker"
    most_delay = 0.03

    def pid(self) -> int:
        return self.instance.recorded("kafka")

    def provoke(self) -> None:
        self.load.burst("kafka", 60)
        self.load.burst("rest", 6)

    def in_hand(self) -> Caught | None:
        waiting = len(self.load.unacknowledged)
        point = "produced, not acknowledged" + (", and decisions of REST" if self.load.asked else "")
        return Caught(point, waiting) if waiting else None

    def is_back(self, dead: int) -> bool:
        return super().is_back(dead) and patiently(lambda: ends(self.settings, (topics.DECISIONS,))) is not None

    def is_done(self, wanted: Ends) -> bool:
        parts: list[Victim] = [ScoringJob(self.instance), LabelJob(self.instance), Bronze(self.instance)]
        return not self.load.asked and all(part.is_done(wanted) for part in parts)


class ServiceParent(Victim):
    name = "service (parent)"
    most_delay = 0.02

    def pid(self) -> int:
        return self.instance.recorded("serving")

    def provoke(self) -> None:
        self.load.burst("rest", 12)

    def in_hand(self) -> Caught | None:
        asked = set(self.load.asked)
        # A moment, in which what was published arrives here.
        time.sleep(0.02)
        published = [name for name in asked if name in self.load.outcomes.decided]
        point = "requests, some decided and not answered" if published else "requests, none decided"
        self._asked = asked
        return Caught(point, len(asked)) if asked else None

    def is_back(self, dead: int) -> bool:
        if not super().is_back(dead):
            return False
        try:
            return httpx.get(f"{self.settings.service}/readyz", timeout=1, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def is_done(self, wanted: Ends) -> bool:
        return not self._asked & self.load.asked and ScoringJob(self.instance).is_done(wanted)


class ServiceWorker(ServiceParent):
    name = "service (worker)"

    def pid(self) -> int:
        parent = super().pid()
        with suppress(psutil.Error):
            children = psutil.Process(parent).children() if parent else []
            return max((child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE), default=0)
        return 0


class Daemon(Victim):
    """In the middle of a sensor's tick."""

    name = "Dagster daemon"
    most_delay = 0.0
    ticks = "schedules/schedules.db"

    def pid(self) -> int:
        return self.instance.recorded("dagster-daemon")

    def provoke(self) -> None:
        deadline = time.monotonic() + 20
        while not self.in_hand() and time.monotonic() < deadline:
            time.sleep(0.005)

    def in_hand(self) -> Caught | None:
        query = "select count(*) from job_ticks where status = 'STARTED' and timestamp > ?"
        ((ticks,),) = self.instance.rows(self.ticks, query, _stamp(time.time() - 3))
        return Caught("a sensor's tick", ticks) if ticks else None

    def is_back(self, dead: int) -> bool:
        record = read_record(self.instance.home, "dagster-daemon")
        if record is None or not super().is_back(dead):
            return False
        query = "select count(*) from job_ticks where status in ('SKIPPED', 'SUCCESS') and timestamp > ?"
        return bool(self.instance.rows(self.ticks, query, _stamp(record.started_at))[0][0])

    def is_done(self, wanted: Ends) -> bool:  # noqa: ARG002
        return not self.instance.runs("QUEUED", "NOT_STARTED")


def _stamp(at: float) -> str:
    """A moment as Dagster's tables write it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


class QueueingDaemon(Daemon):
    """With a stream's next run in its queue: the label job was asked to end, and its keeper has asked for another."""

    def provoke(self) -> None:
        pid = self.instance.holder(names.LABEL)
        if pid:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while not self.in_hand() and time.monotonic() < deadline:
            time.sleep(0.005)

    def in_hand(self) -> Caught | None:
        queued = self.instance.runs("QUEUED")
        return Caught("a run is queued", len(queued)) if queued else None

    def is_done(self, wanted: Ends) -> bool:
        return super().is_done(wanted) and LabelJob(self.instance).is_done(wanted)


class CodeServer(Victim):
    """All streams are its children; they see that it is gone, and end."""

    name = "code server"

    def pid(self) -> int:
        pid = self.instance.recorded("dagster-code")
        self._streams = {name: self.instance.holder(name) for name in names.names(1)} if pid else {}
        return pid

    def in_hand(self) -> Caught | None:
        alive = sum(pid > 0 for pid in self._streams.values())
        self._before = dict(self._streams)
        return Caught("streams run", alive) if alive == len(names.names(1)) else None

    def is_back(self, dead: int) -> bool:
        if self.instance.recorded("dagster-code") in (0, dead):
            return False
        return all(self.instance.holder(name) not in (0, pid) for name, pid in self._before.items())

    def is_done(self, wanted: Ends) -> bool:
        parts: list[Victim] = [ScoringJob(self.instance), LabelJob(self.instance), Bronze(self.instance)]
        return all(part.is_done(wanted) for part in parts)
