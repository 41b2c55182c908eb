"""Silver to gold: decisions with what became known about them, numbers by hour and day, profiles of accounts.

Pure: frames in, a lazy frame out.
"""

from typing import TYPE_CHECKING, Literal

from pix.contracts import DAY_MS
from pix.features import BRASILIA_OFFSET_MS
from pix.offline.silver import IDENTITY
from pix.offline.tables import DAILY_KPIS, DECISIONS_GOLD, HOURLY_KPIS, KPIS, PAYEE_PROFILES, PAYER_PROFILES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_NEWEST = ("person_type", "account_type")


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
    joined = decided.drop("record").join(newest_labels(labels), [*IDENTITY], "left")
    rows = _with_reviews(joined.join(_closings(labels), [*IDENTITY], "left"), as_of_ms)
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


def hourly_kpis(decided: "DataFrame") -> "DataFrame":
    """One row of numbers per hour with decisions.

    Args:
        decided: gold/decisions.
    """
    from pyspark.sql import functions as f

    action, cents = f.col("action"), f.col("amount_cents")
    fraud = f.coalesce("is_fraud", f.lit(False))
    alert, stopped = action != "ALLOW", action.isin("BLOCK_AND_REVIEW", "BLOCK")
    caught, missed, in_vain = fraud & alert, fraud & ~alert, stopped & ~fraud
    actions = {"allowed": "ALLOW", "reviewed": "REVIEW", "held": "BLOCK_AND_REVIEW", "blocked": "BLOCK"}
    hour = f.hour(f.timestamp_millis(f.col("event_time_ms") + f.lit(BRASILIA_OFFSET_MS)))
    counted = decided.groupBy(f.col("event_day").alias("day"), hour.alias("hour")).agg(
        f.count("*").alias("payments"),
        f.sum(cents).alias("amount_cents"),
        *[f.count_if(action == said).alias(name) for name, said in actions.items()],
        f.count_if(fraud).alias("frauds_known"),
        f.count_if(caught).alias("frauds_caught"),
        f.count_if(missed).alias("frauds_missed"),
        f.sum(f.when(caught, cents).otherwise(0)).alias("caught_cents"),
        f.sum(f.when(missed, cents).otherwise(0)).alias("missed_cents"),
        f.count_if(alert).alias("alerts"),
        f.count_if(alert & f.col("is_fraud").isNotNull()).alias("alerts_judged"),
        f.count_if(in_vain).alias("stopped_honest"),
        f.sum(f.when(in_vain, cents).otherwise(0)).alias("stopped_honest_cents"),
    )
    return HOURLY_KPIS.shape(_with_rates(counted)).orderBy("day", "hour")


def daily_kpis(hourly: "DataFrame") -> "DataFrame":
    """One row of numbers per day with decisions.

    Args:
        hourly: gold/hourly_kpis.
    """
    from pyspark.sql import functions as f

    summed = hourly.groupBy("day").agg(*[f.sum(column.name).alias(column.name) for column in KPIS])
    return DAILY_KPIS.shape(_with_rates(summed)).orderBy("day")


def _with_rates(counted: "DataFrame") -> "DataFrame":
    from pyspark.sql import functions as f

    return counted.withColumns(
        {
            "review_rate": (f.col("reviewed") + f.col("held")) / f.col("payments"),
            "block_rate": (f.col("held") + f.col("blocked")) / f.col("payments"),
            "alert_precision": f.try_divide("frauds_caught", "alerts_judged"),
            "friction_rate": f.col("stopped_honest") / f.col("payments"),
        }
    )


def profiles(payments: "DataFrame", labels: "DataFrame", side: Literal["payer", "payee"]) -> "DataFrame":
    """One row per account that pays, or that is paid.

    Args:
        payments: silver/payments.
        labels: silver/labels.
        side: Which account of a payment.
    """
    from pyspark.sql import functions as f

    other = "payee" if side == "payer" else "payer"
    cents, at = f.col("amount_cents"), f.col("event_time_ms")
    known = newest_labels(labels).select(*IDENTITY, "is_fraud")
    until = payments.agg((f.max("event_time_ms") - 30 * DAY_MS).alias("d30_from_ms"))
    rows = payments.join(known, [*IDENTITY], "left").crossJoin(f.broadcast(until))
    recent, fraud = at > f.col("d30_from_ms"), f.coalesce("is_fraud", f.lit(False))
    newest = {name: f.max_by(f"{side}_{name}", f.when(f.col(f"{side}_{name}").isNotNull(), at)) for name in _NEWEST}
    found = rows.groupBy("tenant", f.col(f"{side}_account").alias("account")).agg(
        *[value.alias(name) for name, value in newest.items()],
        f.count("*").alias("payments"),
        f.sum(cents).alias("amount_cents"),
        f.max(cents).alias("largest_cents"),
        f.min(at).alias("first_payment_ms"),
        f.max(at).alias("last_payment_ms"),
        f.count_distinct("event_day").alias("active_days"),
        f.count_distinct(f"{other}_account").alias("counterparties"),
        f.count_if(recent).alias("payments_d30"),
        f.sum(f.when(recent, cents).otherwise(0)).alias("amount_d30_cents"),
        f.count_if(f.col("outcome") == "attempted").alias("stopped"),
        f.count_if(fraud).alias("frauds"),
        f.sum(f.when(fraud, cents).otherwise(0)).alias("fraud_cents"),
    )
    return (PAYER_PROFILES if side == "payer" else PAYEE_PROFILES).shape(found)
