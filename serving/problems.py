"""What goes wrong, as RFC 9457 problems."""

from collections.abc import Sequence

from starlette.responses import Response

from pix.contracts import FieldError, canonical_json

TITLES = {
    400: ("not-json", "The body is not one JSON object"),
    401: ("unauthorised", "A valid API key is required"),
    404: ("not-found", "There is nothing here by that name"),
    405: ("method", "The route takes another method"),
    409: ("conflict", "The id belongs to another payment"),
    413: ("too-large", "The body is too large"),
    415: ("media-type", "The body must be application/json"),
    422: ("invalid-fields", "Fields break the contract"),
    424: ("needs-something", "Something that this needs is not there"),
    429: ("too-many-requests", "Too many requests are under way"),
    503: ("try-again", "The service cannot answer now"),
}


def problem(status: int, detail: str, errors: Sequence[FieldError] = ()) -> dict[str, object]:
    """The content of a problem.

    Args:
        status: HTTP status.
        detail: What happened and what to do; never holds a payment's values.
        errors: Broken fields.
    """
    slug, title = TITLES[status]
    content: dict[str, object] = {
        "type": f"urn:sentinela:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    if errors:
        content["errors"] = [{"field": error.field, "reason": error.reason} for error in errors]
    return content


def problem_response(status: int, detail: str, errors: Sequence[FieldError] = ()) -> Response:
    """The problem as an answer; 429 and 503 say when to try again."""
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    body = canonical_json(problem(status, detail, errors))
    return Response(body, status, headers, media_type="application/problem+json")
