"""Offline windows: the engine's whole job per payment and feature, against RANGE windows in DuckDB and in Spark.

All three take the same payments on two cores with a warm session. SQL computes the features that a RANGE frame can
say, with windows of constant length; the engine computes all of them, from canonical JSON to packed vectors, with its
tail rounded to the hop. So the two SQL engines must agree with each other, bit for bit, and the engine with a join
that has its edges; nothing is measured otherwise. ``python -m benchmarks.windows`` takes these alone.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import psutil
import pyarrow.parquet as pq

from benchmarks import window_sql
from benchmarks.window_payments import Payments, payments
from pix.features import FEATURE_NAMES, FEATURES, ROLES
from pix.offline.session import end_session, spark_config, use_this_python

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROWS = int(os.environ.get("SENTINELA_BENCH_WINDOW_ROWS", "120000"))
ACCOUNTS = 100
WARM_ROWS, REFEREED_ROWS = 2_000, 3_000
ROUNDS = 3
PARTITIONS = 8
THREADS = 2
LABELS = "tenant string, end_to_end_id string, known_at_ms long, label_id string, kind string"


@dataclass(frozen=True, slots=True)
class Spent:
    """What a piece of work took: seconds by the clock, and of processors in this process and all below it."""

    seconds: float
    cpu_seconds: float


def spent(work: Callable[[], object]) -> Spent:
    """Run some work."""
    cpu, start = _cpu_seconds(), time.perf_counter()
    work()
    return Spent(time.perf_counter() - start, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    """Of this process, those below it, and those that ended below them."""
    here = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in (here, *here.children(recursive=True)))


@contextmanager
def session(folder: Path) -> "Iterator[SparkSession]":
    """A Spark session on two cores, as the platform has it."""
    from pyspark.sql import SparkSession

    use_this_python()
    builder = SparkSession.builder
    for name, value in spark_config(tmp_dir=folder / "spark", memory="3g").items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    try:
        yield spark
    finally:
        end_session(spark)


def windows_over_sql(rows: int = ROWS) -> list[dict[str, object]]:
    """Per payment and feature: ours against DuckDB's RANGE windows, and against Spark's."""
    made, small = payments(rows, ACCOUNTS, seed=1), payments(WARM_ROWS, ACCOUNTS, seed=2)
    with tempfile.TemporaryDirectory() as name, session(Path(name)) as spark:
        sides = {size: _Sides(spark, Path(name) / size, p) for size, p in (("small", small), ("large", made))}
        for side in (sides["small"].ours, sides["small"].in_duckdb, sides["small"].in_spark):
            side()
        large = sides["large"]
        rounds = [(spent(large.ours), spent(large.in_duckdb)) for _ in range(ROUNDS)]
        spark_side = spent(large.in_spark)
        large.require_equal()
        large.require_hops()
        mean_rows = large.mean_rows()
    of_sql, of_all = rows * len(window_sql.in_frames()), rows * len(FEATURES)
    ours, in_duckdb = ([pair[n] for pair in rounds] for n in (0, 1))
    shared = {"payments": rows, "features_ours": len(FEATURES), "features_sql": of_sql // rows, "mean_rows": mean_rows}
    return [
        shared | _compared("DuckDB", ours, of_all, in_duckdb, of_sql),
        shared | _compared("Spark", ours, of_all, [spark_side], of_sql),
    ]


def _compared(name: str, ours: list[Spent], of_all: int, theirs: list[Spent], of_sql: int) -> dict[str, object]:
    mine, reference = (statistics.median(s.seconds for s in side) for side in (ours, theirs))
    cpu, reference_cpu = (statistics.median(s.cpu_seconds for s in side) for side in (ours, theirs))
    return {
        "name": f"offline, per payment and feature: whole engine / {name} RANGE windows",
        "ours_us": mine / of_all * 1e6,
        "reference_us": reference / of_sql * 1e6,
        "ratio": (mine / of_all) / (reference / of_sql),
        "cpu_ratio": (cpu / of_all) / (reference_cpu / of_sql),
        "ours_seconds_all_features": mine,
        "reference_seconds_sql_features": reference,
        "note": (
            f"ours {mine / of_all * 1e9:.0f} ns ({mine:.1f} s, {cpu:.1f} CPU-s for {of_all:,} values), {name} "
            f"{reference / of_sql * 1e9:.0f} ns ({reference:.1f} s, {reference_cpu:.1f} CPU-s for {of_sql:,} values); "
            f"ratio of CPU seconds {(cpu / of_all) / (reference_cpu / of_sql):.3f}"
        ),
    }


class _Sides:
    """The same payments before the three engines, and what each made of them."""

    def __init__(self, spark: "SparkSession", folder: Path, made: Payments) -> None:
        folder.mkdir()
        self._spark, self._folder, self._made = spark, folder, made
        for name in ("history", "plain"):
            pq.write_table(getattr(made, name), folder / f"{name}.parquet", row_group_size=20_000)
        self._database = duckdb.connect(config={"threads": THREADS})
        self._database.execute(f"create table payments as select * from '{folder}/plain.parquet'")

    def _read(self, name: str) -> "DataFrame":
        return self._spark.read.parquet(str(self._folder / f"{name}.parquet"))

    def ours(self) -> None:
        """The engine, from canonical JSON to packed vectors on disk."""
        from pix.offline.features import of_history

        past, labels = self._read("history"), self._spark.createDataFrame([], LABELS)
        found = of_history(past, labels, past.limit(0), with_states=False, partitions=PARTITIONS)
        try:
            found.features.write.mode("overwrite").parquet(str(self._folder / "ours"))
        finally:
            found.release()

    def in_duckdb(self) -> None:
        """RANGE windows in DuckDB, from its own table to another."""
        self._database.execute(f"create or replace table ranged as {window_sql.range_query('payments')}")

    def in_spark(self) -> None:
        """RANGE windows in Spark, from Parquet to Parquet."""
        self._read("plain").createOrReplaceTempView("payments")
        query = self._spark.sql(window_sql.range_query("payments"))
        query.write.mode("overwrite").parquet(str(self._folder / "ranged"))

    def require_equal(self) -> None:
        """Stop if DuckDB and Spark differ in a bit of a value."""
        self._database.execute(f"create view theirs as select * from '{self._folder}/ranged/*.parquet'")
        mine, theirs = (self._columns(f"select * from {name} order by id") for name in ("ranged", "theirs"))
        _require(mine, theirs, "DuckDB and Spark")

    def require_hops(self) -> None:
        """Stop if the engine and a join with the windows' edges differ, on the keys' first payments."""
        vectors = pq.read_table(self._folder / "ours", columns=["end_to_end_id", "features"]).sort_by("end_to_end_id")
        matrix = np.frombuffer(b"".join(vectors["features"].to_pylist())).reshape(len(vectors), len(FEATURE_NAMES))
        self._database.register("events", self._made.events)
        first = "(select * from payments order by t limit " + f"{REFEREED_ROWS})"
        for role in ROLES:
            names, query = window_sql.hop_query(role, first, "events")
            ours = {name: matrix[:REFEREED_ROWS, FEATURE_NAMES.index(name)] for name in names}
            _require(ours, self._columns(query), "the engine and a join in DuckDB")

    def mean_rows(self) -> float:
        """Rows in a window, on average over payments and the features of SQL."""
        counts = []
        for feature in window_sql.in_frames():
            over = f"over (partition by {feature.entity} order by t range between {feature.window_ms} preceding"
            counts.append(f"avg(count(*) {over} and 1 preceding))")
        frames = sorted(set(counts))
        inner = ", ".join(f"{each.removeprefix('avg(')[:-1]} as n{n}" for n, each in enumerate(frames))
        outer = " + ".join(f"{counts.count(each)} * avg(n{n})" for n, each in enumerate(frames))
        (total,) = self._database.execute(f"select {outer} from (select {inner} from payments)").fetchone()  # noqa: S608
        return float(total) / len(counts)

    def _columns(self, query: str) -> dict[str, Any]:
        found = self._database.execute(query).fetchnumpy()
        return {name: np.ma.filled(column, np.nan) for name, column in found.items() if name != "id"}


def _require(mine: dict[str, Any], theirs: dict[str, Any], who: str) -> None:
    different = [name for name, values in mine.items() if not np.array_equal(values, theirs[name], equal_nan=True)]
    if different or mine.keys() != theirs.keys():
        raise SystemExit(f"{who} differ, nothing is measured: {different}")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(windows_over_sql(), indent=2) + "\n")
