"""What a hostile or broken caller sends: refused by name, nothing decided, nothing unforeseen."""

import gzip
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from api_by_hand import HandBroker, api
from documented import ApiClient
from serving_by_hand import served
from traffic import NOW_MS, body, label, rfc3339

from pix.store.memory import MemoryStore
from serving import bodies
from serving.http import create_app

JSON = {"Content-Type": "application/json"}
WRITING = ("/decisions", "/decisions:dry-run", "/decisions:batch", "/labels:fold", "/store:rebuild", "/store:roll-back",
           f"/decisions/{body(1)['end_to_end_id']}/feedback")  # fmt: skip
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def planted(text: str, name: str = "amount_cents") -> bytes:
    """A payment with JSON of ours as one field's value."""
    return json.dumps(body(1, **{name: "HERE"})).replace('"HERE"', text).encode()


@pytest.mark.parametrize("path", WRITING)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"a":1',
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe{}",
        b"\x00",
        b"{}{}",
        b'{"a":1_000}',
        b'{"a":' + b"7" * 5_000 + b"}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":' * 2_700 + b"1" + b"}" * 2_700,
        b"[" * 16_000,
        json.dumps(body(1)).encode("utf-16"),
    ],
)
def test_what_is_no_json_object(client: ApiClient, kafka: HandBroker, path: str, content: bytes) -> None:
    answer = client.post(path, content=content, headers=JSON)
    assert answer.status_code == 400
    assert kafka.taken == []


@pytest.mark.parametrize("path", WRITING)
def test_100_000_levels_and_a_key_twice(client: ApiClient, path: str) -> None:
    assert client.post(path, content=b'{"a":' * 100_000, headers=JSON).status_code in (400, 413)
    assert client.post(path, content=b'{"kind":"x","kind":"x"}', headers=JSON).status_code == 422


@pytest.mark.parametrize(
    "amount",
    ["1e999", "-1", "0", "true", "false", '"777"', "7.775", "777.0", "777e2", "[777]", "{}", "null", "7" * 400, "-0"],
)
def test_amounts_that_are_none(client: ApiClient, kafka: HandBroker, amount: str) -> None:
    answer = client.post("/decisions", content=planted(amount), headers=JSON)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == ["amount_cents"]
    assert "777" not in answer.text
    assert kafka.taken == []


@pytest.mark.parametrize(
    "text",
    ["\\ud800", "\\u0000", "\\u200b52998224725", "٥٢٩٩٨٢٢٤٧٢٥", "\\u202e52998224725", "52998224725\\n", " 52998224725"],
)
def test_texts_that_only_look_like_a_tax_id(client: ApiClient, text: str) -> None:
    answer = client.post("/decisions", content=planted(f'"{text}"', "payer_tax_id"), headers=JSON)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["payer_tax_id"]
    assert "52998224725" not in answer.text


@pytest.mark.parametrize("tax_id", ["52998224725", "12ABC34501DE35"])
def test_real_tax_ids_are_taken(client: ApiClient, tax_id: str) -> None:
    assert client.post("/decisions", json=body(1, payer_tax_id=tax_id)).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        {"topic": "\ud800", "partition": 0, "offset": 0, "received_at_ms": NOW_MS, "body_sha256": "a" * 64},
        {"topic": "t", "partition": "0", "offset": 0, "received_at_ms": NOW_MS, "body_sha256": "a" * 64},
        {"topic": "t", "partition": 0, "offset": -1, "received_at_ms": NOW_MS, "body_sha256": "a" * 64},
        {"topic": "t", "partition": 0, "offset": 2**63, "received_at_ms": NOW_MS, "body_sha256": "a" * 64},
        {"topic": "t", "partition": 0, "offset": 0, "received_at_ms": 1e300, "body_sha256": "a" * 64},
        {"topic": "t", "partition": 0, "offset": 0, "received_at_ms": True, "body_sha256": "a" * 64},
        {"topic": "t", "partition": 0, "offset": 0, "received_at_ms": NOW_MS + 60_001, "body_sha256": "a" * 64},
        {"topic": "t", "partition": 0, "offset": 0, "received_at_ms": NOW_MS, "body_sha256": "\ud800"},
        {"topic": "t", "partition": 0, "offset": 0, "received_at_ms": NOW_MS, "body_sha256": "a" * 64, "more": 1},
        {"topic": "t"},
    ],
)
def test_an_origin_that_is_none_is_refused_by_itself(
    client: ApiClient, kafka: HandBroker, origin: dict[str, object]
) -> None:
    content = json.dumps({"payments": [body(1), body(2)], "origins": [origin, {}]}).encode()
    results = client.post("/decisions:batch", content=content, headers=JSON).json()["results"]
    assert [result["status"] for result in results] == [422, 200]
    assert len(kafka.taken) == 1


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/decisions:batch", {"payments": [body(1)], "more": 1}),
        ("/decisions:batch", {"payments": [body(1)] * 1_001}),
        ("/decisions:batch", {"payments": {}}),
        ("/labels:fold", {"labels": [{}], "more": 1}),
        ("/store:rebuild", {"version": 2**31}),
        ("/store:rebuild", {"version": -1}),
        ("/store:rebuild", {"force": 1}),
        ("/store:roll-back", {"generation": 10**30}),
        ("/store:roll-back", {"generation": True}),
    ],
)
def test_shapes_that_are_none(client: ApiClient, path: str, content: dict[str, object]) -> None:
    assert client.post(path, json=content).status_code == 422


def test_a_label_of_any_depth_and_time_is_refused_by_itself(client: ApiClient) -> None:
    client.post("/decisions", json=body(1))
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    fields = label(str(body(1)["end_to_end_id"]), "accepted", NOW_MS).model_dump(
        exclude={"tenant", "fraud_type", "review"}
    )
    fields |= {name: rfc3339(fields[name]) for name in ("effective_at", "known_at")}
    items: list[object] = [
        {"label": {"a": deep}, "received_at_ms": NOW_MS},
        {"label": {**fields, "source": "\ud800"}, "received_at_ms": NOW_MS},
        {"label": fields, "received_at_ms": 10**40},
        {"label": fields, "received_at_ms": -1},
        {"label": fields, "received_at_ms": NOW_MS},
    ]
    content = json.dumps({"labels": items}).encode()
    results = client.post("/labels:fold", content=content, headers=JSON).json()["results"]
    assert [result["status"] for result in results] == [422, 422, 422, 422, 200]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/vnd.bentoml+pickle"},
        {"Content-Type": "application/json-seq"},
        {"Content-Type": "application/json; charset=utf-16"},
        {**JSON, "Content-Encoding": "gzip"},
        {**JSON, "Content-Encoding": "br, gzip"},
    ],
)
def test_other_media_types(client: ApiClient, kafka: HandBroker, headers: dict[str, str]) -> None:
    bomb = gzip.compress(b" " * 10**6)
    answer = client.post(
        "/decisions", content=bomb if "Content-Encoding" in headers else b"cos\nsystem", headers=headers
    )
    assert answer.status_code == 415
    assert kafka.taken == []


@pytest.mark.parametrize("kind", ["application/json; charset=UTF-8", "Application/JSON;charset=utf-8"])
def test_json_in_utf_8_is_taken(client: ApiClient, kind: str) -> None:
    assert client.post("/decisions", content=json.dumps(body(1)), headers={"Content-Type": kind}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/decisions/"),
        ("GET", "/store/../policy/x"),
        ("GET", "/store/%2e%2e/policy"),
        ("POST", "/decisions:batch/"),
        ("PROPFIND", "/nothing"),
    ],
)
def test_paths_that_are_none(client: ApiClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/decisions", "POST"),
        ("DELETE", "/store", "GET, HEAD"),
        ("TRACE", "/policy", "GET, HEAD"),
        ("OPTIONS", "/model", "GET, HEAD"),
    ],
)
def test_methods_that_a_route_does_not_take(client: ApiClient, method: str, path: str, allow: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        ("", False),
    ],
)
def test_the_callers_trace_goes_on_where_it_is_one(client: ApiClient, given: str, is_kept: bool) -> None:
    answer = client.post("/decisions", json=body(1), headers={"traceparent": given})
    trace, span, flags = answer.headers["traceparent"].split("-")[1:]
    assert (trace == TRACE, flags) == ((True, "01") if is_kept else (False, "00"))
    assert span != SPAN
    assert answer.json()["trace_id"] == trace


@pytest.mark.parametrize("path", ["/decisions/x", "/nothing", "/policy"])
def test_the_callers_request_id_comes_back(client: ApiClient, path: str) -> None:
    assert client.get(path, headers={"X-Request-Id": "req.7:A_b-1"}).headers["x-request-id"] == "req.7:A_b-1"
    for doubtful in ("a b", "x" * 129, "<script>", "é".encode("latin-1")):
        told = client.get(path, headers={"X-Request-Id": doubtful}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", told)


def test_without_the_key_nothing_is_told(client: ApiClient) -> None:
    for given in ("", "Bearer no", "Bearer key ", "bearer key", "Basic key", "Bearer kéy".encode()):
        for method, path in (("POST", "/decisions"), ("GET", "/nothing"), ("GET", "/store"), ("PUT", "/decisions")):
            answer = client.request(method, path, headers={"Authorization": given})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_fault_is_a_problem_too_and_names_its_request(
    client: ApiClient, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: the store fails in a way that nobody foresaw."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(store, "snapshot", broken)
    answer = client.post("/decisions", json=body(1), headers={"X-Request-Id": "abc"})
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal")
    assert "abc" in answer.json()["detail"]
    assert "ZeroDivision" not in answer.text


def test_before_its_start_the_service_says_so() -> None:
    answer = ApiClient(create_app()).get("/policy")
    assert (answer.status_code, answer.json()["type"], answer.headers["retry-after"]) == (
        503,
        "/problems/starting",
        "1",
    )


@pytest.fixture
def address(kafka: HandBroker, store: MemoryStore) -> Iterator[tuple[str, int]]:
    """The API behind a real server."""
    with served(api(store, kafka)) as address:
        yield address


HEAD = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key\r\nContent-Type: application/json\r\n"


def told(address: tuple[str, int], *sent: bytes) -> bytes:
    """What the server answers to these bytes before it closes the connection or falls silent."""
    answer = b""
    with closing(socket.create_connection(address, timeout=5)) as connection:
        try:
            for part in sent:
                connection.sendall(part)
        except OSError:
            # It does not listen to the rest.
            pass
        connection.settimeout(1)
        try:
            while part := connection.recv(65_536):
                answer += part
        except OSError:
            pass
    return answer


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def test_an_endless_chunked_body_is_not_read(address: tuple[str, int]) -> None:
    megabyte = chunk(b" " * 2**20)
    answer = told(address, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[megabyte] * 64)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"/problems/too-large" in answer
    assert b"connection: close" in answer.lower()


def test_a_body_that_says_it_is_too_large_is_not_waited_for(address: tuple[str, int]) -> None:
    assert told(address, HEAD + b"Content-Length: 1073741824\r\n\r\n{").startswith(b"HTTP/1.1 413 ")


def test_a_body_that_never_ends_is_given_up(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    assert told(address, HEAD + b"Content-Length: 100\r\n\r\n{").startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        HEAD + b"Content-Length: x\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n",
        HEAD + b"X-Request-Id: a\rb\r\n\r\n",
        b"POST /v1/decisions HTTP/9.9\r\n\r\n",
    ],
)
def test_broken_http_is_refused(address: tuple[str, int], kafka: HandBroker, head: bytes) -> None:
    answer = told(address, head)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
    assert kafka.taken == []


def test_no_header_of_ours_can_be_smuggled_in(address: tuple[str, int]) -> None:
    answer = told(
        address, b"GET /v1/decisions/x%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key\r\n"
        b"Connection: close\r\nX-Request-Id: a%0d%0aX-Evil: 1\r\n\r\n",
    )  # fmt: skip
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"x-evil" not in answer.lower()
