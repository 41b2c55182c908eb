"""When Brazilians pay: the hour of day, the weekday and payday, in Brasília time.

Only times belong here; who pays whom is drawn elsewhere.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
# Brazil has had no summer time since 2019.
BRASILIA_OFFSET_MS = -3 * HOUR_MS

_PERSON_HOURS = np.array(
    [1.1, 0.6, 0.4, 0.3, 0.35, 0.7, 1.6, 3, 4.8, 6, 6.7, 7.2]
    + [7.4, 6.4, 6.2, 6.3, 6.4, 6.8, 7.2, 6.6, 5.3, 4.1, 2.8, 1.75]
)
_COMPANY_HOURS = np.array(
    [0.3, 0.2, 0.2, 0.2, 0.3, 0.6, 2, 4, 8, 10, 10.5, 10, 8, 8, 9.5, 9.5, 9, 7, 4, 2, 1.5, 1, 0.7, 0.5]
)
# Monday to Sunday.
_PERSON_WEEKDAYS = np.array([0.90, 0.92, 0.92, 0.95, 1.0, 0.82, 0.50])
_COMPANY_WEEKDAYS = np.array([0.95, 0.97, 0.97, 0.97, 1.0, 0.35, 0.15])
_PAYDAYS = (1, 5, 6, 7, 30)
_PAYDAY_FACTOR = 1.2


def local_hour(at_ms: Ints) -> Ints:
    """Hour of the day in Brasília, 0-23."""
    return (at_ms + BRASILIA_OFFSET_MS) // HOUR_MS % 24


def draw_times(rng: np.random.Generator, n: int, start_ms: int, end_ms: int, *, company: bool = False) -> Ints:
    """``n`` times in [start_ms, end_ms), epoch ms, unsorted, dense where people (or companies) pay often."""
    hours = np.arange(start_ms // HOUR_MS, -(-end_ms // HOUR_MS)) * HOUR_MS
    begins, ends = np.maximum(hours, start_ms), np.minimum(hours + HOUR_MS, end_ms)
    weights = _weights(hours, company=company) * (ends - begins)
    drawn = rng.choice(len(hours), size=n, p=weights / weights.sum())
    offsets = (rng.random(n) * (ends - begins)[drawn]).astype(np.int64)
    times: Ints = begins[drawn] + offsets
    return times


def _weights(hours_ms: Ints, *, company: bool) -> Floats:
    curve, weekdays = (_COMPANY_HOURS, _COMPANY_WEEKDAYS) if company else (_PERSON_HOURS, _PERSON_WEEKDAYS)
    days = (hours_ms + BRASILIA_OFFSET_MS) // DAY_MS
    dates = days.astype("datetime64[D]")
    day_of_month = (dates - dates.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    payday = np.where(np.isin(day_of_month, _PAYDAYS), _PAYDAY_FACTOR, 1.0)
    # The epoch was a Thursday.
    return np.asarray(curve[local_hour(hours_ms)] * weekdays[(days + 3) % 7] * payday, dtype=np.float64)
