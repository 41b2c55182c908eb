"""What an instance consists of: how each part is started, judged and ended.

A service that is configured to live elsewhere (your own Kafka, MLflow or decision service) is judged
the same way and never started or ended.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any
from urllib.parse import urlparse

from fraud_streaming import meters
from pix import locks, streams
from pix.settings import Settings
from sentinela.configuration import REPOSITORY
from sentinela.runtime import dagster_home, kafka
from sentinela.runtime.home import Home
from sentinela.runtime.ports import HOST
from sentinela.runtime.processes import Step, of_service, read_record

BROKER, TRACKING, SERVING = "kafka", "mlflow", "serving"
CODE, WEBSERVER, DAEMON, STORE = "dagster-code", "dagster", "dagster-daemon", "store"
SUPERVISOR = "supervisor"
# Names as `status` lists them, the streams before the code server.
PROCESSES = (BROKER, STORE, TRACKING, SERVING, WEBSERVER, DAEMON)

POLITE = (Step(SIGTERM, everyone=False, wait_seconds=15), Step(SIGTERM, everyone=True, wait_seconds=5))
# SIGTERM to a code server alone waits for its endless runs; SIGINT to all of it closes them.
INTERRUPT = (Step(SIGINT, everyone=True, wait_seconds=20), Step(SIGTERM, everyone=True, wait_seconds=5))

# Last started, first ended; what feeds the others goes last.
ENDING: Mapping[str, tuple[Step, ...]] = {
    SUPERVISOR: POLITE,
    DAEMON: POLITE,
    CODE: INTERRUPT,
    WEBSERVER: POLITE,
    SERVING: POLITE,
    TRACKING: POLITE,
    BROKER: POLITE,
}

REVIVING = (SUPERVISOR, DAEMON)
"""Parts that start others again; they are ended before those."""

Probe = Callable[[], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One supervised process.

    Attributes:
        probe: None when it can be used now, else why not.
        deadline_seconds: How long it may take from its start until the probe is content.
        needs: Services that must be healthy before it is started.
        after: Services that it is better started after, whether they became healthy or not.
        ports: Settings of the ports it listens on.
        reads: Prefixes of the settings that it depends on; a change of them restarts it.
        working: What it is busy with before it can be healthy, and how far; it is waited for as long as it says so.
        prepare: Done before it is started.
        finish: Done once it is healthy.
    """

    name: str
    command: tuple[str, ...]
    probe: Probe
    deadline_seconds: float
    url: str | None
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    reads: str | tuple[str, ...] = ""
    working: Probe = lambda: None
    prepare: Callable[[], None] = lambda: None
    finish: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """A part that somebody else runs."""

    name: str
    probe: Probe
    url: str
    finish: Callable[[], None] = lambda: None


def stream_names(settings: Settings) -> tuple[str, ...]:
    """The continuous jobs."""
    return streams.names(settings.scoring_instances)


def pages(settings: Settings) -> dict[str, str | None]:
    """Pages for people that no process of their own shows: name -> address; None before there is anything on them."""
    index = settings.root / "reports" / "index.html"
    return {"drift": index.as_uri() if index.exists() else None, "mlflow": settings.mlflow}


def listed(settings: Settings) -> tuple[str, ...]:
    """Every part, as `status` lists them."""
    return (*PROCESSES, *stream_names(settings), CODE, SUPERVISOR)


def logged_with(settings: Settings) -> dict[str, str]:
    """Parts whose lines stand in another's log: streams are runs of the code server; the service has the store."""
    return {STORE: SERVING, **dict.fromkeys(stream_names(settings), CODE)}


def parts(settings: Settings, home: Home) -> list[Service | External]:
    """Every process of the instance, in the order of starting."""
    return [
        _broker(settings, home),
        _tracking(settings, home),
        _code(settings, home),
        _serving(settings, home),
        _webserver(settings, home),
        _daemon(settings, home),
        _supervisor(settings),
    ]


def local(settings: Settings, home: Home) -> list[Service]:
    """The parts that ``up`` starts."""
    return [part for part in parts(settings, home) if isinstance(part, Service)]


def _broker(settings: Settings, home: Home) -> Service | External:
    def probe() -> str | None:
        return kafka.problem(settings)

    def finish() -> None:
        kafka.create_topics(settings)

    if settings.kafka_bootstrap:
        return External(name=BROKER, probe=probe, url=settings.bootstrap, finish=finish)
    jars = REPOSITORY / ".jars" / "kafka"
    return Service(
        name=BROKER,
        command=kafka.command(home, jars),
        probe=probe,
        deadline_seconds=120,
        url=settings.bootstrap,
        ports=("kafka_port", "kafka_controller_port"),
        reads="kafka_",
        finish=finish,
        prepare=lambda: kafka.prepare(settings, home, jars),
    )


def _tracking(settings: Settings, home: Home) -> Service | External:
    def probe() -> str | None:
        return http_problem(f"{settings.mlflow}/health")

    if settings.mlflow_uri:
        return External(name=TRACKING, probe=probe, url=settings.mlflow)
    folder = home.folder("mlflow")
    return Service(
        name=TRACKING,
        command=(
            *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(settings.mlflow_port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ),
        probe=probe,
        deadline_seconds=180,
        url=settings.mlflow,
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        ports=("mlflow_port",),
        reads="mlflow_",
        prepare=lambda: folder.mkdir(exist_ok=True),
    )


def _serving(settings: Settings, home: Home) -> Service | External:
    def probe() -> str | None:
        problem = http_problem(f"{settings.service}/readyz")
        return problem and (_told_of_store(settings).get("problem") or problem)

    if settings.serving_url:
        return External(name=SERVING, probe=probe, url=settings.service)
    return Service(
        name=SERVING,
        command=(
            *(sys.executable, "-m", "bentoml", "serve", "serving.service:DecisionService"),
            *("--host", HOST, "--port", str(settings.serving_port)),
        ),
        probe=probe,
        deadline_seconds=180,
        url=settings.service,
        environment={"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(home.folder("bentoml"))},
        needs=(BROKER, TRACKING),
        ports=("serving_port",),
        working=lambda: _store_progress(settings),
        prepare=lambda: _prepare_serving(settings, home),
    )


def _told_of_store(settings: Settings) -> dict[str, Any]:
    """What the service says of its store; nothing while it does not answer."""
    from serving.operator import NotDone, Operator

    try:
        return Operator(settings.service, (settings.secrets / "api-key").read_text().strip()).store()
    except (NotDone, OSError):
        return {}


def _store_progress(settings: Settings) -> str | None:
    from serving.operator import progress

    building = [each for each in _told_of_store(settings).get("generations", []) if each["state"] == "building"]
    return f"building the online store, {progress(building[-1])}" if building else None


def _prepare_serving(settings: Settings, home: Home) -> None:
    home.folder("bentoml").mkdir(exist_ok=True)
    folder = store_folder(settings)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)


def _code(settings: Settings, home: Home) -> Service:
    environment = dagster_home.environment(home, settings.dagster_code_port)
    everything = {**common_environment(home, os.environ), **environment}
    # Another code location is for tests of the runtime alone.
    module = os.environ.get("SENTINELA_RUNTIME_CODE_MODULE", dagster_home.CODE_MODULE)
    return Service(
        name=CODE,
        command=dagster_home.code_command(settings.dagster_code_port, module, REPOSITORY),
        probe=lambda: dagster_home.code_problem(settings.dagster_code_port),
        deadline_seconds=180,
        url=None,
        environment=environment,
        ports=("dagster_code_port",),
        reads=("scoring_", "first_day"),
        prepare=lambda: dagster_home.prepare(home, REPOSITORY, everything),
    )


def _webserver(settings: Settings, home: Home) -> Service:
    return Service(
        name=WEBSERVER,
        command=dagster_home.webserver_command(settings.dagster_port, REPOSITORY),
        probe=lambda: dagster_home.webserver_problem(settings.dagster),
        deadline_seconds=180,
        url=settings.dagster,
        environment=dagster_home.environment(home, settings.dagster_code_port),
        needs=(CODE,),
        ports=("dagster_port",),
    )


def _daemon(settings: Settings, home: Home) -> Service:
    def probe() -> str | None:
        record = read_record(home, DAEMON)
        return dagster_home.daemon_problem(home, now=time.time(), started_at=record.started_at if record else 0.0)

    return Service(
        name=DAEMON,
        command=dagster_home.daemon_command(REPOSITORY),
        probe=probe,
        deadline_seconds=180,
        url=None,
        environment=dagster_home.environment(home, settings.dagster_code_port),
        needs=(CODE,),
        # Its sensors start the streams, which would run into a broker or service that is not there yet.
        after=(BROKER, SERVING),
    )


def _supervisor(settings: Settings) -> Service:
    def probe() -> str | None:
        url = meters.address(supervisor_metrics(settings), SUPERVISOR)
        return http_problem(url) if url else "it has shown no metrics yet"

    return Service(
        name=SUPERVISOR,
        command=(sys.executable, "-m", "sentinela.runtime.revival"),
        probe=probe,
        deadline_seconds=60,
        url=None,
        # Last, so that it finds everything as it should stay; also where a part failed, which it then starts again.
        after=(BROKER, TRACKING, CODE, SERVING, WEBSERVER, DAEMON),
    )


def supervisor_metrics(settings: Settings) -> Path:
    """Folder of the supervisor's address; one of its own, because the streams' folder holds streams alone."""
    return settings.metrics / SUPERVISOR


def common_environment(home: Home, inherited: Mapping[str, str]) -> dict[str, str]:
    """What every supervised process gets, whatever started the command."""
    return {
        **inherited,
        "SENTINELA_HOME": str(home.root),
        "PYTHONUNBUFFERED": "1",
        # Otherwise Spark's workers take whatever Python is first on the PATH.
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_DIRS": str(home.tmp),
        "SPARK_LOCAL_IP": HOST,
        "JDK_JAVA_OPTIONS": f"-Djava.io.tmpdir={home.tmp}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "NO_PROXY": _without_proxy(inherited),
        "no_proxy": _without_proxy(inherited),
    }


def _without_proxy(inherited: Mapping[str, str]) -> str:
    told = inherited.get("no_proxy") or inherited.get("NO_PROXY") or ""
    return ",".join(dict.fromkeys([*filter(None, told.split(",")), HOST, "localhost"]))


def http_problem(url: str) -> str | None:
    """Why a URL does not answer 200 now; None when it does."""
    import httpx

    try:
        answer = httpx.get(url, timeout=3.0, trust_env=urlparse(url).hostname not in (HOST, "localhost"))
    except httpx.HTTPError as error:
        return f"no answer from {url}: {error}"
    return None if answer.status_code == 200 else f"{url} answers {answer.status_code}"


def store_folder(settings: Settings) -> Path | None:
    """Folder of the embedded store; None when the store is a server."""
    url = urlparse(settings.store)
    return Path(url.path) if url.scheme == "lmdb" else None


def store_problem(settings: Settings, home: Home) -> str | None:
    """Why the online store cannot be used now; None when it can."""
    folder = store_folder(settings)
    if folder is None:
        return _redis_problem(settings.store)
    if not folder.is_dir():
        return f"there is no {folder} yet"
    if settings.serving_url:
        return None
    inside = f"{folder.resolve()}{os.sep}"
    for process in of_service(home, SERVING):
        if any(file.startswith(inside) for file in _open_files(process.pid)):
            return None
    return "the decision service does not have it open"


def _open_files(pid: int) -> list[str]:
    try:
        return [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []


def _redis_problem(url: str) -> str | None:
    import redis

    client = redis.Redis.from_url(url, socket_timeout=3.0, socket_connect_timeout=3.0)
    try:
        client.ping()
    except redis.RedisError as error:
        # The address may carry a password.
        return f"no answer from {urlparse(url).hostname}: {error}"
    finally:
        client.close()
    return None


def stream_holder(home: Home, name: str) -> int | None:
    """Process id of a running stream; None when it does not run."""
    return locks.holder(home.locks / name) or None


def running_streams(home: Home) -> dict[str, int]:
    """Name -> process id of every stream that runs on this home, whatever the settings say now."""
    found = (path.name for path in sorted(home.locks.glob("*_stream*")) if not path.suffix)
    return {name: pid for name in found if (pid := stream_holder(home, name))}
