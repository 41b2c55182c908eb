"""The offline engine meets the lake: which histories and what of the live log to fold, and what to write first.

Each has a ledger that is written last (``features/histories``, ``features/runs``): what it does not list did not
happen, and the next run replaces what an interrupted one left.
"""

from typing import TYPE_CHECKING, Any

from fraud_assets.lake import LakeResource
from fraud_assets.silver import BRONZE_FOLDS, bronze
from pix.contracts import LIVE_HISTORY
from pix.engines.layout import STATE_LAYOUT
from pix.features import FINGERPRINT
from pix.offline import runs
from pix.offline.care import gone_before, terms
from pix.offline.declaration import Table
from pix.offline.tables import (
    BASE_STATES,
    DECISIONS_SILVER,
    FEATURE_STATISTICS,
    HISTORIES,
    HISTORY_LABELS,
    HISTORY_PAYMENTS,
    LIVE_STATES,
    PAYMENT_FEATURES,
    RUNS,
    UNANSWERED,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from pix.offline.features import Log

TABLES = (PAYMENT_FEATURES, BASE_STATES, HISTORIES, LIVE_STATES, UNANSWERED, RUNS)
PAYMENTS_A_TASK = 40_000
START = ("key", "base", "number", "blob")
IDENTITY = ["tenant", "end_to_end_id"]


def prepare(lake: LakeResource) -> None:
    """Empty the tables if one of them is of another build's shape: rows of two shapes cannot stand together."""
    if any(lake.exists(t.name) and lake.types(t.name) != _types(t) for t in TABLES):
        for table in reversed(TABLES):
            lake.overwrite(table, lake.empty(table))
    for table in TABLES:
        lake.unchanged(table)


def _types(table: Table) -> dict[str, str]:
    return {column.name: column.type for column in table.columns}


def fold_histories(lake: LakeResource) -> list[str]:
    """Fold every history that got an import, or that was folded by another build; the names of those."""
    from pix.offline import features

    payments, labels = lake.read_or_empty(HISTORY_PAYMENTS), lake.read_or_empty(HISTORY_LABELS)
    found = payments.groupBy("history").agg({"import_number": "max", "*": "count"}).collect()
    done = lake.distinct(HISTORIES.name, "history", "import_number", "layout", "fingerprint")
    stale = [tuple(row) for row in found if (row[0], row[1], STATE_LAYOUT, FINGERPRINT) not in done]
    for name, newest, count in stale:
        where = f"history = '{name}'"
        folded = features.of_history(
            payments.where(where),
            labels.where(where),
            lake.read_or_empty(DECISIONS_SILVER),
            with_states=name == LIVE_HISTORY,
            partitions=tasks_for(count),
        )
        try:
            lake.replace(PAYMENT_FEATURES, folded.features, where=where)
            if name == LIVE_HISTORY:
                lake.overwrite(BASE_STATES, folded.base_states)
        finally:
            folded.release()
        row = (name, newest, STATE_LAYOUT, FINGERPRINT, count)
        lake.record(HISTORIES, dict(zip(HISTORIES.names, row, strict=True)), where=where)
    return [name for name, *_ in stale]


def tasks_for(payments: int) -> int:
    """Spark tasks per shuffle: few for few payments, because each costs; more where a task's memory would not do."""
    return max(2, min(256, payments // PAYMENTS_A_TASK))


def fold_log(lake: LakeResource) -> dict[str, Any]:
    """Fold what the live log got since the last run; what there is to tell about it."""
    from pix.offline import features

    decided, folds = lake.read_or_empty(DECISIONS_SILVER), bronze(lake, BRONZE_FOLDS).where("value is not null")
    decisions_to = _ends(decided, "decision_partition", "decision_offset")
    base = decided.agg({"generation": "max"}).collect()[0][0] or 0
    last = newest_run(lake)
    planned = runs.plan(last, decisions_to=decisions_to, folds_to=_ends(folds, "partition", "offset"), base=base)
    waits = waiting(lake, last)
    if planned.since and not _is_news(planned) and not waits:
        return {"run": planned.since.batch, "news": False}
    batch = planned.run.batch
    whole = features.Log(decisions=decided, folds=folds)
    new = _asked(whole, planned, last, waits)
    base_states = _base_states(lake, new, base)
    starts = base_states.unionByName(_live_states(lake, planned)) if planned.since else base_states
    found = features.of_decisions(
        new,
        starts,
        current=base,
        whole=whole if planned.since else None,
        base_states=base_states if planned.since else None,
        batch=batch,
        partitions=tasks_for(new.decisions.count()),
    )
    try:
        _write_states(lake, planned, found.states)
        # Those of the last finished run are needed until this one is.
        kept = f"batch >= {batch} or batch < {batch - 1}"
        lake.replace(UNANSWERED, found.unanswered, where=kept)
        lake.replace(PAYMENT_FEATURES, found.features, where=f"batch >= {batch}")
    finally:
        found.release()
    told = _counts(lake, batch, found.reopened)
    row = (
        *(batch, runs.written(planned.run.decisions_to), runs.written(planned.run.folds_to), base, STATE_LAYOUT),
        *(FINGERPRINT, planned.since is None, planned.run.states_from, *told.values()),
    )
    lake.record(RUNS, dict(zip(RUNS.names, row, strict=True)), where=f"batch >= {batch}")
    return {"run": batch, "news": True, "from_the_beginning": planned.since is None, **told}


def newest_run(lake: LakeResource) -> runs.Run | None:
    """The last finished run over the live log."""
    newest = lake.ask(RUNS.name, "select * from asked order by batch desc limit 1")
    if not newest:
        return None
    (row,) = newest
    return runs.Run(
        batch=row["batch"],
        decisions_to=runs.read(row["decisions_to"]),
        folds_to=runs.read(row["folds_to"]),
        base=row["base"],
        layout=row["layout"],
        fingerprint=row["fingerprint"],
        states_from=row["states_from"],
    )


def _ends(frame: "DataFrame", partition: str, offset: str) -> dict[int, int]:
    return {row[0]: row[1] for row in frame.groupBy(partition).agg({offset: "max"}).collect()}


def _is_news(planned: runs.Plan) -> bool:
    since, run = planned.since, planned.run
    return since is None or (since.decisions_to, since.folds_to) != (run.decisions_to, run.folds_to)


Waiting = list[tuple[str, str, bool]]
"""Tenant and EndToEndId of what had to wait, and whether a read of it did."""


def waiting(lake: LakeResource, last: runs.Run | None) -> Waiting:
    """What a run left waiting for a number that is not in the lake (yet)."""
    query = "select tenant, end_to_end_id, bool_or(is_read) as waits from asked where batch = {} group by 1, 2"
    return [tuple(row.values()) for row in lake.ask(UNANSWERED.name, query.format(last.batch if last else 0))]


def _asked(whole: "Log", planned: runs.Plan, last: runs.Run | None, waits: Waiting) -> "Log":
    """What is to be folded, and of which decisions the vector is wanted: new ones, and those that waited for one."""
    from pyspark.sql import functions as f

    from pix.offline.features import Log

    if planned.asks_all or last is None:
        return Log(decisions=whole.decisions.withColumn("asked", f.lit(True)), folds=whole.folds)
    is_new = runs.beyond(last.decisions_to, "decision_partition", "decision_offset")
    decisions = whole.decisions.withColumn("asked", f.expr(is_new))
    folds, of_new = whole.folds, runs.beyond(last.folds_to, "partition", "offset")
    if waits:
        known = whole.decisions.sparkSession.createDataFrame(
            waits, "tenant string, end_to_end_id string, waits boolean"
        )
        decisions = decisions.join(f.broadcast(known), IDENTITY, "left")
        decisions = decisions.withColumn("asked", f.col("asked") | f.coalesce("waits", f.lit(False)))
        is_new = f"{is_new} or waits is not null"
        named = [f.get_json_object("value", f"$.{name}").alias(name) for name in IDENTITY]
        folds = folds.select("*", *named).join(f.broadcast(known), IDENTITY, "left")
        of_new = f"{of_new} or waits is not null"
    if planned.since is None:
        return Log(decisions=decisions, folds=folds)
    return Log(decisions=decisions.where(is_new), folds=folds.where(of_new))


def _base_states(lake: LakeResource, new: "Log", current: int) -> "DataFrame":
    """The past that live keys begin with, on every base that is read: normally the one in the lake."""
    from pix.offline import features

    table = lake.read(BASE_STATES.name)
    newest = table.agg({"import_number": "max"}).collect()[0][0] or 0
    bases = {current, *(row[0] for row in new.decisions.where("asked").select("generation").distinct().collect())}
    frame = lake.spark.createDataFrame([], "key string, base int, number bigint, blob binary")
    for base in sorted(bases - {0}):
        states = table
        if base < newest:
            where = f"history = '{LIVE_HISTORY}'"
            past, labels = (
                lake.read(HISTORY_PAYMENTS.name).where(where),
                lake.read_or_empty(HISTORY_LABELS).where(where),
            )
            older = features.of_history(past, labels, lake.read_or_empty(DECISIONS_SILVER), up_to=base)
            states = older.base_states
        frame = frame.unionByName(states.selectExpr("key", f"int({base}) as base", "number", "blob"))
    return frame


def _live_states(lake: LakeResource, planned: runs.Plan) -> "DataFrame":
    since = planned.since
    if since is None:
        return lake.empty(LIVE_STATES).select(*START)
    here = f"layout = '{STATE_LAYOUT}' and batch between {since.states_from} and {since.batch}"
    # By version: Delta forgets what was kept of a table's newest state when the table is written, as it is below,
    # and everything would be folded a second time.
    states = lake.read(LIVE_STATES.name, version=lake.version(LIVE_STATES.name))
    return states.where(here).select(*START)


def _write_states(lake: LakeResource, planned: runs.Plan, states: "DataFrame") -> None:
    """Put a run's states beside the others, or all in one where there are too many beside each other."""
    from pyspark.sql import functions as f

    batch = planned.run.batch
    if not planned.compacts:
        lake.replace(LIVE_STATES, states, where=f"batch >= {batch}")
        return
    every = states.select(*START).unionByName(_live_states(lake, planned))
    newest = every.groupBy("key", "base").agg(f.max_by(f.struct("number", "blob"), "number").alias("newest"))
    rows = newest.select("key", "base", "newest.*", f.lit(STATE_LAYOUT).alias("layout"), f.lit(batch).alias("batch"))
    lake.overwrite(LIVE_STATES, rows)


def _counts(lake: LakeResource, batch: int, reopened: int) -> dict[str, int]:
    (answered,) = lake.ask(PAYMENT_FEATURES.name, f"select count(*) as n from asked where batch = {batch}")  # noqa: S608
    waits = lake.distinct(UNANSWERED.name, *IDENTITY, where=f"batch = {batch} and is_read")
    return {"answered": answered["n"], "unanswered": len(waits), "reopened": reopened}


def describe_days(lake: LakeResource, *, now_ms: int) -> int:
    """Bring ``features/statistics`` up to date; how many days were counted again.

    Of a day whose vectors are past their term what was counted stays: it tells of no person.
    """
    from pyspark.sql import functions as f

    from pix.offline import statistics

    group = [*statistics.GROUP]
    ours = lake.read(PAYMENT_FEATURES.name).where(f.col("fingerprint") == FINGERPRINT)
    lake.unchanged(FEATURE_STATISTICS)
    known = lake.read(FEATURE_STATISTICS.name).where(f.col("fingerprint") == FINGERPRINT)
    counted = {tuple(row) for row in known.select(*group, "payments").distinct().collect()}
    found = {tuple(row) for row in ours.groupBy(*group).count().collect()}
    whole_from = gone_before(terms([PAYMENT_FEATURES.name])[PAYMENT_FEATURES.name], now_ms)
    days = sorted({row[0] for row in counted ^ found if row[0] >= whole_from})
    if days:
        listed = ", ".join(f"date '{day}'" for day in days)
        where = f"fold_day in ({listed})"
        lake.replace(FEATURE_STATISTICS, statistics.of_days(ours.where(where)), where=where)
    return len(days)
