"""One import: the payments of a file that are new, the labels known about them, and every row that is neither.

The driver reads each file once, for its SHA-256 and for where its rows are; Spark's workers parse it block by
block (``pix.offline.parsing``), so memory does not depend on its size. Clear identifiers never reach the lake.
The name of a history is in every key and token of its payments, so histories never share an account; ``live``
is the past of the live traffic and shares its accounts.

StagingFailed       not every block of a file was parsed
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pix.offline import mapped, parsing
from pix.offline.inbox import Deposit
from pix.offline.mapping import Mapping
from pix.offline.parsing import Import, RowParser, blocks_parser
from pix.offline.sources import FileIndex, index, index_table
from pix.offline.tables import HISTORY_IMPORTS, HISTORY_LABELS, HISTORY_PAYMENTS, HISTORY_REFUSED
from pix.tokens import Keyring

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# A task costs a Python worker; a block is what one holds in memory.
MAX_TASKS = 8
STAGED = "staged"


class StagingFailed(Exception):
    """Not every block of a file was parsed."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a deposit, read once."""

    payments: FileIndex
    labels: FileIndex | None


@dataclass(frozen=True, slots=True)
class Imported:
    """One import, as the tables take it.

    Attributes:
        release: Deletes the parsed rows, once the frames have been written.
    """

    payments: "DataFrame"
    labels: "DataFrame"
    refused: "DataFrame"
    imports: "DataFrame"
    release: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Judged:
    """Payments with a verdict, their labels, and rows of the labels' file that were refused."""

    payments: "DataFrame"
    labels: "DataFrame"
    strays: "DataFrame | None" = None


def files_of(deposit: Deposit) -> Files:
    """The deposit's files, indexed.

    Raises:
        UnreadableFile: One is not of its format.
        MappingProblem: One has not the columns that the mapping names.
    """
    chosen = deposit.mapping
    if chosen is None:
        return Files(index(deposit.payments), index(deposit.labels) if deposit.labels else None)
    payments = index_table(deposit.payments, chosen.payments)
    labels = index_table(deposit.labels, chosen.labels) if deposit.labels and chosen.labels else None
    mapped.require_columns(chosen, payments.columns, labels.columns if labels else None)
    return Files(payments, labels)


def read(
    spark: "SparkSession",
    deposit: Deposit,
    files: Files,
    number: int,
    *,
    before: "DataFrame",
    keyring: Keyring,
    now_ms: int,
) -> Imported:
    """One import.

    A row that repeats an imported payment exactly is neither taken nor refused; another payment under a known
    id is refused.

    Args:
        spark: The lake's session.
        deposit: What to import.
        files: Its files.
        number: The import's number.
        before: silver/history_payments as imported so far.
        keyring: Keys for tokens and sealed rows.
        now_ms: Time of the import; JSON labels not known by then are refused.
    """
    from pyspark.sql import functions as f

    job = Import(deposit.history, keyring, now_ms, deposit.progress if deposit.progress.is_dir() else None)
    rows = _payments(spark, job, files.payments, deposit.mapping)
    repeated = _repeated(rows.where("reason is null"), before).persist()
    new, twice = _first_of_each(rows.where("reason is null"), repeated, keyring)
    judged = _judge(spark, job, files.labels, deposit.mapping, new)

    stamped = {"history": f.lit(deposit.history), "import_number": f.lit(number)}
    of_payments = {**stamped, "file_sha256": f.lit(files.payments.sha256)}
    refused = HISTORY_REFUSED.shape(rows.where("reason is not null").unionByName(twice).withColumns(of_payments))
    if judged.strays is not None and files.labels is not None:
        of_labels = {**stamped, "file_sha256": f.lit(files.labels.sha256)}
        refused = refused.unionByName(HISTORY_REFUSED.shape(judged.strays.withColumns(of_labels)))
    silence = f.coalesce(f.col("verdict") != "unknown", f.lit(True))
    payments = HISTORY_PAYMENTS.shape(judged.payments.withColumns({**of_payments, "silence_is_honest": silence}))
    labels = HISTORY_LABELS.shape(judged.labels.withColumns(stamped))
    counts = {
        "payments": new.count(),
        "labels": labels.count(),
        "refused": refused.count(),
        "repeated": repeated.where("not is_other").count(),
    }
    imports = _ledger(spark, deposit, files, number, counts, now_ms)

    def release() -> None:
        repeated.unpersist()
        shutil.rmtree(deposit.folder / STAGED, ignore_errors=True)

    return Imported(payments, labels, refused, imports, release)


def _ledger(
    spark: "SparkSession", deposit: Deposit, files: Files, number: int, counts: dict[str, int], now_ms: int
) -> "DataFrame":
    row = {
        "history": deposit.history,
        "import_number": number,
        "file_sha256": files.payments.sha256,
        "labels_sha256": files.labels.sha256 if files.labels else None,
        "mapping": json.dumps(deposit.mapping.canonical(), sort_keys=True) if deposit.mapping else None,
        "imported_at_ms": now_ms,
        **counts,
    }
    return spark.createDataFrame([tuple(row[name] for name in HISTORY_IMPORTS.names)], HISTORY_IMPORTS.ddl)


def _payments(spark: "SparkSession", job: Import, file: FileIndex, mapping: Mapping | None) -> "DataFrame":
    if mapping is None:
        return _parsed(spark, file, lambda: parsing.json_payments(job), parsing.PAYMENTS, job)
    return _parsed(spark, file, lambda: parsing.mapped_payments(job, mapping, file.columns), parsing.PAYMENTS, job)


def _parsed(
    spark: "SparkSession", file: FileIndex, parser: Callable[[], RowParser], ddl: str, job: Import
) -> "DataFrame":
    staged = file.path.parent / STAGED / file.path.stem
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    count = len(file.blocks)
    numbers = spark.range(0, count, 1, max(1, min(count, MAX_TASKS)))
    told = numbers.mapInArrow(blocks_parser(file, parser, ddl, staged, job.progress), parsing.STAGED).collect()
    if len(told) != count:
        raise StagingFailed(f"{len(told)} of {count} blocks of {file.path.name} were parsed; import it again")
    return spark.read.schema(ddl).parquet(str(staged)) if count else spark.createDataFrame([], ddl)


def _repeated(valid: "DataFrame", before: "DataFrame") -> "DataFrame":
    """Rows whose id stands in an earlier row or import, and whether that is another payment.

    Repetitions are few, so ids are first compared by a hash, which is small, and then exactly.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    identity, digest = ["tenant", "end_to_end_id"], f.sha2("payment", 256).alias("digest")
    place = f.xxhash64(*identity).alias("place")
    hashes = valid.select(place).unionByName(before.select(place))
    twice = f.broadcast(hashes.groupBy("place").count().where("count > 1").select("place"))
    claims = valid.select(*identity, "row_number", digest, place)
    imported = before.select(*identity, f.lit(0).cast("bigint").alias("row_number"), digest, place)
    by_id = Window.partitionBy(*identity).orderBy("row_number")
    return (
        claims.unionByName(imported)
        .join(twice, "place", "left_semi")
        .withColumn("nth", f.row_number().over(by_id))
        .withColumn("is_other", f.col("digest") != f.first("digest").over(by_id))
        .where("nth > 1 and row_number > 0")
        .select("row_number", "is_other")
    )


def _first_of_each(valid: "DataFrame", repeated: "DataFrame", keyring: Keyring) -> tuple["DataFrame", "DataFrame"]:
    """New payments, and rows that claim the id of another one; of those the tokenised payment is sealed."""
    from pyspark.sql import functions as f

    new = valid.join(f.broadcast(repeated), "row_number", "left_anti")
    other = valid.join(f.broadcast(repeated.where("is_other")), "row_number", "left_semi").withColumns(
        {
            "reason": f.lit("other_payment_under_known_id"),
            "errors": f.lit('[{"field":"end_to_end_id","reason":"belongs to another imported payment"}]'),
            "payload": f.udf(lambda payment: keyring.seal(payment.encode()), "string")("payment"),
        }
    )
    return new, other


def _judge(
    spark: "SparkSession", job: Import, file: FileIndex | None, mapping: Mapping | None, new: "DataFrame"
) -> _Judged:
    if mapping is None:
        return _json_labels(spark, job, file, new)
    labels = mapping.labels
    if labels is None:
        return _Judged(new, spark.createDataFrame([], mapped.LABELS))
    if file is None:
        return _Judged(new, mapped.labels_of(new, labels, source=job.history, now_ms=job.now_ms))
    columns = file.columns
    rows = _parsed(spark, file, lambda: parsing.mapped_verdicts(job, mapping, columns), parsing.VERDICTS, job)
    joined = mapped.with_verdicts(new, rows.where("reason is null"), labels)
    said = mapped.labels_of(joined.payments, labels, source=job.history, now_ms=job.now_ms)
    return _Judged(joined.payments, said, _without_id(rows.where("reason is not null"), joined.strays))


def _without_id(refused: "DataFrame", strays: "DataFrame") -> "DataFrame":
    from pyspark.sql import functions as f

    nobody = f.lit(None).cast("string")
    return refused.withColumn("end_to_end_id", nobody).unionByName(strays.withColumn("end_to_end_id", nobody))


def _json_labels(spark: "SparkSession", job: Import, file: FileIndex | None, new: "DataFrame") -> _Judged:
    """Labels of this import's payments, and lines that are something else."""
    from pyspark.sql import functions as f

    if file is None:
        # Nobody would have said that one was fraud.
        return _Judged(new.withColumn("verdict", f.lit("unknown")), spark.createDataFrame([], parsing.LABELS))
    lines = _parsed(spark, file, lambda: parsing.json_labels(job), parsing.LABELS, job)
    here = new.select("tenant", "end_to_end_id", f.lit(True).alias("is_here"))
    reason = (
        f.when(f.col("reason").isNotNull(), f.col("reason"))
        .when(f.col("is_here").isNull(), f.lit("label_without_payment"))
        .when(f.col("known_at_ms") > job.now_ms, f.lit("label_not_known_yet"))
    )
    judged = lines.join(here, ["tenant", "end_to_end_id"], "left").withColumn("reason", reason)
    good = judged.where("reason is null").dropDuplicates(["tenant", "label_id"])
    strays = judged.where("reason is not null").withColumn("errors", f.coalesce("errors", f.lit("[]")))
    return _Judged(new, good, strays)
