"""The bronze query on a real broker, Spark and Delta."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from fraud_streaming import bronze, bronze_checkpoint, bronze_tables
from fraud_streaming.bronze_query import java_options
from fraud_streaming.bronze_rows import ARROW_SCHEMA, SOURCE, rows
from pix import topics as names
from pix.offline.tables import BRONZE_COLUMNS
from pix.tokens import Keyring, body_sha256
from tests.streams.running_bronze import Running, newest_file, offsets
from tests.streams.support import MALFORMED, label, payment, produce

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def source_batch(*messages: tuple[str, bytes | None, bytes | None]) -> pa.RecordBatch:
    columns = [
        pa.array([topic for topic, _, _ in messages]),
        pa.array([1] * len(messages), pa.int32()),
        pa.array(range(len(messages)), pa.int64()),
        pa.array([1_795_000_000_000] * len(messages), pa.int64()),
        pa.array([key for _, key, _ in messages], pa.binary()),
        pa.array([value for _, _, value in messages], pa.binary()),
    ]
    return pa.RecordBatch.from_arrays(columns, names=list(SOURCE))


def one_row(keyring: Keyring, topic: str, key: bytes | None, value: bytes | None) -> dict[str, object]:
    (batch,) = rows([source_batch((topic, key, value))], keyring, now_ms=5)
    return batch.to_pylist()[0]


def test_columns_stand_in_the_declared_order(keyring: Keyring) -> None:
    (batch,) = rows([source_batch((names.DECISIONS, b"k", b"v"))], keyring, now_ms=5)
    assert batch.schema == ARROW_SCHEMA
    assert batch.schema.names == [column.name for column in BRONZE_COLUMNS]
    assert batch.to_pylist() == [
        {
            "topic": names.DECISIONS, "partition": 1, "offset": 0, "timestamp_ms": 1_795_000_000_000, "key": "k",
            "value": "v", "body_token": None, "reason": None, "ingested_at_ms": 5,
        }
    ]  # fmt: skip


def test_a_payment_is_stored_without_clear_identifiers(keyring: Keyring) -> None:
    raw = payment(7)
    row = one_row(keyring, names.TRANSACTIONS, b"12345678-0001-8", raw)
    assert row["key"] is None
    assert "52998224725" not in str(row)
    assert "12345678-0001" not in str(row)
    assert row["reason"] is None
    assert row["body_token"] == keyring.body_token(body_sha256(raw))


@pytest.mark.parametrize("value", [value for value, _ in MALFORMED])
@pytest.mark.parametrize("topic", [names.TRANSACTIONS, names.LABELS])
def test_an_unreadable_message_is_a_row_with_its_reason(keyring: Keyring, topic: str, value: bytes | None) -> None:
    row = one_row(keyring, topic, b"529.982.247-25", value)
    assert row["value"] is None
    assert row["key"] is None
    assert row["reason"]
    assert row["body_token"] == keyring.body_token(body_sha256(value or b""))


def test_utf16_is_refused_at_this_door_as_at_the_other(keyring: Keyring) -> None:
    row = one_row(keyring, names.TRANSACTIONS, None, payment(1).decode().encode("utf-16"))
    assert row["reason"] == "message: is not valid JSON in UTF-8"


def test_a_new_checkpoint_gets_a_new_application_id(tmp_path: Path) -> None:
    ids = iter(["first", "second", "third"])
    checkpoint = tmp_path / "bronze"
    assert bronze_checkpoint.application_id(checkpoint, lambda: next(ids)) == "first"
    (checkpoint / "offsets").mkdir(parents=True)
    (checkpoint / "offsets" / "0").touch()
    assert bronze_checkpoint.application_id(checkpoint, lambda: next(ids)) == "first"
    (checkpoint / "offsets" / "0").unlink()
    assert bronze_checkpoint.application_id(checkpoint, lambda: next(ids)) == "second"


def test_librdkafka_options_become_java_options() -> None:
    options = java_options(
        {
            "bootstrap.servers": "k:9093",
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": "me",
            "sasl.password": 'a"b',
            "ssl.ca.location": "/ca.pem",
            "queue.buffering.max.ms": "5",
        }
    )
    assert options == {
        "kafka.bootstrap.servers": "k:9093",
        "kafka.security.protocol": "SASL_SSL",
        "kafka.sasl.mechanism": "SCRAM-SHA-512",
        "kafka.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="me" password="a\\"b";',
        "kafka.ssl.truststore.type": "PEM",
        "kafka.ssl.truststore.location": "/ca.pem",
    }


@pytest.mark.timeout(180)
def test_every_message_is_one_row_also_with_a_deleted_checkpoint(
    spark: "SparkSession", topics: str, tmp_path: Path, keyring: Keyring
) -> None:
    lake = tmp_path / "lake"
    payments = [payment(number) for number in range(40)] + [value for value, _ in MALFORMED]
    produce(topics, names.TRANSACTIONS, payments)
    first = Running(spark, topics, tmp_path, keyring)
    first.until(lambda: bool(first.reports) and len(offsets(lake, names.TRANSACTIONS)) == len(payments))
    produce(
        topics,
        names.LABELS,
        [label("E12345678202611211230abcdefghijk")],
        key="E12345678202611211230abcdefghijk",
    )
    first.until(lambda: len(offsets(lake, names.LABELS)) == 1)
    first.end()
    last = first.reports[-1]
    assert last["final"]
    assert last["tables"][names.TRANSACTIONS]["rows"] == len(payments)  # type: ignore[index]
    assert last["tables"][names.TRANSACTIONS]["skipped"] == 0  # type: ignore[index]
    # Topics without messages have an empty table and cost no commit.
    assert DeltaTable(bronze_tables.table_path(str(lake), names.FOLDS)).version() == 0

    # A crash after the tables' commits and before the checkpoint's: the batch comes again.
    checkpoint = tmp_path / "streams" / "bronze"
    newest_file(checkpoint / "commits").unlink()
    again = Running(spark, topics, tmp_path, keyring)
    again.until(lambda: newest_file(checkpoint / "commits").name == newest_file(checkpoint / "offsets").name)
    again.end()
    assert again.reports[-1]["tables"][names.LABELS]["rows"] == 0  # type: ignore[index]

    for path in sorted(checkpoint.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    produce(topics, names.TRANSACTIONS, [payment(number) for number in range(100, 120)])
    second = Running(spark, topics, tmp_path, keyring)
    second.until(lambda: len(offsets(lake, names.TRANSACTIONS)) >= len(payments) + 20)
    second.end()
    assert second.reports[-1]["tables"][names.TRANSACTIONS]["compared"] == len(payments)  # type: ignore[index]
    found = offsets(lake, names.TRANSACTIONS)
    assert len(found) == len(set(found)) == len(payments) + 20
    for part in (0, 1):
        there = [offset for partition, offset in found if partition == part]
        assert there == list(range(len(there)))
    assert len(offsets(lake, names.LABELS)) == 1


@pytest.mark.timeout(180)
def test_a_topic_created_anew_is_not_mixed_into_the_old_table(
    spark: "SparkSession", topics: str, tmp_path: Path, keyring: Keyring
) -> None:
    lake = tmp_path / "lake"
    bronze_tables.create_tables(str(lake))
    old = next(rows([source_batch((names.DECISIONS, b"k", b"old"))], keyring, now_ms=5))
    write_deltalake(bronze_tables.table_path(str(lake), names.DECISIONS), pa.Table.from_batches([old]), mode="append")
    produce(topics, names.DECISIONS, [b"new", b"new"])
    running = Running(spark, topics, tmp_path, keyring)
    with pytest.raises(bronze.TopicRecreated, match="created anew"):
        running.until(lambda: False)
    running.end()


@pytest.mark.timeout(180)
def test_a_checkpoint_that_lost_batches_is_refused(
    spark: "SparkSession", topics: str, tmp_path: Path, keyring: Keyring
) -> None:
    lake, checkpoint = tmp_path / "lake", tmp_path / "streams" / "bronze"
    first = Running(spark, topics, tmp_path, keyring)
    for count in (2, 4):
        produce(topics, names.LABELS, [b"broken", b"broken"])
        first.until(lambda count=count: len(offsets(lake, names.LABELS)) == count)
    first.end()
    for folder in ("offsets", "commits"):
        newest = newest_file(checkpoint / folder)
        newest.unlink()
        newest.with_name(f".{newest.name}.crc").unlink(missing_ok=True)
    produce(topics, names.LABELS, [b"new", b"new"])
    second = Running(spark, topics, tmp_path, keyring)
    with pytest.raises(bronze.CheckpointBehind, match="delete the checkpoint folder as a whole"):
        second.until(lambda: len(offsets(lake, names.LABELS)) == 6)
    second.end()
