"""What can go wrong.

SentinelaError
├── NoAnswer             nothing came back in time: send the same payment again, or decide by your own rule
└── Problem              the service refused; ``type`` says why and is stable, ``detail`` is for people
    ├── InvalidRequest   400, 408, 413, 415, 422: correct it; ``errors`` names the fields
    ├── Unauthorised     401: the key is unknown, expired or revoked
    ├── Forbidden        403: the key lacks a scope, or is not for the tenant
    ├── Unknown          404: no decision that this client may see
    ├── Conflict         409: the id belongs to another payment
    ├── RateLimited      429: still, after the client's own patience
    └── Unavailable      503: still, after the client's own patience
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class SentinelaError(Exception):
    """A call did not bring what was asked for."""


class NoAnswer(SentinelaError):
    """Nothing came back in time; whether a payment was decided is not known, and sending it again is safe."""


@dataclass(frozen=True)
class FieldProblem:
    """A broken field.

    Attributes:
        field: Its name; empty for the body as a whole.
        reason: What it must be.
    """

    field: str
    reason: str


class Problem(SentinelaError):
    """The service refused.

    Attributes:
        type: Stable address of the problem type, relative to the service.
        title: The same for every problem of the type.
        status: HTTP status.
        detail: What happened and what to do, for people.
        errors: Each broken field.
        retry_after_seconds: How long the service asked to wait; None where it did not.
        request_id: Names the request in the service's log.
    """

    def __init__(
        self, content: Mapping[str, Any], *, retry_after_seconds: float | None = None, request_id: str | None = None
    ) -> None:
        self.type = str(content.get("type", "about:blank"))
        self.title = str(content.get("title", ""))
        self.status = int(content.get("status", 0))
        self.detail = str(content.get("detail", ""))
        told = content.get("errors", [])
        self.errors = tuple(FieldProblem(str(each.get("field")), str(each.get("reason"))) for each in told)
        self.retry_after_seconds = retry_after_seconds
        self.request_id = request_id
        fields = "".join(f"; {each.field or 'the body'} {each.reason}" for each in self.errors)
        super().__init__(f"{self.status} {self.title}: {self.detail}{fields}")


class InvalidRequest(Problem):
    """The request must be corrected."""


class Unauthorised(Problem):
    """The key is unknown, expired or revoked."""


class Forbidden(Problem):
    """The key lacks a scope, or is not for the tenant."""


class Unknown(Problem):
    """No decision that this client may see."""


class Conflict(Problem):
    """The id belongs to another payment."""


class RateLimited(Problem):
    """The client asks too much."""


class Unavailable(Problem):
    """The service cannot answer now."""


KINDS: Mapping[int, type[Problem]] = {
    **dict.fromkeys((400, 408, 413, 415, 422), InvalidRequest),
    401: Unauthorised,
    403: Forbidden,
    404: Unknown,
    409: Conflict,
    429: RateLimited,
    503: Unavailable,
}


def problem_of(
    content: Mapping[str, Any], *, retry_after_seconds: float | None = None, request_id: str | None = None
) -> Problem:
    """The problem as the error of its status."""
    kind = KINDS.get(int(content.get("status", 0)), Problem)
    return kind(content, retry_after_seconds=retry_after_seconds, request_id=request_id)
