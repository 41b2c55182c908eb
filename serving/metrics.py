"""What Prometheus is told of this process beside what BentoML tells."""

from collections.abc import Callable, Sequence

from serving.breakers import STATES, Told


def breaker_gauge() -> Told:
    """A gauge per breaker: 0 closed, 1 half-open, 2 open; the worst of all workers.

    BentoML says where several processes write their metrics after it imported the service, hence the late import.
    """
    from prometheus_client import Gauge

    gauge = Gauge("sentinela_breaker_state", "0 closed, 1 half-open, 2 open", ["breaker"], multiprocess_mode="max")
    for name in ("store", "broker"):
        gauge.labels(name).set(0)

    def told(name: str, state: str) -> None:
        gauge.labels(name).set(STATES.index(state))

    return told


def policy_gauge() -> Callable[[bool], None]:
    """A gauge that says whether the policy file is refused now: 1 if it is, in any worker."""
    from prometheus_client import Gauge

    gauge = Gauge(
        "sentinela_policy_refused", "1: the policy file cannot be used, the one before is", multiprocess_mode="max"
    )
    return gauge.set


def without_value_counter() -> Callable[[Sequence[str]], None]:
    """A counter of payments for which a rule or segment of the policy could not be computed, by its name."""
    from prometheus_client import Counter

    counter = Counter("sentinela_policy_without_value_total", "Conditions that had no value, so did not hold", ["name"])

    def told(names: Sequence[str]) -> None:
        for name in names:
            counter.labels(name).inc()

    return told
