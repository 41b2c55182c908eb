"""Bronze to silver: what happened, typed, once each."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets.declared import keys_of, table_asset
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from pix import topics
from pix.offline import silver
from pix.offline.tables import (
    BRONZE_COLUMNS,
    DECISIONS_SILVER,
    HISTORY_LABELS,
    HISTORY_PAYMENTS,
    HISTORY_REFUSED,
    LABELS_SILVER,
    PAYMENTS_SILVER,
    QUARANTINE_SILVER,
    SHADOW_SILVER,
    Table,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BRONZE_DECISIONS = topics.bronze_table(topics.DECISIONS)
BRONZE_LABELS = topics.bronze_table(topics.LABELS)
BRONZE_DLQ = topics.bronze_table(topics.DLQ)
BRONZE_FOLDS = topics.bronze_table(topics.FOLDS)
BRONZE_SHADOW = topics.bronze_table(topics.SHADOW)


def bronze(lake: LakeResource, table: str) -> "DataFrame":
    """A bronze table; without rows as long as the streams of this home never ran.

    Bronze that is gone after decisions were made is a loss, not a beginning: silver must not be emptied.

    Raises:
        fraud_assets.lake.MissingTable: The table is gone.
    """
    if lake.exists(table) or lake.rows(DECISIONS_SILVER.name):
        return lake.read(table)
    return lake.empty(Table(table, "One message of the topic.", BRONZE_COLUMNS))


@dg.asset(**table_asset(DECISIONS_SILVER), deps=keys_of(BRONZE_DECISIONS))
@told
def decisions(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One decided payment: the first record of its id on pix.decisions."""
    read = lake.versions(BRONZE_DECISIONS)
    frame = silver.decisions(bronze(lake, BRONZE_DECISIONS))
    return lake.overwrite(DECISIONS_SILVER, frame, note=read).result()


@dg.asset(**table_asset(PAYMENTS_SILVER), deps=keys_of(DECISIONS_SILVER, HISTORY_PAYMENTS))
@told
def payments(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One payment, decided here or imported from the past; an id that has a decision is not history."""
    frame = silver.payments(lake.read(DECISIONS_SILVER.name), lake.read_or_empty(HISTORY_PAYMENTS))
    return lake.overwrite(PAYMENTS_SILVER, frame).result()


@dg.asset(**table_asset(LABELS_SILVER, pii="none"), deps=keys_of(BRONZE_LABELS, BRONZE_DLQ, HISTORY_LABELS))
@told
def labels(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One label of a payment, live or imported: what it says, since when that is true, since when it is known."""
    read = lake.versions(BRONZE_LABELS, BRONZE_DLQ, HISTORY_LABELS.name)
    frame = silver.labels(bronze(lake, BRONZE_LABELS), lake.read_or_empty(HISTORY_LABELS), bronze(lake, BRONZE_DLQ))
    return lake.overwrite(LABELS_SILVER, frame, note=read).result()


@dg.asset(
    **table_asset(QUARANTINE_SILVER, pii="sealed"),
    # After silver/decisions, so that it covers at least the bronze that those came from.
    deps=keys_of(BRONZE_DLQ, BRONZE_DECISIONS, HISTORY_REFUSED, DECISIONS_SILVER),
)
@told
def quarantine(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One message or imported line that did not become a decision or a payment, and why."""
    read = lake.versions(BRONZE_DLQ, BRONZE_DECISIONS, HISTORY_REFUSED.name)
    frame = silver.quarantine(
        bronze(lake, BRONZE_DLQ), bronze(lake, BRONZE_DECISIONS), lake.read_or_empty(HISTORY_REFUSED)
    )
    return lake.overwrite(QUARANTINE_SILVER, frame, note=read).result()


@dg.asset(**table_asset(SHADOW_SILVER, pii="none"), deps=keys_of(BRONZE_SHADOW, DECISIONS_SILVER))
@told
def shadow_scores(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One challenger's score of one decided payment, beside the champion's."""
    # A home that is older than the topic has decisions and no such table, until its bronze stream starts again.
    has_some = lake.exists(BRONZE_SHADOW)
    scores = lake.read(BRONZE_SHADOW) if has_some else lake.empty(Table(BRONZE_SHADOW, "None.", BRONZE_COLUMNS))
    frame = silver.shadow_scores(scores, lake.read(DECISIONS_SILVER.name))
    return lake.overwrite(SHADOW_SILVER, frame).result()
