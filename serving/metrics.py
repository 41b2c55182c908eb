"""What Prometheus is told of this process beside what BentoML tells."""

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
