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


def decisions(decided: "DataFrame", labels: "DataFrame", as_of_ms: int) -> "DataFrame":
    """Decisions with their outcome, and what became of their reviews as far as the lake knows.

    Args:
        decided: silver/decisions, or some days of it.
        labels: silver/labels, of the same days and one more on either side.
        as_of_ms: Up to when the lake knows what happened (``newest_ms``). No clock: the same lake gives the same table.
    """
    identity = ["tenant", "end_to_end_id"]
    joined = decided.drop("record").join(newest_labels(labels), identity, "left")
    rows = _with_reviews(joined.join(_closings(labels), identity, "left"), as_of_ms)
    return DECISIONS_GOLD.shape(rows).sortWithinPartitions("event_day", "event_time_ms")


def _closings(labels: "DataFrame") -> "DataFrame":
    """Per payment the verdict that closed its review; its time is the service's, because deadlines are."""
    from pyspark.sql import functions as f

    first = f.min(f.struct("effective_at_ms", "kind", "closed_by")).alias("closing")
    return labels.where("closed_by is not null").groupBy("tenant", "end_to_end_id").agg(first)


def _with_reviews(decided: "DataFrame", as_of_ms: int) -> "DataFrame":
    """A review is closed by a verdict, else over when its hold is; as ``serving.reviews`` has it."""
    from pyspark.sql import functions as f

    is_held = f.col("action") == "BLOCK_AND_REVIEW"
    is_closed, is_expired = f.col("closing").isNotNull(), f.col("hold_expires_at_ms") <= f.lit(as_of_ms)
    status = f.when(is_closed, "closed").when(is_expired, "expired").otherwise("open")
    by_verdict = f.when(f.col("closing.kind") == "confirmed", "BLOCK").otherwise("ALLOW")
    reviewed = decided.withColumn("review_status", f.when(is_held | (f.col("action") == "REVIEW"), status))
    is_over, was_closed = f.col("review_status") == "expired", f.col("review_status") == "closed"
    return reviewed.withColumns(
        {
            "review_verdict": f.when(was_closed, f.col("closing.kind")),
            "review_closed_by": f.when(was_closed, f.col("closing.closed_by")),
            "review_ended_at_ms": f.when(was_closed, f.col("closing.effective_at_ms")).when(
                is_over, f.col("hold_expires_at_ms")
            ),
            "review_outcome": f.when(was_closed & is_held, by_verdict).when(is_over, f.col("hold_outcome")),
        }
    )


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
