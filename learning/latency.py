"""How long one payment waits for its score: measured as the service asks, one row at a time.

In processor time: a model must not be refused because something else ran on the machine meanwhile.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

ROWS, ROUNDS, WARM_UP = 2_000, 3, 200
Vector = NDArray[np.float64]


class Scorer(Protocol):
    """What is measured: the three answers that a decision takes from a model."""

    def raw_score(self, vector: Vector) -> float:
        """Affine sum of the members' log-odds of fraud."""

    def probability(self, raw_score: float) -> float:
        """Calibrated probability of fraud of a raw score."""

    def contributions(self, vector: Vector) -> list[float]:
        """What each feature adds to the raw score."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of single rows.

    Attributes:
        rows: Rows measured, each alone.
        p50_microseconds: Half of them took at most so long.
        p99_microseconds: 99 of 100 took at most so long.
    """

    rows: int
    p50_microseconds: float
    p99_microseconds: float

    def __str__(self) -> str:
        return f"p50 {self.p50_microseconds:.0f} µs, p99 {self.p99_microseconds:.0f} µs of {self.rows:,} payments"


def measure(
    scorers: Sequence[Scorer],
    rows: NDArray[np.float64],
    *,
    timer: Callable[[], int] = time.thread_time_ns,
    rounds: int = ROUNDS,
) -> list[Latency]:
    """Time each scorer on the same rows, in turns, so that all meet the same neighbours on the machine.

    Args:
        scorers: What is measured.
        rows: Vectors.
        timer: Nanoseconds; of the processor by default, because what other processes take of it is not the model's.
        rounds: Of these the quietest counts: other work on the machine lengthens rounds and never shortens one.
    """
    each_row = list(np.ascontiguousarray(rows, np.float64))
    for scorer in scorers:
        for row in each_row[:WARM_UP]:
            _answered(scorer, row)
    taken = np.empty((rounds, len(scorers), len(each_row)))
    for round_number in range(rounds):
        for place, row in enumerate(each_row):
            for number, scorer in enumerate(scorers):
                started = timer()
                _answered(scorer, row)
                taken[round_number, number, place] = timer() - started
    p50, p99 = (np.percentile(taken / 1_000, q, axis=2).min(axis=0) for q in (50, 99))
    return [Latency(len(each_row), float(half), float(most)) for half, most in zip(p50, p99, strict=True)]


def _answered(scorer: Scorer, row: Vector) -> None:
    scorer.probability(scorer.raw_score(row))
    scorer.contributions(row)
