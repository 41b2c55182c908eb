"""Circuit breakers around store and broker: after repeated silence nobody waits for them until a trial is answered."""

from collections.abc import Callable

import pybreaker

from pix.store.errors import OutcomeUnknown, StoreAway

SILENCES = 2
"""So many in a row open a breaker."""
TRIAL_AFTER_SECONDS = 2.0
STATES = ("closed", "half-open", "open")
"""From the best to the worst; their places are the values of the metric."""

Told = Callable[[str, str], None]
"""Gets a breaker's name and its new state."""


class NotDelivered(Exception):
    """Kafka acknowledged nothing in time."""


class _Telling(pybreaker.CircuitBreakerListener):
    def __init__(self, told: Told) -> None:
        self._told = told

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,  # noqa: ARG002
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        self._told(str(cb.name), new_state.name)


class Breakers:
    """One process's breakers."""

    def __init__(self, told: Told | None = None) -> None:
        """Begin with both closed.

        Args:
            told: Hears of every change.
        """
        self.store = _breaker("store", (StoreAway, OutcomeUnknown), told)
        self.broker = _breaker("broker", (NotDelivered,), told)

    def described(self) -> dict[str, str]:
        """Name -> closed, half-open or open."""
        return {str(each.name): each.current_state for each in (self.store, self.broker)}


def _breaker(name: str, silences: tuple[type[Exception], ...], told: Told | None) -> pybreaker.CircuitBreaker:
    return pybreaker.CircuitBreaker(
        fail_max=SILENCES,
        reset_timeout=TRIAL_AFTER_SECONDS,
        # Whoever refuses has answered: only silence counts.
        exclude=[lambda error: not isinstance(error, silences)],
        listeners=[_Telling(told)] if told else [],
        name=name,
        throw_new_error_on_trip=False,
    )
