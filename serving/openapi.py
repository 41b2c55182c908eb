"""The API as an OpenAPI 3.1 document: every route with each status, its schema and its headers.

Schemas are made from the models of the contracts and of ``serving.messages``. A test holds the paths against the
routes, and the tests of the API hold every answer against this document.
"""

from typing import Any

from pydantic.json_schema import models_json_schema

from pix.contracts import LabelMessage, PaymentMessage
from pix.contracts.fields import StrictMessage
from pix.contracts.schemas import payment_rules, without_titles
from serving import messages, review_messages
from serving.bodies import MAX_BATCH
from serving.callers import SCOPES
from serving.openapi_paths import paths
from serving.problems import PROBLEM_TYPES

FILE = "openapi.json"
VERSION = "1.0.0"
"""Grows with the document; the major number is the one in the path."""

_DESCRIPTION = """\
Decides whether a Pix payment goes on, while the payer waits. The EndToEndId, with the tenant, is the payment's
identity: sending the same payment again is always safe and brings the same bytes.

Every answer carries `X-Request-Id` and `traceparent`. Refusals are RFC 9457 problems; `docs/problems.md` says which are
worth sending again. `docs/api.md` has the rules of versions and the test accounts of local mode.
"""

_MODELS: tuple[type[StrictMessage], ...] = (
    PaymentMessage,
    LabelMessage,
    messages.Decision,
    messages.DryRun,
    messages.KafkaArrival,
    messages.Feedback,
    messages.Rebuild,
    messages.RollBack,
    messages.Started,
    messages.StoreStatus,
    messages.ModelStatus,
    messages.PolicyStatus,
    messages.Health,
    messages.BatchDecided,
    messages.BatchAcknowledged,
    messages.LabelFolded,
    *review_messages.MODELS,
)


def document() -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sentinela",
            "version": VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/v1", "description": "Version 1 of this service."}],
        "security": [{"key": []}],
        "tags": [
            {"name": "decisions", "description": "Payments and what was decided on them."},
            {"name": "reviews", "description": "Decisions that wait for a person."},
            {"name": "operation", "description": "Model, policy and online store, for operators."},
            {"name": "jobs", "description": "For Sentinela's own Kafka jobs."},
            {"name": "health", "description": "Probes and metrics, outside the version."},
        ],
        "paths": paths(),
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The API key; the local one is in the home under secrets/api-key. "
                    "Each operation names the scope that it takes. " + _scopes(),
                }
            },
            "headers": _headers(),
            "schemas": _schemas(),
        },
    }


def _scopes() -> str:
    return "; ".join(f"`{scope}`: {allowed}" for scope, allowed in SCOPES.items()) + "."


def _headers() -> dict[str, Any]:
    return {
        "X-Request-Id": {
            "description": "The caller's own, if it sent one of 1 to 128 letters, digits and ._:-; else a new one.",
            "required": True,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
        },
        "traceparent": {
            "description": "W3C Trace Context: the caller's trace, or a new one.",
            "required": True,
            "schema": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
        },
        "Sentinela-Delivery": {
            "description": "The decision is safe on disk and reaches Kafka later.",
            "schema": {"type": "string", "const": "deferred"},
        },
        "Preference-Applied": {
            "description": "The results are minimal, as the request preferred.",
            "schema": {"type": "string", "const": "return=minimal"},
        },
        "Retry-After": {
            "description": "Seconds to wait before sending the same again.",
            "required": True,
            "schema": {"type": "string", "pattern": "^[0-9]+$"},
        },
        "WWW-Authenticate": {
            "description": "How to authenticate.",
            "required": True,
            "schema": {"type": "string", "const": "Bearer"},
        },
    }


def _schemas() -> dict[str, Any]:
    keyed = [(model, "validation") for model in _MODELS]
    _, made = models_json_schema(keyed, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: dict[str, Any] = without_titles(made["$defs"])
    schemas["Payment"] = {**schemas.pop("PaymentMessage"), "allOf": payment_rules()}
    schemas["Label"] = schemas.pop("LabelMessage")
    for status in sorted({kind.status for kind in PROBLEM_TYPES}):
        schemas[f"Problem{status}"] = _problem(status)
    return {**schemas, **_batches()}


def _problem(status: int) -> dict[str, Any]:
    kinds = [kind for kind in PROBLEM_TYPES if kind.status == status]
    error = {
        "type": "object",
        "properties": {
            "field": {"type": "string", "description": "Name of the field; empty for the body as a whole."},
            "reason": {"type": "string", "description": "What it must be; never repeats its value."},
        },
        "required": ["field", "reason"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "description": "An RFC 9457 problem.",
        "properties": {
            "type": {"enum": [kind.address for kind in kinds], "description": "Stable; relative to the service."},
            "title": {"enum": [kind.title for kind in kinds], "description": "The same for every one of the type."},
            "status": {"const": status, "description": "The HTTP status."},
            "detail": {"type": "string", "description": "What happened and what to do, for people."},
            "errors": {"type": "array", "items": error, "description": "Each broken field."},
        },
        "required": ["type", "title", "status", "detail"],
        "additionalProperties": False,
    }


def _batches() -> dict[str, Any]:
    """Batches hold objects that are judged one by one; so a broken one does not break the batch."""
    return {
        "Batch": _listed("Payments and, from the scoring job, where each lies in Kafka.", ["payments"], payments={
            "description": "Payments as POST /decisions takes them; a broken one gets its problem in its result.",
            "anyOf": [_ref("Payment"), {"type": "object"}],
        }, origins={
            "description": "As long as payments; {} for one that is no message of Kafka.",
            "anyOf": [_ref("KafkaArrival"), {"type": "object"}],
        }),
        "BatchResults": _listed("One result per payment, in order.", ["results"], results={
            "anyOf": [
                *(_ref(name) for name in ("BatchDecided", "BatchAcknowledged")),
                *(_refused(status) for status in (403, 409, 422, 503)),
            ],
        }),
        "Labels": _listed("Labels and when each arrived in Kafka.", ["labels"], labels={
            "description": "label as on pix.labels, received_at_ms in epoch milliseconds; traceparent, if its message "
            "had that header.",
            "type": "object",
        }),
        "LabelResults": _listed("One result per label, in order.", ["results"], results={
            "anyOf": [_ref("LabelFolded"), *(_refused(status) for status in (403, 404, 422, 503))],
        }),
    }  # fmt: skip


def _listed(description: str, required: list[str], **items: dict[str, Any]) -> dict[str, Any]:
    lists = {
        name: {"type": "array", "minItems": 1, "maxItems": MAX_BATCH, "items": item} for name, item in items.items()
    }
    shape = {"properties": lists, "required": required, "additionalProperties": False}
    return {"type": "object", "description": description, **shape}


def _refused(status: int) -> dict[str, Any]:
    properties = {"status": {"const": status}, "problem": _ref(f"Problem{status}")}
    shape = {"properties": properties, "required": ["status", "problem"], "additionalProperties": False}
    return {"type": "object", **shape}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
