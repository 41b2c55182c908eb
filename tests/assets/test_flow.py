"""Kafka's offsets against the lake's real tables: what is explained, and what a planted fault is found as."""

import dataclasses
import json
import shutil
from contextlib import contextmanager
from datetime import date
from hashlib import sha256

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from deltalake import DeltaTable, write_deltalake

from fraud_assets import flow
from fraud_assets.flow import FlowConfig, hourly_flow
from fraud_assets.flow_rows import BRONZE
from fraud_assets.resources import BrokerResource, OnlineStoreResource
from fraud_streaming import offsets
from fraud_streaming.bronze_rows import ARROW_SCHEMA
from pix import topics
from pix.engines.layout import STATE_LAYOUT
from pix.offline.tables import FLOW
from pix.store.interface import RECORD_LIFE_MS, Message, open_store
from serving.outcomes import decision_id
from tests.assets.messages import letter, payment, record
from tests.streams.support import delete_topics

HOUR_MS = 3_600_000
FIRST_MS = 1_780_326_000_000  # 2026-06-01T15:00:00Z
SECOND_MS = FIRST_MS + HOUR_MS
SILVER, QUARANTINE, GOLD = "silver/decisions", "silver/quarantine", "gold/decisions"
BRONZE_TRANSACTIONS, BRONZE_DECISIONS, BRONZE_DLQ = BRONZE.values()


def paid(number: int, at_ms: int = FIRST_MS) -> str:
    return json.dumps(payment(number, at_ms, id_at_ms=FIRST_MS), sort_keys=True, separators=(",", ":"))


def decided(number: int, offset: int | None, at_ms: int = FIRST_MS, action: str = "ALLOW") -> str:
    """A decision of ``paid``, which came at that offset of its topic, or over REST."""
    said = paid(number, at_ms)
    origin = {"kind": "rest", "topic": None, "partition": None, "offset": None}
    if offset is not None:
        origin = {"kind": "kafka", "topic": topics.TRANSACTIONS, "partition": 0, "offset": offset}
    digest = sha256(said.encode()).hexdigest()
    return record(json.loads(said), action, origin=origin, payment_digest=digest, features={"amount_cents": 7.0})


# By topic: time, value as bronze has it (None where it cannot be read), whether bronze has it.
MESSAGES = {
    topics.TRANSACTIONS: [
        (FIRST_MS, paid(1), True),
        (FIRST_MS + 1, paid(1), True),
        (FIRST_MS + 2, None, True),
        (SECOND_MS, paid(2, SECOND_MS), True),
        (SECOND_MS + 1, paid(3, SECOND_MS), True),
        (SECOND_MS + 2, paid(4, SECOND_MS), True),
    ],
    topics.DECISIONS: [
        (FIRST_MS, decided(1, 0), True),
        (FIRST_MS + 9, decided(1, 0), True),
        # Its producer's clock is behind: it counts where it lies.
        (FIRST_MS - 5, decided(1, 0, action="BLOCK"), True),
        (FIRST_MS + 9, "not a record", True),
        (SECOND_MS, decided(2, 3, SECOND_MS), True),
        (SECOND_MS + 1, decided(9, None, SECOND_MS), True),
        (SECOND_MS + 9, decided(3, 4, SECOND_MS), False),
    ],
    topics.DLQ: [(FIRST_MS + 9, letter(2, FIRST_MS), True)],
    topics.LABELS: [],
}


def fill_kafka(bootstrap: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for topic, messages in MESSAGES.items():
        for at_ms, value, _ in messages:
            producer.produce(topic, value=(value or "?").encode(), partition=0, timestamp=at_ms)
    assert producer.flush(30) == 0
    group = Consumer({"bootstrap.servers": bootstrap, "group.id": flow.SCORING_GROUP})
    group.commit(offsets=[TopicPartition(topics.TRANSACTIONS, 0, 5)], asynchronous=False)
    group.close()


def fill_bronze(made) -> None:
    for topic, messages in MESSAGES.items():
        rows = [
            dict(zip(ARROW_SCHEMA.names, (topic, 0, at, at_ms, None, value, None, None, at_ms), strict=True))
            for at, (at_ms, value, is_there) in enumerate(messages)
            if is_there
        ]
        table = pa.Table.from_pylist(rows, ARROW_SCHEMA)
        write_deltalake(made.lake.path(topics.bronze_table(topic)), table, mode="append")


def record_id(number: int) -> str:
    return decision_id("default", json.loads(paid(number))["end_to_end_id"])


@contextmanager
def store_of(made):
    opened = open_store(made.settings.store, STATE_LAYOUT)
    yield opened
    opened.close()


def fill_store(made) -> None:
    """What the service committed: all that is on the topic, and one more that waits in the outbox."""
    stored = [(1, decided(1, 0)), (2, decided(2, 3, SECOND_MS)), (9, decided(9, None, SECOND_MS))]
    stored.append((3, decided(3, 4, SECOND_MS)))
    with store_of(made) as store:
        store.restore_records([(record_id(each), said.encode(), SECOND_MS) for each, said in stored], SECOND_MS)
        waits = decided(7, None, SECOND_MS).encode()
        store.commit(Message(record_id(7), topics.DECISIONS, "payer", waits, SECOND_MS), [], 0)
        store.restore_records([("default|feedback|l-1", b"{}", SECOND_MS)], SECOND_MS)


@pytest.fixture(scope="module")
def made(place, broker, tmp_path_factory):
    # Kafka would soon delete messages of these times.
    client = AdminClient({"bootstrap.servers": broker})
    for done in client.create_topics(
        [NewTopic(each, 1, 1, config={"retention.ms": "-1"}) for each in topics.ALL]
    ).values():
        done.result(30)
    fill_kafka(broker)
    one = place(tmp_path_factory.mktemp("flow"))
    # All days are before the first one: they are written as any other, and are no partitions.
    given = {"kafka_bootstrap": broker, "first_day": date(2026, 6, 2)}
    one = dataclasses.replace(one, settings=one.settings.model_copy(update=given))
    fill_bronze(one)
    fill_store(one)
    result = one.run(SILVER, "silver/labels", QUARANTINE, GOLD)
    assert result.success, one.told(result)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "epoch_ms", lambda: SECOND_MS + HOUR_MS)
        yield one
    delete_topics(broker)


def look(made) -> dict[tuple[str, int], dict]:
    """The asset's rows, by topic and hour."""
    broker, store = BrokerResource.of(made.settings), OnlineStoreResource.of(made.settings)
    found = hourly_flow(lake=made.lake, broker=broker, online_store=store, config=FlowConfig())
    first = FIRST_MS // HOUR_MS
    return {(row["topic"], row["hour_began_ms"] // HOUR_MS - first): row for row in found.value.to_pylist()}


def nowhere(found) -> dict[str, list[str]]:
    """Stage -> places, of all hours."""
    places: dict[str, list[str]] = {}
    for row in found.values():
        for stage, named in json.loads(row["nowhere"]).items():
            places.setdefault(stage, []).extend(named)
    return places


def some(row, *names):
    return tuple(row[name] for name in names)


def test_every_difference_of_a_whole_lake_has_its_reason(made):
    found = look(made)
    assert nowhere(found) == {}
    assert all(row["is_explained"] for row in found.values())
    assert sorted(found) == [(topic, hour) for topic in (topics.DECISIONS, topics.TRANSACTIONS) for hour in (0, 1)]
    counts = ("on_topic", "unread", "in_bronze", "bronze_cents", "in_silver", "silver_cents", "in_gold", "gold_cents")
    assert some(found[topics.DECISIONS, 0], *counts) == (4, 0, 4, 3_003, 1, 1_001, 1, 1_001)
    assert some(found[topics.DECISIONS, 0], "copies", "superseded", "unreadable", "elsewhere_cents") == (1, 1, 1, 2_002)
    assert some(found[topics.DECISIONS, 1], *counts) == (3, 1, 2, 2_011, 2, 2_011, 2, 2_011)
    assert some(found[topics.TRANSACTIONS, 0], *counts) == (3, 0, 3, 2_002, 1, 1_001, None, None)
    assert some(found[topics.TRANSACTIONS, 0], "copies", "dead_letters", "elsewhere_cents") == (1, 1, 1_001)
    service = ("in_service", "service_cents", "ahead_of_gold", "forgotten", "lost_before_service")
    assert some(found[topics.DECISIONS, 0], *service) == (1, 1_001, 0, 0, 0)
    # One that Kafka has and bronze not, one that waits in the outbox.
    assert some(found[topics.DECISIONS, 1], *service) == (4, 4_021, 2, 0, 0)
    assert some(found[topics.TRANSACTIONS, 1], *service) == (None,) * 5
    # One whose decision is in Kafka alone, one that the scoring job has not committed.
    assert some(found[topics.TRANSACTIONS, 1], "in_silver", "not_in_silver_yet", "undecided") == (1, 1, 1)


def deleted(where: str):
    return lambda table: table.delete(where)["num_deleted_rows"]


def dearer(table: DeltaTable) -> int:
    return table.update(updates={"amount_cents": "amount_cents + 1"}, predicate="decision_offset = 4")[
        "num_updated_rows"
    ]


IN_DECISIONS, IN_TRANSACTIONS = f"{topics.DECISIONS}/0/4", f"{topics.TRANSACTIONS}/0/3"
FAULTS = {
    "a silver row": (SILVER, deleted("decision_offset = 4"), {"silver": [IN_DECISIONS, IN_TRANSACTIONS]}),
    "a gold row": (GOLD, deleted("decision_offset = 4"), {"gold": [IN_DECISIONS]}),
    "another amount in silver": (SILVER, dearer, {"silver": [IN_DECISIONS, IN_TRANSACTIONS]}),
    "another amount in gold": (GOLD, dearer, {"gold": [IN_DECISIONS], "service": [IN_DECISIONS]}),
    "a bronze row": (
        BRONZE_DECISIONS,
        deleted('"offset" = 4'),
        {"bronze": [IN_DECISIONS], "silver": [IN_DECISIONS]},
    ),
    "the newest bronze row": (
        BRONZE_DECISIONS,
        deleted('"offset" = 5'),
        {"bronze": [f"{topics.DECISIONS}/0/5"], "silver": [f"{topics.DECISIONS}/0/5"]},
    ),
    "a bronze row of a copy": (
        BRONZE_TRANSACTIONS,
        deleted('"offset" = 1'),
        {"bronze": [f"{topics.TRANSACTIONS}/0/1"]},
    ),
    "a dead letter": (QUARANTINE, deleted("kind = 'dead_letter'"), {"silver": [f"{topics.TRANSACTIONS}/0/2"]}),
    "a superseded record": (QUARANTINE, deleted("kind = 'superseded'"), {"silver": [f"{topics.DECISIONS}/0/2"]}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_at_its_place_and_gone_when_it_is_mended(made, fault):
    name, plant, expected = FAULTS[fault]
    table = DeltaTable(made.lake.path(name))
    before = table.version()
    assert plant(table) == 1
    try:
        assert nowhere(look(made)) == expected
    finally:
        DeltaTable(made.lake.path(name)).restore(before)
    assert nowhere(look(made)) == {}


def other_answer(made) -> list[str]:
    said = decided(2, 3, SECOND_MS, action="BLOCK").encode()
    with store_of(made) as store:
        store.replace_record(record_id(2), said, SECOND_MS, SECOND_MS)
    return [IN_DECISIONS]


def never_published(made) -> list[str]:
    with store_of(made) as store:
        store.restore_records([(record_id(8), decided(8, None, SECOND_MS).encode(), SECOND_MS)], SECOND_MS)
    return [record_id(8).replace("|decision|", "/")]


def emptied(made) -> list[str]:
    shutil.rmtree(made.settings.root / "store")
    return [f"{topics.DECISIONS}/0/{offset}" for offset in (0, 4, 5)]


@pytest.mark.parametrize("plant", [other_answer, never_published, emptied])
def test_a_service_that_would_answer_otherwise_is_found(made, plant):
    expected = plant(made)
    try:
        assert nowhere(look(made)) == {"service": expected}
    finally:
        shutil.rmtree(made.settings.root / "store")
        fill_store(made)
    assert nowhere(look(made)) == {}


def test_what_the_store_may_forget_is_explained(made, monkeypatch):
    shutil.rmtree(made.settings.root / "store")
    monkeypatch.setattr(flow, "epoch_ms", lambda: FIRST_MS + RECORD_LIFE_MS + 10)
    try:
        found = look(made)
        assert some(found[topics.DECISIONS, 0], "in_service", "forgotten", "is_explained") == (0, 1, True)
        assert found[topics.DECISIONS, 0]["service_elsewhere_cents"] == 1_001
        assert some(found[topics.DECISIONS, 1], "lost_before_service", "forgotten", "is_explained") == (2, 0, False)
    finally:
        fill_store(made)


def test_a_bronze_row_that_is_there_twice_is_found(made):
    name = BRONZE_TRANSACTIONS
    before = made.lake.version(name)
    (again,) = [row for row in DeltaTable(made.lake.path(name)).to_pyarrow_table().to_pylist() if row["offset"] == 3]
    write_deltalake(made.lake.path(name), pa.Table.from_pylist([again], ARROW_SCHEMA), mode="append")
    try:
        assert nowhere(look(made)) == {"bronze": [IN_TRANSACTIONS], "silver": [IN_TRANSACTIONS]}
    finally:
        DeltaTable(made.lake.path(name)).restore(before)


def test_the_check_names_topic_hour_stage_and_place(made):
    silver = DeltaTable(made.lake.path(SILVER))
    before = silver.version()
    result = made.run(FLOW.name, job="daily_refresh_job")
    assert result.success, made.told(result)
    (verdict,) = result.get_asset_check_evaluations()
    assert verdict.passed
    assert "| 2026-06-01 16:00 | pix.decisions |" in made.newest(FLOW.name)["newest_hours"]
    silver.delete("decision_offset = 4")
    try:
        result = made.run(FLOW.name, job="daily_refresh_job")
        (verdict,) = result.get_asset_check_evaluations()
        assert (result.success, verdict.passed, verdict.blocking) == (True, False, False)
        assert verdict.metadata["places"].value == [
            f"pix.decisions 2026-06-01 16:00 silver {IN_DECISIONS}",
            f"pix.transactions 2026-06-01 16:00 silver {IN_TRANSACTIONS}",
        ]
    finally:
        DeltaTable(made.lake.path(SILVER)).restore(before)


def test_without_a_broker_it_says_what_to_do(made, monkeypatch):
    monkeypatch.setattr(offsets, "ANSWER_SECONDS", 0.3)
    away = dataclasses.replace(made, settings=made.settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:9"}))
    result = away.run(FLOW.name, job="daily_refresh_job")
    assert not result.success
    (told,) = away.told(result).values()
    assert told.startswith("Kafka at 127.0.0.1:9 does not answer")
    assert told.endswith("run `sentinela up`")


def test_what_kafka_forgot_is_compared_from_bronze_on(made, broker):
    """Last: it cannot be taken back."""
    place = TopicPartition(topics.DECISIONS, 0, 3)
    client = AdminClient({"bootstrap.servers": broker})
    (done,) = client.delete_records([place]).values()
    done.result(30)
    found = look(made)
    assert some(found[topics.DECISIONS, 0], "on_topic", "expired", "in_bronze", "is_explained") == (1, 3, 4, True)
    silver = DeltaTable(made.lake.path(SILVER))
    silver.delete("decision_offset = 0")
    assert nowhere(look(made))["silver"][0] == f"{topics.DECISIONS}/0/0"
