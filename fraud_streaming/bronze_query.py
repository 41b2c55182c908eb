"""Spark's side of the bronze query: its Kafka source, the JVM's lock, and what it says of itself."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any

from fraud_streaming.lifetime import Stop
from pix import topics

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

# About two seconds of work on two cores, so that catching up goes in steps that can be stopped.
MAX_MESSAGES_PER_BATCH = 20_000
LOCK_POLL_SECONDS = 0.5
# A connection may break a moment before its process has ended.
JVM_END_SECONDS = 2.0
# A consumer that has read to the end of a partition waits so long for more, per partition.
FETCH_WAIT_MS = 20


class JvmLock:
    """A lock held by Spark's JVM, the process that writes the checkpoint.

    After a kill -9 of this Python process its JVM may live for a moment and write to the checkpoint, which is not made
    for two. Enter gives False when asked to stop while waiting.
    """

    def __init__(self, spark: "SparkSession", path: Path, stop: Stop) -> None:
        self._jvm: Any = spark._jvm  # noqa: SLF001 - the lock must belong to that process
        self._path = path
        self._stop = stop
        self._file: Any = None

    def __enter__(self) -> bool:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._jvm.java.io.RandomAccessFile(str(self._path), "rw")
        while self._file.getChannel().tryLock() is None:
            self._stop.sleep(LOCK_POLL_SECONDS)
            if self._stop:
                return False
        return True

    def __exit__(self, *_: object) -> None:
        # With the JVM went the lock.
        if self._file is not None and not jvm_is_gone(0):
            self._file.close()


def source(spark: "SparkSession", kafka: Mapping[str, str], starting: str = "earliest") -> "DataFrame":
    """Every topic as a stream, from ``earliest`` or ``latest`` on where no checkpoint says otherwise."""
    return (
        spark.readStream.format("kafka")
        .options(**java_options(kafka))
        .option("subscribe", ",".join(topics.ALL))
        .option("startingOffsets", starting)
        .option("failOnDataLoss", "true")
        .option("kafka.fetch.max.wait.ms", FETCH_WAIT_MS)
        .option("maxOffsetsPerTrigger", MAX_MESSAGES_PER_BATCH)
        .load()
    )


def start(
    messages: "DataFrame",
    checkpoint: Path,
    trigger_seconds: float,
    write: Callable[["DataFrame", int], None],
) -> "StreamingQuery":
    """Start the query over ``source``."""
    return (
        messages.writeStream.queryName("bronze")
        .foreachBatch(write)
        .option("checkpointLocation", str(checkpoint))
        .trigger(processingTime=f"{round(trigger_seconds * 1000)} milliseconds")
        .start()
    )


def java_options(kafka: Mapping[str, str]) -> dict[str, str]:
    """Options of Spark's Kafka source for a librdkafka configuration.

    Most names are the same; SASL credentials and a CA file are written differently in Java.
    """
    options = {
        f"kafka.{name}": value
        for name, value in kafka.items()
        if name in ("bootstrap.servers", "security.protocol", "sasl.mechanism", "client.id")
    }
    if "sasl.mechanisms" in kafka:
        options["kafka.sasl.mechanism"] = kafka["sasl.mechanisms"]
    if "sasl.username" in kafka:
        mechanism = options.get("kafka.sasl.mechanism", "PLAIN")
        module = "plain.PlainLoginModule" if mechanism == "PLAIN" else "scram.ScramLoginModule"
        user, password = (json.dumps(kafka.get(name, "")) for name in ("sasl.username", "sasl.password"))
        options["kafka.sasl.jaas.config"] = (
            f"org.apache.kafka.common.security.{module} required username={user} password={password};"
        )
    if "ssl.ca.location" in kafka:
        options |= {
            "kafka.ssl.truststore.type": "PEM",
            "kafka.ssl.truststore.location": kafka["ssl.ca.location"],
        }
    return options


def latest_offsets(query: "StreamingQuery") -> dict[str, dict[int, int]]:
    """End of every topic as the newest progress saw it; empty before the first one."""
    progress = query.lastProgress
    text = progress["sources"][0]["latestOffset"] if progress and progress["sources"] else None
    content = json.loads(text) if isinstance(text, str) else text
    if not isinstance(content, dict):
        return {}
    return {
        topic: {int(part): int(end) for part, end in parts.items()}
        for topic, parts in content.items()
        if topic in topics.ALL
    }


def jvm_is_gone(wait_seconds: float = JVM_END_SECONDS) -> bool:
    """Whether the JVM that this process started has ended."""
    from pyspark import SparkContext

    process: Any = getattr(SparkContext._gateway, "proc", None)  # noqa: SLF001 - PySpark has no public way to ask
    if process is None:
        return False
    try:
        process.wait(wait_seconds)
    except TimeoutExpired:
        return False
    return True


def cause(query: "StreamingQuery") -> str:
    """Why the query ended, without Java's stack."""
    error = query.exception()
    if error is None:
        return "the query ended by itself; it is restarted"
    return str(error).split("JVM stacktrace")[0].strip()[:2000]
