"""What goes wrong, as RFC 9457 problems: every type once, with its meaning and what a caller does about it.

``docs/problems.md`` is made from here (``python -m serving``), and so are the refusals in the OpenAPI document. A
type's address is stable within v1: it is what callers decide by, never the title or the detail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from starlette.responses import Response

from pix.contracts import FieldError, canonical_json

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemType:
    """One kind of problem.

    Attributes:
        slug: Last part of its address.
        status: HTTP status that it comes with.
        title: The same for every problem of the type.
        meaning: What happened, for the page of problems.
        retry: Whether to send the request again, and how.
        retry_after_seconds: What ``Retry-After`` says; None if trying again does not help.
    """

    slug: str
    status: int
    title: str
    meaning: str
    retry: str
    retry_after_seconds: int | None = None

    @property
    def address(self) -> str:
        """The problem's ``type``, relative to the service."""
        return f"/problems/{self.slug}"


_CORRECTED = "No. Correct the request; the same one is refused again."
_SAME_BODY = "Yes: the same body after `Retry-After` seconds, then with growing pauses and jitter. Nothing is doubled."

NOT_JSON = ProblemType(
    slug="not-json",
    status=400,
    title="The body is not one JSON object",
    meaning="The body is empty, cut off, not UTF-8, nested too deeply, no object, or holds NaN or Infinity.",
    retry=_CORRECTED,
)
UNAUTHORISED = ProblemType(
    slug="unauthorised",
    status=401,
    title="A valid API key is required",
    meaning="There is no `Authorization: Bearer` header, or more than one, or its key is not known, has expired or was "
    "revoked. The answer never says which.",
    retry="With a valid key only.",
)
FORBIDDEN = ProblemType(
    slug="forbidden",
    status=403,
    title="The key does not reach so far",
    meaning="The key is valid and lacks the scope that the route takes, or is not for the payment's tenant; the detail "
    "says which. Nothing was looked up.",
    retry="With a key that has what the detail names.",
)
NO_SUCH_ROUTE = ProblemType(
    slug="not-found",
    status=404,
    title="There is nothing at this address",
    meaning="The path names no route of this version of the API.",
    retry=_CORRECTED,
)
UNKNOWN_DECISION = ProblemType(
    slug="unknown-decision",
    status=404,
    title="No decision on this payment is kept here",
    meaning="The id was never decided under this tenant, or its record has left the online store, which keeps it for "
    "8 days. `sentinela decision ID` finds older ones in the lake.",
    retry="Only if the payment may still be on its way through Kafka.",
)
UNKNOWN_REVIEW = ProblemType(
    slug="unknown-review",
    status=404,
    title="There is no review of this payment here",
    meaning="The payment was not decided under this tenant, its decision asked for no person, or the review ended more "
    "than 8 days ago, so that only the lake has it.",
    retry="Only if the payment may still be on its way through Kafka.",
)
METHOD = ProblemType(
    slug="method",
    status=405,
    title="The route takes another method",
    meaning="`Allow` lists the methods that this route takes.",
    retry=_CORRECTED,
)
TOO_SLOW = ProblemType(
    slug="too-slow",
    status=408,
    title="The request did not arrive in time",
    meaning="The request's head, or then its body, was not complete within 10 seconds. The connection is closed.",
    retry="Yes: the same body, over a connection of its own.",
)
CONFLICT = ProblemType(
    slug="conflict",
    status=409,
    title="The id belongs to another payment",
    meaning="The EndToEndId was decided, or imported, with other content. Nothing was changed by this request.",
    retry="No. The first decision stands; a new payment needs an id of its own.",
)
WITHDRAWN_VERDICT = ProblemType(
    slug="withdrawn-verdict",
    status=409,
    title="The verdict was given before and withdrawn since",
    meaning="The same feedback was folded once, and a later label says the opposite. Sent again it would be the same "
    "label, which counts once.",
    retry="With `known_at`, the time of the new verdict, which makes it a label of its own.",
)
REVIEW_CLOSED = ProblemType(
    slug="review-closed",
    status=409,
    title="The review was closed before",
    meaning="Somebody gave a verdict first; the detail says which, who and when. It counts, and nothing was changed by "
    "this request. The same verdict again by the same client, in the same words, is answered as the first time.",
    retry="No. Another verdict, given later, goes to the decision's feedback.",
)
REVIEW_EXPIRED = ProblemType(
    slug="review-expired",
    status=409,
    title="The review's deadline has passed",
    meaning="Nobody closed the review before its deadline, so that it took the outcome which the policy declares; the "
    "detail says which and when. Nothing was changed by this request.",
    retry="No. A verdict that comes later goes to the decision's feedback.",
)
TOO_LARGE = ProblemType(
    slug="too-large",
    status=413,
    title="The body is too large",
    meaning="A payment has at most 16,384 bytes, a batch 16,384,000. The connection is closed.",
    retry=_CORRECTED,
)
MEDIA_TYPE = ProblemType(
    slug="media-type",
    status=415,
    title="The body must be application/json",
    meaning="The body has another media type or charset, or is compressed.",
    retry=_CORRECTED,
)
INVALID_FIELDS = ProblemType(
    slug="invalid-fields",
    status=422,
    title="Fields break the contract",
    meaning="`errors` names each broken field and why; a reason never repeats a value.",
    retry=_CORRECTED,
)
NEEDS_SOMETHING = ProblemType(
    slug="needs-something",
    status=424,
    title="Something that this needs is not there",
    meaning="The history that a rebuild of the online store begins with cannot be used; the detail says what to do.",
    retry="After what the detail asks for.",
)
TOO_MANY_REQUESTS = ProblemType(
    slug="too-many-requests",
    status=429,
    title="Too many requests are under way",
    meaning="The worker answers as many requests as it can already; this one was not looked at.",
    retry=_SAME_BODY,
    retry_after_seconds=1,
)
RATE_LIMITED = ProblemType(
    slug="rate-limited",
    status=429,
    title="The client has used up what it may ask",
    meaning="Each client may make so many requests a minute and so many at once; a look-up that finds nothing counts "
    "20, a payment of a batch 1. Requests without a valid key are counted by their address. Nothing was looked at.",
    retry=_SAME_BODY,
    retry_after_seconds=1,
)
INTERNAL = ProblemType(
    slug="internal",
    status=500,
    title="A fault in the service",
    meaning="A defect; it is in the service's log under the request's `X-Request-Id`.",
    retry="Once, with the same body; then report it.",
)
STARTING = ProblemType(
    slug="starting",
    status=503,
    title="The service is starting",
    meaning="The worker has not finished its start; `/readyz` says when it has.",
    retry=_SAME_BODY,
    retry_after_seconds=1,
)
NOT_READY = ProblemType(
    slug="not-ready",
    status=503,
    title="The service takes no payments now",
    meaning="`/readyz` only: the detail says what is missing.",
    retry="Ask again; payments sent meanwhile are refused with a problem of their own.",
    retry_after_seconds=1,
)
STORE_UNAVAILABLE = ProblemType(
    slug="store-unavailable",
    status=503,
    title="The online store cannot answer now",
    meaning="It is away, is being built, or changes to its next generation; or it cannot do what an operator ordered.",
    retry=_SAME_BODY,
    retry_after_seconds=1,
)
LOGS_UNAVAILABLE = ProblemType(
    slug="logs-unavailable",
    status=503,
    title="Kafka or the lake cannot answer now",
    meaning="What an operator ordered needs the logs, and they cannot be read.",
    retry=_SAME_BODY,
    retry_after_seconds=1,
)
EARLIER_UNDECIDED = ProblemType(
    slug="earlier-undecided",
    status=503,
    title="An earlier payment of the payer could not be decided",
    meaning="A payment before this one in the batch, by the same payer, could not be decided now. This one was not "
    "looked at, so that a payer's payments are decided in the order in which they were sent.",
    retry="Yes: the same bodies, in the same order.",
    retry_after_seconds=1,
)
TOO_MANY_RACES = ProblemType(
    slug="too-many-races",
    status=503,
    title="Other payments of the same accounts kept coming first",
    meaning="The payment was not decided, and nothing was changed.",
    retry=_SAME_BODY,
    retry_after_seconds=1,
)
NOT_DELIVERED = ProblemType(
    slug="not-delivered",
    status=503,
    title="Kafka did not acknowledge in time",
    meaning="The feedback may or may not be in Kafka. It is a label with the hash of its content as id, so that "
    "sending it again makes no second one.",
    retry=_SAME_BODY,
    retry_after_seconds=1,
)

TOOK_TOO_LONG = ProblemType(
    slug="took-too-long",
    status=504,
    title="The answer took too long",
    meaning="The service gave up after 30 seconds. What was asked may have been done all the same.",
    retry=_SAME_BODY,
    retry_after_seconds=1,
)

PROBLEM_TYPES = (
    NOT_JSON,
    UNAUTHORISED,
    FORBIDDEN,
    NO_SUCH_ROUTE,
    UNKNOWN_DECISION,
    UNKNOWN_REVIEW,
    METHOD,
    TOO_SLOW,
    CONFLICT,
    WITHDRAWN_VERDICT,
    REVIEW_CLOSED,
    REVIEW_EXPIRED,
    TOO_LARGE,
    MEDIA_TYPE,
    INVALID_FIELDS,
    NEEDS_SOMETHING,
    TOO_MANY_REQUESTS,
    RATE_LIMITED,
    INTERNAL,
    STARTING,
    NOT_READY,
    STORE_UNAVAILABLE,
    LOGS_UNAVAILABLE,
    EARLIER_UNDECIDED,
    TOO_MANY_RACES,
    NOT_DELIVERED,
    TOOK_TOO_LONG,
)


def problem(kind: ProblemType, detail: str, errors: Sequence[FieldError] = ()) -> dict[str, object]:
    """The content of a problem.

    Args:
        kind: Its type.
        detail: What happened and what to do; never holds a payment's values.
        errors: Broken fields.
    """
    content: dict[str, object] = {
        "type": kind.address,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
    }
    if errors:
        content["errors"] = [{"field": error.field, "reason": error.reason} for error in errors]
    return content


def problem_response(
    kind: ProblemType, detail: str, errors: Sequence[FieldError] = (), *, retry_after_seconds: float | None = None
) -> Response:
    """The problem as an answer; where trying again helps, it says when, by the type or as given here."""
    after = kind.retry_after_seconds if retry_after_seconds is None else max(1, ceil(retry_after_seconds))
    headers = {"Retry-After": str(after)} if after is not None else None
    return Response(canonical_json(problem(kind, detail, errors)), kind.status, headers, media_type=PROBLEM_JSON)
