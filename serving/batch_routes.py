"""``POST /v1/decisions:batch``: payments decided one after the other, committed, and published together.

The order is kept for each payer: behind a payment that cannot be decided now, none of the same payer is.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from pix.contracts import (
    FieldError,
    InvalidFields,
    InvalidMessage,
    canonical_json,
    check_live,
    parse_json_object,
    payment_from,
)
from pix.contracts.fields import MINUTE_MS, validated
from pix.tokens import body_sha256
from pix.tracecontext import trace_id_of, usable
from serving.bodies import JSON, MAX_BATCH_BYTES, body_of, list_of_objects
from serving.callers import ADMIN, Call, call_of, require_scope, require_tenant, rest_origin
from serving.items import REFUSALS, refused
from serving.limits import FAILED_LOOKUP
from serving.messages import KafkaArrival
from serving.metrics import PAYMENTS
from serving.outcomes import Arrival, Conflict, Done
from serving.problems import CONFLICT, EARLIER_UNDECIDED, problem
from serving.records import public_part
from serving.running import DEFERRED, Running, running_of
from serving.stopwatch import Stopwatch
from serving.trial_accounts import forced_action

YIELD_EVERY = 16
MINIMAL = "return=minimal"
APPLIED = {"Preference-Applied": MINIMAL}
DECIDED = {"status": 200}
Refused = dict[str, object]
_BEHIND = "an earlier payment of the batch by the same payer could not be decided now; send both again, in order"


async def decide_batch(request: Request) -> Response:
    """Payments in order, each with its own result; with ``Prefer: return=minimal`` only what became of it."""
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
    outcomes = await _outcomes(request, running, list(zip(payments, origins, strict=True)), deadline)
    is_published = await running.decisions.deliver([each for each in outcomes if isinstance(each, Done)], deadline)
    is_minimal = _prefers_minimal(request)
    results = [_result(outcome, is_minimal=is_minimal) for outcome in outcomes]
    headers = {**({} if is_published else DEFERRED), **(APPLIED if is_minimal else {})}
    return Response(canonical_json({"results": results}), 200, headers, media_type=JSON)


def _prefers_minimal(request: Request) -> bool:
    """RFC 7240, section 4.2."""
    preferences = ",".join(request.headers.getlist("prefer")).lower().replace('"', "").split(",")
    return any(preference.partition(";")[0].replace(" ", "") == MINIMAL for preference in preferences)


def _result(outcome: Done | Refused, *, is_minimal: bool) -> Mapping[str, object]:
    if not isinstance(outcome, Done):
        return outcome
    return DECIDED if is_minimal else {**DECIDED, "decision": public_part(outcome)}


async def _outcomes(
    request: Request, running: Running, items: list[tuple[dict[str, Any], dict[str, Any]]], deadline: float
) -> list[Done | Refused]:
    outcomes: list[Done | Refused] = []
    undecided: set[str] = set()
    for number, (payment, origin) in enumerate(items, 1):
        payer = f"{payment.get('tenant')}|{payment.get('payer_account')}"
        if payer in undecided:
            outcomes.append({"status": EARLIER_UNDECIDED.status, "problem": problem(EARLIER_UNDECIDED, _BEHIND)})
            continue
        outcome = await _outcome(request, running, payment, origin, deadline)
        outcomes.append(outcome)
        if not isinstance(outcome, Done) and outcome["status"] == EARLIER_UNDECIDED.status:
            undecided.add(payer)
        if number % YIELD_EVERY == 0:
            await asyncio.sleep(0)
    return outcomes


async def _outcome(
    request: Request, running: Running, payment: dict[str, Any], origin: dict[str, Any], deadline: float
) -> Done | Refused:
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
