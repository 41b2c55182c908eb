"""Rows of the bronze tables, made from Kafka's messages in Spark's Python workers.

The second door: clear identifiers of ``pix.transactions`` become tokens here, before anything is
stored. Arrow batches in, Arrow batches out; no Spark in this module.
"""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from fraud_streaming.reading import read
from pix import topics
from pix.contracts import (
    InvalidMessage,
    behind_the_door,
    canonical_json,
    parse_label,
    parse_payment,
    readable_id,
)
from pix.offline.tables import BRONZE_COLUMNS
from pix.tokens import Keyring, body_sha256

_ARROW = {"string": pa.string(), "int": pa.int32(), "bigint": pa.int64()}
ARROW_SCHEMA = pa.schema([(column.name, _ARROW[column.type]) for column in BRONZE_COLUMNS])
# What the query selects from the Kafka source for ``rows``, in this order.
SOURCE = ("topic", "partition", "offset", "timestamp_ms", "key", "value")
CHUNK_SCHEMA = "topic string, `rows` binary"
_CHUNK = pa.schema([("topic", pa.string()), ("rows", pa.binary())])


def rows(batches: Iterable[pa.RecordBatch], keyring: Keyring, now_ms: int) -> Iterator[pa.RecordBatch]:
    """Bronze rows of Kafka's messages, in the same order.

    Args:
        batches: Columns ``SOURCE``; key and value are bytes.
        keyring: Keys of the tokens.
        now_ms: Time of ingestion, epoch milliseconds.
    """
    for batch in batches:
        columns = dict(zip(SOURCE, batch.columns, strict=True))
        read_messages = [
            _message(topic, key, value, keyring)
            for topic, key, value in zip(
                columns["topic"].to_pylist(),
                columns["key"].to_pylist(),
                columns["value"].to_pylist(),
                strict=True,
            )
        ]
        made = {
            **{name: columns[name] for name in ("topic", "partition", "offset", "timestamp_ms")},
            **{
                name: pa.array([message[place] for message in read_messages], pa.string())
                for place, name in enumerate(("key", "value", "body_token", "reason"))
            },
            "ingested_at_ms": pa.array([now_ms] * batch.num_rows, pa.int64()),
        }
        yield pa.RecordBatch.from_arrays(
            [made[field.name].cast(field.type) for field in ARROW_SCHEMA], schema=ARROW_SCHEMA
        )


def chunks(batches: Iterable[pa.RecordBatch], keyring: Keyring, now_ms: int) -> Iterator[pa.RecordBatch]:
    """``rows``, many of a topic in one value: Spark hands it on, and need not take each row apart twice."""
    for made in rows(batches, keyring, now_ms):
        found = made.column("topic").unique().to_pylist()
        yield pa.record_batch(
            [
                pa.array(found, pa.string()),
                pa.array([_packed(made.filter(pc.equal(made.column("topic"), topic))) for topic in found], pa.binary()),
            ],
            schema=_CHUNK,
        )


def unpacked(made: pa.Table) -> dict[str, pa.Table]:
    """Rows of each topic out of ``chunks``, in the order of ``topics.ALL``; topics without rows are left out."""
    parts: dict[str, list[pa.Table]] = {topic: [] for topic in topics.ALL}
    for topic, packed in zip(made["topic"].to_pylist(), made["rows"], strict=True):
        parts[topic].append(pa.ipc.open_stream(packed.as_buffer()).read_all())
    return {topic: pa.concat_tables(tables) for topic, tables in parts.items() if tables}


def _packed(made: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
        stream.write_batch(made)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


_Message = tuple[str | None, str | None, str | None, str | None]


def _message(topic: str, key: bytes | None, value: bytes | None, keyring: Keyring) -> _Message:
    """Key, value, body token and reason of one message."""
    if topic == topics.TRANSACTIONS:
        token = keyring.body_token(body_sha256(value or b""))
        try:
            payment = behind_the_door(read(value, parse_payment), keyring)
        except InvalidMessage as invalid:
            return None, None, token, str(invalid)
        return None, canonical_json(payment.to_dict()).decode(), token, None
    if topic == topics.LABELS:
        token = keyring.body_token(body_sha256(value or b""))
        try:
            read(value, parse_label)
        except InvalidMessage as invalid:
            return None, None, token, str(invalid)
        # A sender's key may be anything, personal data too.
        return readable_id({"end_to_end_id": _text(key)}), _text(value), token, None
    try:
        return _text(key), read(value, _plain), None, None
    except InvalidMessage as invalid:
        return _text(key), None, None, str(invalid)


def _plain(raw: bytes) -> str:
    return raw.decode("utf-8")


def _text(raw: bytes | None) -> str | None:
    try:
        return None if raw is None else raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
