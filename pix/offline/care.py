"""How every table of the lake is looked after: how small files are put together, how long old versions can be read.

Data and decisions on plain values; who reads and writes is ``fraud_assets.care``. When rows have to go is
``RETENTION``'s to say (``pix.offline.retention``); here is what that asks of a table on a day.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from pix import topics
from pix.contracts import DAY_MS
from pix.offline.days import day_at
from pix.offline.declaration import Column, Table
from pix.offline.dictionary import kept
from pix.offline.retention import IMPORTED_AT, RETENTION, SEASON, Retention

EXPIRED = "expired"
"""Reason of a bronze row of which only its place is left: where its partition ends, must not be forgotten."""
MB = 1 << 20


class NoCare(Exception):
    """Nobody has said how a table is looked after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How a table is looked after.

    Attributes:
        travel_days: Any version of so many days can be read whole, and its commits are kept; then only those versions
            that somebody still needs (``fraud_assets.care_needs``).
        small_files: From so many files below ``target_bytes`` on, those of a partition are put together; None: never.
        target_bytes: About how large files become then.
        why: Why so.
    """

    travel_days: int
    small_files: int | None
    why: str
    target_bytes: int = 128 * MB


_RUNS = "Only runs under way read an older version: what bronze had at any time is chosen by ingested_at_ms."
_MONTH = "What a report of last month was made from can be looked at until the next one is out."
_SEALED = "It holds sealed content, whose bytes have to go soon after it."
_PINNED = "The versions that models and decisions name are kept apart from this."
_WORKING = "Its older versions serve nobody but runs under way, and whoever undoes a mistake."
_AGAIN = "Whoever wants the rows of earlier makes them again."
_FIGURES = "Figures as they were reported on any day of a year and a month; labels change them later."
_DAYS = 4
"""A day is written whole, in a file or two; it has so many only after odd writes."""

BRONZE = Care(travel_days=1, small_files=2, why=_RUNS)
CARE: Mapping[str, Care | None] = {
    **{topics.bronze_table(topic): BRONZE for topic in topics.ALL},
    "silver/history_payments": Care(travel_days=35, small_files=8, why=_MONTH),
    "silver/history_labels": Care(travel_days=35, small_files=8, why=_MONTH),
    "silver/history_refused": Care(travel_days=7, small_files=8, why=_SEALED),
    "silver/history_imports": Care(travel_days=35, small_files=8, why=_MONTH),
    # Its files are of 20,000 rows by offset, so that who wants a range of offsets skips the others.
    "silver/decisions": Care(travel_days=35, small_files=None, why=_MONTH),
    "silver/payments": Care(travel_days=35, small_files=_DAYS, why=_MONTH),
    "silver/labels": Care(travel_days=35, small_files=_DAYS, why=_MONTH),
    "silver/shadow_scores": Care(travel_days=35, small_files=_DAYS, why=_MONTH),
    "silver/quarantine": Care(travel_days=7, small_files=_DAYS, why=_SEALED),
    # Append-only and written by services at any time: a few rows that nobody may take away.
    "silver/policies": None,
    "gold/decisions": Care(travel_days=35, small_files=_DAYS, why=_MONTH),
    "gold/batch_scores": Care(travel_days=7, small_files=None, why=_AGAIN),
    "gold/daily_kpis": Care(travel_days=SEASON, small_files=None, why=_FIGURES),
    "gold/hourly_kpis": Care(travel_days=SEASON, small_files=None, why=_FIGURES),
    "gold/model_daily": Care(travel_days=SEASON, small_files=None, why=_FIGURES),
    "gold/payer_profiles": Care(travel_days=7, small_files=None, why=_WORKING),
    "gold/payee_profiles": Care(travel_days=7, small_files=None, why=_WORKING),
    "quality/flow": Care(travel_days=35, small_files=None, why=_MONTH),
    "quality/scorecard": Care(travel_days=35, small_files=None, why=_MONTH),
    "quality/unexpected": Care(travel_days=7, small_files=_DAYS, why=_WORKING),
    "features/payment_features": Care(travel_days=7, small_files=8, why=_PINNED),
    "features/base_states": Care(travel_days=7, small_files=None, why=_PINNED),
    # The engine puts the states of its runs together itself.
    "features/live_states": Care(travel_days=7, small_files=None, why=_WORKING),
    "features/unanswered": Care(travel_days=7, small_files=None, why=_WORKING),
    "features/runs": Care(travel_days=7, small_files=8, why=_WORKING),
    "features/histories": Care(travel_days=7, small_files=8, why=_WORKING),
    "features/statistics": Care(travel_days=35, small_files=8, why=_MONTH),
    "features/training_set": Care(travel_days=7, small_files=None, why=_PINNED),
    "model/search": Care(travel_days=SEASON, small_files=None, why=_FIGURES),
    "model/evaluation": Care(travel_days=SEASON, small_files=None, why=_FIGURES),
    "care/retention": Care(travel_days=7, small_files=None, why=_WORKING),
    "care/compaction": Care(travel_days=7, small_files=None, why=_WORKING),
    "care/vacuum": Care(travel_days=7, small_files=None, why=_WORKING),
}
"""By table; None: nobody touches it."""

_DONE = (
    Column("at_ms", "bigint", "When the run that did it began."),
    Column("table_name", "string", "The table."),
    Column("did", "string", "done, nothing, left_out or failed."),
    Column("why", "string", "Why it was left out or failed; what is odd about it."),
    Column("files_before", "bigint", "Files before; for care/vacuum all in the table's folder, else its newest ones."),
    Column("files_after", "bigint", "Files after."),
    Column("bytes_before", "bigint", "Bytes of the files before."),
    Column("bytes_after", "bigint", "Bytes of the files after."),
    Column("rows_deleted", "bigint", "Rows that went; in a dry run, that would go."),
    Column("rows_emptied", "bigint", "Rows of which columns were emptied; in a dry run, that would be."),
    Column("version_before", "bigint", "The table's version before."),
    Column("version_after", "bigint", "Its version after."),
    Column("oldest_version", "bigint", "Oldest version from which on every one can still be read."),
    Column("kept_versions", "string", "JSON: older versions that can be read, and who needs them."),
    Column("seconds", "double", "How long it took."),
    Column("is_dry_run", "boolean", "Whether it was only looked at, and nothing changed."),
)
_ROW = "What {} one table when it was last looked after, and the times before, for a year and a month."
RETENTION_DONE = Table("care/retention", _ROW.format("had to go from"), _DONE)
COMPACTION_DONE = Table("care/compaction", _ROW.format("was put together in"), _DONE)
VACUUM_DONE = Table("care/vacuum", _ROW.format("was cleared away of"), _DONE)
CARE_TABLES = (RETENTION_DONE, COMPACTION_DONE, VACUUM_DONE)


def care_of(table: str) -> Care | None:
    """How a table is looked after; None if nobody may touch it.

    Raises:
        NoCare: Nobody has said.
    """
    if table not in CARE:
        raise NoCare(f"table {table} has no care; add it to CARE in pix/offline/care.py")
    return CARE[table]


def properties(care: Care) -> dict[str, str]:
    """What Delta is told of it, so that nobody clears away more by Delta's own rules."""
    days = f"interval {care.travel_days} days"
    return {"delta.logRetentionDuration": days, "delta.deletedFileRetentionDuration": days}


@dataclass(frozen=True, slots=True)
class Due:
    """What one rule of retention asks of a table.

    Attributes:
        where: SQL for the rows.
        emptied: Column -> SQL for what is put there; empty: the rows go.
    """

    where: str
    emptied: Mapping[str, str] = field(default_factory=dict)


def due(table: Table, now_ms: int, imported_ms: Mapping[int, int]) -> list[Due]:
    """What has to go from a table by now; rows first, then what of rows is emptied.

    Args:
        table: Its declaration.
        now_ms: The clock.
        imported_ms: Import's number -> when it was, for tables whose rows have no time of their own.
    """
    rules = [rule for rule in reversed(kept(table)) if rule.days is not None]
    found = [(rule, _aged(table, rule, now_ms, imported_ms)) for rule in rules]
    return [_due(rule, where) for rule, where in found if where is not None]


def _aged(table: Table, rule: Retention, now_ms: int, imported_ms: Mapping[int, int]) -> str | None:
    """SQL for rows past their term; None if there can be none."""
    before_ms = now_ms - (rule.days or 0) * DAY_MS
    if rule.since == IMPORTED_AT:
        numbers = sorted(number for number, at_ms in imported_ms.items() if at_ms < before_ms)
        return f"import_number in ({', '.join(map(str, numbers))})" if numbers else None
    types = {column.name: column.type for column in table.columns}
    if types[str(rule.since)] == "date":
        return f"\"{rule.since}\" < date '{day_at(before_ms)}'"
    return f'"{rule.since}" < {before_ms}'


def _due(rule: Retention, where: str) -> Due:
    if not rule.emptied:
        return Due(where)
    (column,) = rule.emptied
    if column == LETTER:
        return Due(f"{where} and value is not null and (not {_IS_LETTER} or {_HAS_PAYLOAD})", {"value": _EMPTY_LETTER})
    return Due(f'{where} and "{column}" is not null', {column: "null"})


LETTER = "value.payload"
"""The sealed message inside a dead letter's JSON; what no letter is, goes whole."""
_HAS_PAYLOAD = 'value like \'%"payload":"%\''
_IS_LETTER = 'value like \'%"origin":{%"topic":"%\''
_EMPTY_LETTER = (
    f"case when {_IS_LETTER} "
    'then regexp_replace(value, \'"payload":"[^"]*"\', \'"payload":null\', \'g\') else cast(null as string) end'
)


def terms(sources: Iterable[str]) -> dict[str, int]:
    """Of each table whose rows go at some age, that age in days."""
    ages = {name: [rule.days for rule in RETENTION.get(name, ()) if not rule.emptied] for name in sources}
    return {name: days for name, found in ages.items() for days in found if days is not None}


def gone_before(term_days: int, now_ms: int) -> date:
    """The first day whose rows are all within their term; of earlier ones some may be gone."""
    return day_at(now_ms - term_days * DAY_MS) + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Small:
    """The small files of one partition of a table.

    Attributes:
        values: The partition's columns and their values, as Delta's log has them.
        files: How many files are below the target.
    """

    values: tuple[tuple[str, str | None], ...]
    files: int


def worth_compacting(partitions: Sequence[Small], care: Care) -> list[Small]:
    """Those that have enough small files."""
    if care.small_files is None:
        return []
    return [each for each in partitions if each.files >= care.small_files]


def cut_at(checkpoints: Collection[int], needed: int) -> int | None:
    """Before which version a log can go: the newest checkpoint that the oldest version needed can be read from."""
    return max((version for version in checkpoints if version <= needed), default=None)
