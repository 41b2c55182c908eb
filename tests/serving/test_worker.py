"""What stands around the API in a worker's process: what is loaded, by whom, and what comes first."""

import asyncio
import json
import subprocess
import sys
import threading
import time

import httpx
import pytest
import uvicorn
from api_by_hand import KEY, HandBroker, api
from documented import ApiClient
from starlette.types import Receive, Scope, Send
from traffic import body

from pix.store.memory import MemoryStore
from serving import correlation, worker
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


def test_payments_do_not_pass_bentomls_layers(
    store: MemoryStore, kafka: HandBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a real connection; what stands for BentoML's application must not be asked."""
    asked: list[str] = []

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        asked.append(scope["type"])

    monkeypatch.setattr(worker, "app", api(store, kafka))
    config = uvicorn.Config(behind, port=0, log_level="error", http=FrontProtocol, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=KEY) as client:
        decided = client.post("/v1/decisions", json=body(1))
        assert (decided.status_code, decided.json()["action"]) == (200, "ALLOW")
        assert client.get(f"/v1/decisions/{decided.json()['end_to_end_id']}").content == decided.content
        assert client.get("/livez").json() == {"status": "alive"}
        assert client.get("/schema.json").status_code == 404
    server.should_exit = True
    thread.join(10)
    assert asked == []


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
