"""How long rows of the lake's tables are kept: the one place that says when they have to go, and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from pix import topics


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows of a table are kept.

    Attributes:
        days: Least age at which they have to go; None if age is no reason.
        since: Column that their age is counted from, a date or epoch milliseconds; None if ``days`` is. Tables without
            a time of their own give ``IMPORTED_AT``, which ``silver/history_imports`` has by ``import_number``.
        reason: Why then, and not before.
        emptied: The columns that are emptied then while the row stays; none of them: the row goes. ``column.field``
            is a field of the column's JSON.
    """

    days: int | None
    since: str | None
    reason: str
    emptied: tuple[str, ...] = ()


TEN_YEARS, FIVE_YEARS, SEASON, CORRECTION = 3_653, 1_827, 400, 90
IMPORTED_AT = "imported_at_ms"
_OPERATION = (
    "A record of the operation: 10 years, as for operations and alerts (Circular 3.978); LGPD art. 16 permits it."
)
_EVIDENCE = "Any decision is run again from it (I5), for as long as decisions are kept."
_RAW = "Raw features: 5 years, as for procedures and reports against money laundering."
_CLEAR = (
    "It holds what no door let in, clear once opened: 90 days suffice to see it, correct the sender and send again."
)
_REFUSED = "That and why a payment was refused is all that is known of it (I1): kept as decisions are."
_SEASON = "A year and a month, so that a season can be compared with the last; what was decided stands in the decision."
_AGAIN = "Made again from the vectors, for as long as these are kept."
_NOBODY = "It tells of no person, and is small."
RETENTION: Mapping[str, tuple[Retention, ...]] = {
    topics.bronze_table(topics.TRANSACTIONS): (Retention(SEASON, "timestamp_ms", _SEASON),),
    topics.bronze_table(topics.DECISIONS): (Retention(TEN_YEARS, "timestamp_ms", _EVIDENCE),),
    topics.bronze_table(topics.LABELS): (Retention(TEN_YEARS, "timestamp_ms", _EVIDENCE),),
    topics.bronze_table(topics.FOLDS): (Retention(TEN_YEARS, "timestamp_ms", _EVIDENCE),),
    # Only what was sealed goes early: silver is made again from the rest, and knows by it which labels were refused.
    topics.bronze_table(topics.DLQ): (
        Retention(CORRECTION, "timestamp_ms", _CLEAR, emptied=("value.payload",)),
        Retention(TEN_YEARS, "timestamp_ms", _REFUSED),
    ),
    topics.bronze_table(topics.SHADOW): (Retention(SEASON, "timestamp_ms", _SEASON),),
    "silver/history_payments": (Retention(TEN_YEARS, "event_time_ms", _OPERATION),),
    "silver/history_labels": (Retention(TEN_YEARS, "known_at_ms", _OPERATION),),
    "silver/history_refused": (
        Retention(CORRECTION, IMPORTED_AT, _CLEAR, emptied=("payload",)),
        Retention(TEN_YEARS, IMPORTED_AT, _REFUSED),
    ),
    "silver/history_imports": (Retention(None, None, _NOBODY),),
    "silver/decisions": (Retention(TEN_YEARS, "decided_at_ms", _OPERATION),),
    "silver/payments": (Retention(TEN_YEARS, "event_time_ms", _OPERATION),),
    "silver/labels": (Retention(TEN_YEARS, "recorded_at_ms", _OPERATION),),
    "silver/shadow_scores": (Retention(SEASON, "scored_at_ms", _SEASON),),
    "silver/quarantine": (
        Retention(CORRECTION, "arrival_day", _CLEAR, emptied=("payload",)),
        Retention(TEN_YEARS, "arrival_day", _REFUSED),
    ),
    "silver/policies": (Retention(None, None, "Decisions are run again by it (I5); Delta itself refuses to delete."),),
    "gold/decisions": (Retention(TEN_YEARS, "decided_at_ms", _OPERATION),),
    "gold/daily_kpis": (Retention(None, None, _NOBODY),),
    "gold/hourly_kpis": (Retention(None, None, _NOBODY),),
    "gold/batch_scores": (Retention(FIVE_YEARS, "event_day", _AGAIN),),
    "gold/model_daily": (Retention(None, None, _NOBODY),),
    "quality/flow": (Retention(None, None, _NOBODY),),
    "gold/payer_profiles": (Retention(None, None, "Replaced whole, from the payments that are kept."),),
    "gold/payee_profiles": (Retention(None, None, "Replaced whole, from the payments that are kept."),),
    "quality/scorecard": (Retention(None, None, "Replaced whole, from the newest 60 days."),),
    "quality/unexpected": (Retention(CORRECTION, "day", "Samples of broken rows, for as long as they are mended."),),
    **dict.fromkeys(
        ("care/retention", "care/compaction", "care/vacuum"),
        (Retention(None, None, "Replaced whole, from the newest 400 days."),),
    ),
    "features/payment_features": (Retention(FIVE_YEARS, "fold_day", _RAW),),
    "features/training_set": (Retention(FIVE_YEARS, "event_time_ms", _RAW),),
    "model/evaluation": (Retention(None, None, _NOBODY),),
    "model/search": (Retention(None, None, _NOBODY),),
    "features/base_states": (Retention(None, None, "Replaced whole; a state counts 90 days at most."),),
    "features/live_states": (
        Retention(None, None, "Runs before the newest are compacted away; a state counts 90 days at most."),
    ),
    "features/unanswered": (Retention(None, None, "A row goes when its read is answered."),),
    "features/runs": (Retention(None, None, _NOBODY),),
    "features/histories": (Retention(None, None, _NOBODY),),
    "features/statistics": (Retention(None, None, _NOBODY),),
}
"""By table: what has to go, and when. Whoever deletes, deletes by this; nothing is deleted for another reason."""
