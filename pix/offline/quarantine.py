"""What did not become a decision or a payment, with its reason: dead letters, superseded and unreadable records.

Pure: frames in, a lazy frame out.
"""

from functools import reduce
from typing import TYPE_CHECKING

from pix.offline.days import Days, day_of, within, within_ms
from pix.offline.silver import DEAD_LETTER, HISTORY, IDENTITY, IS_RECORD, PLACE, parsed_records
from pix.offline.tables import QUARANTINE_SILVER

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

IS_LETTER = "parsed.origin.topic is not null"


def quarantine(
    dead_letters: "DataFrame",
    records: "DataFrame",
    decided: "DataFrame",
    refused: "DataFrame",
    imports: "DataFrame",
    days: Days = None,
) -> "DataFrame":
    """Everything that went another way, with its reason.

    Args:
        dead_letters: bronze/pix_dlq.
        records: bronze/pix_decisions, as far as silver/decisions was made from it.
        decided: silver/decisions.
        refused: silver/history_refused.
        imports: silver/history_imports.
        days: Arrival days that are wanted; None for all.
    """
    from pyspark.sql import functions as f

    letters = dead_letters.withColumn("parsed", f.from_json("value", DEAD_LETTER))
    of_days = records.where(within_ms("timestamp_ms", days))
    rest = elsewhere(of_days, decided.where(within_ms("published_at_ms", days)))
    parts = [
        _dead_letters(letters),
        _unreadable(letters, IS_LETTER),
        _superseded_rows(rest, decided),
        _unreadable(parsed_records(rest), IS_RECORD),
        _refused_rows(refused, imports),
    ]
    return reduce(lambda left, right: left.unionByName(right), parts).where(within("arrival_day", days))


def elsewhere(records: "DataFrame", decided: "DataFrame") -> "DataFrame":
    """Records of ``pix.decisions`` that are not the decision of their payment: copies, superseded and unreadable ones.

    Args:
        records: bronze/pix_decisions, or some of its rows.
        decided: silver/decisions.
    """
    from pyspark.sql import functions as f

    place = ["partition", "offset"]
    kept = decided.select(f.col("decision_partition").alias("partition"), f.col("decision_offset").alias("offset"))
    # By places alone, which are small; the records themselves are then read for these few only.
    few = records.select(*place).join(kept, place, "left_anti")
    return records.join(f.broadcast(few), place, "left_semi")


def _dead_letters(letters: "DataFrame") -> "DataFrame":
    """One row per refused message, however often it was refused, with its newest redriving."""
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    read = letters.where(IS_LETTER)
    by_origin = Window.partitionBy("parsed.origin")
    # A note about a letter stands under its origin; without the letter it is no row.
    in_order = by_origin.orderBy(f.col("parsed.redriven").isNotNull(), "partition", "offset")
    once = read.withColumns(
        {"place": f.row_number().over(in_order), "newest": f.max("parsed.redriven").over(by_origin)}
    ).where("place = 1 and parsed.redriven is null")
    rows = once.select("parsed.*", "timestamp_ms", "newest").select("*", "origin.*")
    said = {
        "errors": f.to_json("errors"),
        "received_at_ms": f.coalesce("received_at_ms", "timestamp_ms"),
        "redriven_at_ms": f.col("newest.at_ms"),
        "redriven_to": _place("newest.to"),
        "redriven_from": _place("redriven_from"),
    }
    return _quarantined(rows.withColumns(said), "dead_letter")


def _place(name: str) -> "Column":
    """``topic/partition/offset`` of a struct; null of null."""
    from pyspark.sql import functions as f

    return f.concat(*[part for field in PLACE for part in (f.lit("/"), f.col(f"{name}.{field}"))][1:])


def _superseded_rows(rest: "DataFrame", decided: "DataFrame") -> "DataFrame":
    """Records of a decided id that differ from its decision; identical ones are redeliveries."""
    from pyspark.sql import functions as f

    records = parsed_records(rest).where(IS_RECORD).select("*", "parsed.tenant", "parsed.end_to_end_id")
    kept = decided.select(*IDENTITY, "record")
    rows = (
        records.join(kept, [*IDENTITY])
        .where("value <> record")
        .select(
            *PLACE,
            "end_to_end_id",
            f.col("parsed.body_token").alias("body_token"),
            f.lit("superseded").alias("reason"),
            f.lit("[]").alias("errors"),
            f.col("timestamp_ms").alias("received_at_ms"),
            f.lit(None).alias("payload"),
        )
    )
    return _quarantined(rows, "superseded")


def _unreadable(parsed: "DataFrame", is_readable: str) -> "DataFrame":
    """Records of our own topics that nobody of ours wrote."""
    from pyspark.sql import functions as f

    rows = parsed.where(f"not ({is_readable})").select(
        *PLACE,
        f.lit(None).alias("end_to_end_id"),
        "body_token",
        f.coalesce("reason", f.lit("unreadable_record")).alias("reason"),
        f.lit("[]").alias("errors"),
        f.col("timestamp_ms").alias("received_at_ms"),
        f.lit(None).alias("payload"),
    )
    return _quarantined(rows, "unreadable")


def _refused_rows(refused: "DataFrame", imports: "DataFrame") -> "DataFrame":
    from pyspark.sql import functions as f

    arrivals = imports.select("import_number", day_of("imported_at_ms").alias("arrival_day")).distinct()
    rows = refused.join(arrivals, "import_number").select(
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
        "arrival_day",
    )
    return _quarantined(rows, HISTORY)


def _quarantined(rows: "DataFrame", kind: str) -> "DataFrame":
    from pyspark.sql import functions as f

    if kind != "dead_letter":
        rows = rows.withColumns(dict.fromkeys(("redriven_at_ms", "redriven_to", "redriven_from"), f.lit(None)))
    if kind != HISTORY:
        rows = rows.withColumns({"history": f.lit(None), "arrival_day": day_of("received_at_ms")})
    return QUARANTINE_SILVER.shape(rows.withColumn("kind", f.lit(kind)))
