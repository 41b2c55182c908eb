"""How many rows break each promise, exactly, over a whole table or its days: SQL that scans it once.

The SQL is DataFusion's, which reads Delta tables without Spark; running it is the caller's. It is the second opinion
beside Great Expectations, whose expectations see a bounded sample (``quality.expectations``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from pix.features import BRASILIA_OFFSET_MS
from pix.offline.declaration import Table
from quality.conditions import DAY, Condition, Promise, Source
from quality.errors import ExpectationError
from quality.promises import ARRIVES
from quality.suites import covered, key_columns

Ask = Callable[[str, Mapping[str, str]], list[dict[str, Any]]]
"""Runs SQL over tables, given by the name they have in it -> their name in the lake. No row where one is missing."""
ASKED, THEIRS = "asked", "source"
DAY_COLUMNS = ("event_day", "payment_day", "arrival_day", "day")
TIME_COLUMNS = ("event_time_ms", "recorded_at_ms", "scored_at_ms", "received_at_ms", "known_at_ms", "imported_at_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a suite's conditions found in a table.

    Attributes:
        rows: Day -> rows; the day is None where a row has none.
        broken: Condition -> day -> rows that break it (of ``reaches`` 1); what cannot be asked is not here.
        absent: Condition -> why it cannot be asked: the table lacks a column, or its source is missing.
    """

    rows: Mapping[date | None, int]
    broken: Mapping[Condition, Mapping[date | None, int]]
    absent: Mapping[Condition, str]

    @property
    def total(self) -> int:
        """Rows looked at."""
        return sum(self.rows.values())

    def of(self, condition: Condition) -> int:
        """Rows that break a condition."""
        return sum(self.broken.get(condition, {}).values())


def count(
    table: Table,
    suite: Sequence[Promise],
    ask: Ask,
    *,
    columns: Iterable[str],
    days: Sequence[date] | None = None,
    by: str | None = None,
) -> Counts:
    """Count over every row of a table, or of some days of it.

    Args:
        table: The declaration; the table exists.
        suite: Its promises.
        ask: Runs SQL over the lake.
        columns: The columns it really has.
        days: Only these, by ``day_sql``; None for all.
        by: SQL of the day to count by; None for ``day_sql``.
    """
    day = by or day_sql(table)
    there = set(columns)
    conditions = list(dict.fromkeys(one for promise in suite for one in promise.conditions))
    absent = {one: _lack(one, there, ask) for one in conditions}
    asked = [one for one in conditions if not absent[one]]
    of_rows = [one for one in asked if one.is_of_rows]
    sums = [f'sum(case when {broken(one)} then 1 else 0 end) as "c{place}"' for place, one in enumerate(of_rows)]
    chosen = _where(_in_days(table, days))
    found = ask(
        f"select {day} as day, {', '.join(['count(*) as n', *sums])} from asked{chosen} group by 1",
        {ASKED: table.name},
    )
    by_condition = {one: {row["day"]: row[f"c{place}"] for row in found} for place, one in enumerate(of_rows)}
    for one in asked:
        if not one.is_of_rows:
            rows = ask(_table_sql(table, one, days, day), _names(table, one))
            by_condition[one] = {row["day"]: row["broken"] for row in rows}
    return Counts(
        rows=MappingProxyType({row["day"]: row["n"] for row in found}),
        broken=MappingProxyType(by_condition),
        absent=MappingProxyType({one: why for one, why in absent.items() if why}),
    )


def examples(
    table: Table, condition: Condition, ask: Ask, *, days: Sequence[date] | None, most: int
) -> list[dict[str, Any]]:
    """Some rows that break a condition: the columns that name them, and those that it reads."""
    if condition.kind == "unique":
        names = ", ".join(map(quoted, condition.columns))
        chosen = _where(_in_days(table, days), *(f"{quoted(name)} is not null" for name in condition.columns))
        sql = f"select {names}, count(*) as times from asked{chosen} group by {names} having count(*) > 1"
    elif condition.kind == "same_as":
        sql = f"select * from ({_same_as(table, condition, days)})"
    elif condition.kind == "sums_of":
        sql = f"select * from ({_sums_of(table, condition, days)})"
    elif condition.kind == "reaches":
        return []
    else:
        names = ", ".join(map(quoted, dict.fromkeys((*key_columns(table), *condition.reads))))
        sql = f"select {names} from asked{_where(_in_days(table, days), broken(condition))}"
    return ask(f"{sql} limit {most}", _names(table, condition))


def sample_sql(table: Table, columns: Sequence[str], *, total: int, most: int, days: Sequence[date] | None) -> str:
    """At most so many rows, evenly spread over all ``total``."""
    names = ", ".join(map(quoted, columns))
    chosen = _where(_in_days(table, days))
    if total <= most:
        return f"select {names} from asked{chosen}"
    step = -(-total // most)
    placed = f"select {names}, row_number() over () as place_of_row from asked{chosen}"
    return f"select {names} from ({placed}) where place_of_row % {step} = 0"


def day_sql(table: Table) -> str:
    """The day of a row in Brasília, as SQL: its column, or the day of its time."""
    types = {column.name: column.type for column in table.columns}
    for name in DAY_COLUMNS:
        if types.get(name) == "date":
            return quoted(name)
    for name in TIME_COLUMNS:
        if name in types:
            return _day_of(name)
    return "cast(null as date)"


def arrival_sql(table: Table) -> str:
    """The day on which a row came, as SQL: what is usual is asked of these."""
    return _day_of(ARRIVES[table.name]) if table.name in ARRIVES else day_sql(table)


def quoted(name: str) -> str:
    """A column's name as SQL takes any."""
    return f'"{name}"'


def broken(condition: Condition) -> str:
    """What is true of a row that breaks a condition, as SQL that is never null.

    Raises:
        ExpectationError: The condition is not one of rows.
    """
    sql = _broken(condition)
    if condition.where is not None:
        name, values = condition.where
        sql = f"{quoted(name)} in ({_texts(values)}) and ({sql})"
    return f"coalesce({sql}, false)"


def _broken(condition: Condition) -> str:
    first, *others = map(quoted, condition.columns)
    match condition.kind:
        case "present":
            return f"{first} is null"
        case "absent":
            return f"{first} is not null"
        case "one_of":
            return f"{first} not in ({_texts(condition.values)})"
        case "between":
            limits = ((condition.low, "<"), (condition.high, ">"))
            return " or ".join(f"{first} {sign} {limit}" for limit, sign in limits if limit is not None)
        case "matches":
            return f"not regexp_like({first}, {_texts((condition.pattern,))})"
        case "whole":
            return f"{first} <> floor({first})"
        case "differ":
            return f"{first} = {others[0]}"
        case "at_least":
            return f"{first} < {others[0]}"
        case "adds_up":
            return f"{first} <> {' + '.join(others)}"
        case "ratio":
            return f"abs({first} * {others[0]} - ({' + '.join(others[1:])})) > 1e-6 * {others[0]}"
        case "day_of":
            return f"{first} <> {_day_of(condition.columns[1])}"
        case _:
            raise ExpectationError(f"{condition.kind} is not asked of a row")


def _table_sql(table: Table, condition: Condition, days: Sequence[date] | None, day: str) -> str:
    match condition.kind:
        case "unique":
            names = ", ".join(map(quoted, condition.columns))
            chosen = _where(_in_days(table, days), *(f"{quoted(name)} is not null" for name in condition.columns))
            groups = (
                f"select min({day}) as day, count(*) - 1 as more from asked{chosen} "
                f"group by {names} having count(*) > 1"
            )
            return f"select day, cast(sum(more) as bigint) as broken from ({groups}) group by day"
        case "same_as":
            return f"select day, count(*) as broken from ({_same_as(table, condition, days)}) group by day"
        case "sums_of":
            return f"select day, count(*) as broken from ({_sums_of(table, condition, days)}) group by day"
        case _:
            return _reaches(table, condition, days)


def _same_as(table: Table, condition: Condition, days: Sequence[date] | None) -> str:
    """Rows whose source is missing or differs in a column."""
    source = _source(condition)
    chosen = _where(_in_days(table, days), _asked(condition))
    names = ", ".join(map(quoted, dict.fromkeys((*(here for here, _ in source.on), *condition.columns))))
    on = " and ".join(f"here.{quoted(here)} = source.{quoted(there)}" for here, there in source.on)
    differ = " or ".join(f"(here.{quoted(name)} is distinct from source.{quoted(name)})" for name in condition.columns)
    theirs = ", ".join(f"source.{quoted(name)} as {quoted(f'{name}_there')}" for name in condition.columns)
    return (
        f"select here.*, {theirs} from (select {names}, {day_sql(table)} as day from asked{chosen}) here "
        f"left join source on {on} where source.{quoted(source.on[0][1])} is null or {differ}"
    )


def _sums_of(table: Table, condition: Condition, days: Sequence[date] | None) -> str:
    """Groups whose sums differ from those of the source's rows, and groups that one side lacks."""
    source = _source(condition)
    there_day = day_sql(covered()[source.table])
    groups = [f"{there_day if sql == DAY else sql} as {quoted(name)}" for name, sql in source.on]
    sums = [f"{sql} as {quoted(f'{name}_there')}" for name, sql in source.sums]
    places = ", ".join(str(place + 1) for place in range(len(groups)))
    theirs = f"select {', '.join(groups + sums)} from source group by {places}"
    keys = [quoted(name) for name, _ in source.on]
    on = " and ".join(f"here.{key} = there.{key}" for key in keys)
    differ = " or ".join(f"(here.{quoted(n)} is distinct from there.{quoted(f'{n}_there')})" for n, _ in source.sums)
    ours = ", ".join(f"here.{quoted(name)}" for name, _ in source.sums)
    others = ", ".join(f"there.{quoted(f'{name}_there')}" for name, _ in source.sums)
    day = day_sql(table)
    found = (
        f"select {', '.join(f'coalesce(here.{key}, there.{key}) as {key}' for key in keys)}, {ours}, {others} "
        f"from asked here full outer join ({theirs}) there on {on} where {differ}"
    )
    shown = "*" if day == '"day"' else f"*, {day} as day"
    return f"select {shown} from ({found}){_where(_in_days(table, days), *(f'{key} is not null' for key in keys))}"


def _reaches(table: Table, condition: Condition, days: Sequence[date] | None) -> str:
    """One row: whether the source's newest time is too far beyond this table's."""
    name = quoted(condition.columns[0])
    source = covered()[_source(condition).table]
    ours = f"select max({name}) as newest from asked{_where(_in_days(table, days), _asked(condition))}"
    theirs = f"select max({name}) as newest from source{_where(_in_days(source, days))}"
    stale = f"there.newest is not null and (here.newest is null or there.newest - here.newest > {condition.slack})"
    return (
        f"select cast(null as date) as day, case when {stale} then 1 else 0 end as broken "
        f"from ({ours}) here cross join ({theirs}) there"
    )


def _source(condition: Condition) -> Source:
    if condition.source is None:
        raise ExpectationError(f"{condition.kind} of {condition.columns} names no source")
    return condition.source


def _lack(condition: Condition, columns: set[str], ask: Ask) -> str:
    """Why a condition cannot be asked of the table as it is; empty if it can."""
    absent = [name for name in condition.reads if name not in columns]
    if absent:
        return f"the table has no column {', '.join(absent)}"
    if condition.source and not ask("select count(*) as n from source", {THEIRS: condition.source.table}):
        return f"its source {condition.source.table} does not exist"
    return ""


def _names(table: Table, condition: Condition) -> dict[str, str]:
    return {ASKED: table.name, **({THEIRS: condition.source.table} if condition.source else {})}


def _asked(condition: Condition) -> str:
    if condition.where is None:
        return ""
    return f"{quoted(condition.where[0])} in ({_texts(condition.where[1])})"


def _in_days(table: Table, days: Sequence[date] | None) -> str:
    if days is None:
        return ""
    listed = ", ".join(f"date '{day}'" for day in days)
    return f"{day_sql(table)} in ({listed})"


def _where(*parts: str) -> str:
    chosen = [f"({part})" for part in parts if part]
    return f" where {' and '.join(chosen)}" if chosen else ""


def _day_of(time_column: str) -> str:
    return f"cast(to_timestamp_millis({quoted(time_column)} + {BRASILIA_OFFSET_MS}) as date)"


def _texts(values: Iterable[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)
