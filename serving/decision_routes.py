"""``/v1/decisions``: parse, decide and commit, publish, answer, in this order."""

import asyncio
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from pix.contracts import (
    FieldError,
    InvalidFields,
    InvalidMessage,
    PaymentMessage,
    canonical_json,
    check_live,
    parse_json_object,
    parse_payment,
    payment_from,
)
from pix.contracts.fields import MINUTE_MS, validated
from pix.tokens import body_sha256
from pix.tracecontext import trace_id_of, usable
from serving.bodies import MAX_BATCH_BYTES, body_of, list_of_objects
from serving.callers import ADMIN, Call, call_of, require_scope, require_tenant, rest_origin
from serving.identity import named_decision
from serving.items import REFUSALS, refused
from serving.limits import FAILED_LOOKUP
from serving.lookups import recorded
from serving.messages import KafkaArrival
from serving.metrics import PAYMENTS
from serving.outcomes import Arrival, Conflict, Done
from serving.problems import (
    CONFLICT,
    UNKNOWN_DECISION,
    problem,
    problem_response,
)
from serving.records import answer, public_part
from serving.running import DEFERRED, Running, running_of
from serving.stopwatch import Stopwatch
from serving.trial_accounts import forced_action

YIELD_EVERY = 16
JSON = "application/json"


async def decide(request: Request) -> Response:
    """``POST /v1/decisions``: one payment."""
    running = running_of(request)
    raw = await body_of(request)
    deadline = running.decisions.deadline()
    try:
        message, arrival = _received(request, running, raw)
    except InvalidMessage:
        running.meters.count(PAYMENTS, "invalid")
        raise
    outcome = await running.decisions.decide(message, arrival, deadline)
    if isinstance(outcome, Conflict):
        call_of(request).charge(FAILED_LOOKUP - 1)
        return problem_response(CONFLICT, outcome.reason)
    return await _answered(running, outcome, deadline)


async def dry_run(request: Request) -> Response:
    """``POST /v1/decisions:dry-run``: what would be decided now; nothing is stored or published."""
    running = running_of(request)
    message, arrival = _received(request, running, await body_of(request))
    running.require_store()
    outcome = running.pipeline.dry_run(message, arrival)
    if isinstance(outcome, Conflict):
        call_of(request).charge(FAILED_LOOKUP - 1)
        return problem_response(CONFLICT, outcome.reason)
    return Response(outcome, media_type=JSON)


async def decision(request: Request) -> Response:
    """``GET /v1/decisions/{end_to_end_id}``: the answer that was given, byte for byte."""
    running = running_of(request)
    named = named_decision(request)
    running.require_store()
    call = call_of(request)
    outcome = recorded(running.pipeline.store, call.caller, *named) if named else None
    if outcome is None:
        call.charge(FAILED_LOOKUP - 1)
        return problem_response(
            UNKNOWN_DECISION,
            "no decision on this id is kept here; the store keeps decisions for 8 days, and `sentinela decision ID` "
            "finds older ones in the lake",
        )
    return await _answered(running, outcome, running.decisions.deadline())


async def decide_batch(request: Request) -> Response:
    """``POST /v1/decisions:batch``: payments in order, each with its own result."""
    running = running_of(request)
    content = parse_json_object(await body_of(request, MAX_BATCH_BYTES), MAX_BATCH_BYTES)
    if unknown := content.keys() - {"payments", "origins"}:
        raise InvalidFields(FieldError("", f"has {len(unknown)} fields beside payments and origins"))
    payments = list_of_objects(content, "payments")
    origins = list_of_objects(content, "origins") if "origins" in content else [{}] * len(payments)
    if "origins" in content:
        # Where a payment lay in Kafka is for the scoring job to say.
        require_scope(request, ADMIN)
    call_of(request).charge(len(payments) - 1)
    if len(origins) != len(payments):
        raise InvalidFields(FieldError("origins", "must be as long as payments"))
    deadline = running.decisions.deadline()
    outcomes: list[Done | dict[str, object]] = []
    for number, (payment, origin) in enumerate(zip(payments, origins, strict=True), 1):
        outcomes.append(await _outcome(request, running, payment, origin, deadline))
        if number % YIELD_EVERY == 0:
            await asyncio.sleep(0)
    is_published = await running.decisions.deliver([each for each in outcomes if isinstance(each, Done)], deadline)
    results = [
        {"status": 200, "decision": public_part(outcome)} if isinstance(outcome, Done) else outcome
        for outcome in outcomes
    ]
    return Response(canonical_json({"results": results}), 200, None if is_published else DEFERRED, media_type=JSON)


def _received(request: Request, running: Running, raw: bytes) -> tuple[PaymentMessage, Arrival]:
    stopwatch = Stopwatch()
    message = parse_payment(raw)
    call = call_of(request)
    require_tenant(call.caller, message.tenant)
    now_ms = running.pipeline.now_ms()
    check_live(message, now_ms)
    forced = forced_action(message, request.scope, running.test_accounts)
    origin = rest_origin(call.caller)
    return message, Arrival(
        now_ms, body_sha256(raw), origin, call.trace_id, forced, call.traceparent, stopwatch=stopwatch
    )


async def _answered(running: Running, outcome: Done, deadline: float) -> Response:
    is_published = await running.decisions.deliver([outcome], deadline)
    return Response(answer(outcome), 200, None if is_published else DEFERRED, media_type=JSON)


async def _outcome(
    request: Request, running: Running, payment: dict[str, Any], origin: dict[str, Any], deadline: float
) -> Done | dict[str, object]:
    stopwatch = Stopwatch()
    try:
        message = payment_from(payment)
        require_tenant(call_of(request).caller, message.tenant)
        forced = forced_action(message, request.scope, running.test_accounts)
        arrival = _arrival(call_of(request), payment, origin, running.pipeline.now_ms(), forced, stopwatch)
        check_live(message, arrival.received_at_ms)
        outcome = await running.decisions.decide(message, arrival, deadline)
    except REFUSALS as error:
        if isinstance(error, InvalidMessage):
            running.meters.count(PAYMENTS, "invalid")
        return refused(error)
    if isinstance(outcome, Conflict):
        call_of(request).charge(FAILED_LOOKUP - 1)
        return {"status": 409, "problem": problem(CONFLICT, outcome.reason)}
    return outcome


def _arrival(
    call: Call,
    payment: dict[str, Any],
    origin: dict[str, Any],
    now_ms: int,
    forced: str | None,
    stopwatch: Stopwatch,
) -> Arrival:
    if not origin:
        body, origin = body_sha256(canonical_json(payment)), rest_origin(call.caller)
        return Arrival(now_ms, body, origin, call.trace_id, forced, call.traceparent, stopwatch=stopwatch)
    came = validated(KafkaArrival, origin)
    if came.received_at_ms > now_ms + MINUTE_MS:
        raise InvalidFields(FieldError("received_at_ms", "is more than 60 s ahead of this service's clock"))
    place = {"kind": "kafka", **came.model_dump(include={"topic", "partition", "offset"})}
    # Its sender's trace, or one of its own: it has nothing to do with the others of the batch.
    context = usable(came.traceparent)
    trace_id = trace_id_of(context) if context else uuid4().hex
    return Arrival(came.received_at_ms, came.body_sha256, place, trace_id, forced, context, stopwatch=stopwatch)
