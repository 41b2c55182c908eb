"""A past as a backtest sees it: no label is known before its delay is over. Frames in, lazy frames out."""

from typing import TYPE_CHECKING

from pix.contracts import HOUR_MS
from pix.offline import features, silver
from pix.offline.features import IDENTITY
from pix.offline.tables import BRONZE_COLUMNS, DECISIONS_SILVER, RAW_PREFIX, raw_columns
from pix.offline.training_frame import verdicts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BRONZE = ", ".join(f"`{column.name}` {column.type}" for column in BRONZE_COLUMNS)


def delayed(labels: "DataFrame", payments: "DataFrame", delay_ms: int) -> "DataFrame":
    """The same labels, none known before its payment is ``delay_ms`` old; those of one payment keep their order.

    Args:
        labels: silver/history_labels.
        payments: silver/history_payments.
        delay_ms: How long it takes at least until anybody says anything.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    of = payments.select(*IDENTITY, (f.col("event_time_ms") + delay_ms).alias("earliest"))
    # Of labels that wait for the same moment, each is known a millisecond after the one before.
    place = f.row_number().over(Window.partitionBy(*IDENTITY).orderBy("known_at_ms", "label_id")) - 1
    later = labels.join(of, [*IDENTITY]).withColumn("place", place)
    known = f.greatest("known_at_ms", f.col("earliest") + f.col("place"))
    return later.withColumn("known_at_ms", known).select(*labels.columns)


def vectors(payments: "DataFrame", labels: "DataFrame") -> "DataFrame":
    """Features of each payment as they were at its moment.

    Args:
        payments: silver/history_payments.
        labels: See ``delayed``.

    Returns:
        Columns end_to_end_id, event_time_ms, fold_day, features.
    """
    decided = payments.sparkSession.createDataFrame([], DECISIONS_SILVER.ddl)
    made = features.of_history(payments, labels, decided, with_states=False)
    return made.features.select("end_to_end_id", "event_time_ms", "fold_day", "features")


def facts(payments: "DataFrame", labels: "DataFrame") -> "DataFrame":
    """What each payment is, and what became of it.

    ``is_fraud`` is null where nobody knows: it was contested and never judged, or the file says that silence about it
    means nothing.

    Args:
        payments: silver/history_payments.
        labels: See ``delayed``.

    Returns:
        Columns end_to_end_id, event_time_ms, row_number, is_fraud, fraud_known_at_ms, cleared_at_ms, fraud_type,
        payer_account, payee_account and the raw fields.
    """
    from pyspark.sql import functions as f

    spark = payments.sparkSession
    nothing, undecided = spark.createDataFrame([], BRONZE), spark.createDataFrame([], DECISIONS_SILVER.ddl)
    known = verdicts(silver.labels(nothing, labels, nothing))
    raw = [c.name.removeprefix(RAW_PREFIX) for c in raw_columns() if c.name != f"{RAW_PREFIX}hour"]
    said = silver.payments(undecided, payments).join(payments.select(*IDENTITY, "row_number"), [*IDENTITY])
    silent = f.col("label_class").isNull() & f.col("silence_is_honest")
    return said.join(known, [*IDENTITY], "left").select(
        "end_to_end_id",
        "event_time_ms",
        "row_number",
        f.coalesce("is_fraud", f.when(silent, f.lit(False))).alias("is_fraud"),
        "fraud_known_at_ms",
        "cleared_at_ms",
        "fraud_type",
        "payer_account",
        "payee_account",
        *[f.col(name).alias(RAW_PREFIX + name) for name in raw],
        f.expr(f"event_time_ms div {HOUR_MS} % 24").alias(f"{RAW_PREFIX}hour"),
    )
