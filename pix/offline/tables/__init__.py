"""Every lake table that Spark writes: its columns, what they mean, and what one row is. Declared once.

Transforms shape their results by these declarations, the lake refuses frames that differ from them, and
the assets show them. Types are Spark's short names; times are epoch milliseconds in UTC.
"""

from pix.offline.declaration import Table
from pix.offline.tables.columns import BRONZE_COLUMNS, payment_columns
from pix.offline.tables.features import (
    BASE_STATES,
    FEATURE_STATISTICS,
    HISTORIES,
    IDENTIFIERS,
    LIVE_STATES,
    PAYMENT_FEATURES,
    RAW_PREFIX,
    RUNS,
    TRAINING_SET,
    UNANSWERED,
    raw_columns,
)
from pix.offline.tables.gold import DAILY_KPIS, DECISIONS_GOLD, FLOW, HOURLY_KPIS, KPIS, PAYEE_PROFILES, PAYER_PROFILES
from pix.offline.tables.models import BATCH_SCORES, EVALUATION, MODEL_DAILY, SEARCH
from pix.offline.tables.silver import (
    DECISIONS_SILVER,
    HISTORY_IMPORTS,
    HISTORY_LABELS,
    HISTORY_PAYMENTS,
    HISTORY_REFUSED,
    LABELS_SILVER,
    PAYMENTS_SILVER,
    QUARANTINE_SILVER,
    SHADOW_SILVER,
)

__all__ = [
    "BASE_STATES",
    "BATCH_SCORES",
    "BRONZE_COLUMNS",
    "DAILY_KPIS",
    "DECISIONS_GOLD",
    "DECISIONS_SILVER",
    "EVALUATION",
    "FEATURE_STATISTICS",
    "FLOW",
    "HISTORIES",
    "HISTORY_IMPORTS",
    "HISTORY_LABELS",
    "HISTORY_PAYMENTS",
    "HISTORY_REFUSED",
    "HOURLY_KPIS",
    "IDENTIFIERS",
    "KPIS",
    "LABELS_SILVER",
    "LIVE_STATES",
    "MODEL_DAILY",
    "PAYEE_PROFILES",
    "PAYER_PROFILES",
    "PAYMENTS_SILVER",
    "PAYMENT_FEATURES",
    "QUARANTINE_SILVER",
    "RAW_PREFIX",
    "RUNS",
    "SEARCH",
    "SHADOW_SILVER",
    "TABLES",
    "TRAINING_SET",
    "UNANSWERED",
    "payment_columns",
    "raw_columns",
]

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        HISTORY_PAYMENTS,
        HISTORY_LABELS,
        HISTORY_REFUSED,
        HISTORY_IMPORTS,
        DECISIONS_SILVER,
        PAYMENTS_SILVER,
        LABELS_SILVER,
        SHADOW_SILVER,
        QUARANTINE_SILVER,
        DECISIONS_GOLD,
        HOURLY_KPIS,
        DAILY_KPIS,
        MODEL_DAILY,
        FLOW,
        PAYER_PROFILES,
        PAYEE_PROFILES,
        PAYMENT_FEATURES,
        BASE_STATES,
        LIVE_STATES,
        UNANSWERED,
        RUNS,
        HISTORIES,
        FEATURE_STATISTICS,
        TRAINING_SET,
        SEARCH,
        EVALUATION,
        BATCH_SCORES,
    )
}
"""All of them, by name, in the order in which they are made."""
