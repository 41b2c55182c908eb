"""How a stream's process lives: asked to stop, orphaned or old, it ends by itself; meanwhile it reports.

Signals only leave a note. The stream looks at it between two batches, so nothing is cut in the middle.
"""

import math
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

Report = Callable[[dict[str, object]], None]

LIFETIME = "LIFETIME"
ORPHAN = "ORPHAN"
SLICE_SECONDS = 0.2


class Stop:
    """True as soon as the stream, or this part of it, should end; ``why`` then says the reason.

    Reasons are the name of a signal, ``ORPHAN`` (the process that started this one is gone, so nobody
    could stop it any more), ``LIFETIME`` (renewal: the successor starts with fresh memory), or whatever was asked with.
    """

    def __init__(
        self,
        *,
        lifetime_seconds: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        whole: "Stop | None" = None,
    ) -> None:
        self.why: str | None = None
        self._parent = os.getppid()
        self._clock = clock
        self._ends = clock() + lifetime_seconds
        self._whole = whole

    def of_a_part(self) -> "Stop":
        """The end of a part of the stream: asked for by itself, or with the stream's."""
        return Stop(whole=self)

    def arm(self) -> None:
        """Take SIGINT and SIGTERM; again after starting Spark, because PySpark takes SIGINT for itself."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._remember)

    def ask(self, why: str) -> None:
        """Ask to stop; the first reason stays."""
        self.why = self.why or why

    def __bool__(self) -> bool:
        if self.why is None and os.getppid() != self._parent:
            self.why = ORPHAN
        if self.why is None and self._clock() >= self._ends:
            self.why = LIFETIME
        if self.why is None and self._whole:
            self.why = self._whole.why
        return self.why is not None

    def sleep(self, seconds: float) -> None:
        """Wait, but not past the moment somebody asks to stop."""
        end = time.monotonic() + seconds
        while not self and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_SECONDS))

    def _remember(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.ask(signal.Signals(number).name)


class Cadence:
    """Says when the next report is due: soon after the start, then about once per period."""

    def __init__(
        self,
        *,
        every_seconds: float = 60.0,
        first_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._every = every_seconds
        self._next = clock() + first_seconds

    def due(self) -> bool:
        """Whether to report now; asking again right away says no."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._every
        return True
