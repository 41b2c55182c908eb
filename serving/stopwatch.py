"""How long each step of one decision took: a value that goes with the payment, for metrics and traces."""

import time
from collections.abc import Callable

PARSE, SNAPSHOT, FEATURES, ENSEMBLE, POLICY, REASONS, RECORD, COMMIT, RETRY = range(9)
STAGES = ("parse", "snapshot", "features", "ensemble", "policy", "reasons", "record", "commit", "retry")
PUBLISH = "publish"
"""A stage of its own: payments of a batch are published together."""


Lap = tuple[int, int, int]
"""One step: its place in ``STAGES``, when it began and when it ended, of the stopwatch's clock. A plain tuple: a
decision makes eight, and a named one takes four times as long."""


class Stopwatch:
    """Begins where it is made; every step ends with ``lap``, and the next one begins there."""

    __slots__ = ("_clock", "_marks", "began_ns")

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        """Begin.

        Args:
            clock: Monotonic nanoseconds.
        """
        self._clock = clock
        self._marks: list[int] = []
        self.began_ns = clock()

    def lap(self, stage: int) -> None:
        """End a step; a decision that is repeated has several of the same stage."""
        self._marks += (stage, self._clock())

    @property
    def laps(self) -> list[Lap]:
        """The steps so far, in order."""
        ends = self._marks[1::2]
        return list(zip(self._marks[::2], [self.began_ns, *ends], ends, strict=False))
