"""What stands around the API in a worker's process: what is loaded, by whom, and what comes first."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from api_by_hand import KEY, HandBroker, api
from documented import ApiClient, undocumented
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from traffic import body

from pix.store.memory import MemoryStore
from serving import correlation, patience, shedding, worker
from serving.worker import FrontProtocol


def loaded(what: str) -> set[str]:
    """Modules of a new process after an import."""
    code = f"import json, sys\n{what}\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_process_that_watches_over_the_workers_loads_none_of_their_parts() -> None:
    found = loaded("import serving.service")
    assert {"bentoml", "serving.service"} <= found
    assert not found & {"numba", "numpy", "pyarrow", "lmdb", "confluent_kafka", "serving.worker", "pix.contracts"}


ASKING = """
import serving.worker
from learning.errors import RegistryUnavailable
from learning.registry import champion
try:
    champion("http://127.0.0.1:9", "pix_fraud")
except RegistryUnavailable:
    print("asked")
"""


def test_a_worker_loads_neither_mlflow_nor_what_only_offline_work_needs() -> None:
    """Not even when it asks MLflow, once a second."""
    found = loaded(ASKING)
    assert {"numba", "httpx", "serving.worker"} <= found
    assert not found & {"mlflow", "pandas", "catboost", "pyspark", "dagster", "duckdb", "sklearn"}


@contextmanager
def fronted(app: Starlette, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[str]]]:
    """The API behind the service's own protocol: its port, and what BentoML's application was asked meanwhile."""
    asked: list[str] = []

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        asked.append(scope["type"])

    monkeypatch.setattr(worker, "app", app)
    server = uvicorn.Server(uvicorn.Config(behind, port=0, log_level="error", http=FrontProtocol, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1], asked
    server.should_exit = True
    thread.join(10)


def test_payments_do_not_pass_bentomls_layers(
    store: MemoryStore, kafka: HandBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        fronted(api(store, kafka), monkeypatch) as (port, asked),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=KEY) as client,
    ):
        decided = client.post("/v1/decisions", json=body(1))
        assert (decided.status_code, decided.json()["action"]) == (200, "ALLOW")
        assert client.get(f"/v1/decisions/{decided.json()['end_to_end_id']}").content == decided.content
        assert client.get("/livez").json() == {"status": "alive"}
        assert client.get("/schema.json").status_code == 404
    assert asked == []


def test_what_is_too_much_is_told_to_wait_before_anything_is_made_of_it(
    store: MemoryStore, kafka: HandBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing may be under way: documented refusals, probes, a body that comes late, an end of the connection."""
    app = api(store, kafka)
    with fronted(app, monkeypatch) as (port, _):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=KEY) as client:
            assert client.post("/v1/decisions", json=body(1)).status_code == 200
            taken = len(kafka.taken)
            monkeypatch.setattr(shedding, "MAX_UNDER_WAY", 0)
            for _ in range(3):
                told = client.post("/v1/decisions", json=body(2), headers={"X-Request-Id": "abc"})
                assert undocumented(told) is None
                assert (told.status_code, told.json()["type"]) == (429, "/problems/too-many-requests")
                assert (told.headers["x-request-id"], told.headers["retry-after"]) == ("abc", "1")
            assert client.get("/livez").status_code == 200
            # An answer without a body is left to the API, which has a limit of its own.
            assert client.head("/v1/model").status_code == 200
            monkeypatch.setattr(shedding, "MAX_UNDER_WAY", 128)
            assert client.post("/v1/decisions", json=body(2)).status_code == 200
        assert len(kafka.taken) == taken + 1
        monkeypatch.setattr(shedding, "MAX_UNDER_WAY", 0)
        head = b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n%s\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(head % b"")
            assert connection.recv(4096).startswith(b"HTTP/1.1 429 ")
            # The body may come nevertheless; it is no request.
            connection.sendall(b"GET ")
            connection.sendall(head % b"Connection: close\r\n" + b"GET ")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
            assert (answer[:13], answer.count(b"HTTP/1.1")) == (b"HTTP/1.1 429 ", 1)


def test_a_refused_body_that_never_comes_holds_no_connection(
    store: MemoryStore, kafka: HandBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shedding, "MAX_UNDER_WAY", 0)
    monkeypatch.setattr(patience, "HEAD_SECONDS", 0.2)
    with (
        fronted(api(store, kafka), monkeypatch) as (port, _),
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
    ):
        connection.sendall(b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 429 ")


def test_an_answer_that_takes_too_long_is_given_up_and_says_so(
    client: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correlation, "GIVEN_UP_SECONDS", 0.05)
    assert client.post("/decisions", json=body(1)).status_code == 200

    async def for_ever(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("serving.deciding.Decisions.decide", for_ever)
    answer = client.post("/decisions", json=body(2), headers={"X-Request-Id": "abc"})
    assert (answer.status_code, answer.json()["type"]) == (504, "/problems/took-too-long")
    assert "abc" in answer.json()["detail"]
