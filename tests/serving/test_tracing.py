"""Traces: one tree per payment, in its sender's trace, through Kafka's headers, without a word of the payment."""

import json
import random
from collections.abc import Iterator

import pytest
from api_by_hand import HandBroker, HandModels, opened
from documented import ApiClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from traffic import NOW_MS, TAX_IDS, Clock, StubbornModel, body, label, pipeline, rfc3339

from pix.store.memory import MemoryStore
from pix.tracecontext import trace_id_of, usable
from serving.door import door_by_hand
from serving.http import create_app
from serving.running import Running
from serving.stopwatch import STAGES
from serving.tracing import Tracing

SENDER = f"00-{'a1' * 16}-{'b2' * 8}-01"
OTHER = f"00-{'c3' * 16}-{'d4' * 8}-01"
UNSAMPLED = f"00-{'e5' * 16}-{'f6' * 8}-00"


class Site:
    """The API with tracing into memory."""

    def __init__(self, share: float = 1.0, *, is_on: bool = True) -> None:
        self.exporter, self.kafka = InMemorySpanExporter(), HandBroker()
        tracing = Tracing(SimpleSpanProcessor(self.exporter), share, "test") if is_on else None
        app = create_app()
        app.state.running = Running(
            pipeline(MemoryStore(), Clock(), StubbornModel()),
            self.kafka,
            door_by_hand({"key": {}}, Clock()),
            models=HandModels(),  # type: ignore[arg-type]
            tracing=tracing,
        )
        self.client: ApiClient = opened(app)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The newest span of each name."""
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    with made.client:
        yield made


def parent_of(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent else None


def own(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"


def test_a_payment_is_one_tree_under_its_callers_span(site: Site) -> None:
    answer = site.client.post("/decisions", json=body(1), headers={"traceparent": SENDER})
    spans = site.spans
    assert set(spans) == {"POST /v1/decisions", "decide", "publish", *STAGES} - {"retry"}
    request, decide, publish = spans["POST /v1/decisions"], spans["decide"], spans["publish"]
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {trace_id_of(SENDER)}
    assert (parent_of(request), request.kind) == (SENDER[36:52], SpanKind.SERVER)
    assert parent_of(decide) == own(request)
    assert {parent_of(spans[stage]) for stage in STAGES if stage in spans} == {own(decide)}
    assert (parent_of(publish), publish.kind) == (own(decide), SpanKind.PRODUCER)
    assert answer.headers["traceparent"] == f"00-{trace_id_of(SENDER)}-{own(request)}-01"
    (taken,) = site.kafka.taken
    assert taken.traceparent == f"00-{trace_id_of(SENDER)}-{own(decide)}-01"
    assert json.loads(taken.value)["trace_id"] == trace_id_of(SENDER)
    assert decide.attributes is not None
    assert decide.attributes["sentinela.action"] == answer.json()["action"]


def test_steps_lie_within_their_decision_one_after_the_other(site: Site) -> None:
    site.client.post("/decisions", json=body(1))
    spans = site.spans
    steps = [spans[stage] for stage in STAGES if stage in spans]
    times = [(step.start_time or 0, step.end_time or 0) for step in steps]
    assert times == sorted(times)
    assert all(ended == began for (_, ended), (began, _) in zip(times, times[1:], strict=False))
    decide, request = spans["decide"], spans["POST /v1/decisions"]
    assert (request.start_time or 0) <= (decide.start_time or 0) <= times[0][0]
    assert times[-1][1] <= (decide.end_time or 0) <= (request.end_time or 0)


def test_a_trace_that_begins_here_is_the_one_on_the_decision(site: Site) -> None:
    answer = site.client.post("/decisions", json=body(1))
    assert f"{site.spans['decide'].context.trace_id:032x}" == answer.json()["trace_id"]
    assert trace_id_of(answer.headers["traceparent"]) == answer.json()["trace_id"]


def test_payments_from_kafka_join_their_senders_traces_not_their_batchs(site: Site) -> None:
    place = {"topic": "pix.transactions", "partition": 0, "received_at_ms": NOW_MS, "body_sha256": "a" * 64}
    origins = [{**place, "offset": number} for number in range(3)]
    origins[0]["traceparent"], origins[1]["traceparent"] = SENDER, OTHER
    payments = [body(number) for number in range(3)]
    answer = site.client.post("/decisions:batch", json={"payments": payments, "origins": origins})
    traces = [result["decision"]["trace_id"] for result in answer.json()["results"]]
    assert traces[:2] == [trace_id_of(SENDER), trace_id_of(OTHER)]
    batch = trace_id_of(answer.headers["traceparent"])
    assert len({*traces, batch}) == 4
    assert [trace_id_of(taken.traceparent) for taken in site.kafka.taken] == traces
    publish = site.spans["publish"]
    assert f"{publish.context.trace_id:032x}" == traces[0]
    assert [f"{link.context.trace_id:032x}" for link in publish.links] == traces[1:]


def test_a_label_carries_its_senders_context_on(site: Site) -> None:
    site.client.post("/decisions", json=body(1))
    content = label(str(body(1)["end_to_end_id"]), "accepted", NOW_MS).model_dump(exclude_none=True, exclude={"tenant"})
    content |= {name: rfc3339(content[name]) for name in ("effective_at", "known_at")}
    item = {"label": content, "received_at_ms": NOW_MS, "traceparent": OTHER}
    site.client.post("/labels:fold", json={"labels": [item]})
    assert (site.kafka.taken[-1].topic, site.kafka.taken[-1].traceparent) == ("pix.folds", OTHER)


@pytest.mark.parametrize(
    ("share", "given", "kept"), [(0.0, None, 0), (0.0, SENDER, 1), (1.0, UNSAMPLED, 0), (1.0, None, 1)]
)
def test_a_sender_says_what_is_kept_and_else_a_share_is(share: float, given: str | None, kept: int) -> None:
    site = Site(share)
    answer = site.client.post("/decisions", json=body(1), headers={"traceparent": given} if given else {})
    assert len([span for span in site.exporter.get_finished_spans() if span.name == "decide"]) == kept
    assert answer.headers["traceparent"].endswith("-01" if kept else "-00")
    assert trace_id_of(site.kafka.taken[0].traceparent) == answer.json()["trace_id"]


def test_a_fault_is_marked_as_one(site: Site) -> None:
    site.kafka.is_away = True
    site.client.post(f"/decisions/{body(1)['end_to_end_id']}/feedback", json={"kind": "confirmed"})
    (span,) = site.exporter.get_finished_spans()
    assert (span.name, span.status.status_code) == ("POST /v1/decisions/{end_to_end_id}/feedback", StatusCode.UNSET)
    site.client.post("/decisions", json=body(1))
    site.client.post(f"/decisions/{body(1)['end_to_end_id']}/feedback", json={"kind": "confirmed"})
    assert site.spans["POST /v1/decisions/{end_to_end_id}/feedback"].status.status_code is StatusCode.ERROR


def test_spans_hold_nothing_of_a_payment(site: Site) -> None:
    paid = body(1, payer_tax_id=TAX_IDS[0], payee_tax_id=TAX_IDS[1], device_id="device-777", amount_cents=987_654)
    site.client.post("/decisions", json=paid)
    site.client.get(f"/decisions/{paid['end_to_end_id']}")
    told = "".join(span.to_json() for span in site.exporter.get_finished_spans())
    values = [str(value) for name, value in paid.items() if name != "initiated_at"]
    assert [value for value in values if value in told] == []


@pytest.mark.parametrize("given", [SENDER, None])
def test_without_tracing_the_context_travels_all_the_same(given: str | None) -> None:
    site = Site(is_on=False)
    answer = site.client.post("/decisions", json=body(1), headers={"traceparent": given} if given else {})
    assert site.kafka.taken[0].traceparent == answer.headers["traceparent"]
    assert usable(answer.headers["traceparent"])
    assert (trace_id_of(answer.headers["traceparent"]) == trace_id_of(SENDER)) == (given is not None)


def test_what_is_no_context_is_none() -> None:
    draw = random.Random(1)
    zeros = [f"00-{'0' * 32}-{'b2' * 8}-01", f"00-{'a1' * 16}-{'0' * 16}-01"]
    noise = ["".join(draw.choices(SENDER, k=55)) for _ in range(20)]
    broken = [SENDER.upper(), SENDER + "-x", SENDER + "\n", SENDER[:-1], f"ff{SENDER[2:]}", "", *zeros, *noise]
    assert [text for text in broken if usable(text)] == []
    assert usable(SENDER) == SENDER
    assert usable(None) == ""
