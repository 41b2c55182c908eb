"""Who calls and what they may: scopes, and the one table that says which scope each route takes.

The guard names the caller; ``serving.http`` holds every route against the table before its handler runs, and the
OpenAPI document shows the same table. A route that is not in it cannot be served.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request

from pix.contracts import canonical_json

CALL = "sentinela.call"
DECIDE, READ, READ_ALL, FEEDBACK, REVIEW, ADMIN = "decide", "read", "read:all", "feedback", "review", "admin"
ALL_TENANTS = "*"

SCOPES: Mapping[str, str] = {
    DECIDE: "send payments",
    READ: "see the decisions that this client asked for; model and policy",
    READ_ALL: "see every decision of the key's tenants, and give feedback on it",
    FEEDBACK: "give feedback on the decisions that this client asked for",
    REVIEW: "work the review queue",
    ADMIN: "operate the online store, fold labels, and say where in Kafka a payment lay",
}
"""Scope -> what it allows."""

SCOPE_OF: Mapping[tuple[str, str], str | None] = {
    ("POST", "/decisions"): DECIDE,
    ("POST", "/decisions:batch"): DECIDE,
    ("POST", "/decisions:dry-run"): DECIDE,
    ("GET", "/decisions/{end_to_end_id}"): READ,
    ("POST", "/decisions/{end_to_end_id}/feedback"): FEEDBACK,
    ("POST", "/reviews/{end_to_end_id}:confirm"): REVIEW,
    ("POST", "/reviews/{end_to_end_id}:dismiss"): REVIEW,
    ("GET", "/reviews/{end_to_end_id}"): REVIEW,
    ("GET", "/reviews"): REVIEW,
    ("POST", "/labels:fold"): ADMIN,
    ("GET", "/store"): ADMIN,
    ("POST", "/store:rebuild"): ADMIN,
    ("POST", "/store:roll-back"): ADMIN,
    ("GET", "/model"): READ,
    ("GET", "/policy"): READ,
    ("GET", "/openapi.json"): None,
    ("GET", "/docs"): None,
    ("GET", "/docs/{name}"): None,
}
"""Method and path -> the scope that it takes; None is open to everybody."""


class NotAllowed(Exception):
    """The caller's key does not reach so far; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as it stands on a decision's origin.

    Attributes:
        name: Of the client, whichever of its keys it used.
        scopes: What it may.
        tenants: Whose payments it may send and see; ``*`` is everybody's.
    """

    name: str
    scopes: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset({"default"})

    def acts_for(self, tenant: str) -> bool:
        """Whether it may send and see this tenant's payments."""
        return tenant in self.tenants or ALL_TENANTS in self.tenants

    def sees(self, record: bytes) -> bool:
        """Whether it may see a decision of a tenant that it acts for: it asked for it, or it may see all.

        Args:
            record: The decision's final bytes. They are searched, not parsed, so that a look-up takes as long
                whoever asked for the decision; no text of a payment can pass for an origin, where quotes are escaped.
        """
        return READ_ALL in self.scopes or b'"origin":' + canonical_json(rest_origin(self)) in record


@dataclass(frozen=True, slots=True)
class Call:
    """One request as its guard let it in.

    Attributes:
        caller: Who asks.
        trace_id: W3C trace, 32 hex digits.
        request_id: The caller's own id of the request, or one made here.
        traceparent: What belongs to the request, belongs to this; as the answer says.
        charge: Told what the request costs beyond what every request does.
    """

    caller: Caller
    trace_id: str
    request_id: str
    traceparent: str = ""
    charge: Callable[[int], None] = lambda _: None


NOBODY = Caller("nobody", tenants=frozenset())
"""Who calls before a key was looked at."""


def rest_origin(caller: Caller) -> dict[str, object]:
    """Where a decision came from that this caller asked for."""
    return {"kind": "rest", "client": caller.name}


def call_of(request: Request) -> Call:
    """What the guard knows of the request."""
    call: Call = request.scope[CALL]
    return call


def require_scope(request: Request, scope: str) -> None:
    """Refuse a request whose caller lacks a scope.

    Raises:
        NotAllowed: It does.
    """
    if scope not in call_of(request).caller.scopes:
        raise NotAllowed(f"this needs a key with the scope {scope}; `sentinela key create --scope {scope}` makes one")


def require_tenant(caller: Caller, tenant: str) -> None:
    """Refuse a payment or label of a tenant that the caller does not act for.

    Raises:
        NotAllowed: It does not.
    """
    if not caller.acts_for(tenant):
        raise NotAllowed("the key is not for this tenant; `sentinela key list` shows which it is for")
