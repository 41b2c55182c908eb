"""The OpenAPI document is the API's: every route, every status, as published; and its pages need no network."""

import json
from typing import Any

import pytest
from documented import ApiClient, undocumented
from jsonschema import Draft202012Validator
from starlette.routing import Route

from pix.contracts.schemas import CONTRACTS, schema
from serving.__main__ import REPOSITORY, files
from serving.http import ROUTES, create_app
from serving.openapi import document
from serving.problems import PROBLEM_TYPES
from serving.reference_pages import ASSETS, PAGE


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        if method != "servers"
    }


@pytest.mark.parametrize("path", sorted(files()))
def test_the_published_files_are_current(path: str) -> None:
    assert (REPOSITORY / path).read_text(encoding="utf-8") == files()[path], f"{path} is old: run `make contracts`"


def test_the_document_has_the_routes_and_no_others() -> None:
    served = {(method, route.path) for route in ROUTES for method in (route.methods or set()) - {"HEAD"}}
    # Files of the page that shows the document.
    served.remove(("GET", "/docs/{name}"))
    outside = {("GET", path) for path in ("/livez", "/readyz", "/metrics")}
    assert set(operations()) == served | outside
    assert all(isinstance(route, Route) for route in ROUTES)


def test_every_operation_says_what_may_happen() -> None:
    told = operations()
    assert len({operation["operationId"] for operation in told.values()}) == len(told)
    for (method, path), operation in told.items():
        statuses = set(operation["responses"])
        is_open = operation.get("security") == []
        assert is_open or statuses >= {"401", "429", "500", "503"}, path
        assert method != "POST" or statuses >= {"400", "408", "413", "415", "422"}, path


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    components = document()["components"]
    for content in components["schemas"].values():
        Draft202012Validator.check_schema(content)
    text = json.dumps(document())
    for part in text.split('"$ref": "')[1:]:
        _, kind, name = part.partition('"')[0].removeprefix("#/").split("/")
        assert name in components[kind]


def test_payments_and_labels_are_those_of_the_topics() -> None:
    """One contract, whichever way a payment comes."""
    schemas = document()["components"]["schemas"]
    for name, component in (("payment", "Payment"), ("label", "Label")):
        (contract,) = (schema(each) for each in CONTRACTS if each.name == name)
        told = {key: contract[key] for key in contract if key not in ("$schema", "$id", "title", "$defs")}
        for ours, theirs in ((component, told), *contract.get("$defs", {}).items()):
            wanted = told if theirs is told else {key: theirs[key] for key in theirs if key != "title"}
            assert json.loads(json.dumps(schemas[ours]).replace("#/components/schemas/", "#/$defs/")) == wanted


def test_every_problem_is_documented_somewhere() -> None:
    told = {status for operation in operations().values() for status in operation["responses"]}
    # Whatever takes no such method is no operation.
    assert {str(kind.status) for kind in PROBLEM_TYPES} - {"405"} <= told
    assert len({kind.slug for kind in PROBLEM_TYPES}) == len(PROBLEM_TYPES)


def test_the_document_and_its_page_are_open_and_local() -> None:
    """Also before the service has started, and without a key."""
    client = ApiClient(create_app())
    assert client.get("/openapi.json").json() == document()
    page = client.get("/docs")
    assert page.text == PAGE
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("start.js", *sorted(ASSETS)):
        file = super(ApiClient, client).request("GET", f"/docs/{name}")
        assert (file.status_code, bool(file.content)) == (200, True), name
    assert "://" not in PAGE
    assert client.get("/decisions/x").status_code == 503


@pytest.mark.parametrize("name", ["index.html", "..%2fflask_swagger_ui.py", "%2e%2e/LICENSE", "LICENSE", "a%0d%0ab"])
def test_no_other_file_is_given_out(name: str) -> None:
    answer = super(ApiClient, ApiClient(create_app())).request("GET", f"/docs/{name}")
    assert answer.status_code in (401, 404, 503)
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_answer_that_is_not_as_documented_is_seen() -> None:
    """The planted faults of the helper that every test of the API rests on."""
    good = ApiClient(create_app()).get("/openapi.json")
    assert undocumented(good) is None
    for plant in (
        lambda answer: answer.headers.pop("x-request-id"),
        lambda answer: answer.headers.update({"traceparent": "00-1-1-00"}),
        lambda answer: answer.headers.update({"content-type": "text/plain"}),
        lambda answer: answer.headers.update({"retry-after": "1"}),
        lambda answer: setattr(answer, "status_code", 204),
        lambda answer: setattr(answer, "_content", b"[]"),
    ):
        answer = ApiClient(create_app()).get("/openapi.json")
        plant(answer)
        assert undocumented(answer) is not None
