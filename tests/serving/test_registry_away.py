"""MLflow dies under load and stays away; payments are decided, before and after a restart, by the right version."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import mlflow
import pytest
import traffic
from published import Publisher, trained

from learning import registry
from learning.ensemble import vector_of
from serving.champion import Models
from serving.outcomes import Done
from serving.pipeline import DecisionPipeline
from serving.records import parse_record
from tests.conftest import free_ports

MINUTES_AWAY = 10


class Server:
    """A real MLflow server, as ``sentinela up`` starts it."""

    def __init__(self, folder: Path) -> None:
        (self._port,) = free_ports(1)
        self._folder = folder
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(self._folder / "artifacts")),
        ]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self._process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
        give_up_at = time.monotonic() + 120
        while time.monotonic() < give_up_at:
            try:
                if httpx.get(f"{self.uri}/health", trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.5)
        pytest.fail("MLflow did not start")

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


class Service:
    """Decides without pause, and looks for models each second, as the service does."""

    def __init__(self, published: Publisher, uri: str) -> None:
        self.models = Models(lambda alias: published.keeper(lambda _: None, uri=uri, alias=alias))
        self.records: list[dict[str, object]] = []
        self.failed = 0
        self._stop = threading.Event()
        self._looking = threading.Thread(target=self._look)

    def __enter__(self) -> "Service":
        if not self.models.restore():
            self.models.refresh(with_challenger=False)
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._looking.join()

    def _look(self) -> None:
        while not self._stop.wait(1):
            self.models.refresh(with_challenger=False)

    def decide_for(self, seconds: float, pause: float) -> None:
        plain = traffic.pipeline()
        pipeline = DecisionPipeline(
            store=plain.store, keyring=plain.keyring, champion=lambda: self.models.champion, policy=plain.policy,
            now_ms=plain.now_ms, build="test",
        )  # fmt: skip
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            number = len(self.records) + self.failed
            message = traffic.message(number, amount_cents=100 + 7 * number)
            outcome = pipeline.decide(message, traffic.arrival(traffic.NOW_MS))
            content = parse_record(outcome.record) if isinstance(outcome, Done) else {"mode": "none"}
            if content["mode"] == "normal":
                self.records.append(content)
            else:
                self.failed += 1
            time.sleep(pause)


@pytest.mark.faults
@pytest.mark.timeout(MINUTES_AWAY * 60 + 600)
def test_ten_minutes_without_mlflow(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    server = Server(tmp_path)
    server.start()
    before = mlflow.get_tracking_uri()
    try:
        mlflow.MlflowClient(server.uri).create_experiment(registry.EXPERIMENT)
        published = Publisher(server.uri, tmp_path)
        old, new = trained(1), trained(2)
        first = published.publish(old)
        with Service(published, server.uri) as service:
            service.decide_for(3, 0.01)
            server.kill()
            service.decide_for(MINUTES_AWAY * 60 / 2, 0.05)
        with Service(published, server.uri) as restarted:
            assert restarted.models.champion is not None
            assert restarted.models.champion.source == "cache"
            restarted.decide_for(MINUTES_AWAY * 60 / 2, 0.05)
            server.start()
            second = published.publish(new)
            promoted = time.monotonic()
            while restarted.models.champion.identity["version"] != second:
                assert time.monotonic() < promoted + 60
                restarted.decide_for(0.2, 0.01)
            restarted.decide_for(2, 0.01)
    finally:
        server.kill()
        mlflow.set_tracking_uri(before)
    records = service.records + restarted.records
    wrong = sum(not _is_scored_by({first: old, second: new}, record) for record in records)
    failed = service.failed + restarted.failed
    record_property("figures", f"{len(records)} decided, {failed} not, {wrong} by a wrong version")
    assert (failed, wrong) == (0, 0)


def _is_scored_by(versions: dict[str, object], record: dict[str, object]) -> bool:
    model = versions[record["model"]["version"]]  # type: ignore[index]
    row = vector_of(record["features"]).tolist()  # type: ignore[arg-type]
    return record["raw_score"] == float(model.predict(row, prediction_type="RawFormulaVal"))  # type: ignore[attr-defined]
