"""Labels: analysts' feedback on its way to ``pix.labels``, and the label job's folding of what is there."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pix import topics
from pix.contracts import (
    FieldError,
    InvalidFields,
    LabelMessage,
    canonical_json,
    check_label_live,
    label_from,
    label_id,
    parse_json_object,
)
from pix.contracts.fields import validated
from pix.contracts.label import MAX_AHEAD_MS
from pix.store.interface import Message
from pix.tracecontext import usable
from serving.bodies import JSON, MAX_BATCH_BYTES, body_of, list_of_objects
from serving.callers import Caller, call_of, require_tenant
from serving.identity import named_decision
from serving.items import REFUSALS, refused
from serving.limits import FAILED_LOOKUP
from serving.lookups import remembered
from serving.messages import Feedback
from serving.outcomes import Done, FoldedBefore, UnknownPayment
from serving.problems import (
    NOT_DELIVERED,
    UNKNOWN_DECISION,
    WITHDRAWN_VERDICT,
    problem,
    problem_response,
)
from serving.running import Running, running_of

ANALYST = "analyst"


async def give_feedback(request: Request) -> Response:
    """``POST /v1/decisions/{end_to_end_id}/feedback``: an analyst's verdict; a label once Kafka has it."""
    running = running_of(request)
    feedback = validated(Feedback, parse_json_object(await body_of(request)))
    named = named_decision(request)
    running.require_store()
    call = call_of(request)
    known = remembered(running.pipeline.store, call.caller, *named) if named else None
    if named is None or known is None:
        call.charge(FAILED_LOOKUP - 1)
        return problem_response(UNKNOWN_DECISION, "no decision on this id is known here; see its EndToEndId and tenant")
    content = _label_of(feedback, *named, known.decided_at_ms)
    check_label_live(label_from(content), running.pipeline.now_ms())
    if known.reference.knows(content["label_id"]) and known.is_fraud != (feedback.kind == "confirmed"):
        return problem_response(WITHDRAWN_VERDICT, "another verdict followed this one; send known_at to give it anew")
    # Not the record id of its fold: both may be on their way to Kafka at once.
    record_id = f"{named[0]}|feedback|{content['label_id']}"
    label = canonical_json(content)
    now_ms, context = running.pipeline.now_ms(), call_of(request).traceparent
    message = Message(record_id, topics.LABELS, named[1], label, now_ms, context)
    if not await running.delivery.publish([message], running.deadline_seconds):
        return problem_response(NOT_DELIVERED, "Kafka did not acknowledge the label in time; send the feedback again")
    return Response(label, 202, media_type=JSON)


def _label_of(feedback: Feedback, tenant: str, end_to_end_id: str, decided_at_ms: int | None) -> dict[str, Any]:
    """The label's content; equal feedback makes equal labels."""
    known_at_ms = decided_at_ms if feedback.known_at is None else feedback.known_at
    if known_at_ms is None:
        raise InvalidFields(FieldError("known_at", "is required: the decision is too old to take its time instead"))
    known_at = datetime.fromtimestamp(known_at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    content: dict[str, Any] = {
        "end_to_end_id": end_to_end_id,
        "kind": feedback.kind,
        "effective_at": known_at,
        "known_at": known_at,
        "source": ANALYST,
        "tenant": tenant,
    }
    if feedback.fraud_type is not None:
        content["fraud_type"] = feedback.fraud_type
    return {**content, "label_id": label_id(content)}


async def fold_labels(request: Request) -> Response:
    """``POST /v1/labels:fold``: labels in order, each with its own result; for the label job."""
    running = running_of(request)
    content = parse_json_object(await body_of(request, MAX_BATCH_BYTES), MAX_BATCH_BYTES)
    if unknown := content.keys() - {"labels"}:
        raise InvalidFields(FieldError("", f"has {len(unknown)} fields beside labels"))
    outcomes = [_folded(running, call_of(request).caller, item) for item in list_of_objects(content, "labels")]
    deadline = running.decisions.deadline()
    await running.decisions.deliver([outcome for outcome in outcomes if isinstance(outcome, Done)], deadline)
    results = [
        {"status": 200, "fold": json.loads(outcome.record)} if isinstance(outcome, Done) else outcome
        for outcome in outcomes
    ]
    return Response(canonical_json({"results": results}), media_type=JSON)


def _folded(running: Running, caller: Caller, item: dict[str, Any]) -> Done | dict[str, object]:
    try:
        label, received_at_ms = _arrived(item, running.pipeline.now_ms())
        require_tenant(caller, label.tenant)
        outcome = running.decisions.fold_label(label, received_at_ms)
    except REFUSALS as error:
        return refused(error)
    if isinstance(outcome, UnknownPayment):
        return {"status": 404, "problem": problem(UNKNOWN_DECISION, "no payment with this end_to_end_id is known")}
    if isinstance(outcome, FoldedBefore):
        return {"status": 200, "fold": None}
    context = item.get("traceparent")
    if outcome.message is not None and isinstance(context, str):
        return replace(outcome, message=replace(outcome.message, traceparent=usable(context)))
    return outcome


def _arrived(item: dict[str, Any], now_ms: int) -> tuple[LabelMessage, int]:
    """A label and when it arrived; neither may be from the future, where a fold would move clocks to.

    Raises:
        InvalidMessage: It is no label, or known ahead of its time.
    """
    content, received_at_ms = item.get("label"), item.get("received_at_ms")
    if not isinstance(content, dict) or type(received_at_ms) is not int or not received_at_ms >= 0:
        raise InvalidFields(FieldError("labels", "each must hold label, an object, and received_at_ms, an integer"))
    label = label_from(content)
    check_label_live(label, received_at_ms)
    if received_at_ms > now_ms + MAX_AHEAD_MS:
        ahead = FieldError("received_at_ms", f"is more than {MAX_AHEAD_MS // 1000} s ahead of this service's clock")
        raise InvalidFields(ahead, end_to_end_id=label.end_to_end_id)
    return label, received_at_ms
