"""The commands as a person types them, on homes where nothing runs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sentinela.runtime import processes
from sentinela.runtime.home import Home, prepare, write_runtime

Server = Callable[[int], "subprocess.Popen[bytes]"]
CLI = [sys.executable, "-c", "from sentinela.cli import main; main()"]
NAMES = [
    "kafka",
    "store",
    "mlflow",
    "serving",
    "dagster",
    "dagster-daemon",
    "score_stream",
    "label_stream",
    "bronze_stream",
    "dagster-code",
    "supervisor",
]


def run(environment: dict[str, str], *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*CLI, *words], env={**environment, **more}, capture_output=True, text=True, check=False, timeout=60
    )


def test_status_of_a_home_never_started_lists_every_part_and_exits_3(environment: dict[str, str]) -> None:
    done = run(environment, "status", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 3, done.stderr
    assert document["home"] == environment["SENTINELA_HOME"]
    assert [service["name"] for service in document["services"]] == NAMES
    assert not any(service["healthy"] for service in document["services"])
    assert {"name", "healthy", "pid", "url"} <= document["services"][0].keys()
    assert document["pages"]["drift"] is None
    assert document["pages"]["mlflow"].startswith("http")
    assert not Path(document["home"]).exists()


def test_status_says_where_reports_and_models_are_shown(environment: dict[str, str], runtime_home: Home) -> None:
    index = runtime_home.root / "reports" / "index.html"
    assert "no report yet" in run(environment, "status").stdout
    index.parent.mkdir()
    index.write_text("<html></html>")
    assert index.as_uri() in run(environment, "status").stdout
    assert json.loads(run(environment, "status", "--json").stdout)["pages"]["drift"] == index.as_uri()


def test_down_where_nothing_runs_says_so_and_makes_nothing(environment: dict[str, str]) -> None:
    done = run(environment, "down")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing was running" in done.stderr
    assert not Path(environment["SENTINELA_HOME"]).exists()


def test_up_refuses_a_configured_port_that_is_taken(environment: dict[str, str], server: Server, port: int) -> None:
    process = server(port)
    time.sleep(0.5)
    done = run(environment, "up", SENTINELA_MLFLOW_PORT=str(port))
    assert done.returncode == 2
    assert f"SENTINELA_MLFLOW_PORT={port}" in done.stderr
    assert f"process {process.pid}" in done.stderr
    assert not list((Path(environment["SENTINELA_HOME"]) / "run").iterdir())


def test_down_ends_what_up_started_and_nothing_else(
    environment: dict[str, str], runtime_home: Home, server: Server, port: int
) -> None:
    stranger = server(port)
    code = "import time; time.sleep(60)"
    started = [
        processes.start(
            runtime_home,
            name,
            [sys.executable, "-c", code],
            environment=os.environ,
            folder=runtime_home.root,
            fingerprint="f",
        )
        for name in ("kafka", "dagster-daemon")
    ]
    done = run(environment, "down")
    assert done.returncode == 0, done.stderr
    assert not any(record.alive for record in started)
    assert done.stderr.index("dagster-daemon: ended") < done.stderr.index("kafka: ended")
    assert stranger.poll() is None
    assert "nothing was running" in run(environment, "down").stderr


def test_down_ends_a_stream_by_its_lock(environment: dict[str, str], runtime_home: Home) -> None:
    hold = (
        "import fcntl, os, sys, time; fcntl.lockf(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX);"
        "print('held', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", hold, str(runtime_home.locks / "score_stream")]
    stream = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert stream.stdout is not None
    assert stream.stdout.readline() == "held\n"
    states = json.loads(run(environment, "status", "--json").stdout)["services"]
    assert next(s for s in states if s["name"] == "score_stream")["pid"] == stream.pid
    assert "score_stream: ended" in run(environment, "down").stderr
    stream.communicate()
    assert stream.returncode != 0


@pytest.mark.parametrize("command", ["status", "down", "up", "logs"])
def test_a_home_of_a_newer_version_is_refused(environment: dict[str, str], runtime_home: Home, command: str) -> None:
    write_runtime(runtime_home, settings={}, layout=99)
    done = run(environment, command, *(["kafka"] if command == "logs" else []))
    assert done.returncode == 2
    assert "newer version" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["logs", "nobody"], 2, "the names are kafka"),
        (["logs", "kafka"], 3, "run `sentinela up`"),
        (["status", "--nonsense"], 2, "No such option"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_wrong_calls_end_with_their_code(
    environment: dict[str, str], words: list[str], code: int, sentence: str
) -> None:
    done = run(environment, *words)
    assert done.returncode == code
    assert sentence in done.stderr


@pytest.mark.parametrize("value", ["many", "{}", ""])
def test_a_setting_that_cannot_be_read_is_named(environment: dict[str, str], value: str) -> None:
    done = run(environment, "status", SENTINELA_KAFKA_PORT=value)
    assert done.returncode == 2
    assert "SENTINELA_KAFKA_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_up_recorded_is_what_later_commands_read(environment: dict[str, str], runtime_home: Home) -> None:
    write_runtime(runtime_home, settings={"dagster_port": 31999})
    states = json.loads(run(environment, "status", "--json").stdout)["services"]
    assert next(s for s in states if s["name"] == "dagster")["url"] == "http://127.0.0.1:31999"


def test_doctor_prints_one_document(environment: dict[str, str]) -> None:
    done = run(environment, "doctor", "--json")
    checks = json.loads(done.stdout)["checks"]
    assert {check["name"] for check in checks} >= {
        "python",
        "java",
        "jars",
        "packages",
        "clock",
        "disk",
        "memory",
        "ports",
    }
    assert done.returncode == (1 if any(check["verdict"] == "fail" for check in checks) else 0)


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = [
        "pyspark",
        "mlflow",
        "dagster",
        "bentoml",
        "catboost",
        "evidently",
        "great_expectations",
        "pandas",
        "pydantic_settings",
    ]
    code = f"import sys, sentinela.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_prepare_is_repeatable(runtime_home: Home) -> None:
    prepare(runtime_home)
    prepare(runtime_home)


@pytest.mark.parametrize("command", ["status", "compare"])
def test_the_store_of_a_home_never_started_is_told_apart_from_an_empty_one(
    environment: dict[str, str], command: str
) -> None:
    done = run(environment, "store", command, "--json")
    assert (done.returncode, done.stdout) == (3, "")
    told = f"nothing was ever started in {environment['SENTINELA_HOME']}; run `sentinela up`"
    assert told in done.stderr
    assert not Path(environment["SENTINELA_HOME"]).exists()


def test_a_service_that_does_not_answer_is_named_with_its_address(environment: dict[str, str], port: int) -> None:
    home = Home(Path(environment["SENTINELA_HOME"]))
    prepare(home)
    done = run(environment, "store", "rebuild", SENTINELA_SERVING_PORT=str(port))
    assert done.returncode == 3
    assert f"127.0.0.1:{port} does not answer" in done.stderr
    assert "`sentinela up`" in done.stderr


def test_verify_of_a_home_never_started_says_so(environment: dict[str, str]) -> None:
    done = run(environment, "verify")
    assert done.returncode == 3
    assert "nothing was ever started in" in done.stderr
    assert "sentinela up" in done.stderr
