"""The bronze query: five topics into five Delta tables, every message exactly once.

One Spark Structured Streaming query. Three things make it exact: Spark's checkpoint gives a batch the
same messages after a crash; Delta's ``txnAppId`` and ``txnVersion`` skip a batch that a table already
has; and whatever stands at or below the end a table had when this process started is compared with the
table by (partition, offset), which also covers a deleted checkpoint.

BronzeError
├── TopicRecreated     a topic's offsets mean other messages than the table's
├── CheckpointBehind   the checkpoint repeats batch numbers that a table has seen
└── QueryFailed        Spark gave up; the message names its cause
"""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient

from fraud_streaming.bronze_query import JvmLock, cause, latest_offsets, start
from fraud_streaming.bronze_rows import SOURCE, SPARK_SCHEMA, rows
from fraud_streaming.kafka import require_topics
from fraud_streaming.lifetime import Cadence, Report, Stop
from pix import topics
from pix.offline.session import TABLE_PROPERTIES
from pix.tokens import Keyring

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

# Every Python task costs 27 ms and every output partition a file.
TASKS = 2
POLL_SECONDS = 1
# Plans this small take longer to compile than to run.
SESSION: Mapping[str, str] = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
STOP_SECONDS = 20.0


class BronzeError(Exception):
    """The bronze query cannot go on."""


class TopicRecreated(BronzeError):
    """A topic's offsets mean other messages than the table's."""


class CheckpointBehind(BronzeError):
    """The checkpoint repeats batch numbers that a table has seen."""


class QueryFailed(BronzeError):
    """Spark gave up."""


@dataclass(slots=True)
class TableStats:
    """One table since the stream started, and since the last report.

    Attributes:
        rows: Rows written since the start.
        new_rows: Rows written since the last report.
        offsets: Next offset per partition.
        behind: Messages in the topic that are not in the table yet, as of the newest batch.
        skipped: Offsets that held no message: expired before they were read, or a sender's transaction
            markers.
        latency_ms_max: Longest time from Kafka's timestamp to the commit, since the last report.
    """

    rows: int = 0
    new_rows: int = 0
    offsets: dict[int, int] = field(default_factory=dict)
    behind: int = 0
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
        create_tables(spark, lake)
        writer = BronzeWriter(spark, lake, application_id(checkpoint, lambda: f"bronze-{uuid.uuid4()}"), keyring)
        query = start(spark, kafka, checkpoint, trigger_seconds, writer.write)
        cadence = cadence or Cadence()
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


def create_tables(spark: "SparkSession", lake: str) -> None:
    """Create the tables that are missing, empty, so that readers find them from the first moment."""
    from delta.tables import DeltaTable

    properties = ", ".join(f"'{name}'='{value}'" for name, value in TABLE_PROPERTIES.items())
    for topic in topics.ALL:
        path = table_path(lake, topic)
        if not DeltaTable.isDeltaTable(spark, path):
            spark.sql(f"CREATE TABLE delta.`{path}` ({SPARK_SCHEMA}) USING delta TBLPROPERTIES ({properties})")


def table_path(lake: str, topic: str) -> str:
    """Address of a topic's table."""
    return f"{lake}/{topics.bronze_table(topic)}"


def application_id(checkpoint: Path, new_id: Callable[[], str]) -> str:
    """Name under which Delta remembers batch numbers; a new one whenever they start from 0 again.

    With the old name Delta would take the first batches of a new checkpoint for repetitions and skip
    them without a word.
    """
    beside = checkpoint.with_name(f"{checkpoint.name}.application-id")
    has_batches = any(path.name.isdigit() for path in (checkpoint / "offsets").glob("*"))
    if has_batches and beside.exists():
        return beside.read_text().strip()
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    fresh = new_id()
    written = beside.with_name(f"{beside.name}.new")
    written.write_text(fresh)
    written.replace(beside)
    return fresh


class BronzeWriter:
    """Writes batches and counts what it wrote."""

    def __init__(self, spark: "SparkSession", lake: str, application: str, keyring: Keyring) -> None:
        self._spark = spark
        self._lake = lake
        self._application = application
        self._keyring = keyring
        self._known = {topic: _Known.read(table_path(lake, topic), application) for topic in topics.ALL}
        self._batch_ms: list[float] = []
        self.stats = Stats()
        self.error: BronzeError | None = None
        for topic, known in self._known.items():
            self.stats.tables[topic].offsets = {part: end + 1 for part, end in known.ends.items()}

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
        translate = partial(rows, keyring=self._keyring, now_ms=int(started * 1000))
        made = _source_columns(messages).coalesce(TASKS).mapInArrow(translate, SPARK_SCHEMA).persist()
        try:
            for topic, parts in _present(made).items():
                self._append(topic, made.where(made.topic == topic), parts, batch)
        finally:
            made.unpersist()
        self.stats.batches += 1
        self._batch_ms.append((time.time() - started) * 1000)

    def _append(self, topic: str, frame: "DataFrame", parts: "dict[int, _Part]", batch: int) -> None:
        known = self._known[topic]
        seen = {part: known.ends[part] for part in parts if parts[part].first <= known.ends.get(part, -1)}
        if seen:
            frame = self._unseen(topic, frame, min(parts[part].first for part in seen))
        if known.version >= batch:
            self._skip(topic, frame, known.version, batch)
            return
        (
            frame.coalesce(1)
            .write.format("delta")
            .mode("append")
            .option("txnAppId", self._application)
            .option("txnVersion", batch)
            .save(table_path(self._lake, topic))
        )
        self._count(topic, parts, seen)

    def _skip(self, topic: str, frame: "DataFrame", version: int, batch: int) -> None:
        """A batch that the table has by number must bring nothing new; Delta would drop it in silence."""
        if not frame.isEmpty():
            raise CheckpointBehind(
                f"{table_path(self._lake, topic)} has batch {version} of {self._application}, the checkpoint is at "
                f"{batch} with other messages; delete the checkpoint folder as a whole, the tables stay as they are"
            )

    def _unseen(self, topic: str, frame: "DataFrame", first: int) -> "DataFrame":
        """The rows that the table has not; it may have them from a batch this checkpoint forgot."""
        path = table_path(self._lake, topic)
        there = self._spark.read.format("delta").load(path).where(f"offset >= {first}")
        there = there.selectExpr("partition", "offset", "timestamp_ms AS there_ms")
        both = frame.join(there, ["partition", "offset"], "left")
        other = both.where("there_ms <> timestamp_ms").head()
        if other is not None:
            raise TopicRecreated(
                f"{topic} partition {other.partition} offset {other.offset} is another message than the one in "
                f"{path}: the topic was created anew; move that table and the checkpoint away to start over"
            )
        return both.where("there_ms IS NULL").select(*frame.columns)

    def _count(self, topic: str, parts: "dict[int, _Part]", seen: Mapping[int, int]) -> None:
        stats = self.stats.tables[topic]
        now_ms = time.time_ns() // 1_000_000
        for part, found in parts.items():
            repeated = min(found.count, seen[part] - found.first + 1) if part in seen else 0
            stats.rows += found.count - repeated
            stats.new_rows += found.count - repeated
            stats.skipped += (
                max(0, found.first - stats.offsets.get(part, 0)) + found.last - found.first + 1 - found.count
            )
            stats.offsets[part] = max(stats.offsets.get(part, 0), found.last + 1)
            stats.latency_ms_max = max(stats.latency_ms_max, now_ms - found.oldest_ms)

    def told(self, query: "StreamingQuery") -> dict[str, object]:
        """``Stats`` as a dictionary; starts a new period."""
        for topic, latest in latest_offsets(query).items():
            table = self.stats.tables[topic]
            table.behind = sum(max(0, end - table.offsets.get(part, 0)) for part, end in latest.items())
        times, self._batch_ms = self._batch_ms, []
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


@dataclass(frozen=True, slots=True)
class _Known:
    """What a table held when this process started: last offset per partition, last batch of our name."""

    ends: Mapping[int, int]
    version: int

    @classmethod
    def read(cls, path: str, application: str) -> "_Known":
        import pyarrow as pa
        from deltalake import DeltaTable, QueryBuilder

        table = DeltaTable(path.replace("s3a://", "s3://", 1))
        found = (
            QueryBuilder()
            .register("bronze", table)
            .execute('SELECT "partition", max("offset") AS last FROM bronze GROUP BY "partition"')
            .read_all()
        )
        ends = {row["partition"]: row["last"] for row in pa.table(found).to_pylist()}
        version = table.transaction_version(application)
        return cls(ends, -1 if version is None else version)


def _source_columns(messages: "DataFrame") -> "DataFrame":
    return messages.selectExpr(
        *(f"unix_millis(timestamp) AS {name}" if name == "timestamp_ms" else name for name in SOURCE)
    )


def _present(made: "DataFrame") -> dict[str, dict[int, _Part]]:
    """The topics that a batch has rows of, in the order of ``topics.ALL``."""
    # Grouped here and not in Spark: a shuffle of a few thousand rows costs more than the rows.
    places = made.select("topic", "partition", "offset", "timestamp_ms").toArrow()
    found = places.group_by(["topic", "partition"]).aggregate(
        [("offset", "count"), ("offset", "min"), ("offset", "max"), ("timestamp_ms", "min")]
    )
    parts: dict[str, dict[int, _Part]] = {topic: {} for topic in topics.ALL}
    for row in found.to_pylist():
        parts[row["topic"]][row["partition"]] = _Part(
            row["offset_count"], row["offset_min"], row["offset_max"], row["timestamp_ms_min"]
        )
    return {topic: present for topic, present in parts.items() if present}


def _finish_batch(query: "StreamingQuery", stats: Stats) -> None:
    # Under load one trigger follows the other at once, so the end of a batch is seen by its count.
    batches, deadline = stats.batches, time.monotonic() + STOP_SECONDS
    while query.isActive and stats.batches == batches and time.monotonic() < deadline:
        if not query.status["isTriggerActive"]:
            return
        time.sleep(0.05)
