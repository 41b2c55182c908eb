"""The HTTP face of the decision pipeline: parse, decide and commit, publish, answer, in this order."""

import asyncio
import hmac
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pix.contracts import (
    MAX_BODY_BYTES,
    FieldError,
    InvalidFields,
    InvalidMessage,
    LabelMessage,
    NotJson,
    canonical_json,
    check_label_live,
    check_live,
    label_from,
    parse_json_object,
    parse_payment,
    payment_from,
)
from pix.contracts.label import MAX_AHEAD_MS
from pix.store.errors import StoreError
from pix.store.generation import Generation
from pix.tokens import body_sha256
from serving.base import BaseRefused
from serving.breakers import Breakers
from serving.deciding import Decisions
from serving.delivery import Delivery, Publisher
from serving.keeper import Order, StoreKeeper
from serving.logs import LogsAway
from serving.outage import Outage
from serving.pipeline import (
    Arrival,
    Conflict,
    DecisionPipeline,
    Done,
    FoldedBefore,
    TooManyRaces,
    UnknownPayment,
    answer,
)
from serving.problems import problem, problem_response
from serving.status import of_store

MAX_BATCH = 1_000
MAX_BATCH_BYTES = MAX_BATCH * MAX_BODY_BYTES
MAX_UNDER_WAY = 256
YIELD_EVERY = 16
DEFERRED = {"Sentinela-Delivery": "deferred"}
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Running:
    """What the routes need; set when the service has started."""

    pipeline: DecisionPipeline
    publisher: Publisher
    api_key: str
    under_way: int = 0
    keeper: StoreKeeper | None = None
    builds: set[asyncio.Future[None]] = field(default_factory=set)
    deadline_seconds: float = 2.0
    breakers: Breakers = field(default_factory=Breakers)
    outage: Outage = field(default_factory=Outage)
    delivery: Delivery = field(init=False)
    decisions: Decisions = field(init=False)

    def __post_init__(self) -> None:
        """Put the parts together."""
        self.delivery = Delivery(self.pipeline.store, self.publisher, self.breakers.broker)
        self.decisions = Decisions(self.pipeline, self.delivery, self.breakers, self.outage, self.deadline_seconds)
        self.decisions.require = lambda: self.keeper.require() if self.keeper is not None else None


class BodyTooLarge(Exception):
    """The body is larger than the route takes."""


class WrongMediaType(Exception):
    """The body is not declared as JSON."""


def create_app() -> Starlette:
    """The application, mounted under ``/v1``; ``app.state.running`` is set at start-up."""
    app = Starlette(
        routes=[
            Route("/decisions", decide, methods=["POST"]),
            Route("/decisions:batch", decide_batch, methods=["POST"]),
            Route("/labels:fold", fold_labels, methods=["POST"]),
            Route("/store:rebuild", rebuild_store, methods=["POST"]),
            Route("/store:roll-back", roll_back_store, methods=["POST"]),
            Route("/store", store_status),
            Route("/model", model_status),
        ],
        exception_handlers={
            BodyTooLarge: lambda _, error: problem_response(413, str(error)),
            WrongMediaType: lambda _, error: problem_response(415, str(error)),
            InvalidMessage: _refused,
            StoreError: lambda _, error: problem_response(503, str(error)),
            BaseRefused: lambda _, error: problem_response(424, str(error)),
            LogsAway: lambda _, error: problem_response(503, str(error)),
            TooManyRaces: lambda _, error: problem_response(503, str(error)),
            404: lambda _, __: problem_response(404, "see the README for the routes under /v1"),
            405: lambda _, __: problem_response(405, "this route takes another method"),
        },
    )
    app.add_middleware(Guard, app=app)
    return app


class Guard:
    """Lets nobody in without the key, and nobody at all while too much is under way."""

    def __init__(self, inner: ASGIApp, app: Starlette) -> None:
        self._inner = inner
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, count, pass on."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        running: Running | None = getattr(self._app.state, "running", None)
        if running is None:
            await problem_response(503, "the service is starting")(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        if not hmac.compare_digest(given, b"Bearer " + running.api_key.encode()):
            refusal = problem_response(401, "send 'Authorization: Bearer <key>'; the local key is in secrets/api-key")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            await refusal(scope, receive, send)
            return
        if running.under_way >= MAX_UNDER_WAY:
            await problem_response(429, f"{MAX_UNDER_WAY} requests are under way")(scope, receive, send)
            return
        running.under_way += 1
        try:
            await self._inner(scope, receive, send)
        finally:
            running.under_way -= 1


def _refused(_: Request, error: Exception) -> Response:
    errors: Sequence[FieldError] = getattr(error, "errors", ())
    if isinstance(error, NotJson):
        return problem_response(400, str(error))
    return problem_response(422, str(error), errors)


async def _body(request: Request, max_bytes: int) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise WrongMediaType("send the body as application/json")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise WrongMediaType("send the body without content-encoding")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise BodyTooLarge(f"the body is larger than {max_bytes} bytes")
        parts.append(part)
    return b"".join(parts)


def _trace_id(request: Request) -> str:
    found = TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    return found[1] if found else uuid4().hex


async def decide(request: Request) -> Response:
    """``POST /v1/decisions``: one payment."""
    running: Running = request.app.state.running
    raw = await _body(request, MAX_BODY_BYTES)
    message = parse_payment(raw)
    deadline = running.decisions.deadline()
    now_ms = running.pipeline.now_ms()
    check_live(message, now_ms)
    arrival = Arrival(now_ms, body_sha256(raw), {"kind": "rest", "client": "local"}, _trace_id(request))
    outcome = await running.decisions.decide(message, arrival, deadline)
    if isinstance(outcome, Conflict):
        return problem_response(409, outcome.reason)
    is_published = await running.decisions.deliver([outcome], deadline)
    return Response(answer(outcome.record), 200, None if is_published else DEFERRED, media_type="application/json")


async def decide_batch(request: Request) -> Response:
    """``POST /v1/decisions:batch``: payments in order, each with its own result."""
    running: Running = request.app.state.running
    content = parse_json_object(await _body(request, MAX_BATCH_BYTES), MAX_BATCH_BYTES)
    payments = _list_of_objects(content, "payments")
    origins = _list_of_objects(content, "origins") if "origins" in content else [{}] * len(payments)
    if len(origins) != len(payments):
        raise InvalidFields(FieldError("origins", "must be as long as payments"))
    trace_id, deadline = _trace_id(request), running.decisions.deadline()
    outcomes: list[Done | dict[str, object]] = []
    for number, (payment, origin) in enumerate(zip(payments, origins, strict=True), 1):
        outcomes.append(await _outcome(running, payment, origin, trace_id, deadline))
        if number % YIELD_EVERY == 0:
            await asyncio.sleep(0)
    is_published = await running.decisions.deliver([each for each in outcomes if isinstance(each, Done)], deadline)
    results = [_result(outcome, "decision", answer) if isinstance(outcome, Done) else outcome for outcome in outcomes]
    return _json({"results": results}, None if is_published else DEFERRED)


def _list_of_objects(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = content.get(name)
    if not isinstance(found, list) or not 0 < len(found) <= MAX_BATCH or not all(isinstance(x, dict) for x in found):
        raise InvalidFields(FieldError(name, f"must be a list of 1 to {MAX_BATCH} objects"))
    return found


async def _outcome(
    running: Running, payment: dict[str, Any], origin: dict[str, Any], trace_id: str, deadline: float
) -> Done | dict[str, object]:
    try:
        message = payment_from(payment)
        arrival = _arrival(payment, origin, running.pipeline.now_ms(), trace_id)
        check_live(message, arrival.received_at_ms)
        outcome = await running.decisions.decide(message, arrival, deadline)
    except InvalidMessage as broken:
        return {"status": 422, "problem": problem(422, str(broken), broken.errors)}
    except (StoreError, TooManyRaces) as away:
        return {"status": 503, "problem": problem(503, str(away))}
    if isinstance(outcome, Conflict):
        return {"status": 409, "problem": problem(409, outcome.reason)}
    return outcome


def _arrival(payment: dict[str, Any], origin: dict[str, Any], now_ms: int, trace_id: str) -> Arrival:
    if not origin:
        return Arrival(now_ms, body_sha256(canonical_json(payment)), {"kind": "rest", "client": "local"}, trace_id)
    try:
        place = {"kind": "kafka", **{name: origin[name] for name in ("topic", "partition", "offset")}}
        return Arrival(int(origin["received_at_ms"]), str(origin["body_sha256"]), place, uuid4().hex)
    except (KeyError, ValueError, TypeError):
        names = "topic, partition, offset, received_at_ms and body_sha256"
        raise InvalidFields(FieldError("origins", f"each must hold {names}")) from None


def _result(outcome: Done, name: str, public: Any) -> dict[str, object]:
    return {"status": 200, name: json.loads(public(outcome.record))}


def _json(content: object, headers: dict[str, str] | None = None) -> Response:
    return Response(canonical_json(content), 200, headers, media_type="application/json")


async def fold_labels(request: Request) -> Response:
    """``POST /v1/labels:fold``: labels in order, each with its own result; for the label job."""
    running: Running = request.app.state.running
    content = parse_json_object(await _body(request, MAX_BATCH_BYTES), MAX_BATCH_BYTES)
    outcomes = [_folded(running, item) for item in _list_of_objects(content, "labels")]
    deadline = running.decisions.deadline()
    await running.decisions.deliver([outcome for outcome in outcomes if isinstance(outcome, Done)], deadline)
    results = [
        _result(outcome, "fold", lambda record: record) if isinstance(outcome, Done) else outcome
        for outcome in outcomes
    ]
    return _json({"results": results})


def _folded(running: Running, item: dict[str, Any]) -> Done | dict[str, object]:
    try:
        label, received_at_ms = _arrived(item, running.pipeline.now_ms())
        outcome = running.decisions.fold_label(label, received_at_ms)
    except InvalidMessage as broken:
        return {"status": 422, "problem": problem(422, str(broken), broken.errors)}
    except (StoreError, TooManyRaces) as away:
        return {"status": 503, "problem": problem(503, str(away))}
    if isinstance(outcome, UnknownPayment):
        return {"status": 404, "problem": problem(404, "no payment with this end_to_end_id is known")}
    if isinstance(outcome, FoldedBefore):
        return {"status": 200, "fold": None}
    return outcome


def _arrived(item: dict[str, Any], now_ms: int) -> tuple[LabelMessage, int]:
    """A label and when it arrived; neither may be from the future, where a fold would move clocks to.

    Raises:
        InvalidMessage: It is no label, or known ahead of its time.
    """
    content, received_at_ms = item.get("label"), item.get("received_at_ms")
    if not isinstance(content, dict) or type(received_at_ms) is not int:
        raise InvalidFields(FieldError("labels", "each must hold label, an object, and received_at_ms, an integer"))
    label = label_from(content)
    check_label_live(label, received_at_ms)
    if received_at_ms > now_ms + MAX_AHEAD_MS:
        ahead = FieldError("received_at_ms", f"is more than {MAX_AHEAD_MS // 1000} s ahead of this service's clock")
        raise InvalidFields(ahead, end_to_end_id=label.end_to_end_id)
    return label, received_at_ms


async def rebuild_store(request: Request) -> Response:
    """``POST /v1/store:rebuild``: build the next generation from base, lake and logs; ``GET /v1/store`` follows it."""
    content = parse_json_object(await _body(request, MAX_BODY_BYTES))
    allowed = {"version": (int, type(None)), "force": (bool,), "accept_gaps": (bool,)}
    for name, value in content.items():
        if type(value) not in allowed.get(name, ()):
            raise InvalidFields(FieldError(name, "is not version (an integer), force or accept_gaps (booleans)"))
    order = Order(
        version=content.get("version"),
        is_forced=content.get("force", True),
        accept_gaps=content.get("accept_gaps", False),
    )
    generation, work = await asyncio.to_thread(_keeper(request).begin, order)
    return _started(request, generation, work)


async def roll_back_store(request: Request) -> Response:
    """``POST /v1/store:roll-back``: bring a retired generation to the logs' end and return to it."""
    content = parse_json_object(await _body(request, MAX_BODY_BYTES))
    number = content.get("generation")
    if not content.keys() <= {"generation"} or type(number) not in (int, type(None)):
        raise InvalidFields(FieldError("generation", "must be an integer, or left out for the newest retired one"))
    generation, work = await asyncio.to_thread(_keeper(request).roll_back, number)
    return _started(request, generation, work)


def _keeper(request: Request) -> StoreKeeper:
    keeper: StoreKeeper | None = request.app.state.running.keeper
    if keeper is None:
        raise StoreError("this service keeps no store")
    return keeper


def _started(request: Request, generation: Generation, work: Callable[[], None] | None) -> Response:
    if work is not None:
        task = asyncio.get_running_loop().run_in_executor(None, work)
        running: Running = request.app.state.running
        running.builds.add(task)
        task.add_done_callback(running.builds.discard)
    return _json({"generation": generation.number, "already_built": work is None})


async def store_status(request: Request) -> Response:
    """``GET /v1/store``: what the online store holds."""
    running: Running = request.app.state.running
    now_ms, problem = running.pipeline.now_ms(), running.keeper.problem if running.keeper else None
    parts = (running.pipeline.store, now_ms, problem, running.outage, running.breakers)
    return _json(await asyncio.to_thread(of_store, *parts))


async def model_status(request: Request) -> Response:
    """``GET /v1/model``: the champion that serves."""
    champion = request.app.state.running.pipeline.champion()
    return _json({"model": champion.identity if champion else None})
