"""The bronze query as a process of its own, which dies where it is told to.

``bronze_job.py BOOTSTRAP HOME ORDER``; the order is JSON of ``Order``. Points of a batch, in their order:

    called    nothing of the batch was made
    made      its rows are made, no table has them
    written   one table's data file is in the folder, and the log does not know it: the place of its commit is taken
    between   one table has the batch, another has not
    done      every table has it, Spark's checkpoint does not know
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from fraud_streaming import bronze, bronze_tables
from fraud_streaming.lifetime import Cadence, Stop
from pix import topics
from pix.tokens import load_keyring

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

POINTS = ("called", "made", "written", "between", "done")
VICTIMS = ("group", "python", "jvm")
TRIGGER_SECONDS = 0.5
LAST_WORDS = "last-words"
"""File in the home: what ended the process, if that was an error."""


@dataclass(frozen=True)
class Order:
    """One life.

    Attributes:
        point: Where it ends; nowhere if empty.
        after: How many batches it writes before.
        victim: Who is killed: this process with its JVM, this process alone, or the JVM alone.
        forgets: Plants the fault that the protections are there for: no batch is known, nothing is compared.
    """

    point: str = ""
    after: int = 0
    victim: str = "group"
    forgets: bool = False


class MortalWriter(bronze.BronzeWriter):
    """Waits for its point, says what is true there, and is gone."""

    order: Order
    home: Path

    def _write(self, messages: "DataFrame", batch: int) -> None:
        self._batch, self._appended, self._one_at_a_time = batch, 0, threading.Lock()
        self._present: list[str] = []
        # A batch that comes again and is there already has none of the other points.
        self._is_repeated = any(self._has(topic) for topic in topics.ALL)
        self._at("called")
        super()._write(messages, batch)
        self._at("done")

    def _made(self, messages: "DataFrame", now_ms: int) -> dict[str, pa.Table]:
        found = super()._made(messages, now_ms)
        self._present = sorted(found)
        self._at("made")
        return found

    def _append(self, topic: str, rows: pa.Table, batch: int) -> None:
        # In turn, so that there is a moment between two tables.
        with self._one_at_a_time:
            if self._due("written"):
                self._die_before_the_commit(topic, rows, batch)
            before = self.stats.tables[topic].rows
            super()._append(topic, rows, batch)
            if self.stats.tables[topic].rows > before:
                self._say("rows.jsonl", topic=topic)
            self._appended += 1
            if self._appended < len(self._present):
                self._at("between")

    def _due(self, point: str) -> bool:
        is_passed = point == "done" or not self._is_repeated
        return self.order.point == point and self.stats.batches >= self.order.after and is_passed

    def _path(self, topic: str) -> str:
        return bronze_tables.table_path(str(self.home / "lake"), topic)

    def _die_before_the_commit(self, topic: str, rows: pa.Table, batch: int) -> None:
        """The file is written, its commit finds its place taken; the place is free again when the process dies."""
        folder = Path(self._path(topic))
        known, taken = set(folder.glob("*.parquet")), self._following_commit(folder)
        taken.mkdir()
        with suppress(CommitFailedError):
            super()._append(topic, rows, batch)
        taken.rmdir()
        orphan = next(iter(set(folder.glob("*.parquet")) - known))
        self._kill("written", topic=topic, orphan=orphan.name)

    @staticmethod
    def _following_commit(folder: Path) -> Path:
        return folder / "_delta_log" / f"{DeltaTable(str(folder)).version() + 1:020}.json"

    def _at(self, point: str) -> None:
        if self._due(point):
            self._die(point)

    def _die(self, point: str) -> None:
        have = [topic for topic in topics.ALL if self._has(topic)]
        self._kill(point, present=self._present, have=have)

    def _kill(self, point: str, **facts: object) -> None:
        self._say("deaths.jsonl", point=point, victim=self.order.victim, **facts)
        if self.order.victim == "jvm":
            from pyspark import SparkContext

            os.kill(SparkContext._gateway.proc.pid, signal.SIGKILL)  # noqa: SLF001 - PySpark has no public way to ask
        elif self.order.victim == "python":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            os.killpg(0, signal.SIGKILL)

    def _has(self, topic: str) -> bool:
        return DeltaTable(self._path(topic)).transaction_version(self._application) == self._batch

    def _say(self, name: str, **facts: object) -> None:
        line = {"pid": os.getpid(), "at": time.time(), "batch": self._batch, "application": self._application, **facts}
        with (self.home / name).open("a") as log:
            log.write(json.dumps(line) + "\n")


class ForgetfulWriter(MortalWriter):
    """Without what makes it exact."""

    def _append(self, topic: str, rows: pa.Table, batch: int) -> None:
        self._ends[topic] = {}
        self._application = f"{os.getpid()}"
        super()._append(topic, rows, batch)


def main(bootstrap: str, folder: str, words: str) -> None:
    """Run until SIGTERM or death."""
    from pyspark.sql import SparkSession

    from pix.offline.session import end_session, spark_config, use_this_python

    home, order = Path(folder), Order(**json.loads(words))

    def say_why(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        (home / LAST_WORDS).write_text(f"{kind.__name__}: {error}")
        sys.__excepthook__(kind, error, trace)

    # Other threads may go on complaining in the log.
    sys.excepthook = say_why
    MortalWriter.order, MortalWriter.home = order, home
    bronze.BronzeWriter = ForgetfulWriter if order.forgets else MortalWriter  # type: ignore[misc]
    use_this_python()
    builder = SparkSession.builder
    for name, value in spark_config(tmp_dir=home / "tmp", memory="700m", extra=bronze.SESSION).items():
        builder = builder.config(name, value)
    stop, spark = Stop(), builder.getOrCreate()
    stop.arm()
    try:
        bronze.run(
            spark,
            kafka={"bootstrap.servers": bootstrap},
            lake=str(home / "lake"),
            checkpoint=home / "streams" / "bronze",
            lock=home / "locks" / "bronze.jvm",
            keyring=load_keyring(home / "secrets"),
            trigger_seconds=TRIGGER_SECONDS,
            stop=stop,
            report=lambda told: sys.stdout.write(f"{told}\n"),
            cadence=Cadence(every_seconds=1, first_seconds=0.5),
        )
    finally:
        end_session(spark)


if __name__ == "__main__":
    main(*sys.argv[1:])
