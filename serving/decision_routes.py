"""``/v1/decisions``: parse, decide and commit, publish, answer, in this order."""

from starlette.requests import Request
from starlette.responses import Response

from pix.contracts import InvalidMessage, PaymentMessage, check_live, parse_payment
from pix.tokens import body_sha256
from serving.bodies import JSON, body_of
from serving.callers import call_of, require_tenant, rest_origin
from serving.identity import named_decision
from serving.limits import FAILED_LOOKUP
from serving.lookups import recorded
from serving.metrics import PAYMENTS
from serving.outcomes import Arrival, Conflict, Done
from serving.problems import CONFLICT, UNKNOWN_DECISION, problem_response
from serving.records import answer
from serving.running import DEFERRED, Running, running_of
from serving.stopwatch import Stopwatch
from serving.trial_accounts import forced_action


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
