"""The training set: payments whose label has matured, with their features and their raw facts.

Pure: frames in, lazy frames out. Point-in-time twice over: features are those of the payment's own
moment, and only labels known at ``as_of_ms`` count.

Who is stopped is mostly never spoken of again, so a model would learn from what was let go alone. A policy's control
group lets some of what the score would stop go on by chance; what became of them stands for those that were stopped in
the same way, with the same chance, and of which nobody knows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pix.contracts import HOUR_MS
from pix.features import FINGERPRINT
from pix.labels import CLEARING_KINDS, CONTESTED
from pix.logged import DEGRADED_STORE
from pix.offline.gold import newest_labels
from pix.offline.names import history_of
from pix.offline.tables import DECISIONS_SILVER, RAW_PREFIX, TRAINING_SET, raw_columns
from pix.offline.vectors import as_columns

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

FRAUD, CLEARED, HONEST = "fraud", "cleared", "honest"
_IDENTITY = ("tenant", "end_to_end_id")
# A payment that was decided after its import has vectors as both; silver says which of them it is.
_ONE = (*_IDENTITY, "source")
_CONTROL = ("control_instead_of", "control_propensity", "control_drawn")
_IS_KNOWN = "is_fraud is not null or (label_class is null and outcome = 'allowed' and silence_is_honest)"
IS_SAMPLED = f"label_class = '{HONEST}' and not coalesce(control_drawn, false)"
"""Rows of ``labelled`` that a sample may stand for."""
_SHARES = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Stratum:
    """Matured payments that the score alone would have stopped, with one chance to be let go on.

    Attributes:
        instead_of: What the score asked for.
        propensity: The chance.
        known: Let go on, and known to be fraud or honest.
        unknown: Stopped, and nobody knows which they were.
    """

    instead_of: str
    propensity: float
    known: int
    unknown: int

    @property
    def weight(self) -> float:
        """Payments that each of the known stands for: itself, and its share of the unknown."""
        return 1 + self.unknown / self.known if self.known else 1.0


def matured(
    features: "DataFrame",
    payments: "DataFrame",
    labels: "DataFrame",
    decisions: "DataFrame",
    *,
    history: str,
    as_of_ms: int,
    maturity_ms: int,
) -> "DataFrame":
    """Payments of a history that are old enough, what is known of them, and what chance said of them.

    A payment is mature ``maturity_ms`` after it happened: until then most frauds have not been reported, and
    taking known frauds earlier than the others would make young payments look fraudulent. A payment that was decided
    while the online store was away is left out: its vector has no states in it, which says something about the store
    and nothing about the payment.

    Args:
        features: features/payment_features.
        payments: silver/payments.
        labels: silver/labels.
        decisions: silver/decisions.
        history: Only its payments; ``live`` are the live decisions and their past.
        as_of_ms: What was known then counts, epoch milliseconds.
        maturity_ms: Age from which a payment without a label counts as honest.

    Returns:
        What ``labelled`` and ``strata`` read.
    """
    from pyspark.sql import functions as f

    mature = features.where((f.col("event_time_ms") <= as_of_ms - maturity_ms) & (f.col("fingerprint") == FINGERPRINT))
    stateless = decisions.where(f.col("mode") == DEGRADED_STORE).select(*_IDENTITY, f.lit("live").alias("source"))
    chosen = mature.where(history_of("tenant") == history).select(*_ONE, "event_time_ms")
    outcomes = payments.select(*_ONE, "outcome", "silence_is_honest")
    known = verdicts(labels.where(f.col("known_at_ms") <= as_of_ms))
    joined = chosen.join(stateless, [*_ONE], "left_anti").join(outcomes, [*_ONE]).join(known, [*_IDENTITY], "left")
    return joined.join(_controls(decisions), [*_ONE], "left")


def labelled(rows: "DataFrame") -> "DataFrame":
    """Payments that a model may learn from, and what is known of them; no features yet.

    A payment that was held or blocked says nothing by its silence, so it needs a verdict; nor does one whose import
    says that nobody would have reported it. One that was contested needs a verdict too: it is neither fraud nor honest
    before that.

    Args:
        rows: See ``matured``.

    Returns:
        Columns tenant, end_to_end_id, source, event_time_ms, is_fraud, label_class, fraud_known_at_ms, cleared_at_ms,
        fraud_type, control_instead_of, control_propensity, control_drawn.
    """
    from pyspark.sql import functions as f

    return rows.where(_IS_KNOWN).select(
        *_ONE,
        "event_time_ms",
        f.coalesce("is_fraud", f.lit(False)).alias("is_fraud"),
        f.coalesce("label_class", f.lit(HONEST)).alias("label_class"),
        "fraud_known_at_ms",
        "cleared_at_ms",
        "fraud_type",
        *_CONTROL,
    )


def strata(rows: "DataFrame") -> "DataFrame":
    """How many of the payments that a control group was drawn from are known, and of how many nobody knows.

    Args:
        rows: See ``matured``.

    Returns:
        The fields of ``Stratum``: a row for each action that was asked for and chance there was.
    """
    from pyspark.sql import functions as f

    by = [f.col("control_instead_of").alias("instead_of"), f.col("control_propensity").alias("propensity")]
    return (
        rows.where("control_drawn is not null")
        .groupBy(*by)
        .agg(
            f.count_if(f.col("control_drawn") & f.expr(_IS_KNOWN)).alias("known"),
            f.count_if(~f.col("control_drawn") & f.col("is_fraud").isNull()).alias("unknown"),
        )
    )


def _controls(decisions: "DataFrame") -> "DataFrame":
    """What chance said of live payments; of none as long as the table had no such columns."""
    from pyspark.sql import functions as f

    types = {column.name: column.type for column in DECISIONS_SILVER.columns}
    there = [
        f.col(name) if name in decisions.columns else f.lit(None).cast(types[name]).alias(name) for name in _CONTROL
    ]
    found = decisions.select(*_IDENTITY, f.lit("live").alias("source"), *there)
    return found.where("control_drawn is not null")


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
    """Payments that somebody said something about, those of a control group, and about this share of the others.

    Which, depends on nothing but their ids and the seed.

    Args:
        rows: See ``labelled``.
        share: Of the honest payments, 0 to 1.
        seed: Another one chooses others.
    """
    from pyspark.sql import functions as f

    place = f.pmod(f.xxhash64(*_IDENTITY, f.lit(seed)), f.lit(_SHARES))
    return rows.where(~f.expr(IS_SAMPLED) | (place < round(share * _SHARES)))


def with_facts(
    rows: "DataFrame",
    features: "DataFrame",
    payments: "DataFrame",
    *,
    history: str,
    honest_weight: float,
    strata: Iterable[Stratum] = (),
) -> "DataFrame":
    """The training set (``features/training_set``).

    Args:
        rows: See ``labelled`` and ``sampled``.
        features: features/payment_features.
        payments: silver/payments.
        history: Name of the history.
        honest_weight: Honest payments that each honest row stands for, if it is none of a control group.
        strata: Whom the rows of control groups stand for.
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
        .withColumn("weight", _weight(strata, honest_weight))
        .withColumn(f"{RAW_PREFIX}hour", f.expr(f"event_time_ms div {HOUR_MS} % 24"))
    )


def _weight(strata: Iterable[Stratum], honest_weight: float) -> "Column":
    from pyspark.sql import functions as f

    weight = f.when(f.expr(IS_SAMPLED), f.lit(honest_weight))
    for each in strata:
        same = (f.col("control_instead_of") == each.instead_of) & (f.col("control_propensity") == each.propensity)
        weight = weight.when(f.col("control_drawn") & same, f.lit(each.weight))
    return weight.otherwise(f.lit(1.0))
