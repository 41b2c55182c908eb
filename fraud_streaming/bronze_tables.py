"""The bronze tables: made, examined, appended to. delta-rs is their only writer.

Through Spark's own Delta writer a batch of 20 rows took 700 to 800 ms a table here, nearly two thirds of it jobs that
compute the table's state anew to look up ``txnAppId``; delta-rs writes the same log in about 15 ms.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from fraud_streaming.bronze_errors import TableDamaged
from fraud_streaming.bronze_rows import ARROW_SCHEMA
from pix import topics
from pix.offline.care import BRONZE, properties
from pix.offline.session import TABLE_PROPERTIES

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyarrow.fs import FileSystem

CHECKPOINT_EACH = 25
ATTEMPTS = 5
PROPERTIES: Mapping[str, str] = {
    # delta-rs takes the mere name of this one for a feature that it does not know.
    **{name: value for name, value in TABLE_PROPERTIES.items() if name != "delta.enableRowTracking"},
    # Readers look for ranges of these; the smallest and largest text of a column would fill the log.
    "delta.dataSkippingStatsColumns": "partition,offset,timestamp_ms",
    # The stream clears its own log: it writes a commit every two seconds, and nobody needs the old ones (`BRONZE`).
    "delta.enableExpiredLogCleanup": "true",
    **properties(BRONZE),
    # A reader opens so many JSON files at most.
    "delta.checkpointInterval": str(CHECKPOINT_EACH),
}
Place = tuple[int, int]
"""Partition and offset."""


def create_tables(lake: str) -> None:
    """Create the tables that are missing, empty, so that readers find them from the first moment."""
    from deltalake import DeltaTable

    for topic in topics.ALL:
        path = table_path(lake, topic)
        if not DeltaTable.is_deltatable(path):
            DeltaTable.create(path, ARROW_SCHEMA, configuration=dict(PROPERTIES))


def renew_properties(lake: str) -> None:
    """Give tables of earlier builds the properties of this one. While rows come nobody may: their commit would fail."""
    for topic in topics.ALL:
        table = open_table(table_path(lake, topic))
        known = table.metadata().configuration
        if lacking := {name: value for name, value in PROPERTIES.items() if known.get(name) != value}:
            table.alter.set_table_properties(lacking, raise_if_not_exists=False)


def table_path(lake: str, topic: str) -> str:
    """Address of a topic's table."""
    return f"{lake.replace('s3a://', 's3://', 1)}/{topics.bronze_table(topic)}"


def open_table(path: str) -> "DeltaTable":
    """A table as of now.

    Raises:
        TableDamaged: It cannot be read.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        return DeltaTable(path)
    except (DeltaError, TableNotFoundError) as error:
        check_log(path)
        raise TableDamaged(_damaged(path, f"cannot be opened ({str(error)[:500]})")) from error


def append(table: "DeltaTable", rows: pa.Table, application: str, batch: int) -> None:
    """Add rows in one commit, and with it the note that the table has this batch; the table is then as of that commit.

    Raises:
        TableDamaged: The table's log cannot be read any more.
    """
    from deltalake import CommitProperties, PostCommitHookProperties, Transaction, write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    noted = CommitProperties(app_transactions=[Transaction(application, batch)])
    # At version 2,000 the hooks, which look at the whole log after each commit, took longer than the commit.
    no_hooks = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
    try:
        for attempt in range(ATTEMPTS):
            try:
                write_deltalake(
                    table, rows, mode="append", commit_properties=noted, post_commithook_properties=no_hooks
                )
                break
            except CommitFailedError:
                # In this moment rows whose time was over went; or another stream wrote this batch.
                refresh(table)
                seen = table.transaction_version(application)
                if attempt == ATTEMPTS - 1 or (seen is not None and seen >= batch):
                    raise
        if table.version() % CHECKPOINT_EACH == 0:
            table.create_checkpoint()
            table.cleanup_metadata()
    except CommitFailedError:
        raise
    except DeltaError as error:
        check_log(table.table_uri)
        raise TableDamaged(_damaged(table.table_uri, f"cannot be written ({str(error)[:500]})")) from error


def refresh(table: "DeltaTable") -> None:
    """Bring a table that was kept open up to what its care did meanwhile: files put together, rows and commits gone.

    Raises:
        TableDamaged: The table's log cannot be read any more.
    """
    from deltalake.exceptions import DeltaError

    try:
        table.update_incremental()
    except DeltaError as error:
        check_log(table.table_uri)
        raise TableDamaged(_damaged(table.table_uri, f"cannot be read ({str(error)[:500]})")) from error


def ends(table: "DeltaTable") -> dict[int, int]:
    """Last offset per partition."""
    found = _query(table, 'SELECT "partition", max("offset") AS last FROM bronze GROUP BY "partition"')
    return {row["partition"]: row["last"] for row in found}


def held(table: "DeltaTable", ranges: Mapping[int, Place]) -> dict[Place, int]:
    """Kafka's timestamp of each row the table has within a first and a last offset of some partitions."""
    within = " OR ".join(
        f'("partition" = {part} AND "offset" BETWEEN {first} AND {last})' for part, (first, last) in ranges.items()
    )
    found = _query(table, f'SELECT "partition", "offset", timestamp_ms FROM bronze WHERE {within}')  # noqa: S608 - numbers
    return {(row["partition"], row["offset"]): row["timestamp_ms"] for row in found}


def _query(table: "DeltaTable", sql: str) -> list[dict[str, Any]]:
    from deltalake import QueryBuilder
    from deltalake.exceptions import DeltaError

    try:
        found = QueryBuilder().register("bronze", table).execute(sql).read_all()
    except (DeltaError, OSError) as error:
        raise TableDamaged(_damaged(table.table_uri, f"cannot be read ({str(error)[:500]})")) from error
    return list(pa.table(found).to_pylist())


@dataclass(frozen=True, slots=True)
class _Log:
    """A table's log, as files."""

    path: str
    files: "FileSystem"
    names: Sequence[str]

    @classmethod
    def of(cls, path: str) -> "_Log":
        files = files_of(path)
        from pyarrow.fs import FileSelector

        return cls(path, files, sorted(found.base_name for found in files.get_file_info(FileSelector("_delta_log"))))

    def read(self, name: str) -> bytes:
        with self.files.open_input_stream(f"_delta_log/{name}") as stream:
            content: bytes = stream.read()
        return content


def check_table(path: str) -> None:
    """Refuse a table whose log or files are not whole; rows that are not there would not be missed otherwise.

    Raises:
        TableDamaged: The message names the file.
    """
    from pyarrow.fs import FileSelector

    check_log(path)
    adds = pa.table(open_table(path).get_add_actions(flatten=True))
    there = {found.base_name: found.size for found in files_of(path).get_file_info(FileSelector(""))}
    for name, size in zip(adds["path"].to_pylist(), adds["size_bytes"].to_pylist(), strict=True):
        if name not in there:
            raise TableDamaged(_damaged(f"{path}/{name}", "is missing"))
        if there[name] != size:
            raise TableDamaged(_damaged(f"{path}/{name}", f"has {there[name]} bytes instead of {size}"))


def check_log(path: str) -> None:
    """Refuse a log whose newest checkpoint, or a commit after it, is not whole.

    Raises:
        TableDamaged: The message names the file.
    """
    log = _Log.of(path)
    checkpoints = [name for name in log.names if name.endswith(".checkpoint.parquet")]
    if "_last_checkpoint" in log.names:
        _check_json(log, "_last_checkpoint")
    since = -1
    if checkpoints:
        _check_parquet(log, checkpoints[-1])
        since = int(checkpoints[-1].split(".")[0])
    versions = [int(name[:-5]) for name in log.names if name.endswith(".json") and name[:-5].isdigit()]
    after = [version for version in versions if version > since]
    for version in after:
        _check_commit(log, f"{version:020}.json")
    if after and after != list(range(since + 1, after[-1] + 1)):
        lacking = min(set(range(since + 1, after[-1] + 1)) - set(after))
        raise TableDamaged(_damaged(f"{path}/_delta_log/{lacking:020}.json", "is missing"))


def _check_json(log: _Log, name: str) -> list[dict[str, Any]]:
    try:
        actions = [json.loads(line) for line in log.read(name).splitlines()]
    except ValueError as error:
        raise TableDamaged(_damaged(f"{log.path}/_delta_log/{name}", "is cut off")) from error
    if not actions:
        raise TableDamaged(_damaged(f"{log.path}/_delta_log/{name}", "is empty"))
    return actions


def _check_commit(log: _Log, name: str) -> None:
    """A commit that lost whole lines still reads well, but says how many files it brought."""
    actions = _check_json(log, name)
    metrics = next(
        (action["commitInfo"].get("operationMetrics", {}) for action in actions if "commitInfo" in action), None
    )
    if metrics is None:
        raise TableDamaged(_damaged(f"{log.path}/_delta_log/{name}", "has lost its first line"))
    # delta-rs and Spark, which wrote tables of earlier versions of this project.
    said = metrics.get("num_added_files", metrics.get("numFiles"))
    brought = sum("add" in action for action in actions)
    if said is not None and int(said) != brought:
        raise TableDamaged(_damaged(f"{log.path}/_delta_log/{name}", f"names {brought} of {said} files"))


def _check_parquet(log: _Log, name: str) -> None:
    try:
        pq.read_table(pa.BufferReader(log.read(name)))
    except (pa.ArrowInvalid, OSError) as error:
        raise TableDamaged(_damaged(f"{log.path}/_delta_log/{name}", "is not readable as Parquet")) from error


def files_of(path: str) -> "FileSystem":
    """A file system whose root is the table's folder, wherever the lake is."""
    from pyarrow.fs import FileSystem, SubTreeFileSystem

    if "://" not in path:
        files, folder = FileSystem.from_uri(f"file://{path}")
    else:
        files, folder = FileSystem.from_uri(path)
    return SubTreeFileSystem(folder, files)


def _damaged(path: str, how: str) -> str:
    return f"{path} {how}; nothing was written to it. docs/runbook.md, Bronze is damaged, says how to restore it"
