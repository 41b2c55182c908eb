"""Silver and gold by the day: what is written when, and that the order of arrival leaves no trace."""

import dataclasses
import json
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from deltalake import write_deltalake

from fraud_assets import definitions, notes
from fraud_assets.lateness import late_data_sensor
from fraud_assets.silver import BRONZE_DECISIONS, BRONZE_DLQ, BRONZE_LABELS
from fraud_streaming.bronze_rows import ARROW_SCHEMA
from pix import topics
from pix.clock import epoch_ms
from pix.offline.days import day_at
from pix.offline.declaration import Table
from pix.offline.tables import BRONZE_COLUMNS, DECISIONS_GOLD, DECISIONS_SILVER, QUARANTINE_SILVER
from tests.assets.messages import identity, letter, payment, record

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOON_MS = 1_780_326_000_000  # 2026-06-01T12:00:00-03:00
FIRST, SECOND, THIRD, FOURTH = (date(2026, 6, day) for day in (1, 2, 3, 4))
SILVER_AND_GOLD = ("silver/decisions", "silver/payments", "silver/labels", "silver/quarantine", "gold/decisions")
BRONZE = tuple(Table(name, "One message.", BRONZE_COLUMNS) for name in (BRONZE_DECISIONS, BRONZE_LABELS, BRONZE_DLQ))


def decided(number: int, at_ms: int, action: str = "ALLOW", *, id_at_ms: int | None = None) -> str:
    return record(payment(number, at_ms, id_at_ms=id_at_ms), action)


def label(number: int, at_ms: int, kind: str, known_ms: int) -> str:
    content = {"end_to_end_id": identity(number, at_ms), "kind": kind, "source": "med", "fraud_type": None}
    known = datetime.fromtimestamp(known_ms / 1000, UTC).isoformat()
    return json.dumps(
        {
            **content,
            "label_id": sha256(f"{number}{kind}".encode()).hexdigest(),
            "effective_at": known,
            "known_at": known,
        }
    )


def message(topic: str, partition: int, offset: int, at_ms: int, value: str) -> tuple:
    return topic, partition, offset, at_ms, None, value, None, None, at_ms + 100


def decision(partition: int, offset: int, value: str) -> tuple:
    return message(topics.DECISIONS, partition, offset, json.loads(value)["decided_at_ms"], value)


MIDNIGHT_MS = NOON_MS + 12 * HOUR_MS
"""What happens of a payment whose two records are a day apart: one before midnight, another after it."""
IN_TIME = (
    decision(1, 0, decided(1, NOON_MS)),
    decision(1, 1, decided(2, NOON_MS, "REVIEW")),
    decision(1, 2, decided(3, MIDNIGHT_MS + HOUR_MS, id_at_ms=MIDNIGHT_MS - 60_000)),
    decision(1, 3, decided(4, NOON_MS + DAY_MS)),
    decision(1, 4, decided(5, NOON_MS + 3 * DAY_MS)),
    message(topics.LABELS, 0, 0, NOON_MS + HOUR_MS, label(1, NOON_MS, "contested", NOON_MS)),
    message(topics.DLQ, 0, 0, NOON_MS, letter(7, NOON_MS)),
)
LATE = (
    # The lower partition comes first, whenever it comes: this is the decision, and the other is superseded.
    decision(0, 0, decided(3, MIDNIGHT_MS - 60_000, "BLOCK")),
    decision(0, 1, decided(6, NOON_MS)),
    decision(0, 2, decided(4, NOON_MS + DAY_MS)),
    decision(0, 3, decided(7, NOON_MS + 2 * DAY_MS)),
    message(topics.DECISIONS, 0, 4, NOON_MS + 3 * DAY_MS, "not a record"),
    message(topics.DECISIONS, 0, 5, NOON_MS + 3 * DAY_MS, '{"end_to_end_id": "E1"}'),
    message(topics.LABELS, 1, 0, NOON_MS + 3 * DAY_MS, label(1, NOON_MS, "accepted", NOON_MS + 3 * DAY_MS)),
    message(topics.LABELS, 1, 1, NOON_MS + 3 * DAY_MS, label(6, NOON_MS, "accepted", NOON_MS + 3 * DAY_MS)),
    message(topics.DLQ, 1, 0, NOON_MS + 3 * DAY_MS, letter(8, NOON_MS + DAY_MS)),
)


def arrive(made, *messages: tuple) -> None:
    """Bronze gets more rows."""
    for table in BRONZE:
        rows = [each for each in messages if topics.bronze_table(each[0]) == table.name]
        named = [dict(zip(table.names, row, strict=True)) for row in rows]
        write_deltalake(made.lake.path(table.name), pa.Table.from_pylist(named, ARROW_SCHEMA), mode="append")


def content(made, name: str) -> list[tuple]:
    return sorted(map(str, made.lake.read(name).collect()))


@pytest.fixture(scope="module")
def on_time(place, tmp_path_factory):
    made = place(tmp_path_factory.mktemp("on_time"))
    arrive(made, *IN_TIME, *LATE)
    result = made.run(*SILVER_AND_GOLD)
    assert result.success, made.told(result)
    return made


@pytest.fixture(scope="module")
def in_two_parts(place, tmp_path_factory):
    made = place(tmp_path_factory.mktemp("two_parts"))
    arrive(made, *IN_TIME)
    assert made.run(*SILVER_AND_GOLD).success
    versions = made.lake.versions(*SILVER_AND_GOLD)
    arrive(made, *LATE)
    result = made.run(*SILVER_AND_GOLD)
    assert result.success, made.told(result)
    return made, versions, result


@pytest.mark.parametrize("name", SILVER_AND_GOLD)
def test_late_rows_end_in_the_same_tables(on_time, in_two_parts, name):
    assert content(in_two_parts[0], name) == content(on_time, name)


def test_the_first_record_is_the_decision_though_it_came_last_and_on_another_day(on_time):
    (row,) = on_time.lake.read(DECISIONS_SILVER.name).where("action = 'BLOCK'").collect()
    assert (row.event_day, row.decision_partition) == (FIRST, 0)
    found = on_time.lake.read(QUARANTINE_SILVER.name).select("kind", "partition", "offset").collect()
    assert sorted(map(tuple, found)) == [
        ("dead_letter", 0, 7),
        ("dead_letter", 0, 8),
        ("superseded", 1, 2),
        ("unreadable", 0, 4),
        ("unreadable", 0, 5),
    ]


def test_only_the_days_concerned_are_written(in_two_parts):
    made, versions, _ = in_two_parts
    written = {name: notes.changes(made.lake.log(name), version).days for name, version in versions.items()}
    assert written["silver/decisions"] == {FIRST, SECOND, THIRD}
    assert written["silver/labels"] == {FIRST}
    assert written["silver/quarantine"] == {SECOND, FOURTH}
    assert written["gold/decisions"] == {FIRST, SECOND, THIRD}


def test_late_rows_are_counted_and_their_days_named(in_two_parts):
    made, _, result = in_two_parts
    told = made.newest("silver/decisions")
    # The newest event known before was on the fourth at noon: days up to the second were closed.
    assert (told["late_rows"], told["days_opened_again"]) == (3, "2026-06-01, 2026-06-02")
    events = [event.event_specific_data.materialization for event in result.all_events if event.is_step_materialization]
    opened = {event.partition for event in events if event.asset_key.to_user_string() == "silver/decisions"}
    assert {"2026-06-01", "2026-06-02", "2026-06-03"} <= opened


def test_nothing_new_writes_nothing(in_two_parts):
    made = in_two_parts[0]
    before = made.lake.versions(*SILVER_AND_GOLD)
    assert made.run(*SILVER_AND_GOLD).success
    assert made.lake.versions(*SILVER_AND_GOLD) == before


def picked(made, first: date, last: date) -> dg.ExecuteInProcessResult:
    job = definitions.build(made.settings).resolve_implicit_global_asset_job_def()
    tags = {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
    keys = [dg.AssetKey(name.split("/")) for name in SILVER_AND_GOLD]
    return job.execute_in_process(instance=made.instance, tags=tags, asset_selection=keys, raise_on_error=False)


def test_a_backfill_changes_nothing_and_mends_what_was_changed_by_hand(in_two_parts):
    made = in_two_parts[0]
    before, versions = [content(made, name) for name in SILVER_AND_GOLD], made.lake.versions(*SILVER_AND_GOLD)
    assert picked(made, FIRST, FOURTH).success
    assert made.lake.versions(*SILVER_AND_GOLD) == versions
    for name, day in zip(SILVER_AND_GOLD, (FIRST, FIRST, FIRST, SECOND, THIRD), strict=True):
        table = made.lake.log(name)
        assert table.delete(f"{table.metadata().partition_columns[0]} = '{day}'")["num_deleted_rows"] > 0
    assert picked(made, FIRST, FOURTH).success
    assert [content(made, name) for name in SILVER_AND_GOLD] == before


def test_a_day_that_was_opened_again_makes_what_is_downstream_stale(in_two_parts):
    made = in_two_parts[0]
    graph = definitions.build(made.settings).resolve_asset_graph()
    gold = dg.AssetKey(DECISIONS_GOLD.name.split("/"))

    def status(day: date) -> StaleStatus:
        asked = CachingStaleStatusResolver(
            instance=made.instance, asset_graph=graph, loading_context=LoadingContextForTest(made.instance)
        )
        return asked.get_status(gold, str(day))

    assert made.run(*SILVER_AND_GOLD).success
    assert status(FOURTH) == status(THIRD) == StaleStatus.FRESH
    arrive(made, decision(0, 6, decided(8, NOON_MS + 2 * DAY_MS)))
    assert made.run("silver/decisions").success
    assert (status(THIRD), status(FOURTH)) == (StaleStatus.STALE, StaleStatus.FRESH)


def test_late_rows_have_their_day_made_again_once(in_two_parts):
    made = in_two_parts[0]

    def tick(cursor: str | None) -> dg.SensorResult | dg.SkipReason:
        resources = {"lake": made.lake}
        with dg.build_sensor_context(instance=made.instance, cursor=cursor, resources=resources) as context:
            return late_data_sensor(context)

    first = tick(None)
    assert not first.run_requests
    # In time, late, and nothing that says when it was.
    arrive(made, decision(1, 5, decided(9, NOON_MS + 3 * DAY_MS)), decision(1, 6, decided(10, NOON_MS)))
    arrive(made, message(topics.DECISIONS, 1, 7, NOON_MS + 3 * DAY_MS, "not a record"))
    found = tick(first.cursor)
    (request,) = found.run_requests
    assert request.tags["reason"] == "late decisions: 1 of 2026-06-01"
    assert isinstance(tick(found.cursor), dg.SkipReason)
    assert made.run("silver/decisions").success
    assert made.newest("silver/decisions")["late_rows"] == 1


def test_days_without_rows_are_made_too_since_the_institutions_first(place, tmp_path):
    """Else a table that has everything looks as if days were missing."""
    today = day_at(epoch_ms())
    began = today - timedelta(days=2)
    made = place(tmp_path)
    made = dataclasses.replace(made, settings=made.settings.model_copy(update={"first_day": began}))
    arrive(made, decision(0, 0, decided(1, NOON_MS)))
    result = made.run(DECISIONS_SILVER.name, job="refresh_lake_job")
    assert result.success, made.told(result)
    events = [event.event_specific_data.materialization for event in result.all_events if event.is_step_materialization]
    rows = {event.partition: event.metadata["dagster/partition_row_count"].value for event in events}
    assert rows.pop("2026-06-01") == 1
    assert rows == {str(began + timedelta(days=number)): 0 for number in range(3)}
