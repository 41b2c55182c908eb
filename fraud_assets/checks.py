"""Promises about single tables that no suite can hold, and every check of the code location together.

What is promised of every silver and gold table is ``fraud_assets.table_checks``.
"""

import dagster as dg

from fraud_assets import notes
from fraud_assets.declared import key_of, keys_of
from fraud_assets.failures import told
from fraud_assets.feature_checks import FEATURE_CHECKS
from fraud_assets.flow import every_difference_is_explained
from fraud_assets.lake import LakeResource
from fraud_assets.learning_rows import of_history
from fraud_assets.rerun_checks import decisions_come_out_again
from fraud_assets.resources import OnlineStoreResource
from fraud_assets.silver import BRONZE_DECISIONS, bronze
from fraud_assets.table_checks import all_table_checks
from pix.contracts import LIVE_HISTORY
from pix.offline import silver
from pix.offline.runs import beyond
from pix.offline.tables import DECISIONS_SILVER, QUARANTINE_SILVER, TRAINING_SET

MAX_EXAMPLES = 20
STORE_BASE = "serving/store_base"


@dg.asset_check(asset=key_of(STORE_BASE))
@told
def store_equals_logs(online_store: OnlineStoreResource) -> dg.AssetCheckResult:
    """Every state in the online store is, bit for bit, what base and logs fold to, and no review is lost."""
    found = online_store.compare()
    if found is None:
        return dg.AssetCheckResult(passed=True, description="nothing was built in the online store yet")
    return dg.AssetCheckResult(
        passed=found.ok,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{found.equal} of {found.keys} keys of generation {found.generation} are equal, "
        f"{found.reviews_differing} reviews differ",
        metadata={**found.described(), "examples": list(found.examples)},
    )


@dg.asset_check(asset=key_of(QUARANTINE_SILVER.name), additional_deps=keys_of(DECISIONS_SILVER), blocking=True)
@told
def every_bronze_decision_is_in_silver_or_quarantine(lake: LakeResource) -> dg.AssetCheckResult:
    """Each record that bronze held when silver was made is the decision, a copy of it, or quarantined."""
    from pyspark.sql import functions as f

    from pix.offline.quarantine import elsewhere

    # Bronze grows meanwhile: only what silver/decisions saw can be asked for.
    seen = notes.ends_of(lake.note(DECISIONS_SILVER.name), BRONZE_DECISIONS)
    if not seen:
        return dg.AssetCheckResult(passed=True, description="silver/decisions was made before bronze began")
    records = bronze(lake, BRONZE_DECISIONS).where(f"not {beyond(seen, 'partition', 'offset')}")
    decided = lake.read(DECISIONS_SILVER.name)
    quarantined = lake.read(QUARANTINE_SILVER.name).select(*silver.PLACE)
    kept = decided.select(*silver.IDENTITY, f.col("record").alias("kept"))
    rest = silver.parsed_records(elsewhere(records, decided)).select("*", "parsed.tenant", "parsed.end_to_end_id")
    others = rest.join(kept, [*silver.IDENTITY], "left").where("kept is null or kept <> value")
    places = others.join(quarantined, [*silver.PLACE], "left_anti").select(*silver.PLACE)
    missing = places.limit(MAX_EXAMPLES).collect()
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(missing)} records are nowhere" if missing else "all records are accounted for",
        metadata={"bronze_ends": dict(seen), "examples": ["/".join(str(part) for part in row) for row in missing]},
    )


@dg.asset_check(asset=key_of(TRAINING_SET.name), blocking=True)
@told
def payments_are_learnt_from_once(lake: LakeResource) -> dg.AssetCheckResult:
    """No payment is in a history's training set twice."""
    repeated = lake.read(TRAINING_SET.name).groupBy("history", "end_to_end_id").count().where("count > 1")
    examples = [row.end_to_end_id for row in repeated.limit(MAX_EXAMPLES).collect()]
    return dg.AssetCheckResult(
        passed=not examples, severity=dg.AssetCheckSeverity.ERROR, metadata={"examples": examples}
    )


@dg.asset_check(asset=key_of(TRAINING_SET.name), blocking=True)
@told
def both_classes_are_present(lake: LakeResource) -> dg.AssetCheckResult:
    """There are frauds and honest payments to learn from in the history whose set was written last."""
    history = (lake.note(TRAINING_SET.name) or {}).get("history", LIVE_HISTORY)
    rows = lake.read(TRAINING_SET.name).where(of_history(history))
    counts = {row.is_fraud: row["count"] for row in rows.groupBy("is_fraud").count().collect()}
    frauds, others = counts.get(True, 0), counts.get(False, 0)
    return dg.AssetCheckResult(
        passed=frauds > 0 and others > 0,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{history}: {frauds} frauds and {others} other payments",
        metadata={"history": history, "frauds": frauds, "others": others},
    )


def all_checks() -> list[dg.AssetChecksDefinition]:
    """Every check of the code location."""
    return [
        *all_table_checks(),
        *FEATURE_CHECKS,
        decisions_come_out_again,
        every_difference_is_explained,
        store_equals_logs,
        every_bronze_decision_is_in_silver_or_quarantine,
        payments_are_learnt_from_once,
        both_classes_are_present,
    ]
