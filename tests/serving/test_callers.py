"""Who may do what: every route takes a scope, and nothing but the open ones answers a key without it."""

import re

import pytest
from api_by_hand import HandBroker, api
from documented import ApiClient, loaded
from starlette.routing import Route

from pix.store.memory import MemoryStore
from serving import guard
from serving.callers import SCOPE_OF, SCOPES, Caller
from serving.http import ROUTES, scoped

METHODS = [(method, route.path) for route in ROUTES for method in sorted((route.methods or set()) - {"HEAD"})]


def as_caller(monkeypatch: pytest.MonkeyPatch, *scopes: str) -> ApiClient:
    monkeypatch.setattr(guard, "LOCAL", Caller("somebody", frozenset(scopes)))
    return ApiClient(api(MemoryStore(), HandBroker()), headers={"Authorization": "Bearer key"})


@pytest.mark.parametrize(("method", "path"), METHODS)
def test_every_route_refuses_a_key_without_its_scope(monkeypatch: pytest.MonkeyPatch, method: str, path: str) -> None:
    scope = SCOPE_OF[method, path]
    address = re.sub(r"\{.*?\}", "x", path)
    if scope is None:
        assert path in ("/openapi.json", "/docs", "/docs/{name}")
        return
    assert scope in SCOPES
    answer = as_caller(monkeypatch, *(SCOPES.keys() - {scope})).request(method, address)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")
    assert scope in answer.json()["detail"]
    assert as_caller(monkeypatch, scope).request(method, address).status_code != 403


def test_a_route_that_no_scope_is_declared_for_cannot_be_served() -> None:
    with pytest.raises(KeyError):
        scoped(Route("/new", lambda _: None, methods=["GET"]))
    assert {*METHODS} == SCOPE_OF.keys()


def test_the_document_names_the_scopes() -> None:
    for (method, path), scope in SCOPE_OF.items():
        if path in loaded()["paths"]:
            told = loaded()["paths"][path][method.lower()]["security"]
            assert told == ([] if scope is None else [{"key": [scope]}])
    assert all(scope in loaded()["components"]["securitySchemes"]["key"]["description"] for scope in SCOPES)
