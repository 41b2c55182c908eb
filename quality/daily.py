"""What a table's days look like: rows, sums, nulls and newest times, by one scan. Anomalies are learned from these."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from pix.offline.declaration import Table
from quality.counting import ASKED, TIME_COLUMNS, Ask, arrival_sql, day_sql, quoted
from quality.promises import ARRIVES, ASKED_FOR, IMPORTED, LIVE, MATURES
from quality.suites import key_columns

DAYS_READ = 120
NEWEST = ("decided_at_ms", *TIME_COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyFacts:
    """One day of a table.

    Attributes:
        day: In Brasília.
        rows: Rows of the day; at least 1, for a day without rows is not there.
        amount_cents: Their sum; None where the table has no amounts.
        nulls: Column -> rows without a value; of columns that may lack one.
        first_ms: Oldest time of a row.
        newest_ms: Newest time of a row; None where the table has no times.
    """

    day: date
    rows: int
    amount_cents: int | None
    nulls: Mapping[str, int]
    first_ms: int | None
    newest_ms: int | None

    def null_share(self, column: str) -> float:
        """Share of the day's rows without a value in a column."""
        return self.nulls[column] / self.rows

    @property
    def worst(self) -> tuple[str, float] | None:
        """The column with the greatest share of nulls, and that share."""
        if not self.nulls:
            return None
        column = max(sorted(self.nulls), key=lambda name: self.nulls[name])
        return column, self.null_share(column)


def has_days(table: Table) -> bool:
    """Whether a table grows day by day, so that there is something usual about a day."""
    return table.name not in IMPORTED | ASKED_FOR and not day_sql(table).startswith("cast(null")


def daily_facts(table: Table, ask: Ask, *, columns: Iterable[str]) -> list[DailyFacts]:
    """The newest days of a table that have rows, oldest first; of imports mixed in, none.

    Args:
        table: The declaration.
        ask: Runs SQL over the lake.
        columns: The columns that the table really has.
    """
    there = set(columns)
    newest = ARRIVES.get(table.name) or next((name for name in NEWEST if name in there), None)
    skipped = {*key_columns(table), *table.partitions, *MATURES, newest}
    maybe = [name for name in table.names if name in there - skipped]
    sums = [
        f'sum(case when {quoted(name)} is null then 1 else 0 end) as "n{place}"' for place, name in enumerate(maybe)
    ]
    amount = ["sum(amount_cents) as amount"] if "amount_cents" in there else []
    times = [f"min({quoted(newest)}) as first", f"max({quoted(newest)}) as newest"] if newest else []
    day = arrival_sql(table)
    where = " and ".join([f"{day} is not null", *([LIVE[table.name]] if table.name in LIVE else [])])
    rows = ask(
        f"select {', '.join([f'{day} as day', 'count(*) as n', *amount, *times, *sums])} from asked "
        f"where {where} group by 1 order by 1 desc limit {DAYS_READ}",
        {ASKED: table.name},
    )
    return [_facts(row, maybe) for row in reversed(rows)]


def _facts(row: Mapping[str, Any], maybe: list[str]) -> DailyFacts:
    return DailyFacts(
        day=row["day"],
        rows=row["n"],
        amount_cents=row.get("amount"),
        nulls=MappingProxyType({name: row[f"n{place}"] for place, name in enumerate(maybe)}),
        first_ms=row.get("first"),
        newest_ms=row.get("newest"),
    )
