"""What a promise about a table is: a sentence, how grave it is, and the conditions that make it true. Data only.

``quality.suites`` makes them, ``quality.counting`` turns them into SQL that counts every row, and
``quality.expectations`` into expectations that Great Expectations evaluates on rows.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning"]
Kind = Literal[
    "unique",
    "present",
    "absent",
    "one_of",
    "between",
    "matches",
    "whole",
    "differ",
    "at_least",
    "adds_up",
    "ratio",
    "day_of",
    "same_as",
    "sums_of",
    "reaches",
]
ACROSS: frozenset[Kind] = frozenset({"same_as", "sums_of", "reaches"})
"""Kinds that look at another table, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The table that this one's rows or sums come from.

    Attributes:
        table: Its name.
        on: Pairs of a column here and what it is there: a column; of sums any SQL, or ``DAY`` for the row's day.
        sums: Of sums, pairs of a column here and the aggregate there, in SQL.
    """

    table: str
    on: tuple[tuple[str, str], ...] = ()
    sums: tuple[tuple[str, str], ...] = ()


DAY = "the day of the source's row"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that holds for every row, or for the table.

    Attributes:
        kind: What is asked.
        columns: What it is asked of: one column, but for ``unique`` the key, for ``differ`` two, for ``at_least`` the
            greater and the lesser, for ``adds_up`` the total and its parts, for ``ratio`` the ratio, what is divided
            by, and the parts of what is divided, for ``day_of`` the day and the time, for ``same_as`` the columns that
            equal the source's, for ``sums_of`` the sums, for ``reaches`` the time.
        values: The words of ``one_of``.
        low: Least value of ``between``.
        high: Greatest value of ``between``.
        pattern: Regular expression of ``matches``, anchored; as Python and Rust both read it.
        where: A column and its values: only such rows are asked.
        source: The other table, for kinds in ``ACROSS``.
        slack: By how much ``reaches`` may fall short.
    """

    kind: Kind
    columns: tuple[str, ...]
    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    pattern: str = ""
    where: tuple[str, tuple[str, ...]] | None = None
    source: Source | None = None
    slack: int = 0

    @property
    def reads(self) -> tuple[str, ...]:
        """Every column of the table that it needs."""
        keys = tuple(name for name, _ in self.source.on) if self.source else ()
        return (*self.columns, *keys, *((self.where[0],) if self.where else ()))

    @property
    def is_of_rows(self) -> bool:
        """Whether one row alone keeps or breaks it."""
        return self.kind != "unique" and self.kind not in ACROSS


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A promise about a table; becomes one asset check.

    Attributes:
        name: The promise as a true sentence; unique in its table's suite.
        severity: ``critical`` if what is made of the table would be wrong: it stops there.
        conditions: All of them make it true.
        why: One sentence for whoever sees it broken.
    """

    name: str
    severity: Severity
    conditions: tuple[Condition, ...]
    why: str

    @property
    def reads(self) -> tuple[str, ...]:
        """Every column of the table that it needs."""
        return tuple(dict.fromkeys(name for condition in self.conditions for name in condition.reads))

    @property
    def sources(self) -> tuple[str, ...]:
        """Other tables that it looks at."""
        return tuple(dict.fromkeys(one.source.table for one in self.conditions if one.source))
