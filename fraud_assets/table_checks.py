"""The promises of every silver and gold table as its asset checks. What is promised and judged lives in ``quality``.

Great Expectations has no living Dagster integration, so the bridge is our own: one check per promise, all of a table
in one step. Critical promises block what is downstream; a day far from usual does where models learn from it.
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets.asking import asking
from fraud_assets.daily import picked_days
from fraud_assets.declared import key_of, keys_of
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from pix.clock import epoch_ms
from pix.offline.days import day_at
from pix.offline.declaration import Table
from quality import unexpected
from quality.anomalies import ORDER, Aspect, Judged, judge, judge_freshness
from quality.conditions import Promise
from quality.counting import ASKED, count, examples, sample_sql
from quality.daily import DailyFacts, daily_facts, has_days
from quality.promises import GATES
from quality.suites import covered, suite_of
from quality.unexpected import DAYS_KEPT, UNEXPECTED

if TYPE_CHECKING:
    from quality.expectations import Outcome

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
USUAL: dict[str, tuple[Aspect, str]] = {
    "volume_is_as_usual": ("volume", "The newest whole day has as many rows as its history lets expect."),
    "amounts_sum_up_as_usual": ("amount", "The newest whole day's amounts sum up to what its history lets expect."),
    "null_shares_are_as_usual": ("nulls", "In no column of the newest whole day more or fewer values are missing."),
    "rows_keep_arriving": ("freshness", "The newest row is no older than the pauses in the table's history."),
}
"""Checks learned from history, and what each looks at."""


def blocks(table: Table, check: str) -> bool:
    """Whether a red check stops what is made of the table, always or when a day is far from usual."""
    if check in USUAL:
        return USUAL[check][0] in GATES.get(table.name, ())
    return any(promise.name == check and promise.severity == "critical" for promise in suite_of(table.name))


def usual_of(table: Table) -> list[str]:
    """Names of the checks that are learned from the table's history."""
    if not has_days(table):
        return []
    has_amounts = "amount_cents" in table.names
    return [name for name, (aspect, _) in USUAL.items() if aspect != "amount" or has_amounts]


def table_checks(table: Table) -> dg.AssetChecksDefinition:
    """Every promise of a table, and what is usual of it, as asset checks of one step."""
    promised = {promise.name: promise for promise in suite_of(table.name)}
    specs = [_spec(table, name, promise.why, promise.sources) for name, promise in promised.items()]
    specs += [_spec(table, name, USUAL[name][1], ()) for name in usual_of(table)]

    @dg.multi_asset_check(name=f"{table.name.replace('/', '_')}_promises", specs=specs, can_subset=True)
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
        chosen = {key.name for key in context.selected_asset_check_keys}
        days, now_ms = picked_days(context), epoch_ms()
        suite = [promise for name, promise in promised.items() if name in chosen]
        outcomes = _validated(lake, table, suite, days)
        context.log.info("%d promises and %d habits of %s", len(suite), len(chosen) - len(suite), table.name)
        kept = _samples(lake, table, outcomes, days, run=context.run.run_id, now_ms=now_ms)
        for outcome in outcomes:
            yield _as_result(table, outcome, [row for row in kept if row["check_name"] == outcome.name])
        habits = [name for name in usual_of(table) if name in chosen]
        facts = _facts(lake, table) if habits else []
        for name in habits:
            yield _as_habit(table, name, _judged(table, facts, USUAL[name][0], days, now_ms))
        keep(lake, table, [outcome.name for outcome in outcomes], kept, day=day_at(now_ms))

    return check


def all_table_checks() -> list[dg.AssetChecksDefinition]:
    """The checks of every declared table of silver and gold."""
    return [table_checks(table) for table in covered().values()]


def _spec(table: Table, name: str, why: str, sources: Sequence[str]) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        name,
        asset=key_of(table.name),
        blocking=blocks(table, name),
        additional_deps=keys_of(*sources),
        description=f"{name.replace('_', ' ').capitalize()}. {why}",
    )


@told
def _validated(
    lake: LakeResource, table: Table, suite: Sequence[Promise], days: Sequence[date] | None
) -> "list[Outcome]":
    if not suite:
        return []
    from quality.expectations import SAMPLE_ROWS, columns_of, frame_of, validate

    types, ask = lake.types(table.name), asking(lake)
    counts = count(table, suite, ask, columns=types, days=days)
    columns = [name for name in columns_of(suite) if name in types]
    sql = sample_sql(table, columns, total=counts.total, most=SAMPLE_ROWS, days=days)
    return validate(frame_of(ask(sql, {ASKED: table.name}), types, suite), counts, suite)


def _as_result(table: Table, outcome: "Outcome", kept: Sequence[dict[str, Any]]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key_of(table.name),
        check_name=outcome.name,
        passed=outcome.passed,
        severity=ERROR if outcome.severity == "critical" else WARN,
        description=outcome.observed,
        metadata={
            "rows_counted": outcome.rows,
            "rows_sampled": outcome.sampled,
            "unexpected_rows": outcome.unexpected_count,
            "examples": [f"{row['row_key']}: {row['value']}" for row in kept],
        },
    )


@told
def _facts(lake: LakeResource, table: Table) -> list[DailyFacts]:
    return daily_facts(table, asking(lake), columns=lake.types(table.name))


def _judged(
    table: Table, facts: Sequence[DailyFacts], aspect: Aspect, days: Sequence[date] | None, now_ms: int
) -> list[Judged]:
    if aspect == "freshness":
        return [judge_freshness(facts, now_ms)]
    # A day that is not over has too little of everything.
    over = [place for place, day in enumerate(facts) if day.day < day_at(now_ms)]
    chosen = over[-1:] if days is None else [place for place in over if facts[place].day in days]
    return [judge(table, aspect, facts[:place], facts[place]) for place in chosen]


def _as_habit(table: Table, name: str, judged: Sequence[Judged]) -> dg.AssetCheckResult:
    worst = max(judged, key=lambda one: (one.is_harmful, ORDER.index(one.level)), default=None)
    stops = worst is not None and worst.is_harmful and blocks(table, name)
    return dg.AssetCheckResult(
        asset_key=key_of(table.name),
        check_name=name,
        passed=worst is None or worst.level in ("unknown", "usual"),
        severity=ERROR if stops else WARN,
        description=worst.told if worst else "no whole day has rows yet",
        metadata={"days_judged": [str(one.day) for one in judged]},
    )


def _samples(
    lake: LakeResource,
    table: Table,
    outcomes: "Sequence[Outcome]",
    days: Sequence[date] | None,
    *,
    run: str,
    now_ms: int,
) -> list[dict[str, Any]]:
    """Rows of ``UNEXPECTED`` for what is red."""
    ask, rows = asking(lake), []
    there = set(lake.types(table.name)) if outcomes else set()
    for outcome in outcomes:
        asked = [one for one in outcome.broken if set(one.reads) <= there]
        found = [(one, examples(table, one, ask, days=days, most=unexpected.MOST)) for one in asked]
        rows += unexpected.rows_of(table, outcome.name, found, day=day_at(now_ms), run=run, at_ms=now_ms)
    return rows


@told
def keep(lake: LakeResource, table: Table, checks: Sequence[str], rows: Sequence[dict[str, Any]], *, day: date) -> None:
    """Put these samples in place of the day's earlier ones of the same checks, and drop what is too old."""
    if not checks:
        return
    listed = ", ".join(f"'{name}'" for name in checks)
    ours = f"day = '{day}' and table_name = '{table.name}' and check_name in ({listed})"
    if not rows and not lake.distinct(UNEXPECTED.name, "check_name", where=ours):
        return
    from deltalake import write_deltalake

    with lake.only_writer(UNEXPECTED.name):
        options: dict[str, Any] = {"mode": "overwrite", "predicate": ours} if lake.exists(UNEXPECTED.name) else {}
        content = UNEXPECTED.arrow(rows)
        apart = list(UNEXPECTED.partitions)
        write_deltalake(lake.address(UNEXPECTED.name), content, partition_by=apart, **options)
        stored = lake.log(UNEXPECTED.name)
        if stored.delete(f"day < '{day - timedelta(days=DAYS_KEPT)}'")["num_deleted_rows"]:
            stored.vacuum(dry_run=False)
