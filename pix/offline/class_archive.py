"""Spark's classes as the JVM's shared archive, so that a session starts in two thirds of the time.

``python -m pix.offline.class_archive`` runs the kinds of work that the platform does and keeps the classes they loaded
(`Class Data Sharing`_, dynamic archives). A JVM to which the archive does not fit leaves it aside.

.. _Class Data Sharing: Java SE 17 tool specification, ``java -XX:ArchiveClassesAtExit``
"""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pix.offline.session import CLASSES, end_session, spark_config, started, use_this_python

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# The JVM writes the archive after its last thread ended.
WRITE_SECONDS = 120


def archive(to: Path = CLASSES) -> None:
    """Work a little in a session of its own, and keep the classes; an archive that is there is replaced as a whole."""
    use_this_python()
    part = to.with_suffix(".part")
    part.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        config = spark_config(tmp_dir=Path(folder), classes=None)
        config["spark.driver.extraJavaOptions"] += (
            f" -XX:ArchiveClassesAtExit={part} -Xlog:cds=off -Xlog:cds+dynamic=off"
        )
        spark = started(config)
        try:
            _work(spark, Path(folder))
        finally:
            end_session(spark, WRITE_SECONDS)
    part.replace(to)


def _work(spark: "SparkSession", folder: Path) -> None:
    """A few rows go through what assets and bronze do: read, join, rank, Python, replace a part, stream."""
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    first, second = str(folder / "first"), str(folder / "second")
    rows = spark.range(100).select(
        "id", (f.col("id") % 5).alias("kind"), f.struct(f.col("id").alias("x")).alias("inner")
    )
    rows.write.format("delta").partitionBy("kind").save(first)
    read = spark.read.format("delta").load(first)
    ranked = read.withColumn("place", f.row_number().over(Window.partitionBy("kind").orderBy(f.desc("id"))))
    counted = read.groupBy("kind").agg(f.count("*").alias("n"), f.max_by("id", "inner.x").alias("newest"))
    joined = (
        ranked.where("place < 3")
        .join(counted, "kind", "left")
        .mapInArrow(lambda batches: batches, "id long, kind long")
    )
    joined.write.format("delta").partitionBy("kind").save(second)
    part = joined.where("kind = 1")
    part.write.format("delta").mode("overwrite").option("replaceWhere", "kind = 1").save(second)
    spark.read.format("delta").option("versionAsOf", 0).load(second).orderBy("id").toPandas()
    rates = spark.readStream.format("rate").load().writeStream.foreachBatch(_count)
    query = rates.option("checkpointLocation", str(folder / "checkpoint")).trigger(availableNow=True).start()
    query.awaitTermination()


def _count(batch: "DataFrame", number: int) -> None:  # noqa: ARG001 - Spark gives both
    batch.count()


if __name__ == "__main__":
    archive()
    sys.stderr.write(f"kept the classes of a Spark session in {CLASSES}\n")
