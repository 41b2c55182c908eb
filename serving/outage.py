"""Whether payments are decided without the online store now, and why: ``degraded:store``.

    normal -> degraded -> leaving -> normal

Decisions begin it, the store's keeper ends it. While it is being left no payment is decided, so that the last
degraded decisions can be folded: a moment, like that behind a fence.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class Outage:
    """One process's outage, begun on the loop's thread and ended by the keeper's."""

    def __init__(self) -> None:
        """Begin without one."""
        self.reason: str | None = None
        self.is_leaving = False
        self.decided = 0
        self._under_way = 0

    def begin(self, reason: str) -> None:
        """Decide without the store from now on."""
        self.reason = self.reason or reason

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """One degraded decision on its way to Kafka."""
        self.decided += 1
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    @property
    def is_quiet(self) -> bool:
        """Whether no degraded decision is on its way to Kafka."""
        return self._under_way == 0

    def end(self) -> None:
        """Decide with the store again."""
        self.reason, self.is_leaving = None, False
