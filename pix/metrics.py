"""Metrics declared as data: the service's and the streams' catalogues are made of these, and so are their pages.

Nothing is counted here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Kind = Literal["counter", "gauge", "histogram"]
Across = Literal["livemax", "livemin", "livesum", "livemostrecent"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """One metric; a key of dictionaries on the hot path, so it is equal to itself alone.

    Attributes:
        name: As it is asked for; a counter's ends with ``_total``.
        kind: Of Prometheus.
        meaning: For whoever reads a dashboard.
        labels: Names of its labels.
        bounds: Upper bounds of a histogram's buckets.
        across: How the workers' values of a gauge become one; workers that died do not count.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    across: Across = "livemax"


def counter(name: str, meaning: str, *labels: str) -> Metric:
    """Something that only grows."""
    return Metric(name=name, kind="counter", meaning=meaning, labels=labels)


def histogram(name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Metric:
    """Something that has a size each time."""
    return Metric(name=name, kind="histogram", meaning=meaning, labels=labels, bounds=bounds)


def gauge(name: str, meaning: str, *labels: str, across: Across = "livemax") -> Metric:
    """Something that is as it is now."""
    return Metric(name=name, kind="gauge", meaning=meaning, labels=labels, across=across)


def declared(metric: Metric, registry: "CollectorRegistry") -> Any:
    """The Prometheus client's object for a metric, registered."""
    import prometheus_client

    shared: dict[str, Any] = {"labelnames": metric.labels, "registry": registry}
    if metric.kind == "histogram":
        return prometheus_client.Histogram(metric.name, metric.meaning, buckets=metric.bounds, **shared)
    if metric.kind == "gauge":
        return prometheus_client.Gauge(metric.name, metric.meaning, multiprocess_mode=metric.across, **shared)
    return prometheus_client.Counter(metric.name, metric.meaning, **shared)


def table(catalogue: Iterable[Metric]) -> str:
    """The catalogue as a table in Markdown."""
    head = "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n"
    return head + "".join(_row(metric) for metric in catalogue)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
    bounds = f" Bounds: {', '.join(f'{bound:g}' for bound in metric.bounds)}." if metric.bounds else ""
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning}{bounds} |\n"
