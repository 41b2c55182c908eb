"""The paths of the OpenAPI document."""

from typing import Any

from serving.callers import SCOPE_OF
from serving.problems import PROBLEM_JSON, PROBLEM_TYPES

_NAMES = ("X-Request-Id", "traceparent")
_ALWAYS = (401, 403, 429, 500, 503, 504)
_WITH_BODY = (400, 408, 413, 415, 422, *_ALWAYS)
_ROOT = [{"url": "/", "description": "Outside the version."}]
_JSON = "application/json"

PAYMENT_EXAMPLE = {
    "end_to_end_id": "E12345678202611211230abcdefghijk",
    "initiated_at": "2026-11-21T09:30:15.120-03:00",
    "amount_cents": 12345,
    "payer_account": "12345678-0001-1234567",
    "payee_account": "87654321-0001-7654321",
}
_ID: dict[str, Any] = {
    "name": "end_to_end_id",
    "in": "path",
    "required": True,
    "description": "EndToEndId of the payment.",
    "schema": {"type": "string", "pattern": "^E[0-9A-Z]{8}[0-9]{12}[A-Za-z0-9]{11}$"},
    "example": PAYMENT_EXAMPLE["end_to_end_id"],
}
_TENANT: dict[str, Any] = {
    "name": "tenant",
    "in": "query",
    "description": "Tenant of the payment.",
    "schema": {"type": "string", "pattern": "^[a-z0-9-]{1,32}$", "default": "default"},
}
_LISTED: list[dict[str, Any]] = [
    {
        "name": "status",
        "in": "query",
        "description": "Which reviews.",
        "schema": {"enum": ["open", "closed", "expired"], "default": "open"},
    },
    {
        "name": "sort",
        "in": "query",
        "description": "The nearest deadline first, or the greatest expected loss first.",
        "schema": {"enum": ["deadline", "expected_loss"], "default": "deadline"},
    },
    {
        "name": "limit",
        "in": "query",
        "description": "At most so many.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
    },
    {
        "name": "cursor",
        "in": "query",
        "description": "next_cursor of the part before, with the same status and sort.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,200}$"},
    },
]
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "description": "`return=minimal` (RFC 7240): results say what became of each payment, not what was decided.",
    "schema": {"type": "string"},
}
_CORRELATION = [
    {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Your id of the request.",
        "schema": {"type": "string"},
    },
    {"name": "traceparent", "in": "header", "description": "W3C Trace Context.", "schema": {"type": "string"}},
]


def paths() -> dict[str, Any]:
    """Path -> method -> operation."""
    found = {**_decision_paths(), **_review_paths(), **_operation_paths(), **_health_paths()}
    for (method, path), scope in SCOPE_OF.items():
        if scope is not None:
            # Roles of a bearer key, as OpenAPI 3.1 lets any scheme name them.
            found[path][method.lower()]["security"] = [{"key": [scope]}]
    return found


def _decision_paths() -> dict[str, Any]:
    pay = _body("Payment", PAYMENT_EXAMPLE)
    batch = _body("Batch", {"payments": [PAYMENT_EXAMPLE]})
    decided = _answer("Decision", "What was decided, now or when it was first asked.", "Sentinela-Delivery")
    told = _answer("Label", "Kafka has the label; it is folded once, however often it is sent.")
    verdict = _body("Feedback", {"kind": "confirmed", "fraud_type": "SCAM"})
    results = _answer("BatchResults", "One result per payment.", "Sentinela-Delivery", "Preference-Applied")
    return {
        "/decisions": {
            "post": _operation("decide", "Decide a payment", pay, {200: decided}, (*_WITH_BODY, 409)),
        },
        "/decisions:batch": {
            "post": _operation(
                "decideBatch",
                "Decide payments, each by itself, those of a payer in their order",
                batch,
                {200: results},
                _WITH_BODY,
                [_PREFER],
            ),
        },
        "/decisions:dry-run": {
            "post": _operation(
                "dryRun",
                "What would be decided now; nothing is stored or published",
                pay,
                {200: _answer("DryRun", "The answer, marked as a dry run.")},
                (*_WITH_BODY, 409),
            ),
        },
        "/decisions/{end_to_end_id}": {
            "get": _operation(
                "getDecision",
                "The answer that was given, byte for byte; kept for 8 days",
                None,
                {200: decided},
                (404, 422, *_ALWAYS),
                [_ID, _TENANT],
            ),
        },
        "/decisions/{end_to_end_id}/feedback": {
            "post": _operation(
                "giveFeedback",
                "An analyst's verdict, as a label on pix.labels",
                verdict,
                {202: told},
                (404, 409, *_WITH_BODY),
                [_ID, _TENANT],
            ),
        },
    }


def _review_paths() -> dict[str, Any]:
    told = _answer("Review", "The closed review; its label is on its way to pix.labels.", "Sentinela-Delivery")
    refused = (404, 409, *_WITH_BODY)
    confirmation, dismissal = (
        _body("Confirmation", {"fraud_type": "SCAM"}),
        _body("Dismissal", {"note": "Known payee."}),
    )
    page, case = _answer("ReviewPage", "A part of the list."), _answer("ReviewCase", "The review.")
    named = [_ID, _TENANT]
    return {
        # The verbs first: whoever matches templates in order would take them for names.
        "/reviews/{end_to_end_id}:confirm": {
            "post": _operation(
                "confirmReview", "It was a fraud", confirmation, {200: told}, refused, named, tag="reviews"
            ),
        },
        "/reviews/{end_to_end_id}:dismiss": {
            "post": _operation("dismissReview", "It was none", dismissal, {200: told}, refused, named, tag="reviews"),
        },
        "/reviews/{end_to_end_id}": {
            "get": _operation(
                "getReview",
                "A review with what an analyst needs to decide",
                None,
                {200: case},
                (404, 422, *_ALWAYS),
                named,
                tag="reviews",
            ),
        },
        "/reviews": {
            "get": _operation(
                "listReviews",
                "Reviews in order",
                None,
                {200: page},
                (422, *_ALWAYS),
                [*_LISTED, _TENANT],
                tag="reviews",
            ),
        },
    }


def _operation_paths() -> dict[str, Any]:
    labels = _body("Labels", {"labels": [{"label": {}, "received_at_ms": 1795264215120}]})
    folded = _answer("LabelResults", "One result per label.")
    started = _answer("Started", "The build has begun, or nothing needs to be built.")
    ordered = (424, *_WITH_BODY)
    rebuild = _operation(
        "rebuildStore", "Build the next generation", _body("Rebuild", {}), {200: started}, ordered, tag="operation"
    )
    back = _operation(
        "rollBackStore", "Return to a retired generation", _body("RollBack", {}), {200: started}, ordered,
        tag="operation",
    )  # fmt: skip
    return {
        "/labels:fold": {
            "post": _operation("foldLabels", "Fold labels", labels, {200: folded}, _WITH_BODY, tag="jobs"),
        },
        "/store": {"get": _status("getStore", "StoreStatus", "What the online store holds")},
        "/store:rebuild": {"post": rebuild},
        "/store:roll-back": {"post": back},
        "/model": {"get": _status("getModel", "ModelStatus", "The champion that serves")},
        "/policy": {"get": _status("getPolicy", "PolicyStatus", "The policy that applies")},
        "/openapi.json": {"get": _open("getOpenapi", "This document", _JSON, {"type": "object"})},
        "/docs": {"get": _open("getDocs", "This document as Swagger UI", "text/html", {"type": "string"})},
    }


def _health_paths() -> dict[str, Any]:
    alive, ready = _answer("Health", "The process answers."), _answer("Health", "Payments are taken.")
    text = {"type": "string", "description": "Prometheus text format."}
    metrics = {"description": "All metrics.", "content": {"text/plain": {"schema": text}}}
    return {
        "/livez": _probe("getLivez", "Whether the process is alive", {"200": alive}),
        "/readyz": _probe("getReadyz", "Whether payments are taken, or why not", {"200": ready, "503": _refusal(503)}),
        "/metrics": _probe("getMetrics", "Metrics for Prometheus", {"200": metrics}),
    }


def _probe(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    """Outside the version and the door: without key and without names of request and trace."""
    bare = {}
    for status, response in responses.items():
        headers = {name: told for name, told in response.get("headers", {}).items() if name not in _NAMES}
        bare[status] = {**response, "headers": headers}
    operation = {"operationId": name, "summary": summary, "tags": ["health"], "security": [], "responses": bare}
    return {"servers": _ROOT, "get": operation}


def _status(name: str, schema: str, summary: str) -> dict[str, Any]:
    return _operation(name, summary, None, {200: _answer(schema, f"{summary}.")}, _ALWAYS, tag="operation")


def _open(name: str, summary: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    answer = {"description": f"{summary}.", "headers": _named(), "content": {media_type: {"schema": schema}}}
    return {**_operation(name, summary, None, {200: answer}, (500,), tag="operation"), "security": []}


def _operation(
    name: str,
    summary: str,
    body: dict[str, Any] | None,
    answers: dict[int, dict[str, Any]],
    refusals: tuple[int, ...],
    parameters: list[dict[str, Any]] | None = None,
    *,
    tag: str = "decisions",
) -> dict[str, Any]:
    responses = {**answers, **{status: _refusal(status) for status in refusals}}
    return {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        "parameters": [*(parameters or []), *_CORRELATION],
        **({"requestBody": body} if body else {}),
        "responses": {str(status): responses[status] for status in sorted(responses)},
    }


def _body(schema: str, example: dict[str, Any]) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {"required": True, "content": {_JSON: content}}


def _answer(schema: str, description: str, *headers: str) -> dict[str, Any]:
    content = {_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "headers": _named(*headers), "content": content}


def _refusal(status: int) -> dict[str, Any]:
    kinds = [kind for kind in PROBLEM_TYPES if kind.status == status]
    headers = ["Retry-After"] if all(kind.retry_after_seconds is not None for kind in kinds) else []
    headers += ["WWW-Authenticate"] if status == 401 else []
    return {
        "description": " Or: ".join(f"{kind.title}." for kind in kinds),
        "headers": _named(*headers),
        "content": {PROBLEM_JSON: {"schema": {"$ref": f"#/components/schemas/Problem{status}"}}},
    }


def _named(*more: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*_NAMES, *more)}
