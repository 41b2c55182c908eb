"""The local broker: one real KRaft node from its Maven jars, and the topics.

The topics are created on your own cluster too when they are missing; nothing existing is changed.
"""

import logging
import shutil
import subprocess
from pathlib import Path

from pix import topics
from pix.settings import Settings
from sentinela.errors import NotRunning
from sentinela.runtime.home import Home, write_whole
from sentinela.runtime.ports import HOST

DAY_MS = 24 * 3600 * 1000
# Clear ids live only in pix.transactions, so it is the one that must not be kept. Arrival time is
# stamped by the broker where the sender's clock must not matter.
TOPICS: dict[str, dict[str, str]] = {
    topics.TRANSACTIONS: {"retention.ms": str(7 * DAY_MS), "message.timestamp.type": "LogAppendTime"},
    topics.DECISIONS: {"retention.ms": "-1"},
    topics.LABELS: {"retention.ms": "-1", "message.timestamp.type": "LogAppendTime"},
    topics.FOLDS: {"retention.ms": "-1"},
    topics.DLQ: {"retention.ms": str(30 * DAY_MS)},
    topics.SHADOW: {"retention.ms": str(30 * DAY_MS)},
}
HEAP = "512m"
TIMEOUT_SECONDS = 10.0

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
num.partitions={partitions}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# An instance that stood still for months must still know where its consumers stopped.
offsets.retention.minutes=525600
"""

LOGGING = """\
status=warn
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1}: %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
logger.server.name=kafka.server
logger.server.level=info
"""


def command(home: Home, jars: Path) -> tuple[str, ...]:
    """The broker's command line."""
    return (*_java(home, jars, heap=HEAP), "kafka.Kafka", str(_properties_file(home)))


def prepare(settings: Settings, home: Home, jars: Path) -> None:
    """Write the broker's properties, and format its storage once.

    Raises:
        NotRunning: Java or the jars are missing, or the storage could not be formatted.
    """
    if shutil.which("java") is None:
        raise NotRunning("no `java` on the PATH; type: sudo apt-get install -y openjdk-17-jdk-headless")
    if not any(jars.glob("kafka_2.13-*.jar")):
        raise NotRunning(f"no broker jars in {jars}; run `make setup`")
    folder = home.folder("kafka")
    folder.mkdir(exist_ok=True)
    data = folder / "data"
    properties = PROPERTIES.format(
        host=HOST,
        port=settings.kafka_port,
        controller_port=settings.kafka_controller_port,
        data=data,
        partitions=settings.kafka_partitions,
    )
    write_whole(_properties_file(home), properties)
    write_whole(folder / "log4j2.properties", LOGGING)
    if not (data / "meta.properties").exists():
        _format(home, jars)


def _format(home: Home, jars: Path) -> None:
    tool = (*_java(home, jars, heap="128m"), "kafka.tools.StorageTool")
    cluster = _run((*tool, "random-uuid")).strip().splitlines()[-1]
    _run((*tool, "format", "-t", cluster, "-c", str(_properties_file(home))))


def _run(words: tuple[str, ...]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - our own command
    if done.returncode:
        raise NotRunning(f"the broker's storage could not be formatted: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout


def _java(home: Home, jars: Path, *, heap: str) -> tuple[str, ...]:
    return (
        shutil.which("java") or "java",
        f"-Xmx{heap}",
        f"-Djava.io.tmpdir={home.tmp}",
        f"-Dlog4j2.configurationFile={home.folder('kafka') / 'log4j2.properties'}",
        "-cp",
        f"{jars}/*",
    )


def _properties_file(home: Home) -> Path:
    return home.folder("kafka") / "server.properties"


def problem(settings: Settings) -> str | None:
    """Why the cluster cannot be used now; None when it can."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        found = AdminClient(_client(settings), logger=_silent()).list_topics(timeout=3.0)
    except KafkaException as error:
        return f"no answer from {settings.bootstrap}: {error.args[0].str()}"
    return None if found.brokers else f"{settings.bootstrap} names no broker"


def create_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing; returns their names.

    Raises:
        NotRunning: the cluster does not let us, or does not answer.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    admin = AdminClient(_client(settings), logger=_silent())
    try:
        existing = admin.list_topics(timeout=TIMEOUT_SECONDS).topics
    except KafkaException as error:
        raise NotRunning(f"no answer from {settings.bootstrap}: {error.args[0].str()}") from error
    missing = [
        NewTopic(
            name,
            num_partitions=settings.kafka_partitions,
            replication_factor=settings.kafka_replication,
            config=config,
        )
        for name, config in TOPICS.items()
        if name not in existing
    ]
    if not missing:
        return []
    created = []
    for name, outcome in admin.create_topics(missing, operation_timeout=TIMEOUT_SECONDS).items():
        try:
            outcome.result(TIMEOUT_SECONDS * 2)
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise NotRunning(
                    f"topic {name} could not be created on {settings.bootstrap}: {error.args[0].str()}; "
                    "create it by hand or allow this client to"
                ) from error
    return sorted(created)


def _client(settings: Settings) -> dict[str, str | int | float | bool]:
    return {**settings.kafka, "socket.connection.setup.timeout.ms": "3000"}


def _silent() -> logging.Logger:
    # librdkafka writes its complaints to stderr unless a logger takes them; the caller reports its own.
    silent = logging.getLogger("sentinela.librdkafka")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    return silent
