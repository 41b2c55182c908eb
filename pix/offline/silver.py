"""Bronze to silver: records become typed rows, once each; what cannot is quarantined with its reason.

Pure: frames in, a lazy frame out. Whole tables; the storage and the order of runs live in
``fraud_assets``.
"""

from typing import TYPE_CHECKING

from pix import topics
from pix.contracts import FRAUD_KINDS
from pix.labels import CLEARING_KINDS
from pix.offline.tables import (
    DECISIONS_SILVER,
    LABELS_SILVER,
    PAYMENTS_SILVER,
    QUARANTINE_SILVER,
    SHADOW_SILVER,
    payment_columns,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

PAYMENT_STRUCT = ", ".join(f"{column.name} {column.type}" for column in payment_columns())
RECORD = (
    "end_to_end_id string, tenant string, event_time_ms bigint, decided_at_ms bigint, received_at_ms bigint, "
    "action string, fraud_probability double, raw_score double, mode string, outcome string, "
    "model struct<name: string, version: string, sha256: string>, feature_fingerprint string, "
    "policy_version string, rule_hits array<string>, reasons array<struct<code: string>>, "
    "hold struct<expires_at: string, outcome: string>, "
    "payment_digest string, body_token string, generation bigint, trace_id string, build string, "
    "origin struct<kind: string, topic: string, partition: int, offset: bigint>, "
    "payment struct<amount_cents: bigint, payer_account: string, payee_account: string>"
)
LABEL = (
    "label_id string, end_to_end_id string, tenant string, kind string, fraud_type string, effective_at string, "
    "known_at string, source string, review struct<closed_by: string, note: string>"
)
DEAD_LETTER = (
    "reason string, errors array<struct<field: string, reason: string>>, "
    "origin struct<topic: string, partition: int, offset: bigint>, received_at_ms bigint, "
    "end_to_end_id string, body_token string, payload string"
)
SHADOW = (
    "end_to_end_id string, tenant string, model struct<name: string, version: string, sha256: string>, "
    "raw_score double, fraud_probability double, scored_at_ms bigint"
)
LIVE, HISTORY = "live", "history"
PAYMENT_UNKNOWN = "payment_unknown"


def decisions(bronze: "DataFrame") -> "DataFrame":
    """The first record of each id on ``pix.decisions``.

    Args:
        bronze: bronze/pix_decisions.
    """
    from pyspark.sql import functions as f

    record = f.col("record")
    named = {
        "model_name": record["model"]["name"],
        "model_version": record["model"]["version"],
        "model_sha256": record["model"]["sha256"],
        "reason_codes": record["reasons"]["code"],
        "hold_expires_at_ms": _epoch_ms(record["hold"]["expires_at"]),
        "hold_outcome": record["hold"]["outcome"],
        "amount_cents": record["payment"]["amount_cents"],
        "payer_account": record["payment"]["payer_account"],
        "payee_account": record["payment"]["payee_account"],
        **{f"origin_{part}": record["origin"][part] for part in ("kind", "topic", "partition", "offset")},
        "decision_partition": f.col("partition"),
        "decision_offset": f.col("offset"),
        "record": f.col("value"),
    }
    first = _ranked(bronze).where("place = 1")
    others = {c.name: record[c.name] for c in DECISIONS_SILVER.columns if c.name not in named}
    shaped = DECISIONS_SILVER.shape(first.select(*[value.alias(name) for name, value in (named | others).items()]))
    # So whoever wants a day of them, as the features do, skips the files of the others.
    return shaped.sortWithinPartitions("decision_partition", "decision_offset")


def superseded(bronze: "DataFrame") -> "DataFrame":
    """Later records of a decided id that differ from the first; identical ones are redeliveries.

    Args:
        bronze: bronze/pix_decisions.
    """
    return _ranked(bronze).where("place > 1 and value <> first_value")


def payments(decided: "DataFrame", history: "DataFrame") -> "DataFrame":
    """Live and imported payments in one shape.

    Args:
        decided: silver/decisions.
        history: silver/history_payments.
    """
    from pyspark.sql import functions as f

    live = decided.select(
        f.from_json("record", f"payment struct<{PAYMENT_STRUCT}>")["payment"].alias("payment"),
        "event_time_ms",
        f.lit(LIVE).alias("source"),
        f.lit(None).cast("string").alias("history"),
        "outcome",
        f.lit(True).alias("silence_is_honest"),
    )
    # An id that has a decision is not history.
    undecided = history.join(decided.select("tenant", "end_to_end_id"), ["tenant", "end_to_end_id"], "left_anti")
    past = undecided.select(
        f.from_json("payment", PAYMENT_STRUCT).alias("payment"),
        "event_time_ms",
        f.lit(HISTORY).alias("source"),
        "history",
        f.lit("allowed").alias("outcome"),
        f.coalesce("silence_is_honest", f.lit(True)).alias("silence_is_honest"),
    )
    return PAYMENTS_SILVER.shape(live.unionByName(past).select("payment.*", "*"))


def shadow_scores(bronze: "DataFrame", decisions: "DataFrame") -> "DataFrame":
    """Scores of challengers, each model's first one of a payment, beside the score that decided.

    Args:
        bronze: bronze/pix_shadow.
        decisions: silver/decisions.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    identity = ["tenant", "end_to_end_id"]
    read = (
        bronze.where("value is not null")
        .select(f.from_json("value", SHADOW).alias("score"), "partition", "offset")
        .select("score.*", "partition", "offset")
        .where("end_to_end_id is not null")
    )
    first = Window.partitionBy(*identity, "model.sha256").orderBy("scored_at_ms", "partition", "offset")
    once = read.withColumn("place", f.row_number().over(first)).where("place = 1")
    named = {"model_name": "model.name", "model_version": "model.version", "model_sha256": "model.sha256"}
    decided = decisions.select(
        *identity,
        f.col("model_version").alias("champion_version"),
        f.col("raw_score").alias("champion_raw_score"),
        f.col("fraud_probability").alias("champion_probability"),
    )
    scored = once.withColumns({name: f.col(path) for name, path in named.items()})
    return SHADOW_SILVER.shape(scored.join(decided, identity, "left"))


def labels(bronze: "DataFrame", history: "DataFrame", dead_letters: "DataFrame") -> "DataFrame":
    """Live and imported labels, each once, with what they make of their payment.

    Args:
        bronze: bronze/pix_labels.
        history: silver/history_labels.
        dead_letters: bronze/pix_dlq.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    place = ["topic", "partition", "offset"]
    # What the label job refused was never folded. A label without its payment is one all the same.
    refused = (
        dead_letters.select(f.from_json("value", DEAD_LETTER).alias("letter"))
        .where(f"letter.origin.topic = '{topics.LABELS}' and letter.reason <> '{PAYMENT_UNKNOWN}'")
        .select("letter.origin.*")
        .distinct()
    )
    read = (
        bronze.where("value is not null")
        .join(f.broadcast(refused), place, "left_anti")
        .select(f.from_json("value", LABEL).alias("label"), "timestamp_ms", "ingested_at_ms")
    )
    live = read.where("label.label_id is not null").select(
        *[f.col(f"label.{name}") for name in ("label_id", "end_to_end_id", "kind", "fraud_type", "source")],
        f.coalesce("label.tenant", f.lit("default")).alias("tenant"),
        _epoch_ms("label.effective_at").alias("effective_at_ms"),
        f.greatest(_epoch_ms("label.known_at"), "timestamp_ms").alias("known_at_ms"),
        f.col("ingested_at_ms").alias("recorded_at_ms"),
        "label.review.closed_by",
        "label.review.note",
    )
    past = history.drop("history", "import_number").withColumn("recorded_at_ms", f.col("known_at_ms"))
    by_id = Window.partitionBy("tenant", "label_id").orderBy("known_at_ms", "recorded_at_ms")
    once = (
        live.unionByName(past, allowMissingColumns=True)
        .withColumn("place", f.row_number().over(by_id))
        .where("place = 1")
    )
    by_payment = Window.partitionBy("tenant", "end_to_end_id").orderBy("known_at_ms", "label_id")
    says = (
        f.when(f.col("kind").isin(*FRAUD_KINDS), True).when(f.col("kind").isin(*CLEARING_KINDS), False).otherwise(None)
    )
    state = f.coalesce(f.last(says, ignorenulls=True).over(by_payment), f.lit(False))
    return LABELS_SILVER.shape(once.withColumn("is_fraud_after", state))


def quarantine(dead_letters: "DataFrame", decided: "DataFrame", refused: "DataFrame") -> "DataFrame":
    """Everything that went another way, with its reason.

    Args:
        dead_letters: bronze/pix_dlq.
        decided: bronze/pix_decisions.
        refused: silver/history_refused.
    """
    from functools import reduce

    parts = [
        _dead_letters(dead_letters),
        _unreadable(dead_letters, DEAD_LETTER, "origin.topic"),
        _superseded_rows(decided),
        _unreadable(decided, RECORD, "end_to_end_id"),
        _refused_rows(refused),
    ]
    return reduce(lambda left, right: left.unionByName(right), parts)


def _dead_letters(bronze: "DataFrame") -> "DataFrame":
    """One row per refused message, however often it was refused."""
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    read = bronze.withColumn("letter", f.from_json("value", DEAD_LETTER)).where("letter.origin.topic is not null")
    by_origin = Window.partitionBy("letter.origin").orderBy("partition", "offset")
    once = read.withColumn("place", f.row_number().over(by_origin)).where("place = 1")
    return _quarantined(
        once.select("letter.*").select("*", "origin.*").withColumn("errors", f.to_json("errors")), "dead_letter"
    )


def _superseded_rows(bronze: "DataFrame") -> "DataFrame":
    from pyspark.sql import functions as f

    rows = superseded(bronze).select(
        "topic",
        "partition",
        "offset",
        f.col("record.end_to_end_id").alias("end_to_end_id"),
        f.col("record.body_token").alias("body_token"),
        f.lit("superseded").alias("reason"),
        f.lit("[]").alias("errors"),
        f.col("timestamp_ms").alias("received_at_ms"),
        f.lit(None).alias("payload"),
    )
    return _quarantined(rows, "superseded")


def _unreadable(bronze: "DataFrame", schema: str, needed: str) -> "DataFrame":
    """Records of our own topics that nobody of ours wrote."""
    from pyspark.sql import functions as f

    rows = bronze.withColumn("parsed", f.from_json("value", schema)).where(f"parsed.{needed} is null")
    return _quarantined(
        rows.select(
            "topic",
            "partition",
            "offset",
            f.lit(None).alias("end_to_end_id"),
            "body_token",
            f.coalesce("reason", f.lit("unreadable_record")).alias("reason"),
            f.lit("[]").alias("errors"),
            f.col("timestamp_ms").alias("received_at_ms"),
            f.lit(None).alias("payload"),
        ),
        "unreadable",
    )


def _refused_rows(refused: "DataFrame") -> "DataFrame":
    from pyspark.sql import functions as f

    rows = refused.select(
        f.lit(None).alias("topic"),
        f.lit(None).alias("partition"),
        f.col("row_number").alias("offset"),
        "end_to_end_id",
        "body_token",
        "reason",
        "errors",
        f.lit(None).alias("received_at_ms"),
        "payload",
        "history",
    )
    return _quarantined(rows, HISTORY)


def _quarantined(rows: "DataFrame", kind: str) -> "DataFrame":
    from pyspark.sql import functions as f

    named = rows if "history" in rows.columns else rows.withColumn("history", f.lit(None))
    return QUARANTINE_SILVER.shape(named.withColumn("kind", f.lit(kind)))


def _ranked(bronze: "DataFrame") -> "DataFrame":
    """Readable decision records with their place among the records of their id."""
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    by_id = Window.partitionBy("record.tenant", "record.end_to_end_id").orderBy("partition", "offset")
    return (
        bronze.withColumn("record", f.from_json("value", RECORD))
        .where("record.end_to_end_id is not null")
        .withColumn("place", f.row_number().over(by_id))
        .withColumn("first_value", f.first("value").over(by_id))
    )


def _epoch_ms(name: "str | Column") -> "Column":
    """Epoch milliseconds of an RFC 3339 text; finer parts are cut, as the contract does."""
    from pyspark.sql import functions as f

    return f.unix_millis(f.upper(name).cast("timestamp"))
