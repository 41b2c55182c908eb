"""`sentinela replay` on a real broker: a range once more, as it was."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.cimpl import TopicPartition

from fraud_streaming.ranges import Topics, headers_of, place_of, stamp
from fraud_streaming.replay import REPLAYED_FROM
from pix import topics as names
from pix.clock import epoch_ms
from pix.deadletter import Origin, dead_letter
from pix.tokens import Keyring
from tests.streams.support import payment, read_all
from tests.streams.typed import Told, run

COPY = "audit.copy"
Row = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]], int | None]


@pytest.fixture
def filled(topics: str) -> Iterator[str]:
    """Forty messages in two partitions, a second apart, with keys, headers and two without a value."""
    producer = Producer({"bootstrap.servers": topics})
    begin_ms = epoch_ms() - 3_600_000
    for number in range(40):
        value = None if number in (4, 5) else payment(number)
        producer.produce(
            names.TRANSACTIONS,
            key=None if number == 6 else f"payer-{number}",
            value=value,
            partition=number % 2,
            headers=[("traceparent", b"first"), ("traceparent", b"second")] if number % 3 else [],
            timestamp=begin_ms + number * 1000,
        )
    assert producer.flush(10) == 0
    yield topics
    admin = AdminClient({"bootstrap.servers": topics})
    if COPY in admin.list_topics(timeout=10).topics:
        admin.delete_topics([COPY])[COPY].result(30)


def typed(bootstrap: str, home: Path, *words: str) -> Told:
    return run({"SENTINELA_HOME": str(home), "SENTINELA_KAFKA_BOOTSTRAP": bootstrap}, "replay", *words)


def document(told: Told) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def rows(bootstrap: str, topic: str) -> dict[str, Row]:
    """Place -> partition, key, value, headers, timestamp."""
    with Topics({"bootstrap.servers": bootstrap}) as source:
        return {
            str(place_of(message)): (
                place_of(message).partition,
                message.key(),
                message.value(),
                headers_of(message),
                stamp(message),
            )
            for message in source.messages(source.parts(topic))
        }


def instant(at_ms: int | None) -> str:
    assert at_ms is not None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def refused(bootstrap: str, origin: Origin, raw: bytes, keyring: Keyring) -> None:
    """A dead letter of a message."""
    letter = dead_letter(
        reason="conflict", errors=[], origin=origin, received_at_ms=1, end_to_end_id=None, raw=raw, keyring=keyring
    )
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(names.DLQ, key=letter.key, value=letter.value)
    assert producer.flush(10) == 0


def test_a_copy_has_everything_the_messages_had_and_says_where_they_stood(
    filled: str, tmp_path: Path, keyring: Keyring
) -> None:
    all_of_it = ["--topic", names.TRANSACTIONS, "--from", "earliest", "--to", "latest", "--into", COPY, "--json"]
    told = typed(filled, tmp_path, *all_of_it, "--create")
    assert told.returncode == 0, told.stderr
    assert "clear identifiers" in told.stderr
    counts = document(told)
    assert (counts["messages"], counts["read"], counts["written"], counts["timestamps"]) == (40, 40, 40, "kept")
    before, after = rows(filled, names.TRANSACTIONS), rows(filled, COPY)
    for place, (partition, key, value, headers, at_ms) in before.items():
        marked = (partition, key, value, [*headers, (REPLAYED_FROM, place.encode())], at_ms)
        assert after[place.replace(names.TRANSACTIONS, COPY)] == marked
    assert len(after) == 40
    back = ["--topic", COPY, "--from", "earliest", "--to", "latest", "--json"]
    onto_itself = typed(filled, tmp_path, *back)
    assert (onto_itself.returncode, onto_itself.stdout) == (2, "")
    assert "only pix.transactions is replayed into itself" in onto_itself.stderr
    # Also a copy of what has a letter is left to `dlq redrive`.
    refused(filled, Origin(names.TRANSACTIONS, 0, 1), payment(2), keyring)
    counts = document(typed(filled, tmp_path, *back, "--into", names.TRANSACTIONS))
    assert (counts["read"], counts["left_to_redrive"], counts["written"]) == (40, 1, 39)


def test_a_range_is_by_offset_or_by_time_its_end_excluded(filled: str, tmp_path: Path) -> None:
    def looked_at(begin: str, end: str) -> list[tuple[int, int, int | None, int | None]]:
        words = ["--topic", names.TRANSACTIONS, "--from", begin, "--to", end, "--dry-run", "--json"]
        parts = document(typed(filled, tmp_path, *words))["partitions"]
        return [(each["partition"], each["messages"], each["first_offset"], each["last_offset"]) for each in parts]

    assert looked_at("0:3,1:5", "0:4,1:9") == [(0, 1, 3, 3), (1, 4, 5, 8)]
    assert looked_at("1:5", "latest") == [(1, 15, 5, 19)]
    assert looked_at("latest", "latest") == [(0, 0, None, None), (1, 0, None, None)]
    there = rows(filled, names.TRANSACTIONS)
    begin, end = (instant(there[f"{names.TRANSACTIONS}/0/{offset}"][4]) for offset in (5, 10))
    assert looked_at(begin, end) == [(0, 5, 5, 9), (1, 5, 5, 9)]
    assert looked_at("30m", "latest") == [(0, 0, None, None), (1, 0, None, None)]
    words = ["--topic", names.TRANSACTIONS, "--from", begin, "--to", end, "--dry-run", "--json"]
    first = document(typed(filled, tmp_path, *words))["partitions"][0]
    assert (first["first_at"], first["expired"]) == (begin, False)
    assert len(read_all(filled, names.TRANSACTIONS)) == 40


def test_only_the_range_is_written(filled: str, tmp_path: Path) -> None:
    words = [
        "--topic",
        names.TRANSACTIONS,
        "--from",
        "0:3,1:5",
        "--to",
        "0:4,1:9",
        "--into",
        COPY,
        "--create",
        "--json",
    ]
    told = typed(filled, tmp_path, *words)
    assert told.returncode == 0, told.stderr
    written = sorted(dict(headers)[REPLAYED_FROM].decode() for _, _, _, headers, _ in rows(filled, COPY).values())
    places = ["0/3", "1/5", "1/6", "1/7", "1/8"]
    assert written == [f"{names.TRANSACTIONS}/{place}" for place in places]


def test_payments_go_into_their_own_topic_but_for_those_that_must_not_come_again(
    filled: str, tmp_path: Path, keyring: Keyring
) -> None:
    refused(filled, Origin(names.TRANSACTIONS, 0, 1), payment(2), keyring)
    producer = Producer({"bootstrap.servers": filled})
    old = payment(77, now_ms=epoch_ms() - 7 * 86_400_000)
    producer.produce(names.TRANSACTIONS, value=old, partition=0)
    assert producer.flush(10) == 0
    told = typed(filled, tmp_path, "--topic", names.TRANSACTIONS, "--from", "earliest", "--to", "latest", "--json")
    assert told.returncode == 0, told.stderr
    counts = document(told)
    found = {name: counts[name] for name in ("read", "left_to_redrive", "too_old", "written")}
    assert found == {"read": 41, "left_to_redrive": 1, "too_old": 1, "written": 39}
    values = [value for _, value in read_all(filled, names.TRANSACTIONS)]
    assert (len(values), values.count(old)) == (80, 1)


def test_what_kafka_has_deleted_is_told_and_nothing_is_written(filled: str, tmp_path: Path) -> None:
    admin = AdminClient({"bootstrap.servers": filled})
    for done in admin.delete_records([TopicPartition(names.TRANSACTIONS, 0, 7)]).values():
        done.result(10)
    words = ["--topic", names.TRANSACTIONS, "--to", "latest", "--json"]
    dry = document(typed(filled, tmp_path, *words, "--from", "0:2,1:2", "--dry-run"))
    assert [(each["messages"], each["expired"]) for each in dry["partitions"]] == [(13, True), (18, False)]
    by_time = document(typed(filled, tmp_path, *words, "--from", "2h", "--dry-run"))
    assert [each["expired"] for each in by_time["partitions"]] == [True, False]
    told = typed(filled, tmp_path, *words, "--from", "0:2,1:2")
    assert told.returncode == 1
    assert "--from earliest" in told.stderr
    assert len(rows(filled, names.TRANSACTIONS)) == 33
    left = document(typed(filled, tmp_path, *words, "--from", "earliest"))
    assert (left["read"], left["written"]) == (33, 33)


def test_a_message_that_the_target_does_not_take_is_named_and_the_exit_code_is_1(filled: str, tmp_path: Path) -> None:
    admin = AdminClient({"bootstrap.servers": filled})
    admin.create_topics([NewTopic(COPY, 1, 1, config={"max.message.bytes": "2000"})])[COPY].result(10)
    producer = Producer({"bootstrap.servers": filled})
    producer.produce(names.TRANSACTIONS, value=b"small", partition=1)
    # Random, so that compression does not make it small.
    producer.produce(names.TRANSACTIONS, value=random.Random(1).randbytes(8_000), partition=1)
    assert producer.flush(10) == 0
    words = ["--topic", names.TRANSACTIONS, "--from", "1:20", "--to", "latest", "--into", COPY, "--json"]
    told = typed(filled, tmp_path, *words)
    assert told.returncode == 1
    assert f"not written: {names.TRANSACTIONS}/1/21" in told.stderr
    assert document(told)["read"] == 2


BAD_USES = (
    (["--topic", "pix.nothing"], "the topics are"),
    (["--topic", "__consumer_offsets"], "the topics are"),
    (["--topic", names.DECISIONS], "only the service may add"),
    (["--topic", names.LABELS], "when a label became known"),
    (["--topic", names.FOLDS], "only the service may add"),
    (["--topic", names.DLQ], "dlq redrive"),
    (["--topic", names.TRANSACTIONS, "--into", names.DECISIONS], "name another topic with --into"),
    (["--topic", names.DECISIONS, "--into", names.TRANSACTIONS], "holds no payments"),
    (["--topic", names.TRANSACTIONS, "--into", "audit.nothing"], "--create"),
    (["--topic", names.TRANSACTIONS, "--from", "yesterday"], "PARTITION:OFFSET"),
    (["--topic", names.TRANSACTIONS, "--from", "2026-11-21T10:00:00"], "with its offset"),
    (["--topic", names.TRANSACTIONS, "--from", "0:1,0:2"], "twice"),
    (["--topic", names.TRANSACTIONS, "--from", "7:1"], "has no partition 7"),
    (["--topic", names.TRANSACTIONS, "--from", "0:5", "--to", "0:2"], "before it begins"),
    (["--topic", names.TRANSACTIONS, "--from", "1h", "--to", "2h"], "later than --to"),
)


def test_bad_use_says_why_and_exits_2(topics: str, tmp_path: Path) -> None:
    for words, said in BAD_USES:
        rest = [word for pair in (("--from", "earliest"), ("--to", "latest")) if pair[0] not in words for word in pair]
        told = typed(topics, tmp_path, *words, *rest)
        assert (told.returncode, said in told.stderr) == (2, True), (words, told.stderr)
    assert read_all(topics, names.TRANSACTIONS) == []


def test_a_topic_that_stamps_arrivals_gives_new_times(filled: str, tmp_path: Path) -> None:
    admin = AdminClient({"bootstrap.servers": filled})
    admin.create_topics([NewTopic(COPY, 1, 1, config={"message.timestamp.type": "LogAppendTime"})])[COPY].result(10)
    words = ["--topic", names.TRANSACTIONS, "--from", "earliest", "--to", "latest", "--into", COPY, "--json"]
    assert document(typed(filled, tmp_path, *words))["timestamps"] == "anew"
    found = rows(filled, COPY)
    assert len(found) == 40
    assert all(at_ms is not None and at_ms > epoch_ms() - 60_000 for *_, at_ms in found.values())
    # Of each partition the order stays, though they share one now.
    origins = [dict(headers)[REPLAYED_FROM] for _, _, _, headers, _ in found.values()]
    for partition in (0, 1):
        mine = [int(each.split(b"/")[2]) for each in origins if each.split(b"/")[1] == str(partition).encode()]
        assert mine == list(range(20))
