"""Who may do what: every route takes a scope, clients and tenants are strangers, and nobody asks for ever."""

import asyncio
import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from api_by_hand import HandBroker, api, opened
from documented import ApiClient, loaded
from starlette.routing import Route
from starlette.testclient import TestClient
from traffic import NOW_MS, Clock, body, label, rfc3339

from pix.contracts import label_id
from pix.store.memory import MemoryStore
from serving import guard, limits
from serving.callers import SCOPE_OF, SCOPES
from serving.http import ROUTES, scoped

METHODS = [(method, route.path) for route in ROUTES for method in sorted((route.methods or set()) - {"HEAD"})]
EVERYTHING = tuple(SCOPES)
CLIENT = tuple(SCOPES.keys() - {"read:all"})
NOW, ENDED, LATER = (datetime.fromtimestamp((NOW_MS + ms) / 1000, UTC) for ms in (0, -1, 1))
KEYS: dict[str, dict[str, object]] = {
    "anna-key": {"owner": "anna", "scopes": CLIENT, "tenants": ("default",)},
    "anna-other": {"owner": "anna", "scopes": CLIENT, "tenants": ("default",)},
    "bert-key": {"owner": "bert", "scopes": CLIENT, "tenants": ("default",)},
    "cleo-key": {"owner": "cleo", "scopes": EVERYTHING, "tenants": ("cleo",)},
    "auditor-key": {"owner": "auditor", "scopes": ("read", "read:all", "feedback"), "tenants": ("default",)},
}


def client_of(app: object, key: str) -> ApiClient:
    return ApiClient(app, headers={"Authorization": f"Bearer {key}"})  # type: ignore[arg-type]


class Clients:
    """One service and a client per key."""

    def __init__(self, keys: dict[str, dict[str, object]]) -> None:
        self.kafka = HandBroker()
        self.app = api(MemoryStore(), self.kafka, keys=keys)

    def __getitem__(self, key: str) -> ApiClient:
        return client_of(self.app, key)


@pytest.fixture
def clients() -> Clients:
    return Clients(KEYS)


def named(number: int) -> str:
    return str(body(number)["end_to_end_id"])


@pytest.mark.parametrize(("method", "path"), METHODS)
def test_every_route_refuses_a_key_without_its_scope(method: str, path: str) -> None:
    scope = SCOPE_OF[method, path]
    address = re.sub(r"\{.*?\}", "x", path)
    if scope is None:
        assert path in ("/openapi.json", "/docs", "/docs/{name}")
        return
    assert scope in SCOPES
    clients = Clients({"without": {"scopes": tuple(SCOPES.keys() - {scope})}, "with": {"scopes": (scope,)}})
    answer = clients["without"].request(method, address)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")
    assert scope in answer.json()["detail"]
    assert clients["with"].request(method, address).status_code not in (401, 403)


def test_a_route_that_no_scope_is_declared_for_cannot_be_served() -> None:
    with pytest.raises(KeyError):
        scoped(Route("/new", lambda _: None, methods=["GET"]))
    assert {*METHODS} == SCOPE_OF.keys()
    assert [scoped(route).endpoint for route in ROUTES] == [route.endpoint for route in ROUTES]


def test_the_document_names_the_scopes() -> None:
    for (method, path), scope in SCOPE_OF.items():
        if path in loaded()["paths"]:
            told = loaded()["paths"][path][method.lower()]["security"]
            assert told == ([] if scope is None else [{"key": [scope]}])
    assert all(scope in loaded()["components"]["securitySchemes"]["key"]["description"] for scope in SCOPES)


def test_a_client_sees_what_it_asked_for_with_any_of_its_keys(clients: Clients) -> None:
    first = clients["anna-key"].post("/decisions", json=body(1))
    (record,) = clients.kafka.taken
    assert json.loads(record.value)["origin"] == {"kind": "rest", "client": "anna"}
    for key in ("anna-key", "anna-other", "auditor-key", "key"):
        assert clients[key].get(f"/decisions/{named(1)}").content == first.content
        assert clients[key].post(f"/decisions/{named(1)}/feedback", json={"kind": "dismissed"}).status_code == 202


def test_a_thousand_decisions_of_another_client_are_unknown(clients: Clients) -> None:
    """The same bytes as for an id that nobody ever decided, whichever way the id is asked about."""
    anna, bert = (
        TestClient(clients.app, headers={"Authorization": f"Bearer {key}"}) for key in ("anna-key", "bert-key")
    )
    payments = [body(number) for number in range(1_000)]
    results = anna.post("/decisions:batch", json={"payments": payments}).json()["results"]
    assert Counter(result["status"] for result in results) == {200: 1_000}
    unknown = clients["bert-key"].get(f"/decisions/{named(9_999)}")
    answers = (bert.get(f"/decisions/{named(number)}") for number in range(1_000))
    with bert:
        told = Counter((answer.status_code, answer.content) for answer in answers)
    assert told == {(404, unknown.content): 1_000}
    verdict = {"kind": "dismissed", "known_at": rfc3339(NOW_MS)}
    unknown = clients["bert-key"].post(f"/decisions/{named(9_999)}/feedback", json=verdict)
    for number in range(5):
        answer = clients["bert-key"].post(f"/decisions/{named(number)}/feedback", json=verdict)
        assert (answer.status_code, answer.content) == (404, unknown.content)
    assert {message.topic for message in clients.kafka.taken} == {"pix.decisions"}


def test_whoever_sends_the_whole_payment_gets_its_decision_but_owns_nothing(clients: Clients) -> None:
    """One decision per payment, whichever client of the tenant asks: a retry may take another way."""
    first = clients["anna-key"].post("/decisions", json=body(1))
    assert clients["bert-key"].post("/decisions", json=body(1)).content == first.content
    assert clients["bert-key"].post("/decisions", json=body(1, amount_cents=7)).status_code == 409
    assert clients["bert-key"].get(f"/decisions/{named(1)}").status_code == 404
    assert len(clients.kafka.taken) == 1


def test_what_came_by_kafka_is_for_those_who_may_see_all(clients: Clients) -> None:
    place = {"topic": "pix.transactions", "partition": 3, "offset": 17}
    sent = {"payments": [body(1)], "origins": [{**place, "received_at_ms": NOW_MS, "body_sha256": "a" * 64}]}
    assert clients["auditor-key"].post("/decisions:batch", json=sent).status_code == 403
    assert clients["key"].post("/decisions:batch", json=sent).status_code == 200
    assert clients["anna-key"].get(f"/decisions/{named(1)}").status_code == 404
    assert clients["auditor-key"].get(f"/decisions/{named(1)}").status_code == 200


def test_only_an_operator_says_where_in_kafka_a_payment_lay() -> None:
    clients = Clients({"decider": {"owner": "decider", "scopes": ("decide",)}})
    answer = clients["decider"].post("/decisions:batch", json={"payments": [body(1)], "origins": [{}]})
    assert (answer.status_code, clients.kafka.taken) == (403, [])
    assert clients["decider"].post("/decisions:batch", json={"payments": [body(1)]}).status_code == 200


@pytest.mark.parametrize("name", ["rest", "default", "normal", "ann", "nna", "client", "allowed"])
def test_no_other_word_of_a_record_passes_for_its_client(name: str) -> None:
    clients = Clients({**KEYS, "other": {"owner": name, "scopes": CLIENT}})
    clients["anna-key"].post(
        "/decisions", json=body(1, remittance_text=f'"origin":{{"client":"{name}","kind":"rest"}}')
    )
    assert clients["anna-key"].get(f"/decisions/{named(1)}").status_code == 200
    assert clients["other"].get(f"/decisions/{named(1)}").status_code == 404


def test_tenants_are_strangers(clients: Clients) -> None:
    theirs = clients["cleo-key"].post("/decisions", json=body(1, tenant="cleo"))
    assert theirs.status_code == 200
    for path, sent in (
        ("/decisions", body(2, tenant="cleo")),
        ("/decisions", body(1, tenant="cleo")),
        ("/decisions:dry-run", body(2, tenant="cleo")),
    ):
        answer = clients["anna-key"].post(path, json=sent)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")
    results = clients["anna-key"].post("/decisions:batch", json={"payments": [body(2, tenant="cleo"), body(3)]})
    assert [result["status"] for result in results.json()["results"]] == [403, 200]
    # The same id under the own tenant is another payment.
    ours = clients["anna-key"].post("/decisions", json=body(1))
    assert (ours.status_code, ours.content == theirs.content) == (200, False)
    for key, tenant in (("anna-key", "cleo"), ("auditor-key", "cleo"), ("cleo-key", "default")):
        unknown = clients[key].get(f"/decisions/{named(9_999)}")
        asked = clients[key].get(f"/decisions/{named(1)}", params={"tenant": tenant})
        assert (asked.status_code, asked.content) == (404, unknown.content)
        verdict = clients[key].post(
            f"/decisions/{named(1)}/feedback", params={"tenant": tenant}, json={"kind": "dismissed"}
        )
        assert verdict.status_code == 404
    fields = label(named(1), "accepted", NOW_MS).model_dump(exclude={"tenant", "fraud_type", "review", "label_id"})
    content: dict[str, object] = fields | {name: rfc3339(fields[name]) for name in ("effective_at", "known_at")}
    items = [{"label": {**content, "label_id": label_id(content)}, "received_at_ms": NOW_MS}]
    (result,) = clients["cleo-key"].post("/labels:fold", json={"labels": items}).json()["results"]
    assert result["status"] == 403
    assert [message.topic for message in clients.kafka.taken] == ["pix.decisions"] * 3


def bad_credentials() -> Iterator[list[bytes]]:
    """Values of the Authorization headers of one request that must not open anything."""
    good = [b"key", b"anna-other"]
    dead = [b"expired", b"revoked", b"rotated"]
    schemes = (b"bearer ", b"BEARER ", b"Bearer", b"Bearer  ", b"Basic ", b"Digest ", b"Token ", b"ApiKey ", b"",
               b" Bearer ", b"Bearer\t", b"Bearer:", b"Bearer=")  # fmt: skip
    for key in dead:
        yield [b"Bearer " + key]
    for key in good:
        yield from ([scheme + key] for scheme in schemes)
        yield from ([b"Bearer " + key[:size]] for size in range(len(key)))
        yield from ([b"Bearer " + key[size:]] for size in range(1, len(key)))
        yield from ([b"Bearer " + key[:at] + bytes([key[at] ^ 32]) + key[at + 1 :]] for at in range(len(key)))
        yield from ([b"Bearer " + key[:at] + bytes([key[at] + 1]) + key[at + 1 :]] for at in range(len(key)))
        yield from ([b"Bearer " + key[:at] + key[at : at + 1] + key[at:]] for at in range(len(key)))
        yield from ([b"Bearer " + key[:at] + b" " + key[at:]] for at in range(len(key) + 1))
        yield from (
            [b"Bearer " + key + end] for end in (b" ", b"\t", b"x", b",", b"=", b"\x80", b"%00", b"/", b"." * 9_000)
        )
        yield [b"Basic " + base64.b64encode(b"user:" + key)]
        yield [b"Bearer " + base64.b64encode(key)]
        yield [b"Bearer " + key, b"Bearer " + key]
        yield [b"Bearer no", b"Bearer " + key]
        yield [b"Bearer " + key, b"Basic x"]
        yield [b"Bearer " + key + b", Bearer " + key]
        yield [b'Bearer "' + key + b'"']
        yield [b"Bearer " + key.decode().encode("utf-16")]
    for text in ("chave-é", "ключ", "鍵", "\u200bkey", "key\u0301", "ｋｅｙ"):
        yield [b"Bearer " + text.encode()]
    for size in (0, 1, 511, 512, 513, 10_000, 60_000):
        yield [b"Bearer " + b"k" * size]
    tokens = ("none", "HS256", "RS256", "ES256")
    for algorithm in tokens:
        for claims in ({}, {"exp": 1}, {"nbf": 2**40}, {"aud": "other"}, {"scope": "admin"}, {"sub": "local"}):
            head = {"alg": algorithm, "typ": "JWT", "kid": "../../secrets/api-key", "crit": ["x"]}
            parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, claims)]
            yield from ([b"Bearer " + b".".join([*parts, end])] for end in (b"", b"c2ln", base64.b64encode(b"key")))
    yield []


def test_bad_credentials_open_nothing() -> None:
    clients = Clients(
        {
            **KEYS,
            "expired": {"expires_at": ENDED},
            "rotated": {"expires_at": NOW},
            "revoked": {"revoked_at": ENDED, "expires_at": LATER},
            "valid": {"expires_at": LATER},
        }
    )
    told, bare = Counter[tuple[int, bytes]](), ApiClient(clients.app)
    for given in bad_credentials():
        answer = bare.get("/store", headers=[(b"authorization", value) for value in given])
        told[answer.status_code, answer.content] += 1
        assert answer.headers["www-authenticate"] == "Bearer"
    assert len(told) == 1
    assert told.total() >= 200
    assert next(iter(told))[0] == 401
    assert clients["valid"].get("/store").status_code == 200


def test_forged_headers_name_nobody(clients: Clients) -> None:
    names = ("X-User", "X-Forwarded-User", "X-Remote-User", "X-Client-Id", "X-Tenant", "X-Scopes", "X-Original-URL",
             "X-HTTP-Method-Override", "Cookie", "Proxy-Authorization", "X-Api-Key")  # fmt: skip
    for name in names:
        for value in ("local", "admin", "Bearer key", "key"):
            assert ApiClient(clients.app).get("/store", headers={name: value}).status_code == 401
            assert clients["auditor-key"].get("/store", headers={name: value}).status_code == 403


def limited(per_minute: int, burst: int, *others: str) -> Clients:
    small = {"rate_per_minute": per_minute, "burst": burst}
    return Clients({"small": {"owner": "small", **small}, **{key: {"owner": key, **small} for key in others}})


def test_a_client_that_used_up_what_it_may_ask_waits() -> None:
    clients = limited(30, 3, "other")
    statuses = [clients["small"].post("/decisions", json=body(1)).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    answer = clients["small"].get("/policy")
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/rate-limited")
    assert int(answer.headers["retry-after"]) in (1, 2)
    # Others are not held up by it.
    assert clients["other"].post("/decisions", json=body(1)).status_code == 200
    assert clients["key"].post("/decisions", json=body(1)).status_code == 200


def test_a_look_up_that_finds_nothing_costs_twenty() -> None:
    clients = limited(60, 50)
    assert clients["small"].post("/decisions", json=body(1)).status_code == 200
    assert [clients["small"].get(f"/decisions/{named(1)}").status_code for _ in range(9)] == [200] * 9
    assert [clients["small"].get(f"/decisions/{named(2)}").status_code for _ in range(3)] == [404, 404, 429]
    analyst = limited(1, 40)["small"]
    assert [analyst.get(f"/reviews/{named(1)}").status_code for _ in range(3)] == [404, 404, 429]


def test_conflicts_feedback_and_batches_cost_what_they_tell() -> None:
    for path, sent, status in (
        ("/decisions", body(1, amount_cents=7), 409),
        (f"/decisions/{named(2)}/feedback", {"kind": "dismissed"}, 404),
        (f"/reviews/{named(2)}:confirm", {}, 404),
        ("/decisions:batch", {"payments": [body(number) for number in range(10, 30)]}, 200),
        ("/decisions:batch", {"payments": [body(1, amount_cents=7)]}, 200),
    ):
        clients = limited(1, 41)
        assert clients["small"].post("/decisions", json=body(1)).status_code == 200
        assert [clients["small"].post(path, json=sent).status_code for _ in range(3)] == [status, status, 429], path


def test_guesses_of_keys_are_limited_by_address_and_hold_up_nobody_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ATTEMPTS_AT_ONCE", 5)
    monkeypatch.setattr(limits, "ATTEMPTS_PER_SECOND", 1)
    app = api(MemoryStore(), HandBroker(), keys=KEYS)
    wrong = {"Authorization": "Bearer wrong"}
    here, there = (ApiClient(app, client=(address, 1)) for address in ("10.0.0.7", "10.0.0.8"))
    assert [here.get("/store", headers=wrong).status_code for _ in range(6)] == [401] * 5 + [429]
    assert here.get("/store", headers=wrong).headers["retry-after"] == "1"
    assert there.get("/store", headers=wrong).status_code == 401
    assert here.get("/store", headers={"Authorization": "Bearer key"}).status_code == 200


def test_a_full_worker_turns_everybody_away_and_says_when(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_UNDER_WAY", 1)
    running, publish, inner = clients.app.state.running, clients.kafka.publish, Counter[int]()

    async def meanwhile(*given: Any) -> list[str]:
        assert running.under_way == 1
        answer = await asyncio.to_thread(clients["bert-key"].get, "/policy")
        inner[answer.status_code] += 1
        assert (answer.json()["type"], answer.headers["retry-after"]) == ("/problems/too-many-requests", "1")
        return await publish(*given)

    monkeypatch.setattr(clients.kafka, "publish", meanwhile)
    assert clients["anna-key"].post("/decisions", json=body(1)).status_code == 200
    assert (inner, running.under_way) == ({429: 1}, 0)
    assert clients["bert-key"].get("/policy").status_code == 200


def test_a_key_ends_while_the_service_runs() -> None:
    clock = Clock()
    with opened(api(MemoryStore(), HandBroker(), clock=clock, keys={"short": {"expires_at": LATER}})) as client:
        short = {"Authorization": "Bearer short"}
        assert client.get("/policy", headers=short).status_code == 200
        clock.now_ms += 1
        assert client.get("/policy", headers=short).status_code == 401
