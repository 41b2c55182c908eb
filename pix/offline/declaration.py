"""How a lake table is declared: its columns, what they mean, and what one row is. Types are Spark's short names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ARROW_TYPES: Mapping[str, pa.DataType] = {
    "string": pa.string(),
    "bigint": pa.int64(),
    "long": pa.int64(),
    "int": pa.int32(),
    "byte": pa.int8(),
    "binary": pa.binary(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
}
"""Spark's short names of simple types -> Arrow's."""


@dataclass(frozen=True, slots=True)
class Column:
    """Name, Spark type and meaning of one column."""

    name: str
    type: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """One lake table.

    Attributes:
        name: Layer and table, such as ``silver/payments``; also its folder under the lake's root.
        row: What one row is, as a sentence.
        columns: In the order they are stored.
        partitions: Columns by whose values the files are kept apart.
        rows_a_file: At most so many, in the order of the frame: whoever wants a range of a sorted table skips files.
    """

    name: str
    row: str
    columns: tuple[Column, ...]
    partitions: tuple[str, ...] = ()
    rows_a_file: int | None = None

    @property
    def ddl(self) -> str:
        """The columns as Spark takes a schema."""
        return ", ".join(f"`{column.name}` {column.type}" for column in self.columns)

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [column.name for column in self.columns]

    def arrow(self, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        """A few rows as Arrow has them; the columns are simple ones."""
        fields = [(column.name, ARROW_TYPES[column.type]) for column in self.columns]
        return pa.Table.from_pylist([dict(row) for row in rows], pa.schema(fields))

    def shape(self, frame: "DataFrame") -> "DataFrame":
        """The frame's columns in this table's order and types; a missing column is an error of Spark's."""
        from pyspark.sql import functions as f

        return frame.select(*[f.col(column.name).cast(column.type) for column in self.columns])
