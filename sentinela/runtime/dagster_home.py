"""Dagster's home, and what its parts say about themselves.

Code server, webserver and daemon are three supervised processes: ``dagster dev`` does not bring back
a code server that was killed.
"""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sentinela.errors import NotRunning
from sentinela.runtime.home import Home
from sentinela.runtime.ports import HOST

CODE_MODULE = "fraud_assets.definitions"
LOCATION = "sentinela"
SECONDS = 3.0

# The parts of the daemon that the streams and the run queue stand on.
DAEMONS = ("SENSOR", "QUEUED_RUN_COORDINATOR")
BEAT_SECONDS = 90
LOCATIONS = """{ workspaceOrError { __typename
  ... on Workspace { locationEntries { name loadStatus
    locationOrLoadError { __typename ... on PythonError { message } } } }
  ... on PythonError { message } } }"""


def folder(home: Home) -> Path:
    """DAGSTER_HOME of this instance."""
    return home.folder("dagster")


def prepare(home: Home, repository: Path, environment: Mapping[str, str]) -> None:
    """Link the repository's instance configuration and create the databases once.

    Webserver and daemon started together on an empty home race to create the same SQLite schema.

    Raises:
        NotRunning: Dagster refuses its configuration.
    """
    folder(home).mkdir(exist_ok=True)
    _link(folder(home) / "dagster.yaml", repository / "dagster.yaml")
    ready = folder(home) / ".schema-created"
    if ready.exists():
        return
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "dagster", "instance", "info"],
        cwd=repository,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise NotRunning(f"Dagster refuses {folder(home)}: {(done.stderr or done.stdout).strip()[-1500:]}")
    ready.touch()


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def code_command(port: int, module: str, repository: Path) -> tuple[str, ...]:
    """Command of the code server."""
    return (
        *(sys.executable, "-m", "dagster", "api", "grpc"),
        *("--host", HOST, "--port", str(port)),
        *("--module-name", module, "--working-directory", str(repository)),
        *("--location-name", LOCATION),
    )


def webserver_command(port: int, repository: Path) -> tuple[str, ...]:
    """Command of the webserver."""
    return (
        *(sys.executable, "-m", "dagster_webserver"),
        *("--host", HOST, "--port", str(port), "--workspace", str(repository / "workspace.yaml")),
    )


def daemon_command(repository: Path) -> tuple[str, ...]:
    """Command of the daemon."""
    return (sys.executable, "-m", "dagster._daemon", "run", "--workspace", str(repository / "workspace.yaml"))


def code_problem(port: int) -> str | None:
    """Why the code server cannot be used now; None when it can."""
    import grpc
    from grpc_health.v1 import health_pb2
    from grpc_health.v1.health_pb2_grpc import HealthStub

    # A proxy from the environment is never for loopback.
    with grpc.insecure_channel(f"{HOST}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=SECONDS)
        except grpc.RpcError as error:
            return f"no answer on {HOST}:{port} ({error.code().name})"
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    return None if serving else f"the code server on {HOST}:{port} is not serving"


def webserver_problem(url: str) -> str | None:
    """Why the UI cannot be used now, a code location that does not load included."""
    answer = _query(url, LOCATIONS)
    if isinstance(answer, str):
        return answer
    workspace = answer["workspaceOrError"]
    if workspace["__typename"] != "Workspace":
        return f"the workspace does not load: {workspace.get('message')}"
    for entry in workspace["locationEntries"]:
        loaded = entry["locationOrLoadError"]
        if entry["loadStatus"] != "LOADED" or loaded is None:
            return f"code location {entry['name']} is loading"
        if loaded["__typename"] == "PythonError":
            return f"code location {entry['name']} does not load: {loaded['message'].strip()}"
    return None


def daemon_problem(home: Home, *, now: float, started_at: float) -> str | None:
    """Which part of the daemon has had no heartbeat lately; None when all have.

    Read from Dagster's own database: the UI calls a daemon healthy for half an hour after its death.

    Args:
        home: The instance's home.
        now: Seconds since the epoch.
        started_at: When the daemon started; a heartbeat before that is of an earlier one.
    """
    path = folder(home) / "history" / "runs.db"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=SECONDS)) as database:
            beats = dict(database.execute("select daemon_type, timestamp from daemon_heartbeats").fetchall())
    except sqlite3.Error as error:
        return f"cannot read {path}: {error}"
    since = max(started_at, now - BEAT_SECONDS)
    silent = [name for name in DAEMONS if _epoch(beats.get(name)) < since]
    return f"no heartbeat of {', '.join(silent)} for {now - since:.0f} s" if silent else None


def _epoch(stamp: str | None) -> float:
    if stamp is None:
        return 0.0
    return datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp()


def _query(url: str, text: str) -> dict[str, Any] | str:
    """Data of a GraphQL query, or in words why there is none."""
    import httpx

    try:
        answer = httpx.post(f"{url}/graphql", json={"query": text}, timeout=SECONDS, trust_env=False)
        data = answer.json().get("data")
    except (httpx.HTTPError, ValueError) as error:
        return f"no answer from {url}: {error}"
    return data if isinstance(data, dict) else f"{url} refuses the question: {answer.text[:300]}"


def environment(home: Home, code_port: int) -> dict[str, str]:
    """What every Dagster process needs to find its instance and the code server."""
    return {
        "DAGSTER_HOME": str(folder(home)),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "SENTINELA_DAGSTER_CODE_PORT": str(code_port),
    }
