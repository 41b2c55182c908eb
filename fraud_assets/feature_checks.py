"""Promises about features, as asset checks: online equals offline, nothing waits, is stale or is absurd."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets import folding
from fraud_assets.declared import key_of, keys_of
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from fraud_assets.silver import BRONZE_FOLDS, bronze
from pix.features import FEATURE_NAMES, FEATURES, FINGERPRINT
from pix.offline import runs
from pix.offline.tables import DECISIONS_SILVER, FEATURE_STATISTICS, PAYMENT_FEATURES, RUNS, UNANSWERED

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from learning.promotion import Parity
    from quality.parity import ParityReport

MAX_EXAMPLES = 20
RUNS_LOOKED_AT = 50
"""Back to the newest proof: a run that ended early left its check without one."""
OURS = f"fingerprint = '{FINGERPRINT}'"


@dg.asset_check(asset=key_of(PAYMENT_FEATURES.name), blocking=True)
@told
def online_equals_offline(lake: LakeResource) -> dg.AssetCheckResult:
    """Every feature and carried fact of every logged decision, recomputed offline, is equal bit for bit.

    Decisions without a recomputed vector are counted by ``every_decision_has_its_features``; those that followed
    other feature declarations are left aside and counted here.
    """
    rows = lake.read(PAYMENT_FEATURES.name).where(f"{OURS} and logged is not null")
    aside = rows.where(f"logged_fingerprint <> '{FINGERPRINT}'").count()
    report = parity(rows.where(f"logged_fingerprint = '{FINGERPRINT}'"))
    return dg.AssetCheckResult(
        passed=report.ok,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{report.mismatches} of {report.compared} logged vectors differ",
        metadata={
            "compared": report.compared,
            "mismatches": report.mismatches,
            "left_aside": aside,
            "fingerprint": FINGERPRINT,
            "by_feature": dict(report.by_feature),
            "examples": [str(example) for example in report.examples],
        },
    )


def newest_parity(instance: dg.DagsterInstance) -> "Parity | None":
    """What ``online_equals_offline`` last said of the features that this build declares; None if it never did."""
    from learning.promotion import Parity

    check = dg.AssetCheckKey(key_of(PAYMENT_FEATURES.name), "online_equals_offline")
    records = instance.event_log_storage.get_asset_check_execution_history(check, limit=RUNS_LOOKED_AT)
    for record in records:
        said = record.evaluation
        if not isinstance(said, dg.AssetCheckEvaluation):
            # Not run yet, or ended before it could say anything: an older proof stands until a newer one was made.
            continue
        found: dict[str, Any] = {name: value.value for name, value in said.metadata.items()}
        if found.get("fingerprint") != FINGERPRINT:
            return None
        at = datetime.fromtimestamp(record.create_timestamp, UTC).isoformat(timespec="minutes")
        return Parity(found["compared"], found["mismatches"], at)
    return None


def parity(rows: "DataFrame") -> "ParityReport":
    """Compare logged with recomputed vectors where the rows are; only what differs comes back."""
    from quality.parity import no_rows, of_rows, report_of

    names = ["end_to_end_id", "features", "logged", "carried", "logged_carried"]
    parts = rows.select(*names).mapInArrow(of_rows, "report string").collect()
    return sum((report_of(part.report) for part in parts), start=no_rows())


@dg.asset_check(asset=key_of(PAYMENT_FEATURES.name), blocking=True)
@told
def history_carries_what_its_states_say(lake: LakeResource) -> dg.AssetCheckResult:
    """What an imported payment carried into the other side's states is what the account's whole state said."""
    rows = lake.read(PAYMENT_FEATURES.name).where(f"{OURS} and source = 'history'")
    differing = rows.where("not (carried <=> logged_carried)").select("end_to_end_id").limit(MAX_EXAMPLES).collect()
    return dg.AssetCheckResult(
        passed=not differing,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"examples": [row.end_to_end_id for row in differing]},
    )


@dg.asset_check(asset=key_of(PAYMENT_FEATURES.name), blocking=True)
@told
def vectors_are_unique(lake: LakeResource) -> dg.AssetCheckResult:
    """A payment has one vector per source and feature declarations."""
    identity = ("tenant", "end_to_end_id", "source", "fingerprint")
    repeated = lake.read(PAYMENT_FEATURES.name).groupBy(*identity).count().where("count > 1")
    examples = [row.end_to_end_id for row in repeated.limit(MAX_EXAMPLES).collect()]
    return dg.AssetCheckResult(
        passed=not examples, severity=dg.AssetCheckSeverity.ERROR, metadata={"examples": examples}
    )


@dg.asset_check(asset=key_of(PAYMENT_FEATURES.name), additional_deps=keys_of(UNANSWERED, DECISIONS_SILVER))
@told
def every_decision_has_its_features(lake: LakeResource) -> dg.AssetCheckResult:
    """No folded decision waits for a number that is not in the lake; what waits is never given a wrong vector."""
    run = folding.newest_run(lake)
    waiting = lake.read(UNANSWERED.name).where(f"batch = {run.batch if run else 0} and is_read")
    decisions = waiting.select("tenant", "end_to_end_id").distinct().count()
    rows = waiting.orderBy("at_ms").limit(MAX_EXAMPLES).collect()
    return dg.AssetCheckResult(
        passed=decisions == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{decisions} decisions wait for {waiting.count()} reads",
        metadata={
            "unanswered": decisions,
            "examples": [f"{r.end_to_end_id} read {r.number} of {_kind(r.key)}" for r in rows],
        },
    )


def _kind(key: str) -> str:
    """A key without its token: kinds tell enough, tokens stay in the lake."""
    return key.rpartition("|")[0]


@dg.asset_check(asset=key_of(PAYMENT_FEATURES.name), additional_deps=keys_of(RUNS, DECISIONS_SILVER))
@told
def features_are_fresh(lake: LakeResource) -> dg.AssetCheckResult:
    """Every decision and label fold that the lake holds was folded by the newest run."""
    run = folding.newest_run(lake)
    decided = lake.read_or_empty(DECISIONS_SILVER).select("decided_at_ms", "decision_partition", "decision_offset")
    folds = bronze(lake, BRONZE_FOLDS).where("value is not null").select("partition", "offset")
    if run is not None:
        decided = decided.where(runs.beyond(run.decisions_to, "decision_partition", "decision_offset"))
        folds = folds.where(runs.beyond(run.folds_to, "partition", "offset"))
    oldest_ms, missing = decided.selectExpr("min(decided_at_ms)", "count(*)").collect()[0]
    waiting = folds.count()
    return dg.AssetCheckResult(
        passed=missing + waiting == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{missing} decisions and {waiting} label folds came after the newest run",
        metadata={"decisions": missing, "label_folds": waiting, "oldest_decided_at_ms": oldest_ms},
    )


@dg.asset_check(asset=key_of(FEATURE_STATISTICS.name))
@told
def values_lie_where_they_can(lake: LakeResource) -> dg.AssetCheckResult:
    """No flag but 0 and 1, no negative count, no share above 1: on no day, for no feature."""
    from quality.ranges import out_of_range

    columns = ["fold_day", "feature", "min", "max"]
    rows = [row.asDict() for row in lake.read(FEATURE_STATISTICS.name).where(OURS).select(*columns).collect()]
    found = out_of_range(rows, FEATURES)
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(found)} of {len(rows)} features and days",
        metadata={"examples": [str(each) for each in found[:MAX_EXAMPLES]]},
    )


@dg.asset_check(asset=key_of(FEATURE_STATISTICS.name))
@told
def no_feature_is_always_missing(lake: LakeResource) -> dg.AssetCheckResult:
    """Every feature has a value for some live payment, once there are enough of them to tell."""
    from pyspark.sql import functions as f

    sums = [f.sum(name).alias(name) for name in ("payments", "nulls", "zeros")]
    rows = lake.read(FEATURE_STATISTICS.name).where(OURS).groupBy("source", "feature").agg(*sums).collect()
    live = {row.feature: row for row in rows if row.source == "live"}
    enough = bool(live) and next(iter(live.values())).payments >= ENOUGH_LIVE
    missing = sorted(name for name, row in live.items() if row.payments == row.nulls) if enough else []
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(missing)} features have no value in any live payment",
        metadata={"features": missing, "shares": dg.MetadataValue.md(_shares(rows))},
    )


ENOUGH_LIVE = 500


def _shares(rows: list[Any]) -> str:
    """Missing and zero shares per feature and source, as a table to read."""
    by_feature: dict[str, dict[str, Any]] = {}
    for row in rows:
        by_feature.setdefault(row.feature, {})[row.source] = row
    sources = sorted({row.source for row in rows})
    lines = ["| feature |" + "".join(f" {s}: missing | {s}: zero |" for s in sources)]
    lines.append("|---|" + "---|---|" * len(sources))
    for name in FEATURE_NAMES:
        cells = []
        for source in sources:
            row = by_feature.get(name, {}).get(source)
            cells += [f"{row.nulls / row.payments:.1%}", f"{row.zeros / row.payments:.1%}"] if row else ["", ""]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


FEATURE_CHECKS = (
    online_equals_offline,
    history_carries_what_its_states_say,
    vectors_are_unique,
    every_decision_has_its_features,
    features_are_fresh,
    values_lie_where_they_can,
    no_feature_is_always_missing,
)
