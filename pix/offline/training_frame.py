"""The training set: payments whose label has matured, with their features and their raw facts.

Pure: frames in, a lazy frame out. Point-in-time twice over: features are those of the payment's own
moment, and only labels known at ``as_of_ms`` count.
"""

from typing import TYPE_CHECKING

from pix.contracts import HOUR_MS
from pix.features import FINGERPRINT
from pix.logged import DEGRADED_STORE
from pix.offline.gold import newest_labels
from pix.offline.names import history_of
from pix.offline.tables import RAW_PREFIX, TRAINING_SET, raw_columns
from pix.offline.vectors import as_columns

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def build(
    features: "DataFrame",
    payments: "DataFrame",
    labels: "DataFrame",
    decisions: "DataFrame",
    *,
    history: str,
    as_of_ms: int,
    maturity_ms: int,
) -> "DataFrame":
    """Rows a model may learn from.

    A payment is mature ``maturity_ms`` after it happened: until then most frauds have not been reported, and
    taking known frauds earlier than the others would make young payments look fraudulent. A payment that was
    held or blocked says nothing by its silence, so it needs a label; nor does one whose import says that
    nobody would have reported it. A payment that was decided while the online store was away is left out: its
    vector has no states in it, which says something about the store and nothing about the payment.

    Args:
        features: features/payment_features.
        payments: silver/payments.
        labels: silver/labels.
        decisions: silver/decisions.
        history: Only its payments; ``live`` are the live decisions and their past.
        as_of_ms: What was known then counts, epoch milliseconds.
        maturity_ms: Age from which a payment without a label counts as honest.
    """
    from pyspark.sql import functions as f

    identity = ["tenant", "end_to_end_id"]
    # A payment that was decided after its import has vectors as both; silver says which of them it is.
    one = [*identity, "source"]
    known = newest_labels(labels.where(f.col("known_at_ms") <= as_of_ms)).select(*identity, "is_fraud")
    raw = payments.select(
        *one,
        "outcome",
        "silence_is_honest",
        *[f.col(c.name.removeprefix(RAW_PREFIX)).alias(c.name) for c in raw_columns() if c.name != f"{RAW_PREFIX}hour"],
    )
    mature = features.where((f.col("event_time_ms") <= as_of_ms - maturity_ms) & (f.col("fingerprint") == FINGERPRINT))
    stateless = decisions.where(f.col("mode") == DEGRADED_STORE).select(*identity, f.lit("live").alias("source"))
    chosen = mature.where(history_of("tenant") == history).join(stateless, one, "left_anti")
    joined = chosen.select(*one, "event_time_ms", "features").join(raw, one).join(known, identity, "left")
    usable = joined.where("(outcome = 'allowed' and silence_is_honest) or is_fraud is not null")
    named = as_columns(usable, [name for name in usable.columns if name != "features"])
    return TRAINING_SET.shape(
        named.withColumn("history", f.lit(history))
        .withColumn("is_fraud", f.coalesce("is_fraud", f.lit(False)))
        .withColumn(f"{RAW_PREFIX}hour", f.expr(f"event_time_ms div {HOUR_MS} % 24"))
    )
