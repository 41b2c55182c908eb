"""When Brazilians pay: hour, weekday, payday and month, in Brasília time.

Only times belong here; who pays whom is drawn elsewhere. Time is cut at 6h local, where the night's limit
ends, so that one night is never in two pieces.
"""

import numpy as np
from numpy.typing import NDArray

from pix.simulator import published

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
# Brazil has had no summer time since 2019.
BRASILIA_OFFSET_MS = -3 * HOUR_MS
NIGHT_FROM_HOUR, NIGHT_TO_HOUR = 20, 6
DAY_CUT_MS = NIGHT_TO_HOUR * HOUR_MS - BRASILIA_OFFSET_MS
PAYDAY_FACTOR = 1.18

Window = tuple[int, int]


def local_hour(at_ms: Ints) -> Ints:
    """Hour of the day in Brasília, 0-23."""
    return (at_ms + BRASILIA_OFFSET_MS) // HOUR_MS % 24


def is_night(at_ms: Ints) -> Bools:
    """Whether the night's limits apply: 20h to 6h."""
    hour = local_hour(at_ms)
    night: Bools = (hour >= NIGHT_FROM_HOUR) | (hour < NIGHT_TO_HOUR)
    return night


def local_days(at_ms: Ints) -> NDArray[np.datetime64]:
    """Date in Brasília."""
    return ((at_ms + BRASILIA_OFFSET_MS) // DAY_MS).astype("datetime64[D]")


def pieces(window: Window) -> list[Window]:
    """The window cut at 6h Brasília, epoch ms."""
    begin, end = window
    cuts = np.arange((begin - DAY_CUT_MS) // DAY_MS + 1, -(-(end - DAY_CUT_MS) // DAY_MS)) * DAY_MS + DAY_CUT_MS
    edges = [begin, *cuts.tolist(), end]
    return list(zip(edges[:-1], edges[1:], strict=True))


def is_payday(days: NDArray[np.datetime64]) -> Bools:
    """The days on which salaries come: the fifth business day, the 20th and the last one, moved off weekends."""
    months = days.astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    fifth = np.busday_offset(first, 4, roll="forward")
    twentieth = np.busday_offset(first + 19, 0, roll="backward")
    last = np.busday_offset((months + 1).astype("datetime64[D]") - 1, 0, roll="backward")
    payday: Bools = (days == fifth) | (days == twentieth) | (days == last)
    return payday


def weight(window: Window, *, company: bool) -> float:
    """How much is paid in a window, in arbitrary units."""
    begins, ends = _hours(window)
    return float((_weights(begins, company=company) * (ends - begins)).sum())


def draw_times(rng: np.random.Generator, n: int, window: Window, *, company: bool = False) -> Ints:
    """``n`` times in the window, epoch ms, unsorted, dense where people (or companies) pay often."""
    begins, ends = _hours(window)
    weights = np.cumsum(_weights(begins, company=company) * (ends - begins))
    drawn = np.searchsorted(weights, rng.random(n) * weights[-1], side="right").clip(max=len(begins) - 1)
    times: Ints = begins[drawn] + (rng.random(n) * (ends - begins)[drawn]).astype(np.int64)
    return times


def _hours(window: Window) -> tuple[Ints, Ints]:
    begin, end = window
    hours = np.arange(begin // HOUR_MS, -(-end // HOUR_MS), dtype=np.int64) * HOUR_MS
    return np.maximum(hours, begin), np.minimum(hours + HOUR_MS, end)


def _weights(at_ms: Ints, *, company: bool) -> Floats:
    days = local_days(at_ms)
    months = days.astype("datetime64[M]").astype(np.int64) % 12
    weekdays = np.array(published.COMPANY_WEEKDAYS if company else published.PERSON_WEEKDAYS)
    payday = np.where(is_payday(days), PAYDAY_FACTOR, 1.0)
    # The epoch was a Thursday.
    weekday = weekdays[(days.astype(np.int64) + 3) % 7]
    weights: Floats = _curve(company)[local_hour(at_ms)] * weekday * payday * np.array(published.MONTHS)[months]
    return weights


def _curve(company: bool) -> Floats:
    """Shares of the hours; those of persons are what companies leave of the whole."""
    companies = np.array(published.COMPANY_HOURS) / sum(published.COMPANY_HOURS)
    if company:
        return companies
    share = published.PERSON_PAYER_SHARE
    whole = np.array(published.HOURS) / sum(published.HOURS)
    persons: Floats = np.maximum(whole - (1 - share) * companies, 1e-4) / share
    return persons
