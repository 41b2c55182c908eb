"""The API as an ASGI application, mounted under ``PREFIX``: its routes, and what each refusal becomes."""

from collections.abc import Callable
from secrets import token_hex

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from pix.contracts import InvalidMessage, NotJson
from pix.store.errors import StoreError
from serving.base import BaseRefused
from serving.batch_routes import decide_batch
from serving.bodies import BodyTooLarge, BodyTooSlow, WrongMediaType
from serving.callers import SCOPE_OF, NotAllowed, require_scope
from serving.correlation import Correlation
from serving.decision_routes import decide, decision, dry_run
from serving.guard import Guard
from serving.label_routes import fold_labels, give_feedback
from serving.logs import LogsAway
from serving.operator_routes import model_status, policy_status, rebuild_store, roll_back_store, store_status
from serving.outcomes import TooManyRaces
from serving.problems import (
    FORBIDDEN,
    INVALID_FIELDS,
    LOGS_UNAVAILABLE,
    MEDIA_TYPE,
    METHOD,
    NEEDS_SOMETHING,
    NO_SUCH_ROUTE,
    NOT_JSON,
    STORE_UNAVAILABLE,
    TOO_LARGE,
    TOO_MANY_RACES,
    TOO_SLOW,
    ProblemType,
    problem_response,
)
from serving.reference_pages import reference_routes
from serving.review_routes import confirm_review, dismiss_review, list_reviews, show_review
from serving.version import PREFIX

ROUTES = (
    Route("/decisions", decide, methods=["POST"]),
    Route("/decisions:batch", decide_batch, methods=["POST"]),
    Route("/decisions:dry-run", dry_run, methods=["POST"]),
    Route("/decisions/{end_to_end_id}", decision, methods=["GET"]),
    Route("/decisions/{end_to_end_id}/feedback", give_feedback, methods=["POST"]),
    # Before the one review, whose name would take the verb as well.
    Route("/reviews/{end_to_end_id}:confirm", confirm_review, methods=["POST"]),
    Route("/reviews/{end_to_end_id}:dismiss", dismiss_review, methods=["POST"]),
    Route("/reviews/{end_to_end_id}", show_review, methods=["GET"]),
    Route("/reviews", list_reviews, methods=["GET"]),
    Route("/labels:fold", fold_labels, methods=["POST"]),
    Route("/store", store_status, methods=["GET"]),
    Route("/store:rebuild", rebuild_store, methods=["POST"]),
    Route("/store:roll-back", roll_back_store, methods=["POST"]),
    Route("/model", model_status, methods=["GET"]),
    Route("/policy", policy_status, methods=["GET"]),
    *reference_routes(),
)

NO_ROUTE = "none"
_LABELS = {route.endpoint: f"{min(route.methods or ())} {PREFIX}{route.path}" for route in ROUTES}


def create_app(new_id: Callable[[], str] = lambda: token_hex(16)) -> Starlette:
    """The application; ``app.state.running`` is set at start-up.

    Args:
        new_id: Makes 32 random hex digits, for requests and traces without an id of their own.
    """
    app = Starlette(
        # The last one takes everything.
        routes=[*(scoped(route) for route in ROUTES), Route("/{path:path}", NoSuchRoute())],
        exception_handlers={
            BodyTooLarge: lambda _, error: _closing(TOO_LARGE, error),
            # Nobody reads it; but it is no fault of the service.
            ClientDisconnect: lambda *_: problem_response(NOT_JSON, "the connection ended before the body did"),
            BodyTooSlow: lambda _, error: _closing(TOO_SLOW, error),
            WrongMediaType: lambda _, error: problem_response(MEDIA_TYPE, str(error)),
            InvalidMessage: _refused,
            NotAllowed: lambda _, error: problem_response(FORBIDDEN, str(error)),
            StoreError: lambda _, error: problem_response(STORE_UNAVAILABLE, str(error)),
            BaseRefused: lambda _, error: problem_response(NEEDS_SOMETHING, str(error)),
            LogsAway: lambda _, error: problem_response(LOGS_UNAVAILABLE, str(error)),
            TooManyRaces: lambda _, error: problem_response(TOO_MANY_RACES, str(error)),
        },
    )
    app.router.redirect_slashes = False
    # For a path with a line's end, which no pattern of a route matches.
    app.router.default = NoSuchRoute()
    app.add_middleware(Guard, app=app)
    # Added last, so it stands first.
    app.add_middleware(Correlation, new_id=new_id, app=app, route_of=route_of)
    return app


def scoped(route: Route) -> Route:
    """The route behind a check of the scope that ``SCOPE_OF`` names for it.

    Raises:
        KeyError: The table does not know the route, or not each of its methods alike.
    """
    (scope,) = {SCOPE_OF[method, route.path] for method in (route.methods or set()) - {"HEAD"}}
    if scope is None:
        return route

    async def held(request: Request) -> Response:
        require_scope(request, scope)
        answer: Response = await route.endpoint(request)
        return answer

    made = Route(route.path, held, methods=list(route.methods or ()))
    # Whoever looks which handler answered finds it, not its check.
    made.endpoint = route.endpoint
    return made


def route_of(scope: Scope) -> str:
    """Method and path template of an answered request; ``NO_ROUTE`` where no route takes it."""
    if "endpoint" in scope:
        return _LABELS.get(scope["endpoint"], NO_ROUTE)
    # Refused before it was routed.
    found = next((route for route in ROUTES if route.matches(scope)[0] is Match.FULL), None)
    return _LABELS[found.endpoint] if found else NO_ROUTE


class NoSuchRoute:
    """Answers whatever no route takes: another method of a known path, or a path that is none."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse."""
        partly = [route for route in ROUTES if route.matches(scope)[0] is Match.PARTIAL]
        allowed = ", ".join(sorted({method for route in partly for method in route.methods or ()}))
        if allowed:
            refusal = problem_response(METHOD, f"this route takes {allowed}")
            refusal.headers["Allow"] = allowed
        else:
            refusal = problem_response(NO_SUCH_ROUTE, "openapi.json lists the routes, and docs shows them")
        await refusal(scope, receive, send)


def _closing(kind: ProblemType, error: Exception) -> Response:
    """A refusal before the body's end; the rest of it is not waited for."""
    refusal = problem_response(kind, str(error))
    refusal.headers["Connection"] = "close"
    return refusal


def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, NotJson):
        return problem_response(NOT_JSON, str(error))
    return problem_response(INVALID_FIELDS, str(error), error.errors if isinstance(error, InvalidMessage) else ())
