"""What the values of each feature look like, per fold day: how many are missing or zero, and where the rest lies."""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.offline.declaration import ARROW_TYPES
from pix.offline.tables import FEATURE_STATISTICS
from pix.offline.vectors import matrix

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

QUANTILES = {"p05": 0.05, "median": 0.5, "p95": 0.95}
GROUP = ("fold_day", "source", "history")
ENOUGH = 20_000
"""Quantiles are those of at most so many payments of a day, evenly taken; everything else counts all."""
PARTITIONS = 4

Group = tuple[date, str, str | None]
Floats = NDArray[np.float64]


def of_days(features: "DataFrame") -> "DataFrame":
    """Statistics of every day (and source, and history) in the frame.

    Args:
        features: Rows of ``features/payment_features`` of this build's fingerprint.
    """
    rows = features.select(*GROUP, "features").repartition(PARTITIONS, *GROUP).sortWithinPartitions(*GROUP)
    return rows.mapInArrow(_by_group, FEATURE_STATISTICS.ddl)


def _by_group(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One group after the other: the rows come sorted by them."""
    group: Group | None = None
    gathered = Gathered()
    for batch in batches:
        names = list(zip(*(batch[name].to_pylist() for name in GROUP), strict=True))
        values, start = matrix(batch["features"]), 0
        while start < len(names):
            end = next((n for n in range(start, len(names)) if names[n] != names[start]), len(names))
            if group is not None and names[start] != group:
                yield gathered.rows(group)
                gathered = Gathered()
            group = names[start]
            gathered.add(values[start:end])
            start = end
    if group is not None:
        yield gathered.rows(group)


class Gathered:
    """What is known of one group's values so far."""

    def __init__(self) -> None:
        width = len(FEATURE_NAMES)
        self._payments = 0
        self._nulls, self._zeros = np.zeros(width, np.int64), np.zeros(width, np.int64)
        self._sum, self._min, self._max = np.zeros(width), np.full(width, np.inf), np.full(width, -np.inf)
        self._sample: list[Floats] = []
        self._every = 1

    def add(self, values: Floats) -> None:
        """Count some payments (rows x features)."""
        is_null = np.isnan(values)
        first = -self._payments % self._every
        self._payments += len(values)
        self._nulls += is_null.sum(axis=0)
        self._zeros += (values == 0).sum(axis=0)
        self._sum += np.where(is_null, 0.0, values).sum(axis=0)
        self._min = np.minimum(self._min, np.where(is_null, np.inf, values).min(axis=0))
        self._max = np.maximum(self._max, np.where(is_null, -np.inf, values).max(axis=0))
        self._sample.append(values[first :: self._every])
        while sum(map(len, self._sample)) > ENOUGH:
            self._sample = [np.concatenate(self._sample)[::2]]
            self._every *= 2

    def rows(self, group: Group) -> pa.RecordBatch:
        """One row per feature."""
        known = self._payments - self._nulls
        sample = np.concatenate(self._sample)
        quantiles = np.full((len(QUANTILES), len(FEATURE_NAMES)), np.nan)
        for place in np.flatnonzero(~np.isnan(sample).all(axis=0)):
            values = sample[:, place]
            quantiles[:, place] = np.quantile(values[~np.isnan(values)], list(QUANTILES.values()), method="lower")
        with np.errstate(invalid="ignore"):
            found: dict[str, Any] = {
                "feature": FEATURE_NAMES,
                "payments": np.full(len(known), self._payments),
                "nulls": self._nulls,
                "zeros": self._zeros,
                "min": _or_null(self._min, known > 0),
                "max": _or_null(self._max, known > 0),
                "mean": _or_null(self._sum / np.maximum(known, 1), known > 0),
                "fingerprint": [FINGERPRINT] * len(known),
                **{name: _or_null(row, ~np.isnan(row)) for name, row in zip(QUANTILES, quantiles, strict=True)},
                **{name: [value] * len(known) for name, value in zip(GROUP, group, strict=True)},
            }
        columns = [pa.array(found[column.name], ARROW_TYPES[column.type]) for column in FEATURE_STATISTICS.columns]
        return pa.RecordBatch.from_arrays(columns, names=FEATURE_STATISTICS.names)


def _or_null(values: Floats, known: NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, pa.float64(), mask=~known)
