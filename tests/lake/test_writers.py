"""Many writers of one table at once: what they were told succeeded is there, the rest was refused aloud."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tests.lake.writing import DeltaRs, Engine, Spark, Told, by_delta_rs, in_threads

SEED = 71
EXPLICIT = {
    "CommitFailedError",  # delta-rs
    "ConcurrentAppendException",
    "ConcurrentDeleteReadException",
    "ConcurrentDeleteDeleteException",
}


def begin(folder: Path) -> str:
    """A table without rows."""
    path = str(folder / "shared")
    DeltaTable.create(path, pa.schema([("id", pa.string()), ("n", pa.int64())]))
    return path


def require_what_was_told(path: str, told: Told) -> DeltaTable:
    table = DeltaTable(path)
    rows = pa.table(table.scan().read_all()).to_pylist()
    counted = {row["id"]: row["n"] for row in rows if row["id"].startswith("key")}
    appended = [row["id"] for row in rows if not row["id"].startswith("key")]
    assert sorted(appended) == sorted(told.appended)
    assert len(rows) == len(told.appended) + len(counted)
    assert counted == dict(told.counted)
    assert {refusal.partition(": ")[2] for refusal in told.refused} <= EXPLICIT
    return table


def figures(told: Told, table: DeltaTable) -> str:
    refused = ", ".join(f"{many} {what}" for what, many in sorted(told.refused.items())) or "none"
    return (
        f"{len(told.appended)} rows appended, {sum(told.counted.values())} counted by merges, {told.compacted} "
        f"compactions, {table.version()} commits; lost 0, twice 0; refused: {refused}"
    )


def test_what_writers_were_told_is_there(tmp_path, spark):
    engines: dict[str, Engine] = {"delta-rs": DeltaRs(), "spark": Spark(spark)}
    for name, engine in engines.items():
        (tmp_path / name).mkdir()
        path = begin(tmp_path / name)
        told = in_threads(engine, path, range(4), operations=2, seed=SEED)
        require_what_was_told(path, told)
        assert told.appended
        assert told.counted


@pytest.mark.faults
def test_fifty_threads_of_spark(tmp_path, spark, record_property):
    path = begin(tmp_path)
    told = in_threads(Spark(spark), path, range(50), operations=2, seed=SEED)
    table = require_what_was_told(path, told)
    assert spark.read.format("delta").load(path).count() == table.count()
    _report(record_property, "50 threads of one JVM, 2 operations each", told, table)


@pytest.mark.faults
def test_fifty_writers_by_delta_rs(tmp_path, record_property):
    path, told = begin(tmp_path), Told()
    groups = [list(range(first, first + 5)) for first in range(0, 50, 5)]
    with ProcessPoolExecutor(len(groups), mp_context=multiprocessing.get_context("spawn")) as pool:
        for each in [pool.submit(by_delta_rs, path, group, SEED, 6) for group in groups]:
            told += each.result()
    table = require_what_was_told(path, told)
    _report(record_property, "50 writers in 10 processes, 6 operations each", told, table)


def _report(record_property: Callable[[str, object], None], runs: str, told: Told, table: DeltaTable) -> None:
    record_property("seed", SEED)
    record_property("runs", runs)
    record_property("figures", figures(told, table))
