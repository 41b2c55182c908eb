"""Kafka to bronze: the whole query against the same query to nowhere, what a trigger costs, how fresh a row is.

A real broker, the stream's own Spark session, payments and decision records as the service writes them. Both sides read
the same messages in the same steps; that every message is in its table is compared by a digest of what was sent.
"""

import hashlib
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pyarrow as pa
from confluent_kafka import Producer

from benchmarks.decisions import recorded_work
from benchmarks.instance import free_ports, payment_body, running
from fraud_streaming import bronze, bronze_query, bronze_tables
from fraud_streaming.bronze_rows import ARROW_SCHEMA, rows
from pix import topics
from pix.offline.tables import BRONZE_COLUMNS
from pix.settings import Settings
from pix.tokens import Keyring
from sentinela.runtime import home as homes
from sentinela.runtime import services
from sentinela.runtime.home import Home

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MESSAGES = 200_000
RECORDS = 2_000
ROUNDS = 2
VERSIONS = (10, 2_000)
SMALL, SMALL_BATCHES = 20, 20
PAIR = (topics.LABELS, topics.FOLDS)
TRIGGER_SECONDS = 2.0
SETTLE_SECONDS = 3.0
FRESH_SECONDS = 20
FRESH_A_SECOND = 50
SPARK_SCHEMA = ", ".join(f"`{column.name}` {column.type}" for column in BRONZE_COLUMNS)
KEYRING = Keyring(1, {1: b"k" * 32})


def bronze_rows() -> list[dict[str, object]]:
    """Every measurement of this file."""
    with tempfile.TemporaryDirectory() as name, _bench(Path(name)) as bench:
        sent = _send(bench.kafka, MESSAGES)
        with _peak_memory() as peak:
            caught_up = _over_noop(bench, sent)
        return [caught_up, _row("bronze: peak memory of JVM and Python workers, catching up", peak[0], 2_500, "MB"),
                _trigger(bench), _freshness(bench)]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Bench:
    """A broker with the topics, a session and a folder."""

    spark: "SparkSession"
    kafka: dict[str, str]
    folder: Path

    @contextmanager
    def query(
        self, name: str, lake: str, trigger_seconds: float, starting: str = "earliest"
    ) -> Iterator[bronze.BronzeWriter]:
        """The bronze query over a lake; stopped at the end."""
        bronze_tables.create_tables(lake)
        writer = bronze.BronzeWriter(lake, name, KEYRING)
        messages = bronze_query.source(self.spark, self.kafka, starting)
        query = bronze_query.start(messages, self.folder / name, trigger_seconds, writer.write)
        try:
            yield writer
            if not query.isActive:
                raise SystemExit(f"the query ended: {bronze_query.cause(query)}")
        finally:
            query.stop()


@contextmanager
def _bench(folder: Path) -> Iterator[_Bench]:
    from pyspark.sql import SparkSession

    from pix.offline.session import end_session, spark_config, use_this_python

    ports = free_ports(2)
    settings = Settings(home=folder / "home", kafka_port=ports[0], kafka_controller_port=ports[1])
    home = Home(settings.root)
    homes.prepare(home)
    use_this_python()
    with running(settings, home, services.BROKER):
        builder = SparkSession.builder
        for name, value in spark_config(tmp_dir=folder / "spark", extra=bronze.SESSION).items():
            builder = builder.config(name, value)
        spark = builder.getOrCreate()
        spark.sparkContext.setLogLevel("ERROR")
        try:
            yield _Bench(spark, dict(settings.kafka), folder)
        finally:
            end_session(spark)


def _send(kafka: dict[str, str], count: int) -> str:
    """Half payments, half decision records; a digest of all of them, whatever their order."""
    with tempfile.TemporaryDirectory() as folder:
        records = [message.value for message, _ in recorded_work(Path(folder), RECORDS)]
    draw, producer, total = random.Random(1), Producer(kafka), 0  # noqa: S311 - a benchmark's payments
    for number in range(count // 2):
        payment, record = payment_body(draw, number), records[number % RECORDS]
        for topic, value in ((topics.TRANSACTIONS, payment), (topics.DECISIONS, record)):
            producer.produce(topic, value=value)
        total += _digest(KEYRING.body_token(hashlib.sha256(payment).hexdigest())) + _digest(record.decode())
        if number % 1_000 == 0:
            producer.flush(30)
    if producer.flush(60):
        raise SystemExit("Kafka did not take the messages; nothing is measured")
    return f"{total:x}"


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _stored_digest(lake: str) -> str:
    from deltalake import DeltaTable

    total = 0
    for topic, column in ((topics.TRANSACTIONS, "body_token"), (topics.DECISIONS, "value")):
        table = DeltaTable(bronze_tables.table_path(lake, topic))
        for batch in table.scan(columns=[column]):
            total += sum(_digest(text) for text in pa.record_batch(batch).column(0).to_pylist())
    return f"{total:x}"


def _over_noop(bench: _Bench, sent: str) -> dict[str, object]:
    """Both sides in turn; the first round, which compiles, is not counted."""
    pairs = [(_ours(bench, number, sent), _noop(bench, number)) for number in range(ROUNDS + 1)][1:]
    mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    rates = [reference / ours for ours, reference in pairs]
    ratio = statistics.median(rates)
    return {
        "name": f"bronze: {MESSAGES:,} messages from Kafka / the same query to noop",
        "ours_us": mine / MESSAGES * 1e6, "reference_us": theirs / MESSAGES * 1e6, "ratio": mine / theirs,
        "ours_seconds": mine, "ours_rows_per_second": MESSAGES / mine,
        "reference_seconds": theirs, "reference_rows_per_second": MESSAGES / theirs,
        "note": f"rows/s of ours {ratio:.2f} of noop's, rounds {', '.join(f'{each:.2f}' for each in rates)} "
        "(target 0.7); every message in its table",
    }  # fmt: skip


def _ours(bench: _Bench, number: int, sent: str) -> float:
    lake = str(bench.folder / f"lake{number}")
    start = time.perf_counter()
    with bench.query(f"ours{number}", lake, 0) as writer:
        _until(lambda: sum(table.rows for table in writer.stats.tables.values()) >= MESSAGES)
        seconds = time.perf_counter() - start
    if _stored_digest(lake) != sent:
        raise SystemExit("the tables hold something else than what was sent; nothing is measured")
    return seconds


def _noop(bench: _Bench, number: int) -> float:
    translate = partial(rows, keyring=KEYRING, now_ms=1)
    made = (
        bronze.source_columns(bronze_query.source(bench.spark, bench.kafka))
        .coalesce(bronze.TASKS)
        .mapInArrow(translate, SPARK_SCHEMA)
    )
    start = time.perf_counter()
    stream = made.writeStream.format("noop").option("checkpointLocation", str(bench.folder / f"noop{number}"))
    query = stream.trigger(processingTime="0 seconds").start()
    _until(lambda: sum(each["numInputRows"] for each in query.recentProgress) >= MESSAGES)
    seconds = time.perf_counter() - start
    query.stop()
    return seconds


def _trigger(bench: _Bench) -> dict[str, object]:
    """Small batches into two tables that have many versions, and into the same when they had few, in turn."""
    lakes = {versions: str(bench.folder / f"versions{versions}") for versions in VERSIONS}
    for versions, lake in lakes.items():
        bronze_tables.create_tables(lake)
        _age(lake, topics.LABELS, versions)
        shutil.copytree(*(bronze_tables.table_path(lake, each) for each in PAIR), dirs_exist_ok=True)
    rounds = [
        [_small_batches(bench, lakes[versions], f"small{versions}-{number}") for versions in VERSIONS]
        for number in range(ROUNDS + 1)
    ][1:]
    few, many = (statistics.median(times) for times in zip(*rounds, strict=True))
    told = ", ".join(f"{after / before:.2f}" for before, after in rounds)
    return {
        "name": f"bronze: a batch of {SMALL} messages for each of two tables, version {VERSIONS[1]:,} / {VERSIONS[0]}",
        "ours_us": many * 1e3, "reference_us": few * 1e3, "ratio": many / few, "note": f"rounds {told} (target 1.2)",
    }  # fmt: skip


def _age(lake: str, topic: str, versions: int) -> None:
    table = bronze_tables.open_table(bronze_tables.table_path(lake, topic))
    for number in range(versions):
        row: dict[str, Any] = dict.fromkeys(ARROW_SCHEMA.names)
        # A partition that Kafka has not: nothing of it is compared with what comes.
        row |= {"topic": topic, "partition": 99, "offset": number, "timestamp_ms": 1, "ingested_at_ms": 1}
        row_table = pa.Table.from_pylist([row], schema=ARROW_SCHEMA)
        bronze_tables.append(table, row_table, "before", number)


def _small_batches(bench: _Bench, lake: str, name: str) -> float:
    """Median time of a batch, milliseconds."""
    producer = Producer(bench.kafka)
    with bench.query(name, lake, 0, "latest") as writer:
        time.sleep(SETTLE_SECONDS)
        for _ in range(SMALL_BATCHES):
            before = writer.stats.batches
            for topic in PAIR * SMALL:
                producer.produce(topic, value=b"x" * 500)
            producer.flush(10)
            _until(lambda before=before: writer.stats.batches > before)  # type: ignore[misc]
            time.sleep(0.3)
        times = writer.batch_times()
    return statistics.median(times[5:])


def _freshness(bench: _Bench) -> dict[str, object]:
    """From produce to the commit that makes a row readable, at the default trigger."""
    seconds: list[float] = []
    produced: list[float] = []
    ended = threading.Event()

    def send() -> None:
        producer = Producer(bench.kafka)
        while not ended.wait(1 / FRESH_A_SECOND):
            produced.append(time.time())
            producer.produce(topics.FOLDS, value=b"x" * 500)
            producer.poll(0)
        producer.flush(10)

    sender = threading.Thread(target=send)
    with bench.query("fresh", str(bench.folder / "fresh-lake"), TRIGGER_SECONDS, "latest") as writer:
        time.sleep(SETTLE_SECONDS)
        sender.start()
        until = time.monotonic() + FRESH_SECONDS
        while time.monotonic() < until:
            readable, now = writer.stats.tables[topics.FOLDS].rows, time.time()
            seconds += [now - at for at in produced[len(seconds) : readable]]
            time.sleep(0.01)
        ended.set()
        sender.join()
    seconds.sort()
    p50, p95 = (seconds[int(len(seconds) * share)] for share in (0.5, 0.95))
    row = _row("bronze: from produced to readable at a trigger of 2 s, p95", p95, 5.0, "s")
    return {**row, "note": f"p50 {p50:.2f}, p95 {p95:.2f}, longest {seconds[-1]:.2f} s of {len(seconds)} (target 5)"}


@contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """Largest sum of the resident memory of this process, its JVM and their workers, MB."""
    peak, ended = [0.0], threading.Event()

    def look() -> None:
        while not ended.wait(0.2):
            resident = 0
            for each in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    is_broker = "kafka.Kafka" in each.cmdline()
                    resident += 0 if is_broker else each.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak[0] = max(peak[0], resident / 2**20)

    looking = threading.Thread(target=look)
    looking.start()
    yield peak
    ended.set()
    looking.join()


def _until(true: Any) -> None:
    deadline = time.monotonic() + 120
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit("the query does not come forward; nothing is measured")
        time.sleep(0.01)


def _row(name: str, value: float, target: float, unit: str) -> dict[str, object]:
    note = f"{value:.1f} {unit} (target {target:g})"
    return {"name": name, "ours_us": value, "reference_us": target, "ratio": value / target, "note": note}
