"""Prequential folds: learn from the past as it was known, judge on what came after a delay, move on.

The delay stands for the time that disputes take: payments of it are not learnt from, because most of their frauds are
not reported yet. Labels count from when they were known. (A. Dal Pozzolo et al., Credit Card Fraud Detection: A
Realistic Modeling and a Novel Learning Strategy, IEEE TNNLS 2018; Le Borgne et al., Fraud Detection Handbook, 2022.)
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from learning.ranking import Bools, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One step; every end is exclusive. All in epoch milliseconds.

    Attributes:
        number: 1, 2, and so on.
        train_from_ms: First payment that is learnt from.
        train_until_ms: End of those.
        known_until_ms: Labels known by then are learnt from.
        test_from_ms: First payment that is judged.
        test_until_ms: End of those.
    """

    number: int
    train_from_ms: int
    train_until_ms: int
    known_until_ms: float
    test_from_ms: int
    test_until_ms: int

    def trains(self, times_ms: Ints) -> Bools:
        """Which payments are learnt from."""
        return (times_ms >= self.train_from_ms) & (times_ms < self.train_until_ms)

    def tests(self, times_ms: Ints) -> Bools:
        """Which payments are judged."""
        return (times_ms >= self.test_from_ms) & (times_ms < self.test_until_ms)


def rolling(*, start_ms: int, train_ms: int, delay_ms: int, test_ms: int, count: int) -> tuple[Fold, ...]:
    """Folds of one length, each ``test_ms`` later than the one before.

    Args:
        start_ms: First payment that the first fold learns from.
        train_ms: How long each learns from.
        delay_ms: Between that and what it is judged on.
        test_ms: How long each is judged on.
        count: How many folds.
    """
    starts = [start_ms + number * test_ms for number in range(count)]
    return tuple(
        Fold(
            number=number,
            train_from_ms=start,
            train_until_ms=start + train_ms,
            known_until_ms=start + train_ms + delay_ms,
            test_from_ms=start + train_ms + delay_ms,
            test_until_ms=start + train_ms + delay_ms + test_ms,
        )
        for number, start in enumerate(starts, 1)
    )


def growing(
    times_ms: Ints, *, judged_share: float, count: int, delay_ms: int, newest: int | None = None
) -> tuple[Fold, ...]:
    """Folds over the newest payments; every one learns from all that came before, and they judge equally many.

    A short last fold is for fraud that has just changed. It learns by whatever label there is: as it was known then,
    nearly all of the new fraud before it still looked honest, so what is served, and knows it, would be judged by what
    does not. That makes it as much better as labels of the last days are fresher than they will be in service.

    Args:
        times_ms: When the payments were made, rising.
        judged_share: Share of the payments that the folds judge together.
        count: How many folds.
        delay_ms: Between what is learnt from and what is judged.
        newest: Place from which on the last fold judges, if it shall judge fewer than the others.
    """
    first, last = int(len(times_ms) * (1 - judged_share)), len(times_ms)
    places = np.linspace(first, last, count + 1)[:-1]
    short_from = newest if newest is not None and newest > places[-1] else None
    if short_from is not None:
        places = np.linspace(first, short_from, count)
    at = [int(times_ms[min(int(place), last - 1)]) for place in places]
    ends = [*at[1:], int(times_ms[-1]) + 1]
    return tuple(
        Fold(
            number=number,
            train_from_ms=int(times_ms[0]),
            train_until_ms=begin - delay_ms,
            known_until_ms=math.inf if short_from is not None and number == count else begin,
            test_from_ms=begin,
            test_until_ms=end,
        )
        for number, (begin, end) in enumerate(zip(at, ends, strict=True), 1)
    )


def labels_at(frame: pd.DataFrame, at_ms: float) -> Bools:
    """Which rows of a training set were known to be fraud at some time.

    Args:
        frame: Columns is_fraud, fraud_known_at_ms, cleared_at_ms.
        at_ms: Epoch milliseconds.
    """
    known = frame["fraud_known_at_ms"].to_numpy(np.float64) <= at_ms
    cleared = frame["cleared_at_ms"].to_numpy(np.float64) <= at_ms
    return np.asarray(known & ~cleared)
