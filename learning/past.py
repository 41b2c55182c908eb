"""A past in memory: facts of its payments as a frame, their vectors as files that are read a part at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as ds

from learning.folds import Fold, labels_at
from learning.ranking import Bools, Floats, Ints
from pix.offline.vectors import matrix

AT_ONCE = 20_000
"""Vectors that are read at a time: 36 MB of 226 features."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some payments.

    Attributes:
        places: Their rows in the facts.
        vectors: Their features, float64, payments x features.
    """

    places: Ints
    vectors: Floats


@dataclass(frozen=True, slots=True)
class Past:
    """A history to be backtested.

    Attributes:
        facts: See ``pix.offline.backtest_frame.facts``; by event time and id.
        folder: Parquet files with end_to_end_id, event_time_ms and features of the same payments.
        ids: Those of the facts, in their order.
    """

    facts: pd.DataFrame
    folder: Path
    ids: "pd.Index[str]"

    @classmethod
    def of(cls, facts: pd.DataFrame, folder: Path) -> "Past":
        """Put the facts in order: they must not depend on how files were written."""
        ordered = facts.sort_values(["event_time_ms", "end_to_end_id"], kind="stable", ignore_index=True)
        return cls(ordered, folder, pd.Index(ordered["end_to_end_id"]))

    @property
    def times_ms(self) -> Ints:
        """When each payment was made, rising."""
        return self.facts["event_time_ms"].to_numpy(np.int64)

    def known(self, fold: Fold) -> Bools:
        """Which payments were known to be fraud when the test of a fold begins."""
        return labels_at(self.facts, fold.known_until_ms)

    def read(self, from_ms: int, until_ms: int, chosen: Bools) -> Iterator[Part]:
        """Vectors of the chosen payments of a time, in any order.

        Args:
            from_ms: First event time.
            until_ms: End of it, exclusive.
            chosen: Of all payments.
        """
        at = ds.field("event_time_ms")
        wanted = (at >= from_ms) & (at < until_ms)
        files = ds.dataset(self.folder, format="parquet")
        columns = ["end_to_end_id", "features"]
        for batch in files.to_batches(columns=columns, filter=wanted, batch_size=AT_ONCE, batch_readahead=1):
            places = self.ids.get_indexer(batch["end_to_end_id"].to_pandas()).astype(np.int64)
            mine = chosen[places] & (places >= 0)
            if mine.any():
                yield Part(places[mine], matrix(batch["features"])[mine])

    def gathered(self, from_ms: int, until_ms: int, chosen: Bools) -> Part:
        """The same in one piece, in order of the facts."""
        count = int(chosen.sum())
        places, vectors, filled = np.empty(count, np.int64), None, 0
        for part in self.read(from_ms, until_ms, chosen):
            if vectors is None:
                vectors = np.empty((count, part.vectors.shape[1]))
            end = filled + len(part.places)
            places[filled:end], vectors[filled:end] = part.places, part.vectors
            filled = end
        if vectors is None or filled != count:
            raise ValueError(f"{count} payments have facts and {filled} of them a vector")
        order = np.argsort(places).astype(np.int64)
        return Part(places[order], vectors[order])
