"""Silver to gold: what people and reports read."""

from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets import notes
from fraud_assets.daily import Daily, News, daily_asset, keep
from fraud_assets.declared import ARROW_KINDS, keys_of, table_asset
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from pix.clock import epoch_ms
from pix.offline import gold
from pix.offline.care import gone_before, terms
from pix.offline.days import Days, widened, within
from pix.offline.tables import (
    DAILY_KPIS,
    DECISIONS_GOLD,
    DECISIONS_SILVER,
    HOURLY_KPIS,
    LABELS_SILVER,
    PAYEE_PROFILES,
    PAYER_PROFILES,
    PAYMENTS_SILVER,
)

SHOWN_DAYS = 14

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame


@dg.asset(**daily_asset(DECISIONS_GOLD), deps=keys_of(DECISIONS_SILVER, LABELS_SILVER))
@told
def decisions(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One decided payment with what became known about it.

    A day is made again when a decision or a label of its payments came, and when a review of it ran out.
    """
    versions = {table.name: lake.version(table.name) for table in (DECISIONS_SILVER, LABELS_SILVER)}
    decided, labels = (lake.read(name, version=version) for name, version in versions.items())
    as_of_ms = newest_ms(lake)

    def news(note: notes.Note | None) -> News:
        said = {"made_from": versions}
        if note is None:
            return News(None, said)
        of_decisions, of_labels = (notes.changes(lake.log(name), note["made_from"][name]).days for name in versions)
        if of_decisions is None or of_labels is None:
            return News(None, said)
        there = {day for (day,) in lake.distinct(DECISIONS_SILVER.name, "event_day")}
        labelled = widened(of_labels, 1) & there
        ended = f"review_status = 'open' and hold_expires_at_ms <= {as_of_ms}"
        expired = {day for (day,) in lake.distinct(DECISIONS_GOLD.name, "event_day", where=ended)}
        return News(of_decisions | labelled | frozenset[date](expired), said)

    def anew(days: Days) -> "DataFrame":
        near = None if days is None else widened(days, 1)
        return gold.decisions(
            decided.where(within("event_day", days)), labels.where(within("payment_day", near)), as_of_ms
        )

    return keep(context, lake, Daily(DECISIONS_GOLD, news, anew))


def newest_ms(lake: LakeResource) -> int:
    """Up to when the lake knows what happened, epoch milliseconds; 0 if it knows nothing."""
    newest = (
        *lake.ask(DECISIONS_SILVER.name, "select max(decided_at_ms) as at_ms from asked"),
        *lake.ask(LABELS_SILVER.name, "select max(recorded_at_ms) as at_ms from asked"),
    )
    return max(row["at_ms"] or 0 for row in newest)


@dg.asset(**table_asset(HOURLY_KPIS, ARROW_KINDS), deps=keys_of(DECISIONS_GOLD), io_manager_key="small_tables")
@told
def hourly_kpis(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One hour of decisions in Brasília: how many, what was done, what was caught, missed and stopped in vain."""
    counted = gold.hourly_kpis(lake.read(DECISIONS_GOLD.name)).toArrow()
    table = with_earlier(lake, counted, now_ms=epoch_ms())
    return dg.MaterializeResult(value=table, metadata={"dagster/row_count": table.num_rows})


@dg.asset(**table_asset(DAILY_KPIS, ARROW_KINDS), deps=keys_of(HOURLY_KPIS), io_manager_key="small_tables")
@told
def daily_kpis(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One day of decisions in Brasília: how many, what was done, what was caught, missed and stopped in vain."""
    table = gold.daily_kpis(lake.read(HOURLY_KPIS.name)).toArrow()
    return dg.MaterializeResult(value=table, metadata={"dagster/row_count": table.num_rows, **_shown(table)})


def with_earlier(lake: LakeResource, counted: "pa.Table", *, now_ms: int) -> "pa.Table":
    """The hours that were counted, and those of days whose decisions are past their term: figures tell of no person.

    Args:
        lake: Has the figures as they were.
        counted: Hours of the decisions that there are.
        now_ms: The clock.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    day = gone_before(terms([DECISIONS_GOLD.name])[DECISIONS_GOLD.name], now_ms)
    if not lake.fits(HOURLY_KPIS):
        return counted
    earlier = lake.ask(HOURLY_KPIS.name, f"select * from asked where day < date '{day}'")  # noqa: S608 - a day
    whole = counted.filter(pc.greater_equal(counted["day"], pa.scalar(day)))
    return pa.concat_tables([pa.Table.from_pylist(earlier, counted.schema), whole]) if earlier else counted


def _shown(table: "pa.Table") -> dict[str, Any]:
    """The newest days as a person reads them."""
    columns = ("day", "payments", "alerts", "alert_precision", "frauds_known", "missed_cents", "friction_rate")
    newest = table.sort_by([("day", "descending")]).slice(0, SHOWN_DAYS).to_pylist()
    lines = [
        "| day | payments | alerts | alert precision | frauds | missed, R$ | friction |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in newest:
        day, payments, alerts, precision, frauds, missed, friction = (row[name] for name in columns)
        judged = "" if precision is None else f"{precision:.1%}"
        lines.append(
            f"| {day} | {payments:,} | {alerts:,} | {judged} | {frauds:,} | {missed / 100:,.2f} | {friction:.2%} |"
        )
    return {"newest_days": dg.MetadataValue.md("\n".join(lines))}


@dg.asset(**table_asset(PAYER_PROFILES), deps=keys_of(PAYMENTS_SILVER, LABELS_SILVER))
@told
def payer_profiles(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One account that pays, by all its payments in the lake: how much, to how many, what was stopped or fraud."""
    payments, labels = lake.read(PAYMENTS_SILVER.name), lake.read(LABELS_SILVER.name)
    return lake.overwrite(PAYER_PROFILES, gold.profiles(payments, labels, "payer")).result()


@dg.asset(**table_asset(PAYEE_PROFILES), deps=keys_of(PAYMENTS_SILVER, LABELS_SILVER))
@told
def payee_profiles(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One account that is paid, by all its payments in the lake: how much, from how many, what was stopped or fraud."""
    payments, labels = lake.read(PAYMENTS_SILVER.name), lake.read(LABELS_SILVER.name)
    return lake.overwrite(PAYEE_PROFILES, gold.profiles(payments, labels, "payee")).result()
