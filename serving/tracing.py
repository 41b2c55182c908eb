"""OpenTelemetry spans: request -> decision -> its steps -> publish, under the caller's or the Kafka sender's trace.

Attributes are routes, statuses, stages, actions, modes and versions: nothing of a payment, not even its id, which
the decision's record joins to the trace. Only imported where an OTLP endpoint is configured; whoever may have a
``Tracing`` holds None without one, so that tracing that is off costs a comparison.
"""

import time
from collections.abc import Iterable

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pix.tracecontext import HEADER
from serving.outcomes import DecisionFacts
from serving.stopwatch import STAGES, Stopwatch

SERVICE = "sentinela"
REQUEST, PUBLISH = "request", "publish"
SERVER_ERROR = 500
_W3C = TraceContextTextMapPropagator()


class _GivenTraces(RandomIdGenerator):
    """A span without a parent gets the trace id that stands on the decision."""

    def __init__(self) -> None:
        self.next = 0

    def generate_trace_id(self) -> int:
        return self.next or super().generate_trace_id()

    def is_trace_id_random(self) -> bool:
        return True


class Tracing:
    """Makes spans of times that were measured on the way; all of it on the loop's thread."""

    def __init__(self, processor: SpanProcessor, share: float, build: str) -> None:
        """Begin.

        Args:
            processor: Takes finished spans.
            share: Of traces that begin here, so many are kept; one that came from a sender is kept as it says.
            build: Version of this service.
        """
        self._traces = _GivenTraces()
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)),
            resource=Resource.create({"service.name": SERVICE, "service.version": build}),
            id_generator=self._traces,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(SERVICE)
        self._offset_ns = time.time_ns() - time.perf_counter_ns()

    def begin(self, name: str, traceparent: str, trace_id: str, began_ns: int) -> Span:
        """Begin a span.

        Args:
            name: ``request``, or a part of one.
            traceparent: What it belongs to; empty where a trace begins here.
            trace_id: That trace, 32 hex digits.
            began_ns: Of ``time.perf_counter_ns``.
        """
        self._traces.next = int(trace_id, 16)
        kind = SpanKind.SERVER if name == REQUEST else SpanKind.INTERNAL
        return self._tracer.start_span(name, _context(traceparent), kind, start_time=began_ns + self._offset_ns)

    def inside(self, span: Span) -> str:
        """The context of whatever belongs to a span, as a header."""
        return _traceparent(span)

    def decided(self, span: Span, stopwatch: Stopwatch, facts: DecisionFacts | None) -> None:
        """End a decision's span, with one span per step in it.

        Args:
            span: As ``begin`` made it.
            stopwatch: Measured the steps.
            facts: Of a new decision; None where it was made before, or failed.
        """
        if span.is_recording():
            inside = _context(_traceparent(span))
            for stage, began_ns, ended_ns in stopwatch.laps:
                step = self._tracer.start_span(STAGES[stage], inside, start_time=began_ns + self._offset_ns)
                step.end(ended_ns + self._offset_ns)
            if facts is not None:
                span.set_attribute("sentinela.action", facts.action)
                span.set_attribute("sentinela.mode", facts.mode)
                span.set_attribute("sentinela.model_version", facts.model_version or "none")
                span.set_attribute("sentinela.policy_version", facts.policy_version)
        span.end()

    def published(self, traceparents: Iterable[str], began_ns: int) -> None:
        """A span of records' way to Kafka: in the first one's trace, linked to the others'."""
        parents = [_context(each) for each in traceparents if each]
        if not parents:
            return
        links = [Link(get_current_span(context).get_span_context()) for context in parents[1:]]
        span = self._tracer.start_span(
            PUBLISH, parents[0], SpanKind.PRODUCER, links=links, start_time=began_ns + self._offset_ns
        )
        span.set_attribute("messaging.system", "kafka")
        span.set_attribute("messaging.batch.message_count", len(parents))
        span.end()

    def answered(self, span: Span, route: str, status: int) -> None:
        """End a request's span."""
        if span.is_recording():
            span.update_name(route)
            span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", status)
            if status >= SERVER_ERROR:
                span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()


def _traceparent(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 1:02x}"


def towards(endpoint: str, share: float, build: str) -> Tracing:
    """Tracing into an OTLP endpoint over HTTP, in batches, from a thread of its own."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter: SpanExporter = OTLPSpanExporter(endpoint=endpoint)
    return Tracing(BatchSpanProcessor(exporter), share, build)


def _context(traceparent: str) -> Context:
    # An empty context, not the current one: BentoML's own middleware leaves a span of its own there.
    return _W3C.extract({HEADER: traceparent}, Context()) if traceparent else Context()
