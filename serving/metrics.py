"""What Prometheus is told of this process. ``CATALOGUE`` holds every metric.

The hot path only counts in memory; ``Meters.post`` brings the counts to the client about once a second, because
the client locks and writes to a mapped file for each observation, which would cost a decision more than its
features do. Labels are names from small closed lists (routes, stages, versions): never ids, raw paths or values.

BentoML says where several processes write their metrics after it imported the service, hence the late imports.
"""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix.metrics import Metric, counter, declared, gauge, histogram
from serving.breakers import STATES
from serving.stopwatch import STAGES

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from serving.outcomes import DecisionFacts
    from serving.stopwatch import Stopwatch

FAST = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0)
"""Seconds; the objectives of 5 ms and of the deadline are bounds, so that burn rates are exact."""
ANSWERS = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.3, 0.5, 1.0, 2.0, 5.0)
PROBABILITIES = (0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
GAPS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
SIZES = (256.0, 512.0, 1024.0, 2048.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 16384000.0)

REQUESTS = counter(
    "sentinela_requests_total",
    "Requests answered, by route and HTTP status; 499 where the caller left.",
    "route",
    "status",
)
REQUEST_SECONDS = histogram(
    "sentinela_request_seconds",
    "From the first byte of a request to the last of its answer, seconds.",
    ANSWERS,
    "route",
)
BODY_BYTES = histogram("sentinela_request_body_bytes", "Size of requests' bodies, bytes.", SIZES, "route")
UNDER_WAY = gauge("sentinela_requests_under_way", "Requests being answered now, of all workers.", across="livesum")
PAYMENTS = counter(
    "sentinela_payments_total",
    "Payments by what became of them: decided, repeated (known with the same body), conflict (known with another), "
    "invalid, unavailable.",
    "outcome",
)
DECISIONS = counter(
    "sentinela_decisions_total",
    "New decisions; mode is normal or degraded:<what was missing>, model_version is none without a model.",
    *("action", "mode", "model_version", "policy_version"),
)
STAGE_SECONDS = histogram(
    "sentinela_stage_seconds",
    "Time of each step of a new decision, seconds: snapshot and commit are the store's, retry is what an unanswered "
    "attempt cost, publish is until Kafka or the disk has the records of a request.",
    FAST,
    "stage",
)
PROBABILITY = histogram(
    "sentinela_fraud_probability", "Fraud probability of new decisions.", PROBABILITIES, "model_version"
)
GAP = histogram(
    "sentinela_state_gap",
    "Folds of other payments between the state a decision read and its own fold (got - read - 1), by role.",
    GAPS,
    "role",
)
RACES = counter(
    "sentinela_races_lost_total",
    "Commits that another payment of the same entities forestalled; on the payer's side the score is computed anew, "
    "on the payee's only the fold.",
    "side",
)
KAFKA_SECONDS = histogram(
    "sentinela_kafka_acknowledged_seconds", "From handing records to Kafka until all replicas have them, seconds.", FAST
)
UNACKNOWLEDGED = counter(
    "sentinela_kafka_unacknowledged_total", "Records that Kafka did not acknowledge in time; they stay in the outbox."
)
DEFERRED = counter(
    "sentinela_deliveries_deferred_total", "Records that were answered from disk, to be delivered by a sweep."
)
OUTBOX = gauge(
    "sentinela_outbox_messages", "Committed records that wait for Kafka, of all workers.", across="livemostrecent"
)
OUTBOX_AGE = gauge(
    "sentinela_outbox_oldest_seconds", "Age of the oldest of them; 0 if none waits.", across="livemostrecent"
)
GENERATION = gauge(
    "sentinela_store_generation", "Number of the store's generation in use; 0 while unknown.", across="livemostrecent"
)
READY = gauge("sentinela_ready", "1 if every worker takes payments, 0 if one does not.", across="livemin")
OUTAGE = gauge("sentinela_store_outage", "1 while a worker decides without the online store.")
BREAKER = gauge(
    "sentinela_breaker_state",
    "0 closed, 1 half-open, 2 open: around store or broker, the worst of all workers.",
    "breaker",
)
MODEL = gauge("sentinela_model_info", "1 for the versions that serve as champion and challenger.", "alias", "version")
POLICY_VERSION = gauge("sentinela_policy_info", "1 for the policy version that applies.", "version")
POLICY_REFUSED = gauge("sentinela_policy_refused", "1 while the policy file cannot be used and the one before is.")
WITHOUT_VALUE = counter(
    "sentinela_policy_without_value_total",
    "Payments for which a rule or segment of the policy could not be computed, so that it did not hold, by its name.",
    "name",
)
REFUSED = counter(
    "sentinela_model_refused_total", "Models that must not be loaded, by alias and reason.", "alias", "reason"
)
DROPPED = counter("sentinela_shadow_dropped_total", "Scores of the challenger that were not sent.")

CATALOGUE = (
    *(REQUESTS, REQUEST_SECONDS, BODY_BYTES, UNDER_WAY),
    *(PAYMENTS, DECISIONS, STAGE_SECONDS, PROBABILITY, GAP, RACES),
    *(KAFKA_SECONDS, UNACKNOWLEDGED, DEFERRED, OUTBOX, OUTBOX_AGE),
    *(GENERATION, READY, OUTAGE, BREAKER, MODEL, POLICY_VERSION),
    *(POLICY_REFUSED, WITHOUT_VALUE, REFUSED, DROPPED),
)
NO_MODEL = "none"
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Where BentoML tells the client that the workers write their values, each into files of its own."""
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class _Distribution:
    """Observations of one histogram's labels since the last post."""

    __slots__ = ("_bounds", "_child", "_counts", "_sum")

    def __init__(self, child: Any, bounds: Sequence[float]) -> None:
        self._child = child
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def post(self) -> None:
        # The client's only public way in takes one observation at a time.
        for place, count in enumerate(self._counts):
            if count:
                self._child._buckets[place].inc(count)  # noqa: SLF001
                self._counts[place] = 0
        if self._sum:
            self._child._sum.inc(self._sum)  # noqa: SLF001
            self._sum = 0.0


class Meters:
    """One process's metrics. All methods but ``mark``, ``set`` and ``breaker`` belong to the loop's thread."""

    def __init__(self, registry: "CollectorRegistry | None" = None) -> None:
        """Declare the catalogue.

        Args:
            registry: Where; None for the process's own, which BentoML shows under ``/metrics``.
        """
        import prometheus_client

        where = prometheus_client.REGISTRY if registry is None else registry
        self._metrics: dict[str, Any] = {each.name: declared(each, where) for each in CATALOGUE}
        self._counts: dict[Metric, Counter[tuple[str, ...]]] = {
            each: Counter() for each in CATALOGUE if each.kind == "counter"
        }
        self._distributions: dict[Metric, dict[str, _Distribution]] = {
            each: {} for each in CATALOGUE if each.kind == "histogram"
        }
        self._stages = [self._distribution(STAGE_SECONDS, stage) for stage in STAGES]
        self._shown: dict[str, set[tuple[str, ...]]] = {}
        for name in ("store", "broker"):
            self.breaker(name, STATES[0])

    @classmethod
    def unread(cls) -> "Meters":
        """Metrics that nobody reads, for a pipeline outside a service."""
        from prometheus_client import CollectorRegistry

        return cls(CollectorRegistry())

    def count(self, metric: Metric, *labels: str, by: int = 1) -> None:
        """Add to a counter."""
        self._counts[metric][labels] += by

    def observe(self, metric: Metric, value: float, label: str = "") -> None:
        """Add to a histogram, which has one label or none."""
        found = self._distributions[metric].get(label)
        (found or self._distribution(metric, label)).add(value)

    def request(self, route: str, status: int, seconds: float, body_bytes: int | None) -> None:
        """An answered request.

        Args:
            route: Method and template of its path.
            status: HTTP status.
            seconds: How long it took.
            body_bytes: Size of its body; None if none was read.
        """
        self._counts[REQUESTS][route, str(status)] += 1
        self.observe(REQUEST_SECONDS, seconds, route)
        if body_bytes is not None:
            self.observe(BODY_BYTES, float(body_bytes), route)

    def decided(self, facts: "DecisionFacts", stopwatch: "Stopwatch") -> None:
        """A new decision."""
        version = facts.model_version or NO_MODEL
        self._counts[PAYMENTS]["decided",] += 1
        self._counts[DECISIONS][facts.action, facts.mode, version, facts.policy_version] += 1
        for stage, began_ns, ended_ns in stopwatch.laps:
            self._stages[stage].add((ended_ns - began_ns) * 1e-9)
        if facts.probability is not None:
            self.observe(PROBABILITY, facts.probability, version)
        by_role = self._distributions[GAP]
        for role, gap in facts.gaps.items():
            (by_role.get(role) or self._distribution(GAP, role)).add(gap)
        for side, lost in facts.races.items():
            self._counts[RACES][side,] += lost

    def mark(self, metric: Metric, *labels: str) -> None:
        """Add 1 to a counter at once, from any thread; for what is rare."""
        found = self._metrics[metric.name]
        (found.labels(*labels) if labels else found).inc()

    def mark_each(self, metric: Metric, names: Iterable[str]) -> None:
        """Mark once per name."""
        for name in names:
            self.mark(metric, name)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge, from any thread."""
        found = self._metrics[metric.name]
        (found.labels(*labels) if labels else found).set(value)

    def show(self, metric: Metric, *current: tuple[str, ...]) -> None:
        """Set a gauge to 1 for these labels, and to 0 for those it was 1 for before."""
        for labels in self._shown.get(metric.name, set()) - set(current):
            # Removing them would not reach the file that the workers share.
            self.set(metric, 0, *labels)
        for labels in current:
            self.set(metric, 1, *labels)
        self._shown[metric.name] = set(current)

    def breaker(self, name: str, state: str) -> None:
        """A breaker's new state; see ``serving.breakers``."""
        self.set(BREAKER, STATES.index(state), name)

    def post(self) -> None:
        """Bring what was counted since the last time to the client."""
        for metric, counts in self._counts.items():
            for labels, count in counts.items():
                found = self._metrics[metric.name]
                (found.labels(*labels) if labels else found).inc(count)
            counts.clear()
        for by_label in self._distributions.values():
            for distribution in by_label.values():
                distribution.post()

    def _distribution(self, metric: Metric, label: str) -> _Distribution:
        found = self._metrics[metric.name]
        made = _Distribution(found.labels(label) if metric.labels else found, metric.bounds)
        self._distributions[metric][label] = made
        return made


def exposition() -> bytes:
    """Prometheus' text of all workers of this service; reads their files, so it belongs into a thread."""
    from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    if not os.environ.get(SHARED):
        return generate_latest(REGISTRY)
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return generate_latest(together)


def forget_the_dead() -> None:
    """Take gauges of workers out that died without a word; their counts stay."""
    from prometheus_client import multiprocess

    folder = os.environ.get(SHARED)
    for path in Path(folder).glob("gauge_live*.db") if folder else ():
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            multiprocess.mark_process_dead(int(pid))  # type: ignore[no-untyped-call]
