"""Has fraud changed in a way that the model does not know? Page-Hinkley over days whose labels have matured. Pure.

Three series of one model, a number a day, in units of their own noise: frauds found less frauds expected; frauds that
alerts caught less those usual before, of as many frauds; and the same of as many alerts. All are sums of many payments,
so a day is about normal where the model is right. (E. S. Page, Continuous Inspection Schemes, Biometrika 41, 1954; the
detector is river's.)

The first days of a series say what is usual in it and how noisy it is: frauds come in campaigns, so a day varies more
than independent payments would. Nothing is found in them. What alerts are worth may be held against the days before the
model, too, which another model decided by the same policy; what it expects may not, for that is its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

LEARNT_DAYS = 14
"""Days of a model that its noise is learnt from; with seven, clusters of frauds gave five times the false alarms."""
MATURITY = timedelta(days=7)
"""Until a day's labels count (``gold/model_daily``)."""
TOLD_DAYS = 7
SLACK = 0.5
"""Half of the shift, in standard deviations, that is to be found soonest."""
THRESHOLD = 12.0
"""Sum of standard deviations beyond the slack from which a series has moved. Measured (docs/decisions.md)."""
LEAST_EXPECTED = 1.0
"""Frauds or alerts that a day needs to say anything; thinner days are added to the next."""
MISCALIBRATED = 2.0
"""Frauds found over frauds expected, or the other way round, from which probabilities are called wrong."""
FEW_FRAUDS = 20
FAR = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What became of one model's payments of one day, as ``gold/model_daily`` has it.

    Attributes:
        day: In Brasília.
        frauds: Known frauds among judged payments.
        expected: Sum of their probabilities.
        variance: Sum of p (1 - p): how far independent payments scatter around that.
        alerts: Judged alerts.
        caught: Frauds among those.
    """

    day: date
    frauds: int
    expected: float
    variance: float
    alerts: int
    caught: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """That a series moved.

    Attributes:
        day: The day at which it was seen.
        direction: ``up`` or ``down``.
        told: The evidence, as a sentence.
    """

    day: date
    direction: str
    told: str


def residual_drift(days: Sequence[Day]) -> Found | None:
    """Are there other frauds than the model expects, more (``up``) or fewer (``down``), since some day?

    Args:
        days: One model's, in order.
    """
    merged = _merged(days, lambda one: one.expected)
    series = [(one.day, (one.frauds - one.expected) / one.variance**0.5) for one in merged if one.variance > 0]
    found = _moved(series)
    if found is None:
        return None
    at, direction = found
    tail = [one for one in merged if one.day <= at][-TOLD_DAYS:]
    frauds, expected = sum(one.frauds for one in tail), sum(one.expected for one in tail)
    told = f"{frauds} frauds where {expected:.0f} were expected in the {len(tail)} days to {at}"
    return Found(day=at, direction=direction, told=told)


def precision_drift(days: Sequence[Day], before: Sequence[Day] = ()) -> Found | None:
    """Are fewer of the alerts fraud than used to be?

    Args:
        days: One model's, in order.
        before: Days before it; see ``watched``.
    """
    return _share_drift(days, before, lambda one: one.alerts, "{now:.0%} of the alerts of {days} were fraud")


def recall_drift(days: Sequence[Day], before: Sequence[Day] = ()) -> Found | None:
    """Do alerts catch fewer of the frauds than they used to?

    Args:
        days: One model's, in order.
        before: Days before it; see ``watched``.
    """
    return _share_drift(days, before, lambda one: one.frauds, "alerts caught {now:.0%} of the frauds of {days}")


@dataclass(frozen=True, slots=True)
class Watched:
    """Whose days speak of a champion.

    Attributes:
        own: Its own, in order.
        days: The same; while it has none, those of the model that decided the newest day.
        before: Other models' days that had matured when these began, in order, for had fraud changed in later ones,
            nobody could have seen it; all before these where too few had. The newest of them are learnt from.
    """

    own: tuple[Day, ...]
    days: tuple[Day, ...]
    before: tuple[Day, ...]


def watched(champion: str, by_model: Mapping[str, Sequence[Day]]) -> Watched:
    """Choose the days that speak of a champion.

    A champion has none in its first week: drift that was seen just before it came would be forgotten if it did not
    learn of it either.

    Args:
        champion: Its name.
        by_model: A model's name -> its days, in order.
    """
    own = tuple(by_model.get(champion, ()))
    newest = max((name for name, days in by_model.items() if days), key=lambda name: by_model[name][-1].day, default="")
    chosen = champion if own else newest
    days = tuple(by_model.get(chosen, ()))
    others = [one for name, theirs in by_model.items() if name != chosen for one in theirs]
    earlier = sorted((one for one in others if one.day < days[0].day), key=lambda one: one.day)
    had_matured = [one for one in earlier if one.day < days[0].day - MATURITY]
    return Watched(own, days, tuple(had_matured if len(had_matured) >= LEARNT_DAYS else earlier))


def miscalibration(days: Sequence[Day], *, reported: float = 1.0) -> str | None:
    """A sentence if the probabilities of all these days together are off by a factor; None if not, or unknown.

    Args:
        days: One model's, in order.
        reported: Share of frauds that are known when their day matures: the model learnt from later labels, too.
    """
    frauds, variance = sum(one.frauds for one in days), sum(one.variance for one in days) * reported
    expected = sum(one.expected for one in days) * reported
    if len(days) < LEARNT_DAYS or max(frauds, expected) < FEW_FRAUDS or variance <= 0:
        return None
    ratio = frauds / expected
    noise = _noise([(one.frauds - one.expected) / one.variance**0.5 for one in days if one.variance > 0])
    if 1 / MISCALIBRATED <= ratio <= MISCALIBRATED or abs(frauds - expected) < FAR * noise * variance**0.5:
        return None
    return f"{frauds} frauds where {expected:.0f} were expected in {len(days)} days, {ratio:.1f} times as many"


def _share_drift(days: Sequence[Day], before: Sequence[Day], whole: Callable[[Day], int], told: str) -> Found | None:
    """Is less of something caught than in the days learnt from: the model's own, or else those before it?"""
    found = _fewer_caught(_merged(days, whole), whole, told)
    known = _merged(before, whole)[-LEARNT_DAYS:]
    if found is None and len(known) == LEARNT_DAYS:
        found = _fewer_caught([*known, *_merged(days, whole)], whole, told)
    return found


def _fewer_caught(days: Sequence[Day], whole: Callable[[Day], int], told: str) -> Found | None:
    learnt = days[:LEARNT_DAYS]
    # As if there had been one more of each: the usual share is never 0 or 1.
    usual = (sum(one.caught for one in learnt) + 1) / (sum(map(whole, learnt)) + 2)
    spread = usual * (1 - usual)
    found = _moved(
        [(one.day, (one.caught - whole(one) * usual) / (whole(one) * spread) ** 0.5) for one in days], ("down",)
    )
    if found is None:
        return None
    tail = [one for one in days if one.day <= found[0]][-TOLD_DAYS:]
    now = sum(one.caught for one in tail) / sum(map(whole, tail))
    sentence = told.format(now=now, days=f"the {len(tail)} days to {found[0]}")
    return Found(
        day=found[0],
        direction="down",
        told=f"{sentence}, {usual:.0%} of those of {len(learnt)} days to {learnt[-1].day}",
    )


def _moved(series: Sequence[tuple[date, float]], directions: Sequence[str] = ("up", "down")) -> tuple[date, str] | None:
    """The first day on which a series has moved, and where to."""
    if len(series) <= LEARNT_DAYS:
        return None
    from river.drift import PageHinkley

    noise = _noise([value for _, value in series[:LEARNT_DAYS]])
    detectors = {
        name: PageHinkley(min_instances=LEARNT_DAYS + 1, delta=SLACK, threshold=THRESHOLD, alpha=1.0, mode=name)
        for name in directions
    }
    for day, value in series:
        for name, detector in detectors.items():
            detector.update(value / noise)
            if detector.drift_detected:
                return day, name
    return None


def _noise(values: Sequence[float]) -> float:
    """How many times a day's value varies as independent payments would; at least 1."""
    mean = sum(values) / len(values)
    return float(max(1.0, (sum((one - mean) ** 2 for one in values) / max(1, len(values) - 1)) ** 0.5))


def _merged(days: Sequence[Day], size: Callable[[Day], float]) -> list[Day]:
    """Days that say too little, together with those after them."""
    found: list[Day] = []
    open_: Day | None = None
    for one in days:
        open_ = one if open_ is None else _sum(open_, one)
        if size(open_) >= LEAST_EXPECTED:
            found.append(open_)
            open_ = None
    return found


def _sum(one: Day, other: Day) -> Day:
    return Day(
        day=other.day,
        frauds=one.frauds + other.frauds,
        expected=one.expected + other.expected,
        variance=one.variance + other.variance,
        alerts=one.alerts + other.alerts,
        caught=one.caught + other.caught,
    )
