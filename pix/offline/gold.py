"""Silver to gold: decisions with what became known about them, and a row of numbers per day.

Pure: frames in, a lazy frame out.
"""

from typing import TYPE_CHECKING

from pix.features import BRASILIA_OFFSET_MS
from pix.offline.tables import DAILY_KPIS, DECISIONS_GOLD

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def newest_labels(labels: "DataFrame") -> "DataFrame":
    """Per payment its newest label, and whether any label decided that it is or is not fraud.

    A payment that was only contested is not known to be honest: its ``is_fraud`` is null.

    Args:
        labels: silver/labels, or those of them known at some time.
    """
    from pyspark.sql import functions as f

    fields = f.struct("known_at_ms", "label_id", "kind", "fraud_type", "is_fraud_after")
    newest = labels.groupBy("tenant", "end_to_end_id").agg(
        f.max(fields).alias("newest"), f.max(f.col("kind") != "contested").alias("is_decided")
    )
    return newest.select(
        "tenant",
        "end_to_end_id",
        f.when(f.col("is_decided"), f.col("newest.is_fraud_after")).alias("is_fraud"),
        f.col("newest.kind").alias("label_kind"),
        f.col("newest.known_at_ms").alias("label_known_at_ms"),
        f.col("newest.fraud_type").alias("fraud_type"),
    )


def decisions(decided: "DataFrame", labels: "DataFrame") -> "DataFrame":
    """Decisions with their outcome.

    Args:
        decided: silver/decisions.
        labels: silver/labels.
    """
    joined = decided.drop("record").join(newest_labels(labels), ["tenant", "end_to_end_id"], "left")
    return DECISIONS_GOLD.shape(joined)


def daily_kpis(decided: "DataFrame") -> "DataFrame":
    """One row of numbers per day.

    Args:
        decided: gold/decisions.
    """
    from pyspark.sql import functions as f

    fraud = f.coalesce("is_fraud", f.lit(False))
    caught, missed = fraud & (f.col("action") != "ALLOW"), fraud & (f.col("action") == "ALLOW")
    cents = f.col("amount_cents")
    day = f.to_date(f.timestamp_millis(f.col("event_time_ms") + f.lit(BRASILIA_OFFSET_MS)))
    actions = {"allowed": "ALLOW", "reviewed": "REVIEW", "held": "BLOCK_AND_REVIEW", "blocked": "BLOCK"}
    counted = decided.groupBy(day.alias("day")).agg(
        f.count("*").alias("payments"),
        f.sum(cents).alias("amount_cents"),
        *[_count(f.col("action") == action).alias(name) for name, action in actions.items()],
        _count(fraud).alias("frauds_known"),
        _count(caught).alias("frauds_caught"),
        _count(missed).alias("frauds_missed"),
        f.sum(f.when(caught, cents).otherwise(0)).alias("caught_cents"),
        f.sum(f.when(missed, cents).otherwise(0)).alias("missed_cents"),
    )
    rates = counted.withColumns(
        {
            "review_rate": (f.col("reviewed") + f.col("held")) / f.col("payments"),
            "block_rate": (f.col("held") + f.col("blocked")) / f.col("payments"),
        }
    )
    return DAILY_KPIS.shape(rates).orderBy("day")


def _count(condition: "Column") -> "Column":
    from pyspark.sql import functions as f

    return f.count(f.when(condition, True))
