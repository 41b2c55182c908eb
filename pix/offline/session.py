"""The Spark session's configuration, one place for the bronze stream, the assets and the tests.

Plain values in, a dictionary out; who starts the session decides when. Java's and Spark's scratch files
go to ``tmp_dir``, nothing is written to the working folder.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REPOSITORY = Path(__file__).resolve().parents[2]
JARS = REPOSITORY / ".jars" / "spark"
CLASSES = JARS.parent / "spark-classes.jsa"
JVM_END_SECONDS = 15

# What delta-rs cannot read or write stays off, and so does what Delta may switch on one day.
TABLE_PROPERTIES: Mapping[str, str] = {
    "delta.enableDeletionVectors": "false",
    "delta.columnMapping.mode": "none",
    "delta.enableRowTracking": "false",
    "delta.checkpointPolicy": "classic",
    # What a log may forget knows only who knows which notes and versions are still needed (`fraud_assets.care`); how
    # long each table's are kept is told to Delta by it, too. Until then:
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 35 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
}


class MissingJars(Exception):
    """Spark's connectors are not installed."""


def spark_config(
    *,
    tmp_dir: Path,
    jars_dir: Path = JARS,
    master: str = "local[2]",
    memory: str = "1500m",
    classes: Path | None = CLASSES,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Settings of a Spark session that reads Kafka and writes Delta.

    They take effect in the process's first session only: heap and class path belong to the JVM.

    Args:
        tmp_dir: Folder for scratch files, the warehouse and Derby; created.
        jars_dir: Folder of the connectors that ``pom.xml`` names.
        master: Spark master.
        memory: Heap of the driver, such as ``1500m``.
        classes: The shared archive of classes that `pix.offline.class_archive` wrote; left out where there is none.
        extra: Further settings; they win.

    Raises:
        MissingJars: ``jars_dir`` holds no Delta connector.
    """
    jars = sorted(str(path) for path in jars_dir.glob("*.jar"))
    if not any("delta-spark" in path for path in jars):
        raise MissingJars(f"no Spark connectors in {jars_dir}; run `make setup`")
    tmp_dir.mkdir(parents=True, exist_ok=True)
    return {
        "spark.app.name": "sentinela",
        "spark.master": master,
        "spark.jars": ",".join(jars),
        "spark.driver.memory": memory,
        "spark.driver.extraJavaOptions": _java_options(tmp_dir, classes),
        "spark.local.dir": str(tmp_dir),
        "spark.sql.warehouse.dir": str(tmp_dir / "warehouse"),
        "spark.executorEnv.PYTHONPATH": str(REPOSITORY),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        # Rows for Python go in batches of 10,000, and one row may be a chunk (pix.offline.chunks).
        "spark.sql.execution.arrow.maxBytesPerBatch": str(16 << 20),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        # The default of 50 makes every commit on a small table take seconds.
        "spark.databricks.delta.snapshotPartitions": "2",
        **{_default_of(name): value for name, value in TABLE_PROPERTIES.items()},
        **(_on_loopback() if master.startswith("local") else {}),
        **(extra or {}),
    }


def started(config: Mapping[str, str]) -> "SparkSession":
    """A session with these settings, or the one that this process has."""
    from pyspark.sql import SparkSession

    return SparkSession.builder.config(map=dict(config)).getOrCreate()


def use_this_python() -> None:
    """Make Spark's Python workers this interpreter; PySpark reads that from the environment only."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable


def _java_options(tmp_dir: Path, classes: Path | None) -> str:
    # Serial collector and first-tier compiler: a third less memory and a faster start. That compiler's room for code
    # (48 MB) is full after a few dozen plans, and then what was compiled is thrown away and compiled again without end.
    # What the shared archive does not fit (another JVM, other jars) goes on without it, and without a word.
    shared = (
        f"-XX:SharedArchiveFile={classes} -Xlog:cds=off -Xlog:cds+dynamic=off " if classes and classes.exists() else ""
    )
    return (
        f"-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m {shared}"
        f"-Djava.io.tmpdir={tmp_dir} -Dderby.system.home={tmp_dir / 'derby'} -Duser.timezone=UTC"
    )


def _default_of(table_property: str) -> str:
    return f"spark.databricks.delta.properties.defaults.{table_property.removeprefix('delta.')}"


def _on_loopback() -> dict[str, str]:
    return {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


def end_session(spark: "SparkSession", seconds: float = JVM_END_SECONDS) -> None:
    """Stop Spark and wait for its JVM, which would outlive this process for a while; killed when its time is over."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway  # noqa: SLF001 - PySpark has no public way to end its JVM
    process = getattr(gateway, "proc", None)
    if process is not None and process.poll() is not None:
        # Nothing is left to stop, and asking would hide the error that this process ends by.
        return
    spark.stop()
    if gateway is None:
        return
    gateway.shutdown()
    SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001
    if process is not None:
        process.stdin.close()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
