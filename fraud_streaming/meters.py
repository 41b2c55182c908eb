"""What Prometheus is told of a stream. ``CATALOGUE`` holds every metric; the stream's name is a label of the target.

A stream listens on any free port of the loopback and leaves its address where Prometheus' file-based discovery finds
it. The address stays when the stream ends: a target that is known and does not answer is what an alert is made of.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix.metrics import Metric, counter, declared, gauge, histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

HOST = "127.0.0.1"
WORK = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
WAITS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)

MESSAGES = counter(
    "sentinela_stream_messages_total",
    "Messages that are finished, by what became of them: decided, folded, written (to the lake), refused (put away as "
    "dead letters).",
    "outcome",
)
LAG = gauge("sentinela_stream_lag_messages", "Messages in the topic after the last one that is finished.")
OLDEST = gauge(
    "sentinela_stream_oldest_seconds",
    "Age, by Kafka's timestamp, of the oldest message that was taken and not finished.",
)
RETRIES = counter("sentinela_stream_retries_total", "Requests that the service could not answer and was asked again.")
BATCH = histogram("sentinela_stream_batch_seconds", "From taking up a batch to its end, seconds.", WORK)
WAIT = histogram(
    "sentinela_stream_wait_seconds", "From Kafka's timestamp of a batch's oldest message to the batch's end.", WAITS
)
EXPIRED = gauge("sentinela_stream_expired_messages", "Messages that Kafka deleted unread; more than 0 is a loss.")
PARTITIONS = gauge("sentinela_stream_partitions", "Partitions that are this stream's.")
PAUSED = gauge(
    "sentinela_stream_partitions_paused", "Of them, those whose messages come faster than they are finished."
)

CATALOGUE = (MESSAGES, LAG, OLDEST, RETRIES, BATCH, WAIT, EXPIRED, PARTITIONS, PAUSED)


class Meters:
    """One stream's metrics; any thread may use them."""

    def __init__(self, registry: "CollectorRegistry | None" = None) -> None:
        """Declare the catalogue in a registry; None for one that nobody reads."""
        from prometheus_client import CollectorRegistry

        self.registry = registry or CollectorRegistry()
        self._metrics: dict[Metric, Any] = {each: declared(each, self.registry) for each in CATALOGUE}

    def count(self, metric: Metric, *labels: str, by: int = 1) -> None:
        """Add to a counter."""
        self._of(metric, labels).inc(by)

    def set(self, metric: Metric, value: float) -> None:
        """Set a gauge."""
        self._metrics[metric].set(value)

    def observe(self, metric: Metric, value: float) -> None:
        """Add to a histogram."""
        self._metrics[metric].observe(value)

    def _of(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        found = self._metrics[metric]
        return found.labels(*labels) if labels else found


@contextmanager
def shown(meters: Meters, folder: Path, stream: str) -> Iterator[str]:
    """Answer Prometheus under the yielded address, and leave it in ``<folder>/<stream>.json``."""
    with answering(meters.registry, folder, stream, {"stream": stream}) as url:
        yield url


@contextmanager
def answering(registry: "CollectorRegistry", folder: Path, name: str, labels: Mapping[str, str]) -> Iterator[str]:
    """Answer Prometheus from a registry; the address is left in ``<folder>/<name>.json`` with the target's labels."""
    from prometheus_client import start_http_server

    server, thread = start_http_server(0, addr=HOST, registry=registry)
    target = f"{HOST}:{server.server_port}"
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / f".{name}.json"
    written.write_text(json.dumps([{"targets": [target], "labels": dict(labels)}]) + "\n")
    written.replace(folder / f"{name}.json")
    try:
        yield f"http://{target}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def address(folder: Path, name: str) -> str | None:
    """Where the stream or process, or its predecessor, showed its metrics; None if none ever did."""
    try:
        (found,) = json.loads((folder / f"{name}.json").read_text())
        return f"http://{found['targets'][0]}/metrics"
    except (OSError, ValueError, LookupError, TypeError):
        return None
