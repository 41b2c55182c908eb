"""How the models that decided did, day by day, once a day's labels have matured. What is judged lives in ``learning``.

Labels count as they were known when the day had matured, however many came later: so a day of last month and one of
last week can be compared, and the trend is the model's and not the labels'.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets import notes
from fraud_assets.declared import ARROW_KINDS, keys_of, table_asset
from fraud_assets.failures import told
from fraud_assets.gold import newest_ms
from fraud_assets.lake import LakeResource
from pix.contracts import DAY_MS
from pix.logged import DEGRADED_STORE
from pix.offline.days import begin_ms, day_at, listed, widened
from pix.offline.tables import DECISIONS_GOLD, LABELS_SILVER, MODEL_DAILY
from quality.concept import MATURITY, Day, Watched, watched

if TYPE_CHECKING:
    import pyarrow as pa

    from learning.performance import Decided

MATURITY_DAYS = MATURITY.days
"""As a training set has it by default (``fraud_assets.features.TrainingSetConfig``)."""
STOPPED = ("BLOCK_AND_REVIEW", "BLOCK")
MODEL = ("model_name", "model_version")
SHOWN_DAYS = 14


@dg.asset(
    **table_asset(MODEL_DAILY, ARROW_KINDS), deps=keys_of(DECISIONS_GOLD, LABELS_SILVER), io_manager_key="small_tables"
)
@told
def model_daily(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One model's decisions of one day whose labels have matured: what it expected, what was found, its alerts' worth.

    A day is made once it has matured, and again when decisions of it came or changed.
    """
    version = lake.version(DECISIONS_GOLD.name)
    there = lake.ask(MODEL_DAILY.name, "select * from asked") if lake.fits(MODEL_DAILY) else []
    days = due(lake, there)
    rows = [row for day in sorted(days) for row in rows_of(lake, day, version)]
    kept = [row for row in there if row["day"] not in days]
    table = MODEL_DAILY.arrow(sorted([*kept, *rows], key=lambda row: (row["day"], row["model_version"])))
    told_days: dict[str, Any] = {"days_made": len(days), "newest_days": dg.MetadataValue.md(_shown(table))}
    return dg.MaterializeResult(value=table, metadata={"dagster/row_count": table.num_rows, **told_days})


def due(lake: LakeResource, there: Iterable[Mapping[str, Any]]) -> frozenset[date]:
    """Days to be made: those that have matured and are not there, and those whose decisions were written since.

    Args:
        lake: The lake.
        there: Rows of the table as it is.
    """
    first_open = day_at(newest_ms(lake) - MATURITY_DAYS * DAY_MS)
    matured = {day for (day,) in lake.distinct(DECISIONS_GOLD.name, "event_day") if day < first_open}
    made = {row["day"]: row["made_from"] for row in there}
    if not made:
        return frozenset(matured)
    changed = notes.changes(lake.log(DECISIONS_GOLD.name), max(made.values())).days
    if changed is None:
        return frozenset(matured)
    return frozenset(day for day in matured if day not in made or day in changed)


def rows_of(lake: LakeResource, day: date, version: int) -> Iterator[dict[str, Any]]:
    """A day's rows, one per model.

    Args:
        lake: The lake.
        day: Has decisions, and has matured.
        version: Of gold/decisions.
    """
    import pyarrow.compute as pc

    from learning.performance import performance

    query = (
        "select tenant, end_to_end_id, model_name, model_version, fraud_probability, action, amount_cents from asked "  # noqa: S608 - a day
        f"where event_day = date '{day}' and fraud_probability is not null and model_version is not null "
        f"and mode <> '{DEGRADED_STORE}'"
    )
    decided = _arrow(lake, DECISIONS_GOLD.name, query, version=version)
    said = _said(lake, day)
    for model in decided.group_by(list(MODEL)).aggregate([]).to_pylist():
        chosen = pc.and_(*[pc.equal(decided[name], model[name]) for name in MODEL])
        numbers = performance(_decided(decided.filter(chosen), said)).to_row()
        yield {"day": day, **model, **numbers, "made_from": version}


def days_of(lake: LakeResource, name: str, version: str) -> Watched:
    """The matured days that speak of a champion.

    Args:
        lake: The lake.
        name: Of the registered model.
        version: Of the champion.
    """
    by_model: dict[str, list[Day]] = {}
    for row in lake.ask(MODEL_DAILY.name, "select * from asked order by day"):
        day = Day(
            day=row["day"],
            frauds=row["frauds_known"],
            expected=row["expected_frauds"],
            variance=row["expected_variance"],
            alerts=row["alerts_judged"],
            caught=row["frauds_caught"],
        )
        by_model.setdefault(_named(row["model_name"], row["model_version"]), []).append(day)
    return watched(_named(name, version), by_model)


def _named(name: str, version: str) -> str:
    return f"{name} v{version}"


def _arrow(lake: LakeResource, table: str, query: str, *, version: int | None = None) -> "pa.Table":
    import pyarrow as pa
    from deltalake import QueryBuilder

    log = lake.log(table)
    if version is not None:
        log.load_as_version(version)
    rows = pa.table(QueryBuilder().register("asked", log).execute(query).read_all())
    # DataFusion answers with views of strings, which Arrow can neither group nor compare.
    views = [pa.field(one.name, pa.string() if pa.types.is_string_view(one.type) else one.type) for one in rows.schema]
    return rows.cast(pa.schema(views))


def _said(lake: LakeResource, day: date) -> dict[tuple[str, str], bool | None]:
    """What was known of a day's payments when it had matured: fraud or not; None of those only contested."""
    at_ms = begin_ms(day + timedelta(days=1 + MATURITY_DAYS))
    newest = f"known_until_ms is null or known_until_ms > {at_ms}"
    query = (
        "select tenant, end_to_end_id, max(case when kind <> 'contested' then 1 else 0 end) as is_decided, "  # noqa: S608 - numbers and days
        f"max(case when ({newest}) and is_fraud_after then 1 else 0 end) as is_fraud from asked "
        f"where known_at_ms <= {at_ms} and payment_day in ({listed(widened([day], 1))}) group by 1, 2"
    )
    rows = lake.ask(LABELS_SILVER.name, query)
    return {(row["tenant"], row["end_to_end_id"]): bool(row["is_fraud"]) if row["is_decided"] else None for row in rows}


def _decided(rows: "pa.Table", said: Mapping[tuple[str, str], bool | None]) -> "Decided":
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from learning.performance import Decided, known

    is_fraud, is_labelled, is_contested = (np.zeros(rows.num_rows, np.bool_) for _ in range(3))
    names = pa.array([identity for _, identity in said], pa.string())
    hits = pc.is_in(rows["end_to_end_id"], value_set=names).to_numpy(zero_copy_only=False)
    places = np.flatnonzero(hits)
    for place, row in zip(places, rows.take(places).select(["tenant", "end_to_end_id"]).to_pylist(), strict=True):
        identity = (row["tenant"], row["end_to_end_id"])
        if identity in said:
            verdict = said[identity]
            is_labelled[place], is_contested[place] = verdict is not None, verdict is None
            is_fraud[place] = bool(verdict)
    action = rows["action"]
    was_stopped = pc.is_in(action, value_set=pa.array(STOPPED)).to_numpy(zero_copy_only=False)
    return Decided(
        probabilities=rows["fraud_probability"].to_numpy().astype(np.float64),
        is_fraud=is_fraud,
        is_known=known(is_labelled, was_stopped, is_contested),
        is_alert=pc.not_equal(action, "ALLOW").to_numpy(zero_copy_only=False),
        amount_cents=rows["amount_cents"].to_numpy().astype(np.int64),
    )


def _shown(table: "pa.Table") -> str:
    """The newest days as a person reads them."""
    lines = [
        "| day | model | payments | frauds | expected | alerts | alert precision | recall |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in table.sort_by([("day", "descending")]).slice(0, SHOWN_DAYS).to_pylist():
        rates = [row[name] for name in ("alert_precision", "alert_recall")]
        cells = (
            *(row["day"], _named(row["model_name"], row["model_version"]), f"{row['payments']:,}"),
            *(f"{row['frauds_known']:,}", f"{row['expected_frauds']:,.1f}", f"{row['alerts']:,}"),
            *("" if rate is None else f"{rate:.0%}" for rate in rates),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
