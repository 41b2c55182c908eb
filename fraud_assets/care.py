"""The care of tables: what had to go goes, small files are put together, and what nobody needs is cleared away.

Three assets, one after the other, each a small table of what was done to every table. How each is looked after is
declared in ``pix.offline.care``, when rows have to go in ``pix.offline.dictionary``, what must stay readable is asked
in ``fraud_assets.care_needs``, and what is done in ``fraud_assets.care_work``. Nothing here needs Spark.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets import care_work
from fraud_assets.care_needs import needs
from fraud_assets.care_work import DONE, FAILED, LEFT_OUT, NOTHING, Done
from fraud_assets.declared import ARROW_KINDS, key_of, keys_of, table_asset
from fraud_assets.external import policies_table
from fraud_assets.failures import told
from fraud_assets.lake import LakeError, LakeResource
from fraud_assets.registry import RegistryResource
from pix.clock import epoch_ms
from pix.contracts import DAY_MS
from pix.offline.care import CARE_TABLES, COMPACTION_DONE, RETENTION_DONE, VACUUM_DONE, Care, care_of
from pix.offline.declaration import Table
from pix.offline.dictionary import tables
from pix.offline.retention import SEASON
from quality.scorecard import SCORECARD
from quality.unexpected import UNEXPECTED

if TYPE_CHECKING:
    pass

Report = dg.MaterializeResult[Any]
MB = 1 << 20


class NoSuchTable(LakeError):
    """A table was asked for that is not declared, or that nobody may touch."""


class CareConfig(dg.Config):
    """Which tables to look after, and whether only to say what would be done.

    Attributes:
        dry_run: Change nothing.
        tables: Their names; none means all.
    """

    dry_run: bool = False
    tables: list[str] = []


def cared() -> dict[str, Table]:
    """Every declared table that is looked after, by name."""
    declared = (*tables(), policies_table(), SCORECARD, UNEXPECTED, *CARE_TABLES)
    return {table.name: table for table in declared if care_of(table.name) is not None}


@dg.asset(**table_asset(RETENTION_DONE, ARROW_KINDS), io_manager_key="small_tables")
@told
def retention(context: dg.AssetExecutionContext, lake: LakeResource, config: CareConfig) -> Report:
    """What had to go from one table by its retention: rows past their term, and contents that go before their row."""
    now_ms, imports = epoch_ms(), care_work.imported_ms(lake)

    def work(table: Table, _: Care) -> Done:
        return care_work.expire(lake, table, now_ms=now_ms, imports=imports, dry_run=config.dry_run)

    return _looked_after(context, lake, config, RETENTION_DONE, now_ms, work)


@dg.asset(**table_asset(COMPACTION_DONE, ARROW_KINDS), deps=keys_of(RETENTION_DONE), io_manager_key="small_tables")
@told
def compaction(context: dg.AssetExecutionContext, lake: LakeResource, config: CareConfig) -> Report:
    """What was put together in one table: many small files become a few, and every row stays as it is."""

    def work(table: Table, care: Care) -> Done:
        return care_work.compact(lake, table, care, dry_run=config.dry_run)

    return _looked_after(context, lake, config, COMPACTION_DONE, epoch_ms(), work)


@dg.asset(
    **table_asset(VACUUM_DONE, ARROW_KINDS),
    deps=keys_of(RETENTION_DONE, COMPACTION_DONE),
    io_manager_key="small_tables",
)
@told
def vacuum(
    context: dg.AssetExecutionContext, lake: LakeResource, registry: RegistryResource, config: CareConfig
) -> Report:
    """What was cleared away of one table: files and commits of versions that are neither young nor needed."""
    now_ms, imports = epoch_ms(), care_work.imported_ms(lake)
    needed = needs(lake, cared(), registry.data_versions)

    def work(table: Table, care: Care) -> Done:
        return care_work.clear(lake, table, care, needed, now_ms=now_ms, imports=imports, dry_run=config.dry_run)

    return _looked_after(context, lake, config, VACUUM_DONE, now_ms, work)


def _looked_after(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    config: CareConfig,
    report: Table,
    now_ms: int,
    work: Callable[[Table, Care], Done],
) -> Report:
    """Each table in turn, and the report on all."""
    found = []
    for table in _chosen(config):
        care = care_of(table.name)
        if care is None or not lake.exists(table.name):
            continue

        def on_table(table: Table = table, care: Care = care) -> Done:
            return work(table, care)

        done = care_work.done_to(lake, table, on_table)
        context.log.info("%s: %s %s", table.name, done.did, _said(done))
        found.append(done)
    rows = [done.row(at_ms=now_ms, is_dry_run=config.dry_run) for done in found]
    content = report.arrow([*_earlier(lake, report, now_ms - SEASON * DAY_MS), *rows])
    return dg.MaterializeResult(
        value=content, metadata={"dagster/row_count": content.num_rows, **_shown(found, config)}
    )


def _chosen(config: CareConfig) -> list[Table]:
    known = cared()
    if unknown := sorted(set(config.tables) - known.keys()):
        raise NoSuchTable(f"{unknown[0]} is no table that is looked after; those are {', '.join(sorted(known))}")
    return [table for name, table in known.items() if not config.tables or name in config.tables]


def _earlier(lake: LakeResource, report: Table, since_ms: int) -> list[dict[str, Any]]:
    """What was done before; nothing if the table has another shape."""
    if not lake.fits(report):
        return []
    return lake.ask(report.name, f"select * from asked where at_ms >= {since_ms}")  # noqa: S608 - a number


def _shown(found: Sequence[Done], config: CareConfig) -> dict[str, Any]:
    """Sums, and what was done to each table as a person reads it."""
    lines = ["| Table | | Files | MB | Rows gone | emptied | Versions | Why |", "|---|---|--:|--:|--:|--:|--:|---|"]
    for done in found:
        if done.did == NOTHING and not done.why:
            continue
        kept = f", {len(done.kept_versions)} kept" if done.kept_versions else ""
        oldest = "" if done.oldest_version is None else f"{done.oldest_version}–{done.version_after}{kept}"
        cells = (_change(done.files_before, done.files_after), _change(_mb(done.bytes_before), _mb(done.bytes_after)))
        rows = f"{done.rows_deleted:,} | {done.rows_emptied:,}"
        lines.append(f"| {done.table_name} | {done.did} | {' | '.join(cells)} | {rows} | {oldest} | {done.why} |")
    did = [done.did for done in found]
    return {
        "tables": len(found),
        **{name: did.count(name) for name in (DONE, LEFT_OUT, FAILED)},
        "rows_deleted": sum(done.rows_deleted for done in found),
        "rows_emptied": sum(done.rows_emptied for done in found),
        "bytes_freed": sum((done.bytes_before or 0) - (done.bytes_after or 0) for done in found),
        "is_dry_run": config.dry_run,
        "report": dg.MetadataValue.md("\n".join(lines)),
    }


def _said(done: Done) -> str:
    gone = f"{done.rows_deleted} rows gone, {done.rows_emptied} emptied"
    return f"(files {_change(done.files_before, done.files_after)}, {gone}) {done.why}".rstrip()


def _change(before: Any, after: Any) -> str:
    return f"{before}" if before == after or after is None else f"{before} → {after}"


def _mb(size: int | None) -> str | None:
    return None if size is None else f"{size / MB:,.2f}"


def _check(report: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=key_of(report.name), name="every_table_was_looked_after")
    @told
    def check(lake: LakeResource) -> dg.AssetCheckResult:
        """Nothing failed the last time, and nothing was left out.

        docs/runbook.md, The care of tables, says what to do.
        """
        newest = "at_ms = (select max(at_ms) from asked)"
        query = f"select table_name, did, why from asked where {newest} and did in ('{LEFT_OUT}', '{FAILED}')"  # noqa: S608
        rows = lake.ask(report.name, query)
        return dg.AssetCheckResult(
            passed=not rows,
            severity=dg.AssetCheckSeverity.ERROR
            if any(row["did"] == FAILED for row in rows)
            else dg.AssetCheckSeverity.WARN,
            description="; ".join(f"{row['table_name']} {row['did']}: {row['why']}" for row in rows)
            or "every table was looked after",
        )

    return check


def care_checks() -> list[dg.AssetChecksDefinition]:
    """Whether anything stands in the way of the care."""
    return [_check(report) for report in CARE_TABLES]
