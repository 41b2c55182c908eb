"""Is all that Kafka has also in bronze, silver, gold and service? Pure: rows by hour in, what nothing explains out.

`sentinela verify` (``quality.reconciliation``) begins with what senders say that they sent; this begins with Kafka's
offsets, and needs no log of anybody. Records are compared by their place, (partition, offset), and by their amount.
Each difference between a stage and the next is explained by rows that are known to be elsewhere; the rest is the
finding.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

HOUR_MS = 3_600_000
Place = tuple[int, int]
"""Partition and offset."""
Offsets = Mapping[int, int]
"""By partition."""

UNREAD, EXPIRED = "unread", "expired"
COPY, SUPERSEDED, UNREADABLE, DEAD_LETTER = "copy", "superseded", "unreadable", "dead_letter"
UNDECIDED, NOT_YET = "undecided", "not_yet"


@dataclass(frozen=True, slots=True)
class Tally:
    """How many rows, and the sum of their amounts; None where there are no amounts to know."""

    rows: int = 0
    cents: int | None = 0

    def __add__(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(self.rows + other.rows, None if None in (self.cents, other.cents) else self._cents + other._cents)

    def __sub__(self, other: "Tally") -> "Tally":
        """What the other lacks of this."""
        return self + Tally(-other.rows, None if other.cents is None else -other.cents)

    def __bool__(self) -> bool:
        """Whether it is anything."""
        return bool(self.rows or self.cents)

    @property
    def _cents(self) -> int:
        return self.cents or 0


@dataclass(frozen=True, slots=True)
class Stage:
    """What of one topic's hour is at one stage.

    Attributes:
        name: Such as ``silver``.
        held: Rows there.
        explained: Why -> rows of the stage before that are elsewhere; fewer than none are here without being there.
        nowhere: Places of rows that differ from the stage before for no known reason; names of those without a place.
    """

    name: str
    held: Tally
    explained: Mapping[str, Tally] = field(default_factory=dict)
    nowhere: tuple[Place | str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of a topic through its stages, in their order.

    Attributes:
        topic: Kafka topic.
        began_ms: Begin of the hour, epoch milliseconds.
        stages: The first is Kafka itself.
    """

    topic: str
    began_ms: int
    stages: tuple[Stage, ...]

    @property
    def unexplained(self) -> dict[str, Tally]:
        """Stage -> rows and amounts that the stage before has, less those explained and those here."""
        pairs = zip(self.stages, self.stages[1:], strict=False)
        return {
            after.name: before.held - sum(after.explained.values(), Tally()) - after.held for before, after in pairs
        }

    @property
    def is_explained(self) -> bool:
        """Whether nothing is missing, too much or changed; two faults do not make up for each other."""
        return not any(self.unexplained.values()) and not any(stage.nowhere for stage in self.stages)


@dataclass(frozen=True, slots=True)
class Hours:
    """Which offsets belong to which hour: from the first of an hour's time or later to the next hour's first.

    A record whose time is before that of an earlier offset, as two producers' clocks make it, so counts to the hour
    in which it lies; every stage counts it there.

    Attributes:
        began_ms: Begin of each hour, one after the other.
        firsts: Partition -> first offset of each hour.
    """

    began_ms: tuple[int, ...]
    firsts: Mapping[int, npt.NDArray[np.int64]]

    def of(self, partition: int, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Index of each offset's hour; −1 before the first."""
        return np.searchsorted(self.firsts[partition], offsets, side="right") - 1

    def counts(self, low: Offsets, end: Offsets) -> npt.NDArray[np.int64]:
        """How many offsets each hour has from ``low`` up to, not including, ``end``; all partitions together."""
        total = np.zeros(len(self.began_ms), np.int64)
        for partition in self.firsts:
            first, until = self.ranges(partition, low.get(partition, 0), end.get(partition, 0))
            total += until - first
        return total

    def ranges(self, partition: int, low: int, end: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """First and end offset of each hour's part of ``low`` to ``end``; both are equal where there is none."""
        first = np.clip(self.firsts[partition], low, max(low, end))
        return first, np.append(first[1:], max(low, end))


def hours_until(newest_ms: int, days: int) -> tuple[int, ...]:
    """Begins of the hours of the days before an instant, its own hour included."""
    last = newest_ms // HOUR_MS * HOUR_MS
    return tuple(range(last - days * 24 * HOUR_MS, last + 1, HOUR_MS))


def earliest(firsts: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
    """First offset of each hour by several witnesses, each of whom may lack records but has no others."""
    # An hour in which nothing came begins where the next one does.
    return np.minimum.accumulate(np.min(np.array(firsts, np.int64), axis=0)[::-1])[::-1]


@dataclass(frozen=True, slots=True)
class Delta:
    """A place that two stages do not have alike.

    Attributes:
        place: Where.
        hour: Index of its hour.
        before: What the earlier stage has of it.
        after: What the later stage has of it.
    """

    place: Place
    hour: int
    before: Tally
    after: Tally


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of rows that did not come to the next stage.

    Attributes:
        quarantined: Place -> kind of its row in quarantine.
        copies: Places of records that say again, identically, what was decided.
        under_way: Places whose decision or dead letter is in the logs, and not in silver yet.
        made_to: Newest offset by which the quarantine was made; None where it has no say.
    """

    quarantined: Mapping[Place, str] = field(default_factory=dict)
    copies: Collection[Place] = frozenset()
    under_way: Collection[Place] = frozenset()
    made_to: Offsets | None = None

    def why(self, delta: Delta) -> str | None:
        """Why a row is not at the next stage; None if nothing says so, and always for one that is, and differs."""
        if delta.after.rows or delta.before.rows != 1:
            return None
        if (kind := self.quarantined.get(delta.place)) is not None:
            return kind
        if delta.place in self.copies:
            return COPY
        partition, offset = delta.place
        is_later = self.made_to is not None and offset > self.made_to.get(partition, -1)
        return NOT_YET if is_later or delta.place in self.under_way else None


Explained = dict[int, dict[str, Tally]]
"""Hour -> why -> rows."""
Nowhere = dict[int, list[Place]]
"""Hour -> places."""


def explained(deltas: Iterable[Delta], why: Callable[[Delta], str | None]) -> tuple[Explained, Nowhere]:
    """Differences by hour: those with a reason, summed, and the places of the others."""
    reasons: Explained = {}
    nowhere: Nowhere = {}
    for delta in deltas:
        reason = why(delta)
        if reason is None:
            nowhere.setdefault(delta.hour, []).append(delta.place)
            continue
        of_hour = reasons.setdefault(delta.hour, {})
        of_hour[reason] = of_hour.get(reason, Tally()) + delta.before - delta.after
    return reasons, nowhere
