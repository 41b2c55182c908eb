"""The bronze query: every topic into its Delta table, every message exactly once.

One Spark Structured Streaming query reads Kafka, makes the rows in Python workers and keeps the offsets; delta-rs
appends. Three things make it exact: Spark's checkpoint gives a batch the same messages after a crash; the number of
the batch stands in the same commit as its rows (Delta's ``txn`` with ``appId`` and ``version``), so that a batch that a
table already has is skipped; and whatever stands at or below the end a table had when this process started is
compared with the table by (partition, offset), which also covers a deleted checkpoint.
"""

import logging
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from confluent_kafka.admin import AdminClient

from fraud_streaming import bronze_checkpoint, bronze_tables
from fraud_streaming.bronze_errors import BronzeError, CheckpointBehind, QueryFailed, TopicRecreated
from fraud_streaming.bronze_query import JvmLock, cause, jvm_is_gone, latest_offsets, source, start
from fraud_streaming.bronze_rows import CHUNK_SCHEMA, SOURCE, chunks, unpacked
from fraud_streaming.bronze_tables import table_path
from fraud_streaming.kafka import require_topics
from fraud_streaming.lifetime import Cadence, Report, Stop
from pix import topics
from pix.clock import epoch_ms
from pix.tokens import Keyring

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

LOG = logging.getLogger(__name__)
# Every Python task costs 27 ms.
TASKS = 2
POLL_SECONDS = 1
# Plans this small take longer to compile than to run.
SESSION: Mapping[str, str] = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
STOP_SECONDS = 20.0


@dataclass(slots=True)
class TableStats:
    """One table since the stream started, and since the last report.

    Attributes:
        rows: Rows written since the start.
        new_rows: Rows written since the last report.
        offsets: Next offset per partition.
        behind: Messages in the topic that are not in the table yet, as of the newest batch.
        compared: Messages since the start that the table turned out to have already.
        skipped: Offsets that held no message: expired before they were read, or a sender's transaction
            markers.
        latency_ms_max: Longest time from Kafka's timestamp to the commit, since the last report.
    """

    rows: int = 0
    new_rows: int = 0
    offsets: dict[int, int] = field(default_factory=dict)
    behind: int = 0
    compared: int = 0
    skipped: int = 0
    latency_ms_max: int = 0


@dataclass(slots=True)
class Stats:
    """The query since it started; times of batches in milliseconds since the last report."""

    batches: int = 0
    batch_ms_mean: float = 0.0
    batch_ms_max: float = 0.0
    tables: dict[str, TableStats] = field(default_factory=lambda: {topic: TableStats() for topic in topics.ALL})
    final: bool = False


def run(
    spark: "SparkSession",
    *,
    kafka: Mapping[str, str],
    lake: str,
    checkpoint: Path,
    lock: Path,
    keyring: Keyring,
    trigger_seconds: float,
    stop: Stop,
    report: Report,
    cadence: Cadence | None = None,
) -> None:
    """Write bronze until asked to stop.

    Args:
        spark: A session with ``pix.offline.session.spark_config`` and, to be fast, ``SESSION``.
        kafka: librdkafka configuration, ``bootstrap.servers`` included.
        lake: Root of the Delta tables.
        checkpoint: Folder for the query's state; the application id lies beside it.
        lock: File that the JVM locks while it may write.
        keyring: Keys of the tokens.
        trigger_seconds: Time from the start of one batch to the next.
        stop: Looked at between batches.
        report: Gets ``Stats`` as a dictionary, soon after the start, then per ``cadence``, and at the end.
        cadence: When to report.

    Raises:
        StreamError: Kafka or a topic is not there.
        BronzeError: See the module.
    """
    require_topics(AdminClient(dict(kafka)), topics.ALL, kafka)
    with JvmLock(spark, lock, stop) as mine:
        if not mine:
            return
        bronze_checkpoint.check(checkpoint)
        bronze_tables.create_tables(lake)
        for topic in topics.ALL:
            bronze_tables.check_table(table_path(lake, topic))
        bronze_tables.renew_properties(lake)
        application = bronze_checkpoint.application_id(checkpoint, lambda: f"bronze-{uuid.uuid4()}")
        writer = BronzeWriter(lake, application, keyring)
        writer.announce(checkpoint)
        try:
            query = start(source(spark, kafka), checkpoint, trigger_seconds, writer.write)
            _supervise(query, writer, stop, report, cadence or Cadence())
        except BronzeError:
            raise
        except Exception as error:
            if not jvm_is_gone():
                raise
            raise QueryFailed(
                "Spark's process is gone, killed or out of memory (see the kernel's log and this run's output); "
                "what it had not committed comes again when this job is started again"
            ) from error


def _supervise(query: "StreamingQuery", writer: "BronzeWriter", stop: Stop, report: Report, cadence: Cadence) -> None:
    """Report until asked to stop, or until the query ends by itself."""
    try:
        while query.isActive and not stop:
            stop.sleep(POLL_SECONDS)
            if cadence.due():
                report(writer.told(query))
        _finish_batch(query, writer.stats)
        if not query.isActive:
            raise writer.error or QueryFailed(cause(query))
    finally:
        query.stop()
        writer.stats.final = True
        report(writer.told(query))


class BronzeWriter:
    """Writes batches and counts what it wrote."""

    def __init__(self, lake: str, application: str, keyring: Keyring) -> None:
        self._application = application
        self._keyring = keyring
        # Kept open: opening reads the list of all files.
        self._tables = {topic: bronze_tables.open_table(table_path(lake, topic)) for topic in topics.ALL}
        self._ends = {topic: bronze_tables.ends(table) for topic, table in self._tables.items()}
        self._batch_ms: list[float] = []
        self.stats = Stats()
        self.error: BronzeError | None = None
        for topic, ends in self._ends.items():
            self.stats.tables[topic].offsets = {part: end + 1 for part, end in ends.items()}

    def announce(self, checkpoint: Path) -> None:
        """Say loudly that tables with rows meet a checkpoint without batches; no batch number protects them now."""
        has_batches = any((checkpoint / "offsets").glob("[0-9]*"))
        held = {topic: sum(end + 1 for end in ends.values()) for topic, ends in self._ends.items() if ends}
        if held and not has_batches:
            LOG.warning(
                "the checkpoint %s is gone or new, and the tables have rows: Kafka is read from its beginning as %s, "
                "and every message up to these ends is compared with its table: %s",
                checkpoint,
                self._application,
                held,
            )

    def write(self, messages: "DataFrame", batch: int) -> None:
        """One batch: made into rows once, then appended to the table of each topic that has some."""
        try:
            self._write(messages, batch)
        except BronzeError as error:
            # On its way through the JVM it would become text inside a Java exception.
            self.error = error
            raise

    def _write(self, messages: "DataFrame", batch: int) -> None:
        started = time.time()
        found = self._made(messages, int(started * 1000))
        # Tables are apart from each other, and delta-rs leaves Python's lock while it works.
        with ThreadPoolExecutor(TASKS) as pool:
            for done in [pool.submit(self._append, topic, rows, batch) for topic, rows in found.items()]:
                done.result()
        self.stats.batches += 1
        self._batch_ms.append((time.time() - started) * 1000)

    def _made(self, messages: "DataFrame", now_ms: int) -> dict[str, pa.Table]:
        translate = partial(chunks, keyring=self._keyring, now_ms=now_ms)
        return unpacked(source_columns(messages).coalesce(TASKS).mapInArrow(translate, CHUNK_SCHEMA).toArrow())

    def _append(self, topic: str, rows: pa.Table, batch: int) -> None:
        table = self._tables[topic]
        bronze_tables.refresh(table)
        parts, ends = _parts(rows), self._ends[topic]
        seen = {number: part for number, part in parts.items() if part.first <= ends.get(number, -1)}
        fresh = self._unseen(topic, table, rows, seen) if seen else rows
        version = table.transaction_version(self._application)
        if fresh.num_rows and version is not None and version >= batch:
            raise CheckpointBehind(
                f"{table.table_uri} has batch {version} of {self._application}, the checkpoint is at {batch} with "
                "other messages; delete the checkpoint folder as a whole, the tables stay as they are"
            )
        if fresh.num_rows:
            bronze_tables.append(table, fresh, self._application, batch)
        self._count(topic, parts, rows.num_rows - fresh.num_rows)

    def _unseen(self, topic: str, table: "DeltaTable", rows: pa.Table, seen: "Mapping[int, _Part]") -> pa.Table:
        """The rows that the table has not; it may have them from a batch this checkpoint forgot."""
        held = bronze_tables.held(table, {number: (part.first, part.last) for number, part in seen.items()})
        places = zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), strict=True)
        there = [held.get(place) for place in places]
        for number, (found, ours) in enumerate(zip(there, rows["timestamp_ms"].to_pylist(), strict=True)):
            if found is not None and found != ours:
                partition, offset = (rows[name][number].as_py() for name in ("partition", "offset"))
                raise TopicRecreated(
                    f"{topic} partition {partition} offset {offset} is another message than the one in "
                    f"{table.table_uri}: the topic was created anew; move that table and the checkpoint away to start "
                    "over"
                )
        return rows.filter(pa.array([found is None for found in there]))

    def _count(self, topic: str, parts: "Mapping[int, _Part]", repeated: int) -> None:
        stats = self.stats.tables[topic]
        now_ms = epoch_ms()
        new = sum(found.count for found in parts.values()) - repeated
        stats.rows += new
        stats.new_rows += new
        stats.compared += repeated
        for part, found in parts.items():
            stats.skipped += (
                max(0, found.first - stats.offsets.get(part, 0)) + found.last - found.first + 1 - found.count
            )
            stats.offsets[part] = max(stats.offsets.get(part, 0), found.last + 1)
            stats.latency_ms_max = max(stats.latency_ms_max, now_ms - found.oldest_ms)

    def batch_times(self) -> list[float]:
        """Time of each batch since this was asked before, milliseconds."""
        times, self._batch_ms = self._batch_ms, []
        return times

    def told(self, query: "StreamingQuery") -> dict[str, object]:
        """``Stats`` as a dictionary; starts a new period."""
        for topic, latest in latest_offsets(query).items():
            table = self.stats.tables[topic]
            table.behind = sum(max(0, end - table.offsets.get(part, 0)) for part, end in latest.items())
        times = self.batch_times()
        self.stats.batch_ms_mean = round(sum(times) / len(times), 1) if times else 0.0
        self.stats.batch_ms_max = round(max(times, default=0.0), 1)
        told = asdict(self.stats)
        for table in self.stats.tables.values():
            table.new_rows = table.latency_ms_max = 0
        return told


@dataclass(frozen=True, slots=True)
class _Part:
    """One partition's share of a batch."""

    count: int
    first: int
    last: int
    oldest_ms: int


def source_columns(messages: "DataFrame") -> "DataFrame":
    """What ``rows`` takes, of Spark's Kafka source."""
    return messages.selectExpr(
        *(f"unix_millis(timestamp) AS {name}" if name == "timestamp_ms" else name for name in SOURCE)
    )


def _parts(rows: pa.Table) -> dict[int, _Part]:
    """What a topic's rows of one batch are, per partition."""
    found = rows.group_by("partition").aggregate(
        [("offset", "count"), ("offset", "min"), ("offset", "max"), ("timestamp_ms", "min")]
    )
    return {
        row["partition"]: _Part(row["offset_count"], row["offset_min"], row["offset_max"], row["timestamp_ms_min"])
        for row in found.to_pylist()
    }


def _finish_batch(query: "StreamingQuery", stats: Stats) -> None:
    # Under load one trigger follows the other at once, so the end of a batch is seen by its count.
    batches, deadline = stats.batches, time.monotonic() + STOP_SECONDS
    while query.isActive and stats.batches == batches and time.monotonic() < deadline:
        if not query.status["isTriggerActive"]:
            return
        time.sleep(0.05)
