"""`sentinela rollback` and `promote`: verified first, followed by the service, and no payment notices."""

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn
from api_by_hand import KEY, HandBroker, api
from published import Publisher, trained
from starlette.applications import Starlette
from starlette.routing import Mount
from traffic import NOW_MS, Clock, body

from learning.succession import NOBODY, Succession
from pix.store.memory import MemoryStore
from sentinela.cli import main
from sentinela.succession import until_served
from serving.champion import Models
from serving.door import door_by_hand
from serving.operator import NoAnswer
from serving.running import Running

SENDERS = 3
LOOK_SECONDS = 0.2


def without_signature(folder: Path) -> None:
    (folder / "model.sig").unlink()


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def registry(tracking: str, tmp_path: Path, request: pytest.FixtureRequest) -> Publisher:
    """Two versions that served one after the other, in a home that ``sentinela`` finds."""
    made = Publisher(tracking, tmp_path, f"pix_fraud-{abs(hash(request.node.name))}")
    succession, serves = Succession(tracking, made.name), NOBODY
    for seed in (1, 2):
        version = made.publish(trained(seed), alias="challenger")
        succession.promote(version, [f"seed {seed}"], over=serves, now=datetime(2026, 11, 20 + seed, tzinfo=UTC))
        serves = version
    return made


@pytest.fixture
def typed(registry: Publisher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Types a command into the home."""
    monkeypatch.setenv("SENTINELA_HOME", str(registry.folder))
    monkeypatch.setenv("SENTINELA_MODEL_NAME", registry.name)

    def run(*words: str, mlflow: str = "", service: str = "http://127.0.0.1:9") -> Ran:
        monkeypatch.setenv("SENTINELA_MLFLOW_URI", mlflow or registry.uri)
        monkeypatch.setenv("SENTINELA_SERVING_URL", service)
        monkeypatch.setattr(sys, "argv", ["sentinela", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        capture = capsys.readouterr()
        return Ran(int(ended.value.code or 0), capture.out, capture.err)

    return run


@pytest.fixture
def service(registry: Publisher) -> Iterator[str]:
    """Address of a service over HTTP that looks for its champion five times a second."""
    models = Models(lambda alias: registry.keeper(pytest.fail, alias=alias))
    models.refresh(with_challenger=False)
    app = api(MemoryStore(), HandBroker(), clock=Clock())
    deciding = replace(app.state.running.pipeline, champion=lambda: models.champion)
    app.state.running = Running(deciding, HandBroker(), door_by_hand({"key": {}}, Clock()), models=models)  # type: ignore[arg-type]
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(LOOK_SECONDS):
            models.refresh(with_challenger=False)

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=[Mount("/v1", app)]), log_level="error"))
    threads = [threading.Thread(target=server.run, kwargs={"sockets": [listening]}), threading.Thread(target=look)]
    for thread in threads:
        thread.start()
    (registry.keys / "api-key").write_text("key\n")
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    stop.set()
    for thread in threads:
        thread.join()
    listening.close()


class Senders:
    """Ask for decisions without pause, each thread its own payments, and keep every answer."""

    def __init__(self, url: str) -> None:
        self.answers: list[tuple[int, Any]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(url, place)) for place in range(SENDERS)]

    def __enter__(self) -> "Senders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, url: str, place: int) -> None:
        number = place
        with httpx.Client(base_url=url, headers=KEY, timeout=30, trust_env=False) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post("/v1/decisions", json=body(number, NOW_MS, amount_cents=100 + 7 * number))
                    self.answers.append((answer.status_code, answer.json()))
                except httpx.HTTPError as failed:
                    self.answers.append((0, str(failed)))
                number += SENDERS

    def version_after(self, count: int) -> str:
        """The version of a decision that is asked for later than now."""
        wanted = len(self.answers) + count
        while len(self.answers) < wanted:
            self._stop.wait(0.01)
        return str(self.answers[-1][1]["model"]["version"])


def test_a_rollback_under_load_loses_nothing(registry: Publisher, typed: Command, service: str) -> None:
    with Senders(service) as senders:
        assert senders.version_after(50) == "2"
        ran = typed("rollback", "--by", "Ana", "--reason", "false alarms", "--json", service=service)
        assert senders.version_after(50) == "1"
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert (told["from"], told["to"], told["by"], told["reason"]) == ("2", "1", "Ana", "false alarms")
    assert told["served_after_seconds"] < 10
    assert [answer for answer in senders.answers if answer[0] != 200] == []
    versions = [answer["model"]["version"] for _, answer in senders.answers]
    assert set(versions) == {"1", "2"}
    assert {answer["mode"] for _, answer in senders.answers} == {"normal"}
    assert Succession(registry.uri, registry.name).versions()["2"].rolled_back.endswith("by Ana (false alarms)")


def test_without_a_service_the_alias_moves_and_says_so(registry: Publisher, typed: Command) -> None:
    ran = typed("rollback", "--by", "Ana")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("champion: version 2 -> 1, by Ana\nthe alias is moved; the service of ")
    assert Succession(registry.uri, registry.name).serving() == "1"
    again = typed("rollback")
    assert again.code == 1
    assert "served before 1" in again.err
    (registry.keys / "api-key").write_text("key\n")
    back = typed("rollback", "--to", "2", "--json")
    assert back.code == 0
    assert "does not answer" in json.loads(back.out)["service"]


@pytest.mark.parametrize("to", ["3", "9", "two"])
def test_a_version_that_never_served_is_bad_use(registry: Publisher, typed: Command, to: str) -> None:
    registry.publish(trained(2), alias="challenger")
    ran = typed("rollback", "--to", to)
    assert ran.code == 2
    assert "never served; those that did: 1" in ran.err
    assert Succession(registry.uri, registry.name).serving() == "2"


def test_a_version_that_must_not_be_served_is_not_returned_to(registry: Publisher, typed: Command) -> None:
    versions = Succession(registry.uri, registry.name)
    served = {"promoted_at": "2026-11-21T12:00:00+00:00"}
    spoilt = registry.publish(trained(1), alias=None, after_signing=without_signature, **served)
    assert versions.before() == spoilt
    ran = typed("rollback")
    assert ran.code == 1
    assert "the alias was not moved; refused (unsigned)" in ran.err
    assert versions.serving() == "2"
    assert versions.versions()["2"].rolled_back == ""
    assert typed("rollback", "--to", "1").code == 0
    assert versions.serving() == "1"


def test_without_mlflow_nothing_moves(typed: Command) -> None:
    for words in (["rollback"], ["promote", "2"]):
        ran = typed(*words, mlflow="http://127.0.0.1:9")
        assert ran.code == 3
        assert "MLflow at http://127.0.0.1:9 does not answer" in ran.err


def test_a_person_promotes_what_was_proposed_and_nothing_else(registry: Publisher, typed: Command) -> None:
    versions = Succession(registry.uri, registry.name)
    third = registry.publish(trained(1), alias="challenger")
    ran = typed("promote", third, "--by", "Ana")
    assert ran.code == 2
    assert "version 3 is not proposed" in ran.err
    versions.propose(third, ["better"], over="2", now=datetime(2026, 11, 23, tzinfo=UTC))
    assert typed("promote", third, "--by", "Ana", "--note", "seen").out.startswith("champion: version 2 -> 3, by Ana\n")
    assert versions.versions()["3"].tags["promotion_note"] == "seen"
    assert versions.serving() == "3"

    unsigned = registry.publish(trained(2), alias="challenger", after_signing=without_signature)
    versions.propose(unsigned, ["better"], over="3", now=datetime.now(UTC))
    ran = typed("promote", unsigned, "--by", "Ana")
    assert ran.code == 1
    assert "refused (unsigned)" in ran.err
    assert versions.serving() == "3"


def test_the_service_is_asked_until_it_follows_or_ten_seconds_are_over() -> None:
    clock, answers = [0.0], iter(["2", "2", "1"])

    def wait(seconds: float) -> None:
        clock[0] += seconds

    served, why = until_served(lambda: {"model": {"version": next(answers)}}, "1", timer=lambda: clock[0], wait=wait)
    assert (served, why) == (pytest.approx(0.4), "")
    served, why = until_served(lambda: {"model": None}, "1", timer=lambda: clock[0], wait=wait)
    assert served is None
    assert why.startswith("after 10 s the service still decides by version none")

    def away() -> Any:
        raise NoAnswer("nobody there")

    assert until_served(away, "1", timer=lambda: clock[0], wait=wait) == (None, "nobody there")
