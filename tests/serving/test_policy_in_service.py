"""The service itself, with a broker: its policy file changes under traffic, well and badly."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from policies import EMPTY
from traffic import body

from pix.clock import epoch_ms
from pix.contracts import canonical_json
from pix.settings import Settings
from sentinela.runtime import kafka
from sentinela.runtime.home import Home, prepare
from sentinela.runtime.ports import CHOICE, is_free
from serving.policy import parse_policy
from serving.policy_archive import find
from tests.streams.support import delete_topics

RULE = "rules:\n  - {name: any, when: amount_cents > 5, action: %s}\n"
GOOD = [EMPTY + RULE % action for action in ("REVIEW", "BLOCK", "BLOCK_AND_REVIEW")]
REPOSITORY = Path(__file__).parents[2]


class Service:
    """One real service and a sender that never stops."""

    def __init__(self, settings: Settings, policy: Path) -> None:
        self.settings, self.policy = settings, policy
        self.records: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._over = threading.Event()
        key = (settings.secrets / "api-key").read_text().strip()
        self.client = httpx.Client(
            base_url=settings.service, headers={"Authorization": f"Bearer {key}"}, timeout=20, trust_env=False
        )
        self._sender = threading.Thread(target=self._send)

    def _send(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            sent = canonical_json(body(number, epoch_ms()))
            answer = self.client.post("/v1/decisions", content=sent, headers={"Content-Type": "application/json"})
            if answer.status_code == 200:
                self.records.append(answer.json())
            else:
                self.failures.append(answer.text)
            time.sleep(0.02)

    def __enter__(self) -> "Service":
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._sender.join()

    def shows(self, **expected: object) -> dict[str, Any]:
        """What ``GET /v1/policy`` says, once it says this."""
        deadline = time.monotonic() + 20
        while True:
            shown: dict[str, Any] = self.client.get("/v1/policy").json()
            if all(bool(shown[name]) is value if isinstance(value, bool) else shown[name] == value
                   for name, value in expected.items()):  # fmt: skip
                return shown
            assert time.monotonic() < deadline, (expected, shown)
            time.sleep(0.1)


@pytest.fixture
def service(broker: str, tmp_path: Path) -> Iterator[Service]:
    home, policy = Home(tmp_path / "home"), tmp_path / "policy.yaml"
    prepare(home)
    policy.write_text(GOOD[0])
    port = next(port for port in CHOICE if is_free(port))
    settings = Settings(
        home=home.root, kafka_bootstrap=broker, serving_port=port, policy_file=policy, mlflow_uri="http://127.0.0.1:9"
    )
    kafka.create_topics(settings)
    environment = {
        "SENTINELA_HOME": str(home.root), "SENTINELA_KAFKA_BOOTSTRAP": broker, "SENTINELA_POLICY_FILE": str(policy),
        "SENTINELA_MLFLOW_URI": settings.mlflow_uri, "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_HOME": str(tmp_path / "bento"),
    }  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", "serving.service:DecisionService", "--host", "127.0.0.1",
             "--port", str(port)],
            cwd=REPOSITORY, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(settings, process, tmp_path / "log")
        yield Service(settings, policy)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        # The broker is the whole run's, and others begin with topics that are not there.
        delete_topics(broker)


def wait_for(settings: Settings, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 150
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{settings.service}/readyz", trust_env=False, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    pytest.fail(f"the service did not start: {log.read_text()[-3000:]}")


@pytest.mark.faults
def test_a_policy_changes_under_traffic_without_a_failure(service: Service, record_property: Any) -> None:
    versions = {parse_policy(text, "p").version: text for text in GOOD}
    with service:
        for text in GOOD[1:]:
            service.policy.write_text("thresholds: [")
            assert "policy.yaml" in service.shows(problem=True)["problem"]
            metrics = service.client.get("/metrics").text
            assert "sentinela_policy_refused 1.0" in metrics
            changed = epoch_ms()
            service.policy.write_text(text)
            shown = service.shows(problem=None, text=text)
            assert 0 <= shown["loaded_at_ms"] - changed - 2000 < 3000
            time.sleep(0.5)
    assert service.failures == []
    met = {record["policy_version"] for record in service.records}
    assert met == set(versions)
    for version in met:
        assert find(service.settings.lake, version) == versions[version]
    changes = [
        version
        for version, after in zip(met_in_order(service), met_in_order(service)[1:], strict=False)
        if version != after
    ]
    assert len(changes) == len(GOOD) - 1
    for record in service.records:
        policy = parse_policy(versions[record["policy_version"]], "p")
        assert (record["action"], record["rule_hits"]) == (policy.rules[0].action, ["any"])
    record_property("figures", f"{len(service.records)} decisions, {len(GOOD)} versions, 2 bad files, 0 failures")


def met_in_order(service: Service) -> list[str]:
    return [record["policy_version"] for record in service.records]
