"""One worker behind HTTP whose store and broker go away when a test says so."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import offline_passes
from fault_proxy import FaultProxy
from site_by_hand import Lake, Site, keeper
from starlette.testclient import TestClient
from written_logs import WrittenLogs, flushed

from pix import topics
from pix.engines.layout import STATE_LAYOUT
from pix.store.interface import Message, open_store
from serving.base import Base
from serving.comparison import Comparison, compare
from serving.door import door_by_hand
from serving.http import create_app
from serving.keeper import StoreKeeper
from serving.running import Running

KEY = {"Authorization": "Bearer key"}
DEADLINE_SECONDS = 0.6
TRIAL_AFTER_SECONDS = 0.05


class HandBroker:
    """Takes everything into the logs, unless it is away."""

    def __init__(self, logs: WrittenLogs) -> None:
        self.is_away = False
        self._logs = logs

    async def publish(self, messages: Sequence[Message], timeout_seconds: float) -> list[str]:  # noqa: ARG002
        if self.is_away:
            return []
        self._logs.publish(list(messages))
        return [message.record_id for message in messages]


@dataclass
class Service:
    """One worker behind HTTP, its store behind a proxy."""

    client: TestClient
    running: Running
    keeper: StoreKeeper
    site: Site
    proxy: FaultProxy
    broker: HandBroker
    lake: Lake

    def post(self, content: dict[str, object]) -> Any:
        return self.client.post("/decisions", json=content)

    def look(self) -> None:
        """What the service does every second."""
        time.sleep(TRIAL_AFTER_SECONDS)
        self.keeper.look()

    def records(self, topic: str) -> list[bytes]:
        found = self.site.logs.topics.items()
        return [value for (name, _), values in found if name == topic for value in values]

    def decisions_of(self, content: dict[str, object]) -> list[bytes]:
        return [
            record
            for record in dict.fromkeys(self.records(topics.DECISIONS))
            if json.loads(record)["end_to_end_id"] == content["end_to_end_id"]
        ]

    def store(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("/store").json()
        return found


def worker(proxy: FaultProxy, site: Site | None, lake: Lake) -> Iterator[Service]:
    store = open_store(f"redis://127.0.0.1:{proxy.port}/0", STATE_LAYOUT, timeout_seconds=0.2)
    made = Site(store, site.logs if site else WrittenLogs())
    broker = HandBroker(made.logs)
    running = Running(made.decider, broker, door_by_hand({"key": {}}, made.clock), deadline_seconds=DEADLINE_SECONDS)  # type: ignore[arg-type]
    for breaker in (running.breakers.store, running.breakers.broker):
        breaker.reset_timeout = TRIAL_AFTER_SECONDS
    running.keeper = keeper(made, lake, outage=running.outage, breakers=running.breakers)
    app = create_app()
    app.state.running = running
    with TestClient(app, headers=KEY) as client:
        yield Service(client, running, running.keeper, made, proxy, broker, lake)
    store.close()


def compared(service: Service) -> Comparison:
    flushed(service.site.store, service.site.logs)
    return compare(
        service.site.store, service.site.logs, lambda _: NO_BASE, now_ms=service.site.clock(), sleep=lambda _: None
    )


NO_BASE = Base(None, 0, 0, None)


def parity_of(service: Service) -> tuple[int, int]:
    """How many logged vectors the offline engine recomputed, and how many of them differ."""
    decided = list(dict.fromkeys(service.records(topics.DECISIONS)))
    vectors = offline_passes.of_log(decided, list(dict.fromkeys(service.records(topics.FOLDS))))
    report = offline_passes.parity(vectors)
    return report.compared, report.mismatches
