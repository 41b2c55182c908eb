"""Daily tables: which days a run writes, and how the others stay as they are.

A daily table is kept apart by a day, and a day is one partition in Dagster. Two kinds of runs write it:

- A **job** follows the news: it brings every day up to date that something new concerns, and no other. Its run
  carries the tag ``sentinela/days: with-news`` and stands under the partition of the day on which it was launched;
  for each other day that it wrote it reports a materialisation of that day's partition.
- A **backfill**, or a person who picks partitions, has these days made anew from what is upstream. A day that comes
  out as it was is not written: doing it twice changes nothing.

What a table was made from stands in the note of its commits (``fraud_assets.notes``), so after a death the next run
does what is left, and a day is never half written.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets import notes
from fraud_assets.declared import key_of, table_asset
from fraud_assets.lake import LakeError, LakeResource, Written
from pix.clock import epoch_ms
from pix.offline.care import gone_before, terms
from pix.offline.days import TIMEZONE, Days, day_at, listed
from pix.offline.declaration import Table
from pix.settings import FIRST_DAY

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def days_since(first: date) -> dg.DailyPartitionsDefinition:
    """Every day in Brasília from one on; today's, too."""
    return dg.DailyPartitionsDefinition(start_date=first.isoformat(), timezone=TIMEZONE, end_offset=1)


DAYS = days_since(FIRST_DAY)
"""Every day since Pix began; an institution shows those since its own first (``beginning``)."""
FOLLOWS_NEWS = {"sentinela/days": "with-news"}
DATA_VERSION = "dagster/data_version"
MOST_DAYS_TOLD = 62


class DaysExpired(LakeError):
    """Days were picked whose rows upstream are gone."""


@dataclass(frozen=True, slots=True)
class News:
    """What came since a table was last written.

    Attributes:
        days: Days that it concerns; None for all.
        note: What the next note says: up to where everything upstream was read.
        told: What to show beside the result.
        aside: What only the note of this write says, under ``aside``; nothing is written for its sake.
    """

    days: frozenset[date] | None
    note: notes.Note
    told: Mapping[str, Any] = field(default_factory=dict)
    aside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Daily:
    """How one daily table is made.

    Attributes:
        table: Its declaration; kept apart by one column of days.
        news: What came since a note; since the beginning, if there is none.
        anew: Rows of some days, or of all, from what is upstream.
        merged: The same rows of some days from what the table has of them and what came since the note. None where
            making them anew is as cheap.
    """

    table: Table
    news: Callable[[notes.Note | None], News]
    anew: Callable[[Days], "DataFrame"]
    merged: "Callable[[frozenset[date], notes.Note], DataFrame] | None" = None

    @property
    def column(self) -> str:
        """The column of days."""
        return self.table.partitions[0]

    def of_days(self, days: Iterable[date]) -> str:
        """SQL for the rows of some days."""
        return f"{self.column} in ({listed(days)})"


def partition_of(at: datetime) -> str:
    """Partition of the day in Brasília on which a job is launched."""
    return day_at(int(at.timestamp() * 1000)).isoformat()


def daily_asset(table: Table) -> dict[str, Any]:
    """Arguments of ``@dg.asset`` for a daily table; a backfill of many days is one run."""
    return {
        **table_asset(table),
        "partitions_def": DAYS,
        "backfill_policy": dg.BackfillPolicy.single_run(),
    }


def beginning(
    assets: "Iterable[dg.AssetsDefinition | dg.AssetSpec]", first: date
) -> "Sequence[dg.AssetsDefinition | dg.AssetSpec]":
    """The assets with days from one on: a table is green when it has all the days that its institution has."""
    days = days_since(first)
    return dg.map_asset_specs(
        lambda spec: spec.replace_attributes(partitions_def=days) if spec.partitions_def else spec, assets
    )


def picked_days(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> list[date] | None:
    """Days that somebody picked for this run; None if it follows the news."""
    has_days = context.has_partition_key or context.has_partition_key_range
    if not has_days or FOLLOWS_NEWS.items() <= context.run.tags.items():
        return None
    return [date.fromisoformat(key) for key in DAYS.get_partition_keys_in_range(context.partition_key_range)]


def keep(context: dg.AssetExecutionContext, lake: LakeResource, daily: Daily) -> "dg.MaterializeResult[Any]":
    """Bring a daily table up to date, or make the picked days anew; what to report of it."""
    _require_sources(context, daily, epoch_ms())
    with lake.only_writer(daily.table.name):
        note = lake.note(daily.table.name) if lake.fits(daily.table) else None
        picked = picked_days(context)
        if note is None:
            news = daily.news(None)
            written = lake.overwrite(daily.table, daily.anew(None), note=notes.with_days(news.note, None))
            changed, told = _every_day(context, lake, daily), news.told
        elif picked is None:
            written, changed, told = _follow(context, lake, daily, note)
        else:
            written, changed, told = _make_anew(lake, daily, note, picked)
    return _reported(context, lake, daily, written, changed, told)


def _require_sources(context: dg.AssetExecutionContext, daily: Daily, now_ms: int) -> None:
    key = key_of(daily.table.name)
    sources = ["/".join(parent.path) for parent in context.assets_def.asset_deps[key]]
    require_sources(daily.table, sources, picked_days(context) or (), now_ms=now_ms)


def require_sources(table: Table, sources: Iterable[str], picked: Iterable[date], *, now_ms: int) -> None:
    """Refuse to make days anew whose rows upstream went by their retention: they would come out emptier than they are.

    Args:
        table: What is made.
        sources: What it is made of.
        picked: Days that somebody picked.
        now_ms: The clock.

    Raises:
        DaysExpired: Some of them began too long ago.
    """
    ages = terms(sources)
    if not ages:
        return
    shortest = min(ages, key=lambda name: (ages[name], name))
    whole_from = gone_before(ages[shortest], now_ms)
    if gone := sorted(day for day in picked if day < whole_from):
        raise DaysExpired(
            f"{gone[0]} {f'and {len(gone) - 1} more days ' if gone[1:] else ''}of {table.name} cannot be made anew: "
            f"rows of {shortest} go after {ages[shortest]:,} days (docs/data-dictionary.md, Retention), and what "
            f"{table.name} has would be lost. It stays as it is; pick days from {whole_from} on"
        )


def _follow(
    context: dg.AssetExecutionContext, lake: LakeResource, daily: Daily, note: notes.Note
) -> tuple[Written, frozenset[date], Mapping[str, Any]]:
    news = daily.news(note)
    if news.days is None:
        written = lake.overwrite(daily.table, daily.anew(None), note=notes.with_days(news.note, None))
        return written, _every_day(context, lake, daily), news.told
    if not news.days:
        if dict(news.note) != {name: said for name, said in note.items() if name not in ("days", "aside")}:
            notes.write(lake.log(daily.table.name), news.note)
        return lake.unchanged(daily.table), news.days, news.told
    rows = daily.merged(news.days, note) if daily.merged else daily.anew(news.days)
    written = _replaced(lake, daily, rows, news.days, {**news.note, "aside": dict(news.aside)})
    return written, news.days, news.told


def _make_anew(
    lake: LakeResource, daily: Daily, note: notes.Note, picked: list[date]
) -> tuple[Written, frozenset[date], Mapping[str, Any]]:
    rows = daily.anew(picked).persist()
    try:
        there = lake.read(daily.table.name).where(daily.of_days(picked))
        before, after = _contents(daily, there), _contents(daily, rows)
        changed = frozenset(day for day in picked if before.get(day) != after.get(day))
        # Of other days nothing new was read: what the note says of them stays.
        told = {"days_made": len(picked), "days_changed": len(changed)}
        if not changed:
            return lake.unchanged(daily.table), changed, told
        return _replaced(lake, daily, rows.where(daily.of_days(changed)), changed, note), changed, told
    finally:
        rows.unpersist()


def _replaced(lake: LakeResource, daily: Daily, rows: "DataFrame", days: frozenset[date], note: notes.Note) -> Written:
    return lake.replace(daily.table, rows, where=daily.of_days(days), note=notes.with_days(note, days))


def _contents(daily: Daily, rows: "DataFrame") -> dict[date, tuple[int, int]]:
    """Day -> number of rows and a hash of them that does not depend on their order."""
    from pyspark.sql import functions as f

    hashed = rows.select(daily.column, f.xxhash64(*daily.table.names).cast("decimal(38,0)").alias("hash"))
    found = hashed.groupBy(daily.column).agg(f.count("*").alias("rows"), f.sum("hash").alias("hash")).collect()
    return {row[daily.column]: (row["rows"], int(row["hash"])) for row in found}


def _every_day(context: dg.AssetExecutionContext, lake: LakeResource, daily: Daily) -> frozenset[date]:
    """The days of a table that was made whole: those that have rows, and since the institution's first the others."""
    there = frozenset(day for (day,) in lake.distinct(daily.table.name, daily.column))
    days = context.assets_def.partitions_def
    if not isinstance(days, dg.DailyPartitionsDefinition) or days.start.date() <= FIRST_DAY:
        # Since Pix began there are thousands of days, each an event of its own.
        return there
    return there | {date.fromisoformat(key) for key in days.get_partition_keys()}


def _reported(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    daily: Daily,
    written: Written,
    changed: frozenset[date],
    told: Mapping[str, Any],
) -> "dg.MaterializeResult[Any]":
    """The run's own partitions by its result, every other day that was written by an event of its own."""
    key, own = key_of(daily.table.name), _own_days(context)
    counts = _rows_of(lake, daily, changed | own) if changed or own else {}
    for day in sorted(changed - own):
        if day >= FIRST_DAY:
            context.log_event(
                dg.AssetMaterialization(
                    key,
                    partition=day.isoformat(),
                    metadata={"dagster/partition_row_count": counts.get(day, 0), "delta_version": written.version},
                    tags={DATA_VERSION: str(written.version)},
                )
            )
    for day in own:
        context.add_asset_metadata(
            {"dagster/partition_row_count": counts.get(day, 0)}, asset_key=key, partition_key=day.isoformat()
        )
    last = max((notes.changed_at(lake.log(daily.table.name), day) for day in own), default=written.version)
    result = written.result(
        days_written=len(changed),
        days=", ".join(str(day) for day in sorted(changed)[-MOST_DAYS_TOLD:]) or "none",
        **told,
    )
    return result._replace(data_version=dg.DataVersion(str(last)))


def _own_days(context: dg.AssetExecutionContext) -> frozenset[date]:
    if not (context.has_partition_key or context.has_partition_key_range):
        return frozenset()
    return frozenset(date.fromisoformat(key) for key in DAYS.get_partition_keys_in_range(context.partition_key_range))


def _rows_of(lake: LakeResource, daily: Daily, days: Iterable[date]) -> dict[date, int]:
    query = f"select {daily.column} as day, count(*) as n from asked where {daily.of_days(days)} group by 1"  # noqa: S608
    return {row["day"]: row["n"] for row in lake.ask(daily.table.name, query)}
