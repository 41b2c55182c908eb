"""How long it takes from a label to a model that has learnt from it, and on to the one that serves. Pure.

A label counts as new to a model if the champion of that time could not have learnt from it: it was not known yet, or
its payment was not old enough. Its time begins when it became known, so that the wait for a payment's age is in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from pix.contracts import HOUR_MS

if TYPE_CHECKING:
    import pandas as pd

SLOW = 0.95
UNTIL, COUNT, MEDIAN, SLOWEST = "labels_until_ms", "labels_new", "labels_new_known_ms", "labels_new_slow_ms"
"""Tags of a version: the newest label that may count, and of the new ones how many, and when they became known."""


@dataclass(frozen=True, slots=True)
class LabelNews:
    """What a training set has of labels that the champion could not learn from.

    Attributes:
        until_ms: Labels known then count.
        labels: Payments with a new one.
        known_ms: When half of them were known.
        slow_ms: When the oldest twentieth of them was known: so long all but these may have waited.
    """

    until_ms: int
    labels: int
    known_ms: int
    slow_ms: int

    def tags(self) -> dict[str, str]:
        """As it stands on a version."""
        return {UNTIL: str(self.until_ms), **(self._times() if self.labels else {COUNT: "0"})}

    def _times(self) -> dict[str, str]:
        return {COUNT: str(self.labels), MEDIAN: str(self.known_ms), SLOWEST: str(self.slow_ms)}

    @classmethod
    def of(cls, frame: "pd.DataFrame", *, since_ms: int | None, until_ms: int, maturity_ms: int) -> Self:
        """Of the rows that a model is fit on.

        Args:
            frame: Rows of features/training_set.
            since_ms: ``until_ms`` of what the champion was fit on; None while there is none.
            until_ms: Labels known then count.
            maturity_ms: Age from which a payment is learnt from.
        """
        told = frame[["fraud_known_at_ms", "cleared_at_ms"]].max(axis=1)
        times, known = frame["event_time_ms"][told.notna()], told.dropna()
        usable = np.maximum(known, times + maturity_ms)
        new = known[usable > since_ms] if since_ms is not None else known
        if new.empty:
            return cls(until_ms, 0, 0, 0)
        middle, slow = new.quantile([0.5, 1 - SLOW])
        return cls(until_ms, len(new), round(middle), round(slow))


def hours_until(tags: Mapping[str, str], now_ms: int, of: str = "model") -> dict[str, float]:
    """Hours from becoming known until now, of the new labels of a version; nothing where it has none.

    Args:
        tags: Of the version.
        now_ms: The clock.
        of: What there is now: ``model`` or ``service``.
    """
    named = {"p50": tags.get(MEDIAN), f"p{SLOW * 100:.0f}": tags.get(SLOWEST)}
    return {f"label_to_{of}_hours_{name}": round((now_ms - int(at)) / HOUR_MS, 2) for name, at in named.items() if at}
