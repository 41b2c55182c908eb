"""What Prometheus is told: equal to observing each event, of closed label sets, of all workers that live."""

import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from api_by_hand import HandBroker, opened
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.testclient import TestClient
from traffic import NOW_MS, Clock, StubbornModel, account, arrival, body, message, pipeline

from pix.store.errors import StoreAway
from pix.store.interface import CommitResult, Fold, Message, QueueChange, Snapshot
from pix.store.memory import MemoryStore
from serving.breakers import SILENCES, Breakers
from serving.door import door_by_hand
from serving.front import Front
from serving.http import NO_ROUTE, ROUTES, create_app
from serving.metrics import CATALOGUE, FAST, KAFKA_SECONDS, MODEL, REFUSED, STAGE_SECONDS, Meters, forget_the_dead
from serving.outcomes import Done
from serving.running import Running
from serving.stopwatch import COMMIT, PARSE, STAGES, Stopwatch
from serving.version import PREFIX
from serving.vitals import take

REPOSITORY = Path(__file__).parents[2]
OUTCOMES = ("decided", "repeated", "conflict", "invalid", "unavailable")
PAIRS = (("champion", "1"), ("challenger", "2"), ("champion", "2"))


class Site:
    """The API with metrics that a test reads."""

    def __init__(self, store: MemoryStore | None = None, kafka: HandBroker | None = None) -> None:
        self.registry = CollectorRegistry()
        self.meters = Meters(self.registry)
        self.store, self.kafka, self.clock = store or MemoryStore(), kafka or HandBroker(), Clock()
        self.running = Running(
            pipeline(self.store, self.clock, StubbornModel()),
            self.kafka,
            door_by_hand({"key": {}}, self.clock),
            breakers=Breakers(self.meters.breaker),
            meters=self.meters,
        )
        self.app = create_app()
        self.app.state.running = self.running
        self.client = opened(self.app)

    def value(self, name: str, **labels: str) -> float | None:
        self.meters.post()
        return self.registry.get_sample_value(name, labels)

    def text(self) -> str:
        self.meters.post()
        return generate_latest(self.registry).decode()


def test_posting_many_at_once_is_observing_each() -> None:
    draw = random.Random(5)
    values = [draw.choice([draw.uniform(0, 4), 10 ** draw.uniform(-6, 1), draw.choice(FAST), 0.0]) for _ in range(500)]
    posted, plain = CollectorRegistry(), CollectorRegistry()
    meters = Meters(posted)
    one = Histogram(KAFKA_SECONDS.name, KAFKA_SECONDS.meaning, buckets=KAFKA_SECONDS.bounds, registry=plain)
    for number, value in enumerate(values):
        meters.observe(KAFKA_SECONDS, value)
        one.observe(value)
        if number % 100 == 50:
            meters.post()
    meters.post()
    meters.post()
    (expected,) = plain.collect()
    for sample in expected.samples:
        if not sample.name.endswith("_created"):
            assert posted.get_sample_value(sample.name, sample.labels) == pytest.approx(sample.value, rel=1e-12), sample


def test_every_payment_is_counted_by_what_became_of_it() -> None:
    site = Site()
    for content in (body(1), body(1), body(1, amount_cents=7), body(2, amount_cents=-1), body(3, amount_cents=10**9)):
        site.client.post("/decisions", json=content)
    site.client.post("/decisions:batch", json={"payments": [body(4), body(4), body(5, amount_cents=-1)]})
    counted = {name: site.value("sentinela_payments_total", outcome=name) for name in OUTCOMES}
    assert counted == {"decided": 3, "repeated": 2, "conflict": 1, "invalid": 2, "unavailable": None}
    actions = {
        sample.labels["action"]: sample.value
        for metric in site.registry.collect()
        for sample in metric.samples
        if sample.name == "sentinela_decisions_total"
    }
    assert actions == {"ALLOW": 2, "BLOCK": 1}
    assert site.value("sentinela_requests_total", route="POST /v1/decisions", status="200") == 3
    assert site.value("sentinela_requests_total", route="POST /v1/decisions", status="409") == 1
    assert site.value("sentinela_request_body_bytes_count", route="POST /v1/decisions:batch") == 1
    stages = {stage: site.value("sentinela_stage_seconds_count", stage=stage) for stage in (*STAGES, "publish")}
    assert stages == dict.fromkeys(STAGES, 3.0) | {"retry": 0.0, "publish": 3.0}


class Silent(MemoryStore):
    """A store that does not answer."""

    def snapshot(self, record_id: str, keys: object) -> Snapshot:  # noqa: ARG002
        raise StoreAway("gone")


def test_without_the_store_decisions_are_degraded_and_its_breaker_opens() -> None:
    site = Site(store=Silent())
    for number in range(SILENCES + 1):
        assert site.client.post("/decisions", json=body(number)).json()["mode"] == "degraded:store"
    policy = site.running.pipeline.policy().version
    labels = {"action": "ALLOW", "mode": "degraded:store", "model_version": "none", "policy_version": policy}
    assert site.value("sentinela_decisions_total", **labels) == SILENCES + 1
    assert site.value("sentinela_breaker_state", breaker="store") == 2
    assert site.value("sentinela_breaker_state", breaker="broker") == 0
    take(site.running, NOW_MS)
    assert site.value("sentinela_store_outage") == 1
    site.kafka.is_away = True
    assert site.client.post("/decisions", json=body(9)).status_code == 503
    assert site.value("sentinela_payments_total", outcome="unavailable") == 1


def test_the_outbox_is_told_with_its_age_while_kafka_is_away() -> None:
    site = Site()
    site.kafka.is_away = True
    assert site.client.post("/decisions", json=body(1)).headers["sentinela-delivery"] == "deferred"
    assert site.value("sentinela_deliveries_deferred_total") == 1
    assert site.value("sentinela_kafka_unacknowledged_total") == 1
    take(site.running, NOW_MS + 5_000)
    assert (site.value("sentinela_outbox_messages"), site.value("sentinela_outbox_oldest_seconds")) == (1, 5)
    site.kafka.is_away = False
    site.client.post("/decisions", json=body(1))
    site.running.delivery.trim()
    take(site.running, NOW_MS + 6_000)
    assert (site.value("sentinela_outbox_messages"), site.value("sentinela_outbox_oldest_seconds")) == (0, 0)
    assert site.value("sentinela_kafka_acknowledged_seconds_count") == 1


class Rushed(MemoryStore):
    """A store in which another payment is decided between one's reading and its commit."""

    def __init__(self) -> None:
        super().__init__()
        self.rushes: list[object] = []

    def commit(  # type: ignore[override]
        self, message: Message, folds: list[Fold], generation: int, opening: QueueChange | None = None
    ) -> CommitResult:
        if self.rushes:
            self.rushes.pop()()  # type: ignore[operator]
        return super().commit(message, folds, generation, opening)


@pytest.mark.parametrize(
    ("payer", "payee", "side", "gaps"),
    [(3, 2, "payee", {"payer_account": 0, "payee_account": 1, "pair": 0}),
     (1, 4, "payer", {"payer_account": 0, "payee_account": 0, "pair": 0})],
)  # fmt: skip
def test_a_lost_race_is_counted_on_its_side(payer: int, payee: int, side: str, gaps: dict[str, int]) -> None:
    store = Rushed()
    decider = pipeline(store, None, StubbornModel())
    decider.decide(message(1), arrival(NOW_MS))
    other = message(2, payer_account=account(payer), payee_account=account(payee))
    store.rushes = [lambda: decider.decide(other, arrival(NOW_MS))]
    outcome = decider.decide(message(3), arrival(NOW_MS))
    assert isinstance(outcome, Done)
    assert outcome.facts is not None
    assert outcome.facts.races == {side: 1}
    assert outcome.facts.gaps == gaps


def test_labels_are_names_of_ours_whatever_is_asked_for() -> None:
    site = Site()
    draw = random.Random(3)
    for number in range(20):
        odd = "".join(draw.choices("abcdefghij0123456789-.~", k=12))
        paid = body(number, payer_account=account(777_000 + number))
        site.client.post("/decisions", json=paid, headers={"X-Request-Id": odd})
        site.client.get(f"/decisions/{paid['end_to_end_id']}")
        site.client.get(f"/decisions/{odd}", headers={"Authorization": "Bearer no"})
        site.client.request(draw.choice(["GET", "POST", "PUT", "BREW"]), f"/{odd}")
    text = site.text()
    routes = set(re.findall(r'route="([^"]+)"', text))
    assert routes <= {f"{min(route.methods or ())} {PREFIX}{route.path}" for route in ROUTES} | {NO_ROUTE}
    assert site.value("sentinela_requests_total", route="GET /v1/decisions/{end_to_end_id}", status="401") == 20
    # A measured time may hold any digits.
    assert not [labels for labels in re.findall(r"\{[^}]*\}", text) if "777" in labels]
    assert "E12345678" not in text
    assert len(text.splitlines()) < 600


def test_versions_that_served_before_are_taken_back() -> None:
    site = Site()
    site.meters.show(MODEL, ("champion", "1"), ("challenger", "2"))
    site.meters.show(MODEL, ("champion", "2"))
    shown = {pair: site.value(MODEL.name, alias=pair[0], version=pair[1]) for pair in PAIRS}
    assert shown == {("champion", "1"): 0, ("challenger", "2"): 0, ("champion", "2"): 1}


def test_a_stopwatch_tells_each_step_by_its_own_times() -> None:
    ticks = iter([100, 130, 200, 210])
    watch = Stopwatch(lambda: next(ticks))
    assert watch.laps == []
    for stage in (PARSE, COMMIT, COMMIT):
        watch.lap(stage)
    assert watch.laps == [(PARSE, 100, 130), (COMMIT, 130, 200), (COMMIT, 200, 210)]


def test_the_catalogue_is_what_is_shown() -> None:
    """Every metric is declared once, and only what is declared is there."""
    shown = {metric.name for metric in Site().registry.collect()}
    declared = [metric.name.removesuffix("_total") for metric in CATALOGUE]
    assert sorted(declared) == sorted(shown)
    assert all(metric.name.startswith("sentinela_") for metric in CATALOGUE)


WORKER = """
import signal, sys
from serving.metrics import *
meters = Meters()
for number in range(int(sys.argv[1])):
    meters.request("GET /v1/model", 200, 0.001, None)
meters.mark(REFUSED, "champion", "tampered")
meters.set(READY, float(sys.argv[2])); meters.set(UNDER_WAY, 3); meters.set(OUTBOX, float(sys.argv[1]))
meters.post()
print("written", flush=True)
signal.pause()
"""


def test_workers_add_up_and_the_dead_leave_only_their_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    command = [sys.executable, "-c", WORKER]
    told = (("5", "0"), ("7", "1"))
    workers = [subprocess.Popen([*command, *each], stdout=subprocess.PIPE, cwd=REPOSITORY) for each in told]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"written\n"
        both = _together()
        assert both["requests"] == 12
        assert both["refused"] == 2
        assert (both["ready"], both["under_way"]) == (0, 6)
        workers[0].send_signal(signal.SIGKILL)
        workers[0].wait()
        forget_the_dead()
        left = _together()
        assert (left["requests"], left["refused"]) == (12, 2)
        assert (left["ready"], left["under_way"], left["outbox"]) == (1, 3, 7)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _together() -> dict[str, float]:
    """As ``/metrics`` shows it."""
    answer = TestClient(Front(Starlette(), Starlette())).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in text_string_to_metric_families(answer.text)
        for sample in metric.samples
    }
    return {
        "requests": shown["sentinela_request_seconds_count", "GET /v1/model"],
        "refused": shown[REFUSED.name, "champion", "tampered"],
        "ready": shown["sentinela_ready",],
        "under_way": shown["sentinela_requests_under_way",],
        "outbox": shown["sentinela_outbox_messages",],
    }


def test_a_decision_is_timed_from_its_first_step_to_its_last() -> None:
    site = Site()
    site.client.post("/decisions", json=body(1))
    spent = [site.value("sentinela_stage_seconds_sum", stage=stage) or 0.0 for stage in STAGES]
    whole = site.value("sentinela_request_seconds_sum", route="POST /v1/decisions")
    assert whole is not None
    assert 0 < sum(spent) < whole
    assert STAGE_SECONDS.bounds[-1] < 10
