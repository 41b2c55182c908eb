"""Where the values of a feature may lie, by what it is declared to be. Pure: declarations and statistics in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pix.features import DISTINCT_CAP, Feature

BY_UNIT: Mapping[str, tuple[float | None, float | None]] = {
    "flag": (0, 1),
    "hour": (0, 23),
    "minutes": (0, 1439),
    "payments": (0, None),
    "seconds": (0, None),
    "markers": (0, None),
    "institutions": (0, None),
    "reports": (0, None),
    "milliseconds": (0, None),
    "years": (0, 130),
    "day": (0, 31),
}
"""Unit -> least and greatest value that a feature of that unit can have; units that may be anything are not there."""


@dataclass(frozen=True, slots=True)
class OutOfRange:
    """A feature whose values of a day lie where they cannot."""

    day: str
    feature: str
    least: float
    greatest: float
    allowed: tuple[float | None, float | None]

    def __str__(self) -> str:
        low, high = ("any" if bound is None else f"{bound:g}" for bound in self.allowed)
        return f"{self.day} {self.feature}: {self.least:g} to {self.greatest:g}, must be {low} to {high}"


def bounds(feature: Feature) -> tuple[float | None, float | None]:
    """Least and greatest value that a feature can have; None where there is no bound."""
    if feature.aggregate == "share":
        return 0, 1
    if feature.aggregate == "distinct":
        return 0, DISTINCT_CAP
    if feature.aggregate == "deviation":
        return 0, None
    return BY_UNIT.get(feature.unit, (None, None))


def out_of_range(statistics: Iterable[Mapping[str, Any]], features: Iterable[Feature]) -> list[OutOfRange]:
    """Days on which a feature's least or greatest value is none that it can have.

    Args:
        statistics: Rows of ``features/statistics``: fold_day, feature, min, max.
        features: The declarations.
    """
    allowed = {feature.name: bounds(feature) for feature in features}
    found = []
    for row in statistics:
        low, high = allowed[row["feature"]]
        if row["min"] is None:
            continue
        if (low is not None and row["min"] < low) or (high is not None and row["max"] > high):
            found.append(OutOfRange(str(row["fold_day"]), row["feature"], row["min"], row["max"], (low, high)))
    return found
