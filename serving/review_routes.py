"""``/v1/reviews``: the queue of decisions that wait for a person."""

import asyncio
import base64
import binascii
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pix.contracts import FieldError, InvalidFields, canonical_json, parse_json_object
from pix.contracts.fields import TENANT_SHAPE, validated
from pix.identifiers import END_TO_END_SHAPE
from pix.labels import reference_key, unpack_reference
from pix.store.interface import Store
from serving.bodies import JSON, body_of
from serving.callers import call_of, require_tenant
from serving.identity import named_decision
from serving.limits import FAILED_LOOKUP
from serving.outcomes import decision_id
from serving.payee_payments import PayeePayments, instant
from serving.problems import REVIEW_CLOSED, REVIEW_EXPIRED, UNKNOWN_REVIEW, problem_response
from serving.records import parse_record
from serving.review_messages import Confirmation, Dismissal
from serving.review_queue import TakenBefore, Verdict
from serving.reviews import (
    CLOSED,
    CONFIRMED,
    DEADLINE,
    DISMISSED,
    EXPECTED_LOSS,
    EXPIRED,
    OPEN,
    Review,
    prefix_of_list,
)
from serving.running import DEFERRED, running_of

MOST_LISTED, LISTED = 200, 50
_CURSOR = re.compile(rf"(open|closed|expired)\|(deadline|expected_loss)\|([0-9]{{14,28}}\|{END_TO_END_SHAPE})")
_CHOICES = {"status": (OPEN, CLOSED, EXPIRED), "sort": (DEADLINE, EXPECTED_LOSS)}
_PARAMETERS = frozenset({"tenant", "status", "sort", "limit", "cursor"})
_NONE = "the payment's decision asked for no person, or its review ended more than 8 days ago; the lake has it"


async def list_reviews(request: Request) -> Response:
    """``GET /v1/reviews``: one part of a list."""
    running, asked = running_of(request), _asked(request)
    tenant, status, sort = asked["tenant"], asked["status"], asked["sort"]
    require_tenant(call_of(request).caller, tenant)
    running.require_store()
    prefix = prefix_of_list(tenant, status, sort)
    after = prefix + asked["after"] if asked["after"] else None
    page = await asyncio.to_thread(running.reviews.page, tenant, status, sort, asked["limit"], after)
    cursor = None if page.after is None else _cursor(status, sort, page.after.removeprefix(prefix))
    reviews = [described(review, page.as_of_ms) for review in page.reviews]
    return _json({"as_of": instant(page.as_of_ms), "reviews": reviews, "next_cursor": cursor})


async def show_review(request: Request) -> Response:
    """``GET /v1/reviews/{end_to_end_id}``: one review with what an analyst needs to decide."""
    running, named = running_of(request), _named(request)
    running.require_store()
    review = await asyncio.to_thread(running.reviews.get, *named) if named else None
    if review is None:
        return _unknown(request)
    related = await asyncio.to_thread(running.reviews.related, review)
    known = await asyncio.to_thread(_known, running.pipeline.store, review)
    payee = await running.payee_payments(review.tenant, review.payee_account)
    now_ms = running.pipeline.now_ms()
    case = {
        **described(review, now_ms),
        **known,
        "payee_payments": _history(payee),
        "related": [{**described(each.review, now_ms), "shares": each.shares} for each in related],
    }
    return _json(case)


async def confirm_review(request: Request) -> Response:
    """``POST /v1/reviews/{end_to_end_id}:confirm``: it was a fraud."""
    said = validated(Confirmation, parse_json_object(await body_of(request)))
    return await _closed(request, Verdict(CONFIRMED, call_of(request).caller.name, said.note, said.fraud_type))


async def dismiss_review(request: Request) -> Response:
    """``POST /v1/reviews/{end_to_end_id}:dismiss``: it was none."""
    said = validated(Dismissal, parse_json_object(await body_of(request)))
    return await _closed(request, Verdict(DISMISSED, call_of(request).caller.name, said.note))


def _unknown(request: Request) -> Response:
    call_of(request).charge(FAILED_LOOKUP - 1)
    return problem_response(UNKNOWN_REVIEW, _NONE)


async def _closed(request: Request, verdict: Verdict) -> Response:
    running, named = running_of(request), _named(request)
    running.require_store()
    deadline = running.decisions.deadline()
    outcome = running.reviews.close(*named, verdict) if named else None
    if outcome is None:
        return _unknown(request)
    if isinstance(outcome, TakenBefore):
        return _taken(outcome.review)
    review, label = outcome
    is_published = await running.decisions.deliver([label], deadline)
    return _json(described(review, running.pipeline.now_ms()), None if is_published else DEFERRED)


def _taken(review: Review) -> Response:
    closing = review.closing
    if closing is None:
        what = f"it expired at {instant(review.ended_at_ms)} and took the outcome {review.outcome}"
        return problem_response(REVIEW_EXPIRED, f"{what}; a later verdict goes to the decision's feedback")
    who = f"{closing.verdict} by {closing.closed_by} at {instant(closing.closed_at_ms)}"
    return problem_response(REVIEW_CLOSED, f"it was closed before: {who}")


def described(review: Review, now_ms: int) -> dict[str, Any]:
    """A review as the API shows it.

    Args:
        review: As it is at that time.
        now_ms: Epoch milliseconds; says how long is left.
    """
    closing, expires_at_ms = review.closing, review.expires_at_ms
    is_running = review.status == OPEN and expires_at_ms is not None
    return {
        **{name: getattr(review, name) for name in _AS_IT_IS},
        "decided_at": instant(review.decided_at_ms),
        "expires_at": instant(expires_at_ms),
        "seconds_left": max(0, (expires_at_ms or 0) - now_ms) // 1000 if is_running else None,
        "ended_at": instant(review.ended_at_ms),
        "closing": closing
        and {
            **{name: getattr(closing, name) for name in ("verdict", "closed_by", "note", "fraud_type", "label_id")},
            "closed_at": instant(closing.closed_at_ms),
        },
    }


_AS_IT_IS = (
    "end_to_end_id",
    "tenant",
    "status",
    "action",
    "amount_cents",
    "fraud_probability",
    "expected_loss_cents",
    "reasons",
    "rule_hits",
    "mode",
    "payer_account",
    "payee_account",
    "outcome_at_expiry",
    "outcome",
)


def _known(store: Store, review: Review) -> dict[str, Any]:
    """What the store remembers of a review's payment."""
    key = reference_key(review.tenant, review.end_to_end_id)
    snapshot = store.snapshot(decision_id(review.tenant, review.end_to_end_id), [key])
    reference = snapshot.states[key].blob
    return {
        "payment": parse_record(snapshot.record)["payment"] if snapshot.record else None,
        "counts_as_fraud": unpack_reference(reference).counted_at_ms is not None if reference else None,
    }


def _history(found: PayeePayments) -> dict[str, Any]:
    rows = [
        {"at": instant(row["event_time_ms"]), **{name: row[name] for name in row if name != "event_time_ms"}}
        for row in found.payments
    ]
    return {"as_of": instant(found.as_of_ms), "payments": rows, "problem": found.problem}


def _named(request: Request) -> tuple[str, str] | None:
    named = named_decision(request)
    if named is not None:
        require_tenant(call_of(request).caller, named[0])
    return named


def _asked(request: Request) -> dict[str, Any]:
    """The list that a query asks for.

    Raises:
        InvalidFields: It asks for something else, or for one thing twice.
    """
    query, errors = request.query_params, []
    if unknown := len(query.keys() - _PARAMETERS):
        errors.append(FieldError("", f"the query has {unknown} parameters beside {', '.join(sorted(_PARAMETERS))}"))
    errors += [FieldError(name, "stands there twice") for name in _PARAMETERS if len(query.getlist(name)) > 1]
    asked: dict[str, Any] = {name: query.get(name, choices[0]) for name, choices in _CHOICES.items()}
    errors += [
        FieldError(name, f"must be one of {', '.join(choices)}")
        for name, choices in _CHOICES.items()
        if asked[name] not in choices
    ]
    tenant, limit, cursor = query.get("tenant", "default"), query.get("limit", str(LISTED)), query.get("cursor")
    if not re.fullmatch(TENANT_SHAPE, tenant):
        errors.append(FieldError("tenant", "must be one name of small letters, digits and hyphens, at most 32"))
    if not re.fullmatch("[0-9]{1,3}", limit) or not 0 < int(limit) <= MOST_LISTED:
        errors.append(FieldError("limit", f"must be a whole number from 1 to {MOST_LISTED}"))
    after = _place(cursor, asked["status"], asked["sort"]) if cursor is not None else ""
    if after is None:
        errors.append(FieldError("cursor", "must be a next_cursor of the same status and sort, unchanged"))
    if errors:
        raise InvalidFields(*errors)
    return {**asked, "tenant": tenant, "limit": int(limit), "after": after}


def _cursor(status: str, sort: str, rest: str) -> str:
    return base64.urlsafe_b64encode(f"{status}|{sort}|{rest}".encode()).decode().rstrip("=")


def _place(cursor: str, status: str, sort: str) -> str | None:
    """The end of the place that a cursor names; None if it is no cursor of this list."""
    try:
        text = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeError):
        return None
    found = _CURSOR.fullmatch(text)
    return found[3] if found and found.group(1, 2) == (status, sort) else None


def _json(content: object, headers: dict[str, str] | None = None) -> Response:
    return Response(canonical_json(content), 200, headers, media_type=JSON)
