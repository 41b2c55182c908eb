"""Days of the lake: the unit in which silver and gold are written, by the clock of Brasília.

Brasília has no summer time since 2019 (Decreto 9.772), so a constant offset says it; for payments of earlier
summers the day begins an hour late, and always the same.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from pix.contracts import DAY_MS
from pix.features import BRASILIA_OFFSET_MS

if TYPE_CHECKING:
    from pyspark.sql import Column

TIMEZONE = "America/Sao_Paulo"
ALLOWED_LATENESS_MS = DAY_MS
"""A day is closed when an event so long past its end is known; rows that come for it then are late."""
Days = Collection[date] | None
"""Days that are wanted; None for all."""
_EPOCH = date(1970, 1, 1)


def day_at(at_ms: int) -> date:
    """Day in Brasília of an instant, epoch milliseconds."""
    return datetime.fromtimestamp((at_ms + BRASILIA_OFFSET_MS) // 1000, UTC).date()


def begin_ms(day: date) -> int:
    """When a day begins in Brasília, epoch milliseconds."""
    return (day - _EPOCH).days * DAY_MS - BRASILIA_OFFSET_MS


def widened(days: Iterable[date], by: int) -> frozenset[date]:
    """These days, and so many before and after each."""
    return frozenset(day + timedelta(days=step) for day in days for step in range(-by, by + 1))


def listed(days: Iterable[date]) -> str:
    """Days as SQL lists them; at least one, for a list may not be empty."""
    return ", ".join(f"date '{day}'" for day in sorted(days)) or "null"


def day_of(at_ms: "Column | str") -> "Column":
    """Day in Brasília of a column of epoch milliseconds."""
    from pyspark.sql import functions as f

    column = f.col(at_ms) if isinstance(at_ms, str) else at_ms
    return f.to_date(f.timestamp_millis(column + f.lit(BRASILIA_OFFSET_MS)))


def day_in_id(end_to_end_id: "Column | str") -> "Column":
    """Day in Brasília of the UTC minute in an EndToEndId; 1970-01-01 where that is no minute.

    The doors refuse a live payment whose id's minute is more than twelve hours from its initiation, so this is the
    day of the payment, the one before or the one after.
    """
    from pyspark.sql import functions as f

    minute = f.try_to_timestamp(f.substring(end_to_end_id, 10, 12), f.lit("yyyyMMddHHmm"))
    return f.coalesce(day_of(f.unix_millis(minute)), f.lit(_EPOCH))


def within(column: "Column | str", days: Days) -> "Column":
    """Rows whose day is one of these; all of them if ``days`` is None."""
    from pyspark.sql import functions as f

    return f.lit(True) if days is None else (f.col(column) if isinstance(column, str) else column).isin(sorted(days))


def within_ms(column: str, days: Days) -> "Column":
    """From the first day's begin to the last one's end: what a table's statistics of files can skip by."""
    from pyspark.sql import functions as f

    if not days:
        return f.lit(days is None)
    return f.col(column).between(begin_ms(min(days)), begin_ms(max(days)) + DAY_MS - 1)
