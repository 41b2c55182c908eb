"""The Python client against a real server: typed answers, typed refusals, and retries that decide once."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from api_by_hand import HandBroker, api
from sentinela_client import (
    AsyncClient,
    Client,
    Conflict,
    Forbidden,
    InvalidRequest,
    NoAnswer,
    Payment,
    Problem,
    RateLimited,
    Unauthorised,
    Unavailable,
    Unknown,
)
from serving_by_hand import Address, served
from traffic import NOW_MS, body, rfc3339

from pix.contracts.schemas import CONTRACTS, schema
from pix.store.memory import MemoryStore
from tests.conftest import REPOSITORY

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
Fault = Callable[[], httpx.Response | None]
KEYS: dict[str, dict[str, object]] = {
    "stranger": {"owner": "stranger", "tenants": ("default",), "scopes": ("read",)},
    "small": {"owner": "small", "rate_per_minute": 1, "burst": 1},
}


class Faulty(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A line with faults: each request meets the next one, before or after the server saw it; then none."""

    def __init__(self, *faults: Fault, is_lost_after: bool = False) -> None:
        self.bodies: list[bytes] = []
        self._faults = iter(faults)
        self._is_lost_after = is_lost_after
        self._line = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.content)
        fault = next(self._faults, None)
        if fault is None or self._is_lost_after:
            answer = self._line.handle_request(request)
            answer.read()
        return answer if fault is None else fault() or answer

    def close(self) -> None:
        self._line.close()

    async def aclose(self) -> None:
        self.close()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.handle_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def broken() -> httpx.Response:
    raise httpx.ReadTimeout("nothing came")


def refused() -> httpx.Response:
    raise httpx.ConnectError("refused")


def unavailable(status: int = 503, after: str = "0") -> httpx.Response:
    problem = {"type": "/problems/store-unavailable", "title": "t", "status": status, "detail": "d"}
    return httpx.Response(status, headers={"Retry-After": after}, json=problem)


class Blocking:
    """The asynchronous client, one call after the other."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*arguments, **named)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *given, **named: self._loop.run_until_complete(getattr(self._client, name)(*given, **named))

    def close(self) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Address, HandBroker]]:
    kafka = HandBroker()
    with served(api(MemoryStore(), kafka, keys=KEYS)) as address:
        yield address, kafka


@pytest.fixture
def kafka(shared: tuple[Address, HandBroker]) -> HandBroker:
    shared[1].taken.clear()
    return shared[1]


@pytest.fixture
def opened(kind: Any, shared: tuple[Address, HandBroker]) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def of(key: str = "key", **named: object) -> Any:
        made.append(kind(f"http://127.0.0.1:{shared[0][1]}", key, **named))
        return made[-1]

    yield of
    for client in made:
        client.close()


numbers = iter(range(1, 10_000))


def new_payment(**fields: object) -> Payment:
    return body(next(numbers), **fields)  # type: ignore[return-value]


def test_answers_have_types(opened: Callable[..., Any], kafka: HandBroker) -> None:
    client, payment = opened(), new_payment()
    decision = client.decide(payment, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    assert (decision.end_to_end_id, decision.action, decision.goes_on) == (payment["end_to_end_id"], "ALLOW", True)
    assert (decision.trace_id, decision.mode, decision.model.version) == (TRACE, "normal", "1")
    assert decision.decided_at.timestamp() * 1000 == NOW_MS
    assert client.decide(payment) == decision == client.decision(payment["end_to_end_id"])
    assert client.dry_run(new_payment()).raw["dry_run"] is True
    label = client.feedback(payment["end_to_end_id"], "confirmed", fraud_type="SCAM", known_at=rfc3339(NOW_MS))
    assert (label["kind"], label["fraud_type"]) == ("confirmed", "SCAM")
    kafka.is_away = True
    try:
        assert client.decide(new_payment()).is_deferred
    finally:
        kafka.is_away = False


def test_refusals_have_types(opened: Callable[..., Any]) -> None:
    client, payment = opened(), new_payment()
    client.decide(payment)
    with pytest.raises(Conflict) as conflict:
        client.decide({**payment, "amount_cents": 7})
    assert (conflict.value.type, conflict.value.status) == ("/problems/conflict", 409)
    assert conflict.value.request_id
    with pytest.raises(InvalidRequest) as invalid:
        client.decide(new_payment(amount_cents=-1))
    assert [each.field for each in invalid.value.errors] == ["amount_cents"]
    assert "amount_cents" in str(invalid.value)
    with pytest.raises(Unauthorised):
        opened("wrong").decide(payment)
    with pytest.raises(Forbidden, match="decide"):
        opened("stranger").decide(payment)
    with pytest.raises(Unknown):
        opened("stranger").decision(payment["end_to_end_id"])
    with pytest.raises(Unknown):
        client.decision("../store")


def test_a_batch_brings_each_its_own(opened: Callable[..., Any]) -> None:
    first, second = new_payment(), new_payment()
    results = opened().decide_batch([first, {**second, "amount_cents": 0}, {**first, "amount_cents": 9}, second])
    assert [each.status if isinstance(each, Problem) else each.action for each in results] == [
        "ALLOW",
        422,
        409,
        "ALLOW",
    ]
    assert isinstance(results[1], InvalidRequest)


@pytest.mark.parametrize("is_lost_after", [False, True])
@pytest.mark.parametrize("fault", [broken, refused, unavailable, lambda: unavailable(429)])
def test_it_is_sent_again_with_the_same_bytes_and_decided_once(
    opened: Callable[..., Any], kafka: HandBroker, fault: Fault, is_lost_after: bool
) -> None:
    line, payment = Faulty(fault, fault, is_lost_after=is_lost_after), new_payment()
    decision = opened(transport=line).decide(payment)
    assert (decision.action, len(line.bodies), len(set(line.bodies))) == ("ALLOW", 3, 1)
    assert len(kafka.taken) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 422, 500, 502])
def test_nothing_else_is_sent_again(opened: Callable[..., Any], status: int) -> None:
    line = Faulty(*[lambda: unavailable(status)] * 3)
    with pytest.raises(Problem) as refusal:
        opened(transport=line).decide(new_payment())
    assert (refusal.value.status, len(line.bodies)) == (status, 1)


@pytest.mark.parametrize(("fault", "error"), [(broken, NoAnswer), (unavailable, Unavailable)])
def test_it_gives_up_at_its_deadline(opened: Callable[..., Any], fault: Fault, error: type[Exception]) -> None:
    line, start = Faulty(*[fault] * 1_000), time.monotonic()
    with pytest.raises(error):
        opened(transport=line, deadline_seconds=0.6).decide(new_payment())
    assert time.monotonic() - start < 0.6 + 0.5
    # A few times, with growing pauses, also where a service asks for none.
    assert 2 <= len(line.bodies) <= 5


def test_it_waits_as_long_as_it_was_asked_to_or_gives_up_at_once(opened: Callable[..., Any]) -> None:
    line, start = Faulty(lambda: unavailable(after="1")), time.monotonic()
    opened(transport=line).decide(new_payment())
    assert 1.0 <= time.monotonic() - start < 2.0
    start = time.monotonic()
    with pytest.raises(Unavailable) as refusal:
        opened(transport=Faulty(lambda: unavailable(after="60"))).decide(new_payment())
    assert (refusal.value.retry_after_seconds, time.monotonic() - start < 1.0) == (60.0, True)


def test_its_own_limit_is_an_error_of_its_own(opened: Callable[..., Any]) -> None:
    payment, small = new_payment(), opened("small")
    with suppress(RateLimited):
        small.decide(payment)
    with pytest.raises(RateLimited) as limited:
        small.decide(payment)
    assert limited.value.type == "/problems/rate-limited"


def test_payments_have_the_fields_of_the_contract() -> None:
    (contract,) = (schema(each) for each in CONTRACTS if each.name == "payment")
    assert Payment.__annotations__.keys() == contract["properties"].keys()
    assert Payment.__required_keys__ == set(contract["required"])


def test_it_needs_nothing_of_the_platform() -> None:
    code = (
        "import json, sys; import sentinela_client; print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    )
    folder = REPOSITORY / "clients" / "python"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stdout))
    assert {"sentinela_client", "httpx", "stamina"} <= imported
    assert not imported & {"pix", "serving", "sentinela", "pydantic", "starlette", "numpy", "bentoml"}
