"""Rows that broke a promise, kept as samples: what to look at, without anybody's identifier. Pure.

A value is copied only where it cannot be a clear identifier: numbers, days, words of letters alone, and texts that are
tokens, hashes or EndToEndIds as the contracts have them. Of any other text only the shape is kept (``99999999-9999-9``
for an account that should have been a token); of private columns nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from pix.contracts.fields import SHA256_SHAPE
from pix.identifiers import END_TO_END_SHAPE
from pix.offline.declaration import Column, Table
from quality.conditions import Condition
from quality.promises import PRIVATE, SHAPES
from quality.suites import key_columns

MOST = 20
DAYS_KEPT = 90
UNEXPECTED = Table(
    "quality/unexpected",
    "One row that broke a promise when it was checked; at most 20 of each check, table and day, kept for 90 days.",
    (
        Column("day", "date", "Day of the check in Brasília."),
        Column("table_name", "string", "The table."),
        Column("check_name", "string", "The promise, by its name."),
        Column("run_id", "string", "Dagster's id of the run."),
        Column("checked_at_ms", "bigint", "When."),
        Column("row_key", "string", "The columns that name the row, tokens only."),
        Column("broken_columns", "string", "The columns that break the promise."),
        Column("value", "string", "Their values; of a text that may be a clear identifier only its shape."),
    ),
    partitions=("day",),
)
_OPEN = re.compile(rf"k[1-9][0-9]{{0,8}}:[A-Za-z0-9_-]{{32}}|{SHA256_SHAPE}|{END_TO_END_SHAPE}|[A-Za-z_]{{1,40}}")
_LONGEST = 60


def shown(column: str, value: Any) -> str:
    """A value as it may be kept."""
    if value is None:
        return "null"
    if column in PRIVATE:
        return "(private)"
    if not isinstance(value, str):
        return str(value)
    if _OPEN.fullmatch(value) or (column in SHAPES and re.fullmatch(SHAPES[column], value)):
        return value
    shape = re.sub(r"[A-Z]", "A", re.sub(r"[^\W\d_A-Z]", "a", re.sub(r"\d", "9", value)))
    return f"like {shape[:_LONGEST]}"


def rows_of(
    table: Table,
    check: str,
    found: Iterable[tuple[Condition, Sequence[Mapping[str, Any]]]],
    *,
    day: date,
    run: str,
    at_ms: int,
) -> list[dict[str, Any]]:
    """Samples of one check, as rows of ``UNEXPECTED``.

    Args:
        table: Whose rows they are.
        check: Name of the promise.
        found: Broken condition -> rows that break it, as ``quality.counting.examples`` has them.
        day: Day of the check.
        run: Dagster's id of the run.
        at_ms: The clock.
    """
    key = key_columns(table)
    kept = []
    for condition, rows in found:
        for row in rows:
            values = {name: value for name, value in row.items() if name not in key or name in condition.columns}
            kept.append(
                {
                    "day": day,
                    "table_name": table.name,
                    "check_name": check,
                    "run_id": run,
                    "checked_at_ms": at_ms,
                    "row_key": _told({name: row[name] for name in key if name in row}),
                    "broken_columns": ", ".join(condition.columns),
                    "value": _told(values),
                }
            )
    return kept[:MOST]


def _told(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={shown(name.removesuffix('_there'), value)}" for name, value in values.items())
