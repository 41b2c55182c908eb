"""The lake: Delta tables under one root, read and written by Spark, one writer per table.

The session is dagster-pyspark's. Tables are declared in ``pix.offline.tables``; a frame that differs from
its declaration is not written. Small Arrow tables do not come here: dagster-deltalake stores them.

LakeError
├── MissingTable     nothing was written there yet; the message says what to do
├── WrongSchema      a frame differs from the table's declaration
└── TableBusy        another process writes the table
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
import pyarrow as pa
from pydantic import PrivateAttr

from fraud_assets import notes
from pix import locks
from pix.offline.declaration import Table
from pix.offline.session import TABLE_PROPERTIES, end_session, spark_config
from pix.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame, SparkSession


class LakeError(Exception):
    """Root of the errors of this module."""


class MissingTable(LakeError):
    """Nothing was written there yet."""


class WrongSchema(LakeError):
    """A frame differs from the table's declaration."""


class TableBusy(LakeError):
    """Another process writes the table."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a table holds after a write.

    Attributes:
        table: Its declaration.
        path: Where it is.
        rows: Rows in the whole table.
        version: Delta version.
    """

    table: Table
    path: str
    rows: int
    version: int

    @property
    def key(self) -> dg.AssetKey:
        """The asset that the table is."""
        return dg.AssetKey(self.table.name.split("/"))

    def result(self, **metadata: Any) -> "dg.MaterializeResult[Any]":
        """The materialisation to report."""
        return dg.MaterializeResult(
            asset_key=self.key,
            metadata={
                "dagster/row_count": self.rows,
                "dagster/column_schema": column_schema(self.table),
                "delta_version": self.version,
                "path": dg.MetadataValue.path(self.path),
                **metadata,
            },
        )


def column_schema(table: Table) -> dg.TableSchema:
    """A table's declaration as Dagster shows it."""
    return dg.TableSchema(
        [dg.TableColumn(column.name, column.type, column.description or None) for column in table.columns]
    )


_SPARK_NAMES = {"long": "bigint", "integer": "int", "byte": "tinyint"}
"""Delta's names of types -> Spark's, as tables are declared in."""
_DELTA_NAMES = {spark: delta for delta, spark in _SPARK_NAMES.items()}


def _delta_type(spark: str) -> str | dict[str, Any]:
    """A declared type, a simple one or ``array<simple>``, as Delta's log spells it."""
    if spark.startswith("array<"):
        element = spark.removeprefix("array<").removesuffix(">")
        return {"type": "array", "elementType": _delta_type(element), "containsNull": True}
    return _DELTA_NAMES.get(spark, spark)


def _spark_type(delta: str | dict[str, Any]) -> str:
    """The way back."""
    if isinstance(delta, str):
        return _SPARK_NAMES.get(delta, delta)
    return f"array<{_spark_type(delta['elementType'])}>"


class LakeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Reads and writes the lake's Delta tables."""

    root: str
    locks: str
    tmp: str
    master: str = "local[2]"
    memory: str = "1500m"
    spark_settings: dict[str, str] = {}
    # Two jobs may meet on a table, such as the nightly one and `verify`; the second waits its turn.
    patience_seconds: float = 120.0

    _pyspark: Any = PrivateAttr(default=None)
    _owns_session: bool = PrivateAttr(default=False)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The lake that the settings name."""
        return cls(
            root=settings.lake,
            locks=str(settings.locks),
            tmp=str(settings.root / "tmp" / "spark"),
            master=settings.spark_master,
            memory=settings.spark_memory,
            spark_settings=settings.spark_config,
        )

    @property
    def spark(self) -> "SparkSession":
        """The session; started when first asked for."""
        if self._pyspark is None:
            from dagster_pyspark import LazyPySparkResource
            from pyspark import SparkContext

            # The active *session* belongs to a thread; whoever has a context had Spark before us.
            self._owns_session = SparkContext._active_spark_context is None  # noqa: SLF001
            config = spark_config(
                tmp_dir=Path(self.tmp), master=self.master, memory=self.memory, extra=self.spark_settings
            )
            self._pyspark = LazyPySparkResource(spark_config=config)
            version = self._pyspark.spark_session.version
            dg.get_dagster_logger().info("dagster-pyspark gave a Spark %s session on %s", version, self.master)
        session: SparkSession = self._pyspark.spark_session
        return session

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """End the session and its JVM, unless the process had one before."""
        if self._pyspark is not None and self._owns_session:
            end_session(self._pyspark.spark_session)
            self._pyspark = None

    def path(self, table: str) -> str:
        """Where a table is, e.g. of ``silver/payments``."""
        return f"{self.root}/{table}"

    def exists(self, table: str) -> bool:
        """Whether anything was ever written there."""
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(self.address(table))

    def read(self, table: str, *, version: int | None = None) -> "DataFrame":
        """A table as it is now, or as it was.

        Raises:
            MissingTable: Nothing was written there yet.
        """
        self._require(table)
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.path(table))

    def read_or_empty(self, table: Table) -> "DataFrame":
        """A table whose beginning is to have no rows, such as imports of a home that imported nothing."""
        return self.read(table.name) if self.exists(table.name) else self.empty(table)

    def empty(self, table: Table) -> "DataFrame":
        """No rows of a table."""
        return self.spark.createDataFrame([], table.ddl)

    def pandas(self, table: str, *, where: str = "true") -> "pd.DataFrame":
        """A table in memory, or the rows of it that match ``where``.

        Raises:
            MissingTable: Nothing was written there yet.
        """
        frame: pd.DataFrame = self.read(table).where(where).toPandas()
        return frame

    def rows(self, table: str) -> int:
        """How many rows a table has; 0 if it does not exist."""
        return self.log(table).count() if self.exists(table) else 0

    def ask(self, table: str, query: str, *, version: int | None = None) -> list[dict[str, Any]]:
        """The few rows that SQL over ``asked`` says of a table, without Spark; none if the table does not exist."""
        from deltalake import QueryBuilder

        if not self.exists(table):
            return []
        log = self.log(table)
        if version is not None:
            log.load_as_version(version)
        rows = QueryBuilder().register("asked", log).execute(query).read_all()
        found: list[dict[str, Any]] = pa.table(rows).to_pylist()
        return found

    def distinct(self, table: str, *columns: str, where: str = "true") -> set[tuple[Any, ...]]:
        """Distinct values of some columns, without Spark; none if the table does not exist."""
        query = f"select distinct {', '.join(columns)} from asked where {where}"  # noqa: S608 - names of our own code
        return {tuple(row[name] for name in columns) for row in self.ask(table, query)}

    def ends(self, table: str, *, version: int | None = None) -> dict[int, int]:
        """Kafka partition -> newest offset in a bronze table; none if the table does not exist."""
        query = 'select "partition" as part, max("offset") as last from asked group by 1'
        return {row["part"]: row["last"] for row in self.ask(table, query, version=version)}

    def types(self, table: str) -> dict[str, str]:
        """Column -> type as the table has them, without Spark.

        Raises:
            MissingTable: Nothing was written there yet.
        """
        fields = json.loads(self.log(table).schema().to_json())["fields"]
        return {field["name"]: _spark_type(field["type"]) for field in fields}

    def version(self, table: str) -> int:
        """A table's newest Delta version.

        Raises:
            MissingTable: Nothing was written there yet.
        """
        return self.log(table).version()

    def versions(self, *tables: str) -> dict[str, int | None]:
        """Newest version of each table, None where there is none; asked before reading, to note what was read."""
        return {table: self.version(table) if self.exists(table) else None for table in tables}

    def note(self, table: str) -> notes.Note | None:
        """What the newest noted write left beside its rows; None if there was none.

        Raises:
            MissingTable: Nothing was written there yet.
        """
        return notes.newest(self.log(table))

    def fits(self, table: Table) -> bool:
        """Whether a table is there, and in the shape of this build: rows of two shapes cannot stand together."""
        if not self.exists(table.name):
            return False
        declared = {column.name: column.type for column in table.columns}
        is_apart = tuple(self.log(table.name).metadata().partition_columns) == table.partitions
        return is_apart and self.types(table.name) == declared

    def overwrite(self, table: Table, frame: "DataFrame", *, note: Mapping[str, Any] | None = None) -> Written:
        """Replace a table, its columns too, in one commit.

        Raises:
            WrongSchema: The frame differs from the declaration.
            TableBusy: Another process writes the table.
        """
        return self._write(table, frame, {"overwriteSchema": "true", "userMetadata": json.dumps(dict(note or {}))})

    def replace(
        self, table: Table, frame: "DataFrame", *, where: str, note: Mapping[str, Any] | None = None
    ) -> Written:
        """Put these rows in place of those that match ``where``, in one commit; others get nulls in new columns.

        Raises:
            WrongSchema: The frame differs from the declaration.
            TableBusy: Another process writes the table.
        """
        options = {"replaceWhere": where, "mergeSchema": "true"} if self.exists(table.name) else {}
        return self._write(table, frame, {**options, "userMetadata": json.dumps(dict(note or {}))})

    def record(self, table: Table, row: Mapping[str, Any], *, where: str) -> Written:
        """Put one row of a ledger in place of those that match ``where``, without Spark: a tenth of its time.

        Raises:
            TableBusy: Another process writes the table.
        """
        from deltalake import write_deltalake

        with self.only_writer(table.name):
            if not self.exists(table.name):
                self._create(table)
            write_deltalake(self.address(table.name), table.arrow([row]), mode="overwrite", predicate=where)
        return self._written(table)

    def unchanged(self, table: Table) -> Written:
        """What a table holds; an empty one is created where there is none.

        Raises:
            TableBusy: Another process writes the table.
        """
        if not self.exists(table.name):
            with self.only_writer(table.name):
                self._create(table)
        return self._written(table)

    def _create(self, table: Table) -> None:
        """An empty table, by its log alone; does nothing where somebody was quicker."""
        from deltalake import DeltaTable, Schema

        columns = [
            {"name": c.name, "type": _delta_type(c.type), "nullable": True, "metadata": {}} for c in table.columns
        ]
        schema = Schema.from_json(json.dumps({"type": "struct", "fields": columns}))
        DeltaTable.create(
            self.address(table.name),
            schema,
            mode="ignore",
            partition_by=list(table.partitions) or None,
            configuration=dict(TABLE_PROPERTIES),
            # delta-rs does not know all of Delta's properties; Spark does.
            raise_if_key_not_exists=False,
        )

    def _write(self, table: Table, frame: "DataFrame", options: Mapping[str, str]) -> Written:
        _require_schema(table, frame)
        with self.only_writer(table.name):
            ordered = frame.select(*table.names)
            size = {"maxRecordsPerFile": str(table.rows_a_file)} if table.rows_a_file else {}
            writer = ordered.write.format("delta").mode("overwrite").options(**options, **size)
            writer.partitionBy(*table.partitions).save(self.path(table.name))
        return self._written(table)

    def _written(self, table: Table) -> Written:
        return Written(table, self.path(table.name), self.rows(table.name), self.version(table.name))

    def log(self, table: str) -> "DeltaTable":
        """A table by its transaction log alone: what it says takes milliseconds, and Spark a second to ask."""
        from deltalake import DeltaTable

        self._require(table)
        return DeltaTable(self.address(table))

    def address(self, table: str) -> str:
        """The table's path as delta-rs spells it; Hadoop has a scheme of its own for S3."""
        return self.path(table).replace("s3a://", "s3://", 1)

    def _require(self, table: str) -> None:
        if not self.exists(table):
            raise MissingTable(f"{table} does not exist in {self.root}: {_how_to_get(table)}")

    @contextmanager
    def only_writer(self, table: str, *, patience_seconds: float | None = None) -> Iterator[None]:
        """Keep other processes from writing a table meanwhile.

        Args:
            table: Its name.
            patience_seconds: How long to wait for another writer; the lake's own patience if None.

        Raises:
            TableBusy: Another process is still writing when the patience is over.
        """
        path = Path(self.locks) / f"lake-{table.replace('/', '-')}"
        if locks.holder(path) == os.getpid():
            # Who plans a write holds it from the plan on.
            yield
            return
        try:
            patience = self.patience_seconds if patience_seconds is None else patience_seconds
            with locks.held(path, patience_seconds=patience):
                yield
        except locks.LockHeld as held:
            raise TableBusy(f"process {held.pid} is writing {table}; try again when it is done") from held


def _how_to_get(table: str) -> str:
    if table.startswith("bronze/"):
        return "start the streams with `sentinela up`"
    return f"materialise {table} first (in Dagster, or `make demo` for everything)"


def _require_schema(table: Table, frame: "DataFrame") -> None:
    declared = {column.name: column.type for column in table.columns}
    found = dict(frame.dtypes)
    if declared == found:
        return
    differences = [
        f"{name}: declared {declared.get(name, 'nothing')}, got {found.get(name, 'nothing')}"
        for name in sorted(declared.keys() | found.keys())
        if declared.get(name) != found.get(name)
    ]
    raise WrongSchema(f"{table.name} was not written, its columns differ: {'; '.join(differences)}")
