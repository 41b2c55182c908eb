"""Bronze to silver: records become typed rows, once each; what cannot is quarantined with its reason.

Pure: frames in, a lazy frame out. Whole tables or some days of them; which days, the storage and the order of
runs live in ``fraud_assets``.
"""

from datetime import date
from typing import TYPE_CHECKING

from pix import topics
from pix.contracts import FRAUD_KINDS
from pix.labels import CLEARING_KINDS
from pix.offline.days import Days, day_in_id, day_of, within
from pix.offline.enrichment import enriched
from pix.offline.json_columns import with_parsed
from pix.offline.tables import (
    DECISIONS_SILVER,
    LABELS_SILVER,
    PAYMENTS_SILVER,
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
    "control_group struct<propensity: double, instead_of: string, drawn: boolean>, "
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
    "end_to_end_id string, body_token string, payload string, "
    "redriven_from struct<topic: string, partition: int, offset: bigint>, "
    "redriven struct<at_ms: bigint, to: struct<topic: string, partition: int, offset: bigint>>"
)
SHADOW = (
    "end_to_end_id string, tenant string, model struct<name: string, version: string, sha256: string>, "
    "raw_score double, fraud_probability double, scored_at_ms bigint"
)
LIVE, HISTORY = "live", "history"
IDENTITY = ("tenant", "end_to_end_id")
PLACE = ("topic", "partition", "offset")
Found = dict[date, int]
"""Days, and how many rows each has."""
IS_RECORD = "parsed.end_to_end_id is not null and parsed.event_time_ms is not null"
PAYMENT_UNKNOWN = "payment_unknown"
MOST_CONTESTED = 200_000
"""So many ids that come twice are sent to every task; of more, all records are sorted out together."""
MOST_LISTED = 1_000
"""So many places are named in a filter, which a file's statistics can answer."""


def decision_records(bronze: "DataFrame") -> "DataFrame":
    """Every readable record of ``pix.decisions`` as a row of silver/decisions; copies and superseded ones, too.

    Args:
        bronze: bronze/pix_decisions, or some of its rows.
    """
    from pyspark.sql import functions as f

    record = f.col("parsed")
    named = {
        "model_name": record["model"]["name"],
        "model_version": record["model"]["version"],
        "model_sha256": record["model"]["sha256"],
        "reason_codes": record["reasons"]["code"],
        "hold_expires_at_ms": _epoch_ms(record["hold"]["expires_at"]),
        "hold_outcome": record["hold"]["outcome"],
        **{f"control_{part}": record["control_group"][part] for part in ("propensity", "instead_of", "drawn")},
        "amount_cents": record["payment"]["amount_cents"],
        "payer_account": record["payment"]["payer_account"],
        "payee_account": record["payment"]["payee_account"],
        **{f"origin_{part}": record["origin"][part] for part in ("kind", "topic", "partition", "offset")},
        "decision_partition": f.col("partition"),
        "decision_offset": f.col("offset"),
        "published_at_ms": f.col("timestamp_ms"),
        "record": f.col("value"),
        "event_day": day_of(record["event_time_ms"]),
    }
    others = {c.name: record[c.name] for c in DECISIONS_SILVER.columns if c.name not in named}
    readable = parsed_records(bronze).where(IS_RECORD)
    return DECISIONS_SILVER.shape(readable.select(*[value.alias(name) for name, value in (named | others).items()]))


def decided_ids(bronze: "DataFrame") -> "DataFrame":
    """Tenant, EndToEndId, event day, as ``day``, and place of every readable record of ``pix.decisions``.

    Args:
        bronze: bronze/pix_decisions, or some of its rows.
    """
    from pyspark.sql import functions as f

    records = bronze.select("value", "partition", "offset")
    read = with_parsed(records, "value", RECORD, keeps_text=False).where(IS_RECORD)
    identity = [f.col(f"parsed.{name}") for name in IDENTITY]
    return read.select(*identity, day_of("parsed.event_time_ms").alias("day"), "partition", "offset")


def decisions(records: "DataFrame") -> "DataFrame":
    """The first record of each id, in whatever order the records came to be known.

    Args:
        records: Rows of ``decision_records``; rows of silver/decisions may stand for the records they came from.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    by_id = Window.partitionBy("tenant", "end_to_end_id").orderBy("decision_partition", "decision_offset")
    first = records.withColumn("place", f.row_number().over(by_id)).where("place = 1").select(*DECISIONS_SILVER.names)
    return _in_files(first)


def merged_decisions(known: "DataFrame", bronze: "DataFrame", ids: "DataFrame") -> "DataFrame":
    """Decisions of the days that new records concern, as ``decisions`` makes them of all their records.

    Nearly every id comes once. A record is several kilobytes, so only those of the other ids go through a shuffle.

    Args:
        known: silver/decisions of every day that has one of these ids.
        bronze: New rows of bronze/pix_decisions.
        ids: ``decided_ids`` of them; read several times.
    """
    from pyspark.sql import functions as f

    twice = ids.groupBy(*IDENTITY).count().where("count > 1").select(*IDENTITY)
    contested = twice.union(known.select(*IDENTITY).join(ids.select(*IDENTITY), [*IDENTITY], "left_semi")).distinct()
    count = contested.count()
    if count > MOST_CONTESTED:
        return decisions(known.union(decision_records(bronze)))
    if not count:
        return _in_files(known.select(*DECISIONS_SILVER.names).union(decision_records(bronze)))
    few, place = f.broadcast(contested), ["partition", "offset"]
    places = ids.join(few, [*IDENTITY], "left_semi").select(*place)
    alone = decision_records(bronze.join(f.broadcast(places), place, "left_anti").select(*bronze.columns))
    others = decision_records(_at(bronze, places))
    sorted_out = decisions(others.union(known.join(few, [*IDENTITY], "left_semi").select(*DECISIONS_SILVER.names)))
    kept = known.join(few, [*IDENTITY], "left_anti").select(*DECISIONS_SILVER.names)
    return _in_files(kept.union(alone).union(sorted_out))


def _at(bronze: "DataFrame", places: "DataFrame") -> "DataFrame":
    """Rows at some places; where those are few, parts of files that have none of them are not read."""
    from pyspark.sql import functions as f

    found = places.take(MOST_LISTED + 1)
    if len(found) <= MOST_LISTED:
        bronze = bronze.where(f.col("offset").isin([row["offset"] for row in found]))
    return bronze.join(f.broadcast(places), places.columns, "left_semi").select(*bronze.columns)


def _in_files(decided: "DataFrame") -> "DataFrame":
    """In an order by which whoever wants a range of offsets, as the features do, skips the files of the others."""
    return decided.sortWithinPartitions("event_day", "decision_partition", "decision_offset")


def payments(decided: "DataFrame", history: "DataFrame") -> "DataFrame":
    """Live and imported payments in one shape, with what their own facts say when read.

    Args:
        decided: silver/decisions, or some days of it.
        history: silver/history_payments without the ids that have a decision, or the same days of it.
    """
    from pyspark.sql import functions as f

    records = decided.select("record", "event_time_ms", "outcome")
    live = with_parsed(records, "record", f"payment struct<{PAYMENT_STRUCT}>", keeps_text=False).select(
        "parsed.payment",
        "event_time_ms",
        f.lit(LIVE).alias("source"),
        f.lit(None).cast("string").alias("history"),
        "outcome",
        f.lit(True).alias("silence_is_honest"),
    )
    imported = history.select("payment", "event_time_ms", "history", "silence_is_honest")
    past = with_parsed(imported, "payment", PAYMENT_STRUCT, keeps_text=False).select(
        f.col("parsed").alias("payment"),
        "event_time_ms",
        f.lit(HISTORY).alias("source"),
        "history",
        f.lit("allowed").alias("outcome"),
        f.coalesce("silence_is_honest", f.lit(True)).alias("silence_is_honest"),
    )
    both = live.unionByName(past).select("payment.*", "*").withColumn("event_day", day_of("event_time_ms"))
    return PAYMENTS_SILVER.shape(enriched(both)).sortWithinPartitions("event_day", "event_time_ms")


def undecided(history: "DataFrame", decided: "DataFrame") -> "DataFrame":
    """Imported payments whose id has no decision: one that has is not history.

    Args:
        history: silver/history_payments, or some of its rows.
        decided: silver/decisions, all days.
    """
    return history.join(decided.select(*IDENTITY), [*IDENTITY], "left_anti")


def shadow_scores(bronze: "DataFrame", decisions: "DataFrame", days: Days = None) -> "DataFrame":
    """Scores of challengers, each model's first one of a payment, beside the score that decided.

    Args:
        bronze: bronze/pix_shadow.
        decisions: silver/decisions, at least a day more on either side of ``days``.
        days: Payment days that are wanted; None for all.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    read = (
        bronze.where("value is not null")
        .select(f.from_json("value", SHADOW).alias("score"), "partition", "offset")
        .select("score.*", "partition", "offset")
        .where("end_to_end_id is not null")
        .withColumn("payment_day", day_in_id("end_to_end_id"))
        .where(within("payment_day", days))
    )
    first = Window.partitionBy(*IDENTITY, "model.sha256").orderBy("scored_at_ms", "partition", "offset")
    once = read.withColumn("place", f.row_number().over(first)).where("place = 1")
    named = {"model_name": "model.name", "model_version": "model.version", "model_sha256": "model.sha256"}
    decided = decisions.select(
        *IDENTITY,
        f.col("model_version").alias("champion_version"),
        f.col("raw_score").alias("champion_raw_score"),
        f.col("fraud_probability").alias("champion_probability"),
    )
    scored = once.withColumns({name: f.col(path) for name, path in named.items()})
    return SHADOW_SILVER.shape(scored.join(decided, [*IDENTITY], "left"))


def labels(bronze: "DataFrame", history: "DataFrame", dead_letters: "DataFrame", days: Days = None) -> "DataFrame":
    """Live and imported labels, each once, with what they make of their payment.

    Bitemporal: ``effective_at_ms`` is when it is true from, ``known_at_ms`` to ``known_until_ms`` is while it was the
    newest thing known. All labels of a payment are of one day, so days can be made one by one.

    Args:
        bronze: bronze/pix_labels.
        history: silver/history_labels.
        dead_letters: bronze/pix_dlq.
        days: Payment days that are wanted; None for all.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    read = (
        bronze.where("value is not null")
        .join(f.broadcast(_refused_labels(dead_letters)), list(PLACE), "left_anti")
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
    both = live.unionByName(past, allowMissingColumns=True).withColumn("payment_day", day_in_id("end_to_end_id"))
    by_id = Window.partitionBy("tenant", "label_id").orderBy("known_at_ms", "recorded_at_ms")
    once = both.where(within("payment_day", days)).withColumn("place", f.row_number().over(by_id)).where("place = 1")
    by_payment = Window.partitionBy(*IDENTITY).orderBy("known_at_ms", "label_id")
    says = (
        f.when(f.col("kind").isin(*FRAUD_KINDS), True).when(f.col("kind").isin(*CLEARING_KINDS), False).otherwise(None)
    )
    state = f.coalesce(f.last(says, ignorenulls=True).over(by_payment), f.lit(False))
    until = f.lead("known_at_ms").over(by_payment)
    return LABELS_SILVER.shape(once.withColumns({"is_fraud_after": state, "known_until_ms": until}))


def label_days(bronze: "DataFrame", history: "DataFrame", dead_letters: "DataFrame", all_labels: "DataFrame") -> Found:
    """Payment days whose labels these rows may change.

    Args:
        bronze: New rows of bronze/pix_labels.
        history: New rows of silver/history_labels.
        dead_letters: New rows of bronze/pix_dlq; one may take back a label that came before.
        all_labels: bronze/pix_labels.
    """
    from pyspark.sql import functions as f

    taken_back = all_labels.join(f.broadcast(_refused_labels(dead_letters)), list(PLACE), "left_semi")
    live = bronze.union(taken_back).where("value is not null")
    ids = live.select(f.get_json_object("value", "$.end_to_end_id").alias("id")).where("id is not null")
    return days_of(payment_days(ids.union(history.select("end_to_end_id"))))


def arrival_days(dead_letters: "DataFrame") -> "DataFrame":
    """Column ``day``: when Kafka got the messages that these rows of bronze/pix_dlq are about, or them themselves."""
    from pyspark.sql import functions as f

    letter = f.from_json("value", DEAD_LETTER)
    of_letter = f.when(letter["origin"]["topic"].isNotNull(), letter["received_at_ms"])
    return dead_letters.select(day_of(f.coalesce(of_letter, "timestamp_ms")).alias("day"))


def payment_days(ids: "DataFrame") -> "DataFrame":
    """Column ``day``: the day in the EndToEndIds of the column ``id``."""
    return ids.select(day_in_id("id").alias("day"))


def days_of(days: "DataFrame") -> Found:
    """Distinct days of the column ``day``, with how many rows each has."""
    return {row["day"]: row["count"] for row in days.groupBy("day").count().collect() if row["day"] is not None}


def _refused_labels(dead_letters: "DataFrame") -> "DataFrame":
    """Places of labels that the label job refused and never folded; one without its payment is a label all the same."""
    from pyspark.sql import functions as f

    return (
        dead_letters.select(f.from_json("value", DEAD_LETTER).alias("letter"))
        .where(f"letter.origin.topic = '{topics.LABELS}' and letter.reason <> '{PAYMENT_UNKNOWN}'")
        .select("letter.origin.*")
        .distinct()
    )


def parsed_records(bronze: "DataFrame") -> "DataFrame":
    """Records with what this module reads of them, in ``parsed``."""
    return with_parsed(bronze, "value", RECORD)


def _epoch_ms(name: "str | Column") -> "Column":
    """Epoch milliseconds of an RFC 3339 text; finer parts are cut, as the contract does."""
    from pyspark.sql import functions as f

    return f.unix_millis(f.upper(name).cast("timestamp"))
