"""A client of the API that holds every answer against the OpenAPI document."""

import json
import re
from functools import cache
from typing import Any
from urllib.parse import unquote

import httpx
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from starlette.testclient import TestClient

from serving.openapi import document
from serving.problems import PROBLEM_JSON

BASE = "/v1"
UNNAMED = (404, 405)


class ApiClient(TestClient):
    """Fails where an answer has a status, a header, a media type or a content that the document does not know."""

    def request(self, *arguments: Any, **named: Any) -> httpx.Response:  # type: ignore[override]
        answer = super().request(*arguments, **named)
        broken = undocumented(answer)
        assert broken is None, f"{answer.request.method} {answer.request.url.path} {answer.status_code}: {broken}"
        return answer


def undocumented(answer: httpx.Response) -> str | None:
    """What of an answer the document does not say; None if it says everything."""
    path = unquote(answer.request.url.path).removeprefix(BASE)
    operation = _operation(answer.request.method, path)
    if operation is None:
        if answer.status_code in UNNAMED or answer.status_code == 401:
            return _broken_content(answer, PROBLEM_JSON, {"$ref": f"#/components/schemas/Problem{answer.status_code}"})
        return "is no operation of the document"
    response = operation["responses"].get(str(answer.status_code))
    if response is None:
        return "this status is not documented"
    return _broken_headers(answer, response.get("headers", {})) or _broken_body(answer, response)


def _operation(method: str, path: str) -> dict[str, Any] | None:
    for template, operations in loaded()["paths"].items():
        shape = re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template))
        if re.fullmatch(shape, path):
            found: dict[str, Any] | None = operations.get("get" if method == "HEAD" else method.lower())
            return found
    return None


@cache
def loaded() -> dict[str, Any]:
    """The document as a reader gets it."""
    content: dict[str, Any] = json.loads(json.dumps(document()))
    return content


def _broken_headers(answer: httpx.Response, headers: dict[str, Any]) -> str | None:
    for name, reference in headers.items():
        told = loaded()["components"]["headers"][reference["$ref"].rpartition("/")[2]]
        if name not in answer.headers:
            if told.get("required"):
                return f"the header {name} is missing"
        elif broken := _broken(answer.headers[name], told["schema"]):
            return f"header {name}: {broken}"
    for name in ("Retry-After", "Sentinela-Delivery", "WWW-Authenticate"):
        if name in answer.headers and name not in headers:
            return f"the header {name} is not documented"
    return None


def _broken_body(answer: httpx.Response, response: dict[str, Any]) -> str | None:
    ((media_type, content),) = response["content"].items()
    return _broken_content(answer, media_type, content["schema"])


def _broken_content(answer: httpx.Response, media_type: str, schema: dict[str, Any]) -> str | None:
    told = answer.headers["content-type"].partition(";")[0]
    if told != media_type:
        return f"is {told} instead of {media_type}"
    if answer.request.method == "HEAD":
        return None if answer.content == b"" else "has a body"
    return _broken(answer.json() if media_type.endswith("json") else answer.text, schema)


def _broken(value: object, schema: dict[str, Any]) -> str | None:
    whole = {**schema, "components": {"schemas": loaded()["components"]["schemas"]}}
    assert validator_for(whole, default=Draft202012Validator) is Draft202012Validator
    errors = sorted(Draft202012Validator(whole).iter_errors(value), key=str)
    return None if not errors else f"{errors[0].json_path}: {errors[0].message}"
