"""How much a caller may ask: per client by its key, per address without one; each worker counts by itself.

GCRA, the smooth form of a token bucket. A request costs one; a look-up that finds nothing costs 20, as in the DICT, so
that guessing ids is dear. What is known to be dear only afterwards is charged afterwards.
"""

from throttled import RateLimiterType, Throttled, per_min, per_sec
from throttled.store import MemoryStore

FAILED_LOOKUP = 20
ATTEMPTS_PER_SECOND = 10
ATTEMPTS_AT_ONCE = 1_000
ADDRESSES = 10_000
CLIENTS = 10_000


class Allowance:
    """What one client may still ask."""

    def __init__(self, client: str, rate_per_minute: int, burst: int, store: MemoryStore) -> None:
        """Begin, or go on where another allowance of the same client stands in the same store."""
        self._client = client
        quota = per_min(rate_per_minute, burst=burst)
        self._bucket = Throttled(using=RateLimiterType.GCRA.value, quota=quota, store=store)

    def take(self) -> float | None:
        """Let one request in; None, or how many seconds it must wait."""
        result = self._bucket.limit(self._client)
        return result.state.retry_after if result.limited else None

    def charge(self, cost: int) -> None:
        """Take so much more, or as much as there is."""
        if self._bucket.limit(self._client, cost).limited:
            self._bucket.limit(self._client, self._bucket.peek(self._client).remaining)


class Attempts:
    """Requests without a valid key, by the address that they come from. A valid key is never held back by them."""

    def __init__(self) -> None:
        """Begin."""
        store = MemoryStore(options={"MAX_SIZE": ADDRESSES})
        quota = per_sec(ATTEMPTS_PER_SECOND, burst=ATTEMPTS_AT_ONCE)
        self._bucket = Throttled(using=RateLimiterType.GCRA.value, quota=quota, store=store)

    def failed(self, address: str) -> float | None:
        """Count one; None, or how many seconds the next one should wait."""
        result = self._bucket.limit(address)
        return result.state.retry_after if result.limited else None
