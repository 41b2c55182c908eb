"""The training set: payments whose label has matured, with their features and their raw facts.

Pure: frames in, lazy frames out. Point-in-time twice over: features are those of the payment's own
moment, and only labels known at ``as_of_ms`` count.
"""

from typing import TYPE_CHECKING

from pix.contracts import HOUR_MS
from pix.features import FINGERPRINT
from pix.labels import CLEARING_KINDS, CONTESTED
from pix.logged import DEGRADED_STORE
from pix.offline.gold import newest_labels
from pix.offline.names import history_of
from pix.offline.tables import RAW_PREFIX, TRAINING_SET, raw_columns
from pix.offline.vectors import as_columns

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

FRAUD, CLEARED, HONEST = "fraud", "cleared", "honest"
_IDENTITY = ("tenant", "end_to_end_id")
# A payment that was decided after its import has vectors as both; silver says which of them it is.
_ONE = (*_IDENTITY, "source")
_SHARES = 1 << 20


def labelled(
    features: "DataFrame",
    payments: "DataFrame",
    labels: "DataFrame",
    decisions: "DataFrame",
    *,
    history: str,
    as_of_ms: int,
    maturity_ms: int,
) -> "DataFrame":
    """Payments that a model may learn from, and what is known of them; no features yet.

    A payment is mature ``maturity_ms`` after it happened: until then most frauds have not been reported, and
    taking known frauds earlier than the others would make young payments look fraudulent. A payment that was
    held or blocked says nothing by its silence, so it needs a verdict; nor does one whose import says that
    nobody would have reported it. One that was contested needs a verdict too: it is neither fraud nor honest before
    that. A payment that was decided while the online store was away is left out: its vector has no states in it,
    which says something about the store and nothing about the payment.

    Args:
        features: features/payment_features.
        payments: silver/payments.
        labels: silver/labels.
        decisions: silver/decisions.
        history: Only its payments; ``live`` are the live decisions and their past.
        as_of_ms: What was known then counts, epoch milliseconds.
        maturity_ms: Age from which a payment without a label counts as honest.

    Returns:
        Columns tenant, end_to_end_id, source, event_time_ms, is_fraud, label_class, fraud_known_at_ms, cleared_at_ms,
        fraud_type.
    """
    from pyspark.sql import functions as f

    mature = features.where((f.col("event_time_ms") <= as_of_ms - maturity_ms) & (f.col("fingerprint") == FINGERPRINT))
    stateless = decisions.where(f.col("mode") == DEGRADED_STORE).select(*_IDENTITY, f.lit("live").alias("source"))
    chosen = mature.where(history_of("tenant") == history).select(*_ONE, "event_time_ms")
    outcomes = payments.select(*_ONE, "outcome", "silence_is_honest")
    known = verdicts(labels.where(f.col("known_at_ms") <= as_of_ms))
    joined = chosen.join(stateless, [*_ONE], "left_anti").join(outcomes, [*_ONE]).join(known, [*_IDENTITY], "left")
    silent = "label_class is null and outcome = 'allowed' and silence_is_honest"
    usable = joined.where(f"is_fraud is not null or ({silent})")
    return usable.select(
        *_ONE,
        "event_time_ms",
        f.coalesce("is_fraud", f.lit(False)).alias("is_fraud"),
        f.coalesce("label_class", f.lit(HONEST)).alias("label_class"),
        "fraud_known_at_ms",
        "cleared_at_ms",
        "fraud_type",
    )


def verdicts(labels: "DataFrame") -> "DataFrame":
    """Per labelled payment what it is, since when that counts as fraud, and when it was cleared of it, if it was."""
    from pyspark.sql import functions as f

    at = f.col("known_at_ms")
    times = labels.groupBy(*_IDENTITY).agg(
        f.min(f.when(f.col("is_fraud_after"), at)).alias("fraud_known_at_ms"),
        f.max(f.when(f.col("kind").isin(*CLEARING_KINDS), at)).alias("cleared"),
    )
    verdicts = newest_labels(labels).select(*_IDENTITY, "is_fraud", "fraud_type").join(times, [*_IDENTITY])
    fraud = f.col("is_fraud")
    return verdicts.select(
        *_IDENTITY,
        "is_fraud",
        f.when(fraud, FRAUD).when(~fraud, CLEARED).otherwise(CONTESTED).alias("label_class"),
        "fraud_known_at_ms",
        f.when(~fraud, f.col("cleared")).alias("cleared_at_ms"),
        "fraud_type",
    )


def sampled(rows: "DataFrame", share: float, *, seed: int) -> "DataFrame":
    """All payments that somebody said something about, and about this share of those that nobody did.

    Which, depends on nothing but their ids and the seed.

    Args:
        rows: See ``labelled``.
        share: Of the honest payments, 0 to 1.
        seed: Another one chooses others.
    """
    from pyspark.sql import functions as f

    place = f.pmod(f.xxhash64(*_IDENTITY, f.lit(seed)), f.lit(_SHARES))
    return rows.where((f.col("label_class") != HONEST) | (place < round(share * _SHARES)))


def with_facts(
    rows: "DataFrame", features: "DataFrame", payments: "DataFrame", *, history: str, honest_weight: float
) -> "DataFrame":
    """The training set (``features/training_set``).

    Args:
        rows: See ``labelled`` and ``sampled``.
        features: features/payment_features.
        payments: silver/payments.
        history: Name of the history.
        honest_weight: Honest payments that each honest row stands for.
    """
    from pyspark.sql import functions as f

    raw = payments.select(
        *_ONE,
        "payee_account",
        *[f.col(c.name.removeprefix(RAW_PREFIX)).alias(c.name) for c in raw_columns() if c.name != f"{RAW_PREFIX}hour"],
    )
    vectors = features.where(f.col("fingerprint") == FINGERPRINT).select(*_ONE, "features")
    joined = rows.join(vectors, [*_ONE]).join(raw, [*_ONE])
    named = as_columns(joined, [name for name in joined.columns if name != "features"])
    return TRAINING_SET.shape(
        named.withColumn("history", f.lit(history))
        .withColumn("weight", f.when(f.col("label_class") == HONEST, honest_weight).otherwise(f.lit(1.0)))
        .withColumn(f"{RAW_PREFIX}hour", f.expr(f"event_time_ms div {HOUR_MS} % 24"))
    )
