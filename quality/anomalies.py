"""Is a day as days of this table usually are? Thresholds are learned from its history. Pure.

The rule is the modified z-score: (value - median) / (1.4826 * MAD), MAD being the median of the distances from the
median; beyond 3.5 a value is unusual (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993; NIST/SEMATECH
e-Handbook of Statistical Methods, 1.3.5.17). Median and MAD do not move when one day in three was an outage. Where a
history hardly moves at all, a tenth of its median stands in for the spread. From four weeks on, with four days of
each weekday, values are divided by what their weekday usually is of the whole. At twice the threshold a value is far
from usual. With fewer than 14 days nothing is judged, and the verdict says so.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median
from types import MappingProxyType
from typing import Literal

from pix.offline.declaration import Table
from quality.daily import DailyFacts
from quality.promises import GATES
from quality.suites import payment_facts

UNUSUAL, FAR = 3.5, 7.0
LEAST_DAYS, MOST_DAYS = 14, 56
DAYS_OF_EACH_WEEKDAY = 4
LEAST_SPREAD = 0.1
LEAST_NULL_SPREAD = 0.02
# A night, or the pause between two batches of a job, is no silence.
LEAST_SILENCE_MS = 6 * 3_600_000
CONSISTENT = 1.4826
"""MAD * 1.4826 is the standard deviation where values are normal."""

Aspect = Literal["volume", "amount", "nulls", "freshness"]
Level = Literal["unknown", "usual", "unusual", "far"]
ORDER: tuple[Level, ...] = ("unknown", "usual", "unusual", "far")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What a history teaches.

    Attributes:
        median: Of its values, each divided by its weekday's factor.
        spread: Their robust standard deviation, at least a share of the median.
        days: Days learned from.
        factors: Weekday (0 is Monday) -> what such days are of all days; empty without enough weeks.
    """

    median: float
    spread: float
    days: int
    factors: Mapping[int, float]

    def score(self, day: date, value: float, *, spread: float = 0.0) -> float:
        """Modified z-score of a day's value; ``spread`` if greater takes the place of the learned one."""
        distance = value / self.factors.get(day.weekday(), 1.0) - self.median
        divisor = max(self.spread, spread)
        if divisor == 0:
            return 0.0 if distance == 0 else float("inf") * distance
        return distance / divisor

    def limits(self, day: date) -> tuple[float, float]:
        """Between which values the day is usual."""
        factor = self.factors.get(day.weekday(), 1.0)
        reach = UNUSUAL * self.spread
        return factor * (self.median - reach), factor * (self.median + reach)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One aspect of one day.

    Attributes:
        aspect: What was looked at.
        day: Which day.
        level: ``unknown`` with too little history.
        score: Modified z-score; None where nothing could be learned.
        is_harmful: Far from usual on the side where rows or facts are missing.
        told: One sentence.
    """

    aspect: Aspect
    day: date
    level: Level
    score: float | None
    is_harmful: bool
    told: str


def learn(
    history: Sequence[tuple[date, float]],
    *,
    least_share: float = LEAST_SPREAD,
    least: float = 0.0,
    by_weekday: bool = True,
) -> Usual | None:
    """Median and spread of the newest days; None of fewer than ``LEAST_DAYS``.

    Args:
        history: Day and value, oldest first.
        least_share: Least spread, as a share of the median.
        least: Least spread, in the values' unit.
        by_weekday: Whether weekdays may differ.
    """
    newest = history[-MOST_DAYS:]
    if len(newest) < LEAST_DAYS:
        return None
    factors = _weekdays(newest) if by_weekday else {}
    values = [value / factors.get(day.weekday(), 1.0) for day, value in newest]
    middle = median(values)
    spread = CONSISTENT * median(abs(value - middle) for value in values)
    return Usual(
        median=middle,
        spread=max(spread, least_share * abs(middle), least),
        days=len(newest),
        factors=MappingProxyType(factors),
    )


def _weekdays(history: Sequence[tuple[date, float]]) -> dict[int, float]:
    by_weekday: dict[int, list[float]] = {}
    for day, value in history:
        by_weekday.setdefault(day.weekday(), []).append(value)
    all_days = median(value for _, value in history)
    middles = {weekday: median(values) for weekday, values in by_weekday.items()}
    enough = len(by_weekday) == 7 and all(len(values) >= DAYS_OF_EACH_WEEKDAY for values in by_weekday.values())
    if not enough or all_days <= 0 or min(middles.values()) <= 0:
        return {}
    return {weekday: middle / all_days for weekday, middle in middles.items()}


def level_of(score: float) -> Level:
    """How far from usual a score is."""
    return "far" if abs(score) > FAR else "unusual" if abs(score) > UNUSUAL else "usual"


def judge(table: Table, aspect: Aspect, history: Sequence[DailyFacts], day: DailyFacts) -> Judged:
    """Rows, sum or nulls of a table's day against the days before it; where nulls stop something, of payments' facts.

    Args:
        table: Whose day it is.
        aspect: What to look at, but ``freshness``.
        history: The days before, oldest first.
        day: The day in question.
    """
    if aspect == "nulls":
        gate = payment_facts() if "nulls" in GATES.get(table.name, ()) else None
        return judge_nulls(history, day, gate)
    return (judge_volume if aspect == "volume" else judge_amount)(history, day)


def judge_volume(history: Sequence[DailyFacts], day: DailyFacts) -> Judged:
    """Are there as many rows as usual? Far fewer are harmful: whatever is made of the day misses them."""
    return _judged("volume", history, day, lambda facts: float(facts.rows), "rows")


def judge_amount(history: Sequence[DailyFacts], day: DailyFacts) -> Judged:
    """Do amounts sum up to what is usual? One large payment may move it, so nothing is harmful by itself."""
    return _judged("amount", history, day, lambda facts: (facts.amount_cents or 0) / 100, "reais")


def judge_nulls(history: Sequence[DailyFacts], day: DailyFacts, columns: Collection[str] | None = None) -> Judged:
    """Is any column emptier or fuller than usual? A far emptier one is harmful.

    A share of few rows says little: its standard error, with one null and one value more than were seen, is the
    least spread.

    Args:
        history: Days before, oldest first.
        day: The day in question.
        columns: Only these; None for all.
    """
    found: list[tuple[float, str]] = []
    for name in day.nulls if columns is None else [name for name in day.nulls if name in columns]:
        before = [(facts.day, facts.null_share(name)) for facts in history if name in facts.nulls]
        usual = learn(before, least_share=0.0, least=LEAST_NULL_SPREAD, by_weekday=False)
        if usual is None:
            return _unknown("nulls", day.day, len(before))
        expected = (usual.median * day.rows + 1) / (day.rows + 2)
        error = (expected * (1 - expected) / day.rows) ** 0.5
        share = day.null_share(name)
        score = usual.score(day.day, share, spread=error)
        found.append((score, f"{name} has no value in {share:.1%} of {day.rows} rows, usually {usual.median:.1%}"))
    if not found:
        return Judged(
            aspect="nulls", day=day.day, level="usual", score=0.0, is_harmful=False, told="no column to judge"
        )
    worst, _ = max(found, key=lambda each: abs(each[0]))
    unusual = [told for score, told in sorted(found, key=lambda each: -abs(each[0])) if level_of(score) != "usual"]
    return Judged(
        aspect="nulls",
        day=day.day,
        level=level_of(worst),
        score=worst,
        is_harmful=any(score > FAR for score, _ in found),
        told=f"{day.day}: {'; '.join(unusual[:5]) or f'{len(found)} columns are as usual'}",
    )


def judge_freshness(history: Sequence[DailyFacts], now_ms: int) -> Judged:
    """Is the newest row older than the silences between days usually are? Never harmful by itself: only old.

    Args:
        history: All days, oldest first.
        now_ms: The clock.
    """
    timed = [facts for facts in history if facts.first_ms is not None and facts.newest_ms is not None]
    if not timed:
        return Judged(
            aspect="freshness", day=date.min, level="unknown", score=None, is_harmful=False, told="no rows yet"
        )
    newest = timed[-1]
    age = now_ms - (newest.newest_ms or 0)
    silences = [
        (after.day, float((after.first_ms or 0) - (before.newest_ms or 0)))
        for before, after in zip(timed, timed[1:], strict=False)
    ]
    usual = learn(silences)
    if usual is None:
        return _unknown("freshness", newest.day, len(silences))
    limit = max(LEAST_SILENCE_MS, usual.median + UNUSUAL * usual.spread)
    return Judged(
        aspect="freshness",
        day=newest.day,
        level="unusual" if age > limit else "usual",
        score=age / limit,
        is_harmful=False,
        told=f"the newest row is {_hours(age)} old; more than {_hours(limit)} is unusual after {usual.days} days",
    )


def _judged(
    aspect: Aspect,
    history: Sequence[DailyFacts],
    day: DailyFacts,
    value: Callable[[DailyFacts], float],
    unit: str,
) -> Judged:
    usual = learn([(facts.day, value(facts)) for facts in history])
    if usual is None:
        return _unknown(aspect, day.day, len(history))
    score = usual.score(day.day, value(day))
    low, high = usual.limits(day.day)
    return Judged(
        aspect=aspect,
        day=day.day,
        level=level_of(score),
        score=score,
        is_harmful=aspect == "volume" and score < -FAR,
        told=f"{day.day}: {value(day):,.0f} {unit}, usually {max(low, 0):,.0f} to {high:,.0f} (score {score:.1f}, "
        f"{usual.days} days{', by weekday' if usual.factors else ''})",
    )


def _unknown(aspect: Aspect, day: date, days: int) -> Judged:
    told = f"too little history: {days} of {LEAST_DAYS} days"
    return Judged(aspect=aspect, day=day, level="unknown", score=None, is_harmful=False, told=told)


def _hours(duration_ms: float) -> str:
    return f"{duration_ms / 3_600_000:.1f} h"
