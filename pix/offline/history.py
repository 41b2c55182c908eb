"""Past payments from files: parsed as strictly as at the live doors, tokenised, each line accounted for.

A history is a folder with ``payments.jsonl`` and perhaps ``labels.jsonl``. The driver reads each file once,
for its SHA-256 and for where its lines are; Spark's workers parse it block by block, so memory does not
depend on its size. Clear identifiers never reach the lake: refused lines are sealed.

The name of a history is in every key and token of its payments, so histories never share an account; ``live``
is the past of the live traffic and shares its accounts.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pix.contracts import (
    InvalidMessage,
    NotJson,
    behind_the_door,
    canonical_json,
    history_tenant,
    parse_json_object,
    parse_label,
    parse_payment,
    readable_id,
)
from pix.offline.names import usable
from pix.offline.tables import HISTORY_LABELS, HISTORY_PAYMENTS, HISTORY_REFUSED
from pix.tokens import Keyring, body_sha256

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PAYMENTS_FILE = "payments.jsonl"
LABELS_FILE = "labels.jsonl"
BLOCK_BYTES = 2 * 1024 * 1024
# A task costs a Python worker; a block is what one holds in memory.
MAX_TASKS = 8

PARSED_PAYMENTS = (
    "row_number bigint, end_to_end_id string, tenant string, event_time_ms bigint, payment string, "
    "reason string, errors string, body_token string, payload string"
)
PARSED_LABELS = (
    "row_number bigint, label_id string, end_to_end_id string, tenant string, kind string, fraud_type string, "
    "effective_at_ms bigint, known_at_ms bigint, source string, "
    "reason string, errors string, body_token string, payload string"
)
ARROW_TYPES = {"string": pa.string(), "bigint": pa.int64()}


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file: where they are, and the number of the first one."""

    offset: int
    length: int
    first_row: int


@dataclass(frozen=True, slots=True)
class FileIndex:
    """A file, read once.

    Attributes:
        path: The file.
        sha256: Of its bytes, hex.
        blocks: Its lines; empty for an empty file.
    """

    path: Path
    sha256: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class History:
    """A folder to import: its name and its files."""

    name: str
    payments: FileIndex
    labels: FileIndex | None


@dataclass(frozen=True, slots=True)
class Imported:
    """One import, as the three tables take it."""

    payments: "DataFrame"
    labels: "DataFrame"
    refused: "DataFrame"


def waiting(inbox: Path, known: set[str]) -> list[History]:
    """Histories in the inbox whose payments have not been imported, by name.

    Args:
        inbox: Folder of history folders; need not exist.
        known: SHA-256 of the payment files imported before.

    Raises:
        UnusableName: A folder's name cannot name a history.
    """
    found = []
    folders = sorted(path.parent for path in inbox.glob(f"*/{PAYMENTS_FILE}")) if inbox.is_dir() else []
    for folder in folders:
        usable(folder.name)
        payments = index(folder / PAYMENTS_FILE)
        if payments.sha256 not in known:
            known = known | {payments.sha256}
            labels = folder / LABELS_FILE
            found.append(History(folder.name, payments, index(labels) if labels.exists() else None))
    return found


def index(path: Path) -> FileIndex:
    """Read a file once: its SHA-256 and blocks of whole lines."""
    digest = sha256()
    blocks: list[Block] = []
    offset, row = 0, 1
    with path.open("rb") as file:
        while chunk := file.read(BLOCK_BYTES):
            chunk += file.readline()
            digest.update(chunk)
            blocks.append(Block(offset, len(chunk), row))
            offset += len(chunk)
            row += chunk.count(b"\n")
    return FileIndex(path, digest.hexdigest(), tuple(blocks))


def read(
    spark: "SparkSession",
    history: History,
    number: int,
    *,
    before: "DataFrame",
    keyring: Keyring,
    now_ms: int,
) -> Imported:
    """One import: the payments that are new, the labels known about them, and every line that is neither.

    A line that repeats an imported payment exactly is neither taken nor refused; another payment under a
    known id is refused.

    Args:
        spark: The lake's session.
        history: What to import.
        number: The import's number.
        before: silver/history_payments as imported so far.
        keyring: Keys for tokens and sealed lines.
        now_ms: Time of the import; labels not known by then are refused.
    """
    from pyspark.sql import functions as f

    # Parsing is the work here, and three tables need it.
    lines = _parse(spark, history.payments, _payment_line(keyring, history.name), PARSED_PAYMENTS).persist()
    payments, twice = _first_of_each(lines.where("reason is null"), before, keyring)
    labels, strays = _labels(spark, history, payments, keyring, now_ms)
    refused = lines.where("reason is not null").unionByName(twice)
    stamped = {"history": f.lit(history.name), "import_number": f.lit(number)}
    silence = {"silence_is_honest": f.lit(True)}
    of_payments = {**stamped, "file_sha256": f.lit(history.payments.sha256)}
    of_labels = {**stamped, "file_sha256": f.lit(history.labels.sha256 if history.labels else None)}
    return Imported(
        HISTORY_PAYMENTS.shape(payments.withColumns(of_payments | silence)),
        HISTORY_LABELS.shape(labels.withColumns(stamped)),
        HISTORY_REFUSED.shape(refused.withColumns(of_payments)).unionByName(
            HISTORY_REFUSED.shape(strays.withColumns(of_labels))
        ),
    )


def _first_of_each(valid: "DataFrame", before: "DataFrame", keyring: Keyring) -> tuple["DataFrame", "DataFrame"]:
    """New payments, and lines that claim the id of another one; of those the tokenised payment is sealed.

    Only ids and digests are shuffled: repetitions are few, the payments are many and wide.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    identity, digest = ["tenant", "end_to_end_id"], f.sha2("payment", 256).alias("digest")
    claims = valid.select(*identity, "row_number", digest)
    imported = before.select(*identity, f.lit(0).cast("bigint").alias("row_number"), digest)
    by_id = Window.partitionBy(*identity).orderBy("row_number")
    repeated = (
        claims.unionByName(imported)
        .withColumn("place", f.row_number().over(by_id))
        .withColumn("is_other", f.col("digest") != f.first("digest").over(by_id))
        .where("place > 1")
        .select("row_number", "is_other")
        .persist()
    )
    new = valid.join(f.broadcast(repeated), "row_number", "left_anti")
    other = valid.join(f.broadcast(repeated.where("is_other")), "row_number", "left_semi").withColumns(
        {
            "reason": f.lit("other_payment_under_known_id"),
            "errors": f.lit('[{"field":"end_to_end_id","reason":"belongs to another imported payment"}]'),
            "payload": f.udf(lambda payment: keyring.seal(payment.encode()), "string")("payment"),
        }
    )
    return new, other


def _labels(
    spark: "SparkSession", history: History, payments: "DataFrame", keyring: Keyring, now_ms: int
) -> tuple["DataFrame", "DataFrame"]:
    """Labels of this import's payments, and lines that are something else."""
    from pyspark.sql import functions as f

    if history.labels is None:
        nothing = spark.createDataFrame([], PARSED_LABELS)
        return nothing, nothing
    lines = _parse(spark, history.labels, _label_line(keyring, history.name), PARSED_LABELS)
    here = payments.select("tenant", "end_to_end_id", f.lit(True).alias("is_here"))
    reason = (
        f.when(f.col("reason").isNotNull(), f.col("reason"))
        .when(f.col("is_here").isNull(), f.lit("label_without_payment"))
        .when(f.col("known_at_ms") > now_ms, f.lit("label_not_known_yet"))
    )
    judged = lines.join(here, ["tenant", "end_to_end_id"], "left").withColumn("reason", reason)
    good = judged.where("reason is null").dropDuplicates(["tenant", "label_id"])
    return good, judged.where("reason is not null").withColumn("errors", f.coalesce("errors", f.lit("[]")))


def _parse(spark: "SparkSession", file: FileIndex, line: Callable[[bytes], dict[str, Any]], ddl: str) -> "DataFrame":
    count = len(file.blocks)
    numbers = spark.range(0, count, 1, max(1, min(count, MAX_TASKS)))
    return numbers.mapInArrow(_parse_blocks(file, line, _arrow_schema(ddl)), ddl)


def _arrow_schema(ddl: str) -> pa.Schema:
    return pa.schema([(name, ARROW_TYPES[kind]) for name, kind in (part.split() for part in ddl.split(", "))])


def _parse_blocks(
    file: FileIndex, line: Callable[[bytes], dict[str, Any]], schema: pa.Schema
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def parse(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for place in batch.column(0).to_pylist():
                rows = [{"row_number": number, **line(raw)} for number, raw in lines_of(file.path, file.blocks[place])]
                yield pa.RecordBatch.from_pylist(rows, schema)

    return parse


def lines_of(path: Path, block: Block) -> Iterator[tuple[int, bytes]]:
    """Lines of a block with their numbers; blank ones are no messages."""
    with path.open("rb") as file:
        file.seek(block.offset)
        content = file.read(block.length)
    for number, raw in enumerate(content.split(b"\n"), start=block.first_row):
        if raw.strip():
            yield number, raw.rstrip(b"\r")


def _payment_line(keyring: Keyring, history: str) -> Callable[[bytes], dict[str, Any]]:
    def parsed(raw: bytes) -> dict[str, Any]:
        try:
            payment = behind_the_door(parse_payment(raw), keyring, history=history)
        except InvalidMessage as broken:
            return _refused(raw, broken, keyring)
        return {
            "body_token": keyring.body_token(body_sha256(raw)),
            "end_to_end_id": payment.end_to_end_id,
            "tenant": payment.tenant,
            "event_time_ms": payment.initiated_at_ms,
            "payment": canonical_json(payment.to_dict()).decode(),
        }

    return parsed


def _label_line(keyring: Keyring, history: str) -> Callable[[bytes], dict[str, Any]]:
    def parsed(raw: bytes) -> dict[str, Any]:
        try:
            label = parse_label(raw)
        except InvalidMessage as broken:
            return _refused(raw, broken, keyring)
        return {
            "body_token": keyring.body_token(body_sha256(raw)),
            "payload": keyring.seal(raw),
            "label_id": label.label_id,
            "end_to_end_id": label.end_to_end_id,
            "tenant": history_tenant(label.tenant, history),
            "kind": label.kind,
            "fraud_type": label.fraud_type,
            "effective_at_ms": label.effective_at,
            "known_at_ms": label.known_at,
            "source": label.source,
        }

    return parsed


def _refused(raw: bytes, broken: InvalidMessage, keyring: Keyring) -> dict[str, Any]:
    return {
        "end_to_end_id": broken.end_to_end_id or _id_in(raw),
        "reason": "not_json" if isinstance(broken, NotJson) else "invalid_fields",
        "errors": json.dumps([asdict(error) for error in broken.errors]),
        "body_token": keyring.body_token(body_sha256(raw)),
        "payload": keyring.seal(raw),
    }


def _id_in(raw: bytes) -> str | None:
    try:
        return readable_id(parse_json_object(raw))
    except InvalidMessage:
        return None
