"""The care of tables as assets, beside Spark: tables read and written by it stay what they are."""

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from fraud_assets import care_work, definitions, notes
from fraud_assets.care_log import LAST_CHECKPOINT_SUM, Log
from fraud_assets.care_needs import Needs
from fraud_assets.daily import DaysExpired, require_sources
from fraud_assets.folding import describe_days
from fraud_streaming.bronze_rows import ARROW_SCHEMA
from pix import topics
from pix.clock import epoch_ms
from pix.contracts import DAY_MS
from pix.offline.care import Care
from pix.offline.retention import FIVE_YEARS
from pix.offline.tables import (
    DECISIONS_GOLD,
    DECISIONS_SILVER,
    FEATURE_STATISTICS,
    HISTORIES,
    PAYMENT_FEATURES,
    PAYMENTS_SILVER,
    QUARANTINE_SILVER,
    SHADOW_SILVER,
)
from sentinela.verify import gold_is_behind
from tests.assets.messages import letter, payment, record

NOON_MS = 1_780_326_000_000  # 2026-06-01T12:00:00-03:00
DAILY = tuple(table.name for table in (DECISIONS_SILVER, PAYMENTS_SILVER, QUARANTINE_SILVER, DECISIONS_GOLD))
MADE = (*DAILY, "silver/labels")
CARE = ("care/retention", "care/compaction", "care/vacuum")


def arrive(made: Any, topic: str, offset: int, at_ms: int, value: str) -> None:
    """Bronze gets a row, in a commit of its own."""
    row = {"topic": topic, "partition": 0, "offset": offset, "timestamp_ms": at_ms, "value": value}
    table = pa.Table.from_pylist([row | {"ingested_at_ms": at_ms}], ARROW_SCHEMA)
    write_deltalake(made.lake.path(topics.bronze_table(topic)), table, mode="append")


@pytest.fixture(scope="module")
def made(place, tmp_path_factory):
    home = place(tmp_path_factory.mktemp("cared"))
    for number in range(4):
        arrive(home, topics.DECISIONS, number, NOON_MS, record(payment(number, NOON_MS + number * DAY_MS // 2)))
    # One whose sealed message has to go, and one that is young.
    arrive(home, topics.DLQ, 0, NOON_MS, letter(7, NOON_MS))
    now_ms = epoch_ms()
    arrive(home, topics.DLQ, 1, now_ms, letter(8, now_ms))
    write_deltalake(home.lake.path(topics.bronze_table(topics.LABELS)), ARROW_SCHEMA.empty_table())
    result = home.run(*MADE)
    assert result.success, home.told(result)
    return home


def care(made: Any, **config: Any) -> dg.ExecuteInProcessResult:
    ops = {name.replace("/", "__"): {"config": config} for name in CARE}
    result = made.run(job="care_job", config={"ops": ops})
    assert result.success, made.told(result)
    return result


def content(made: Any, name: str) -> list[str]:
    return sorted(str(row) for row in made.lake.read(name).collect())


def test_tables_stay_what_they_are_and_what_is_downstream_is_not_made_again(made):
    before = {name: content(made, name) for name in DAILY if name != QUARANTINE_SILVER.name}
    versions = made.lake.versions(*DAILY)
    care(made, dry_run=True)
    assert made.lake.versions(*DAILY) == versions
    told = made.newest("care/retention")
    assert (told["rows_deleted"], told["rows_emptied"], told["is_dry_run"]) == (0, 2, True)
    result = care(made)
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True] * len(CARE)
    assert made.newest("care/compaction")["done"] == 2  # Two bronze tables had a file for every message.
    assert "| bronze/pix_dlq | done | 2 → 1 |" in made.newest("care/compaction")["report"]
    assert {name: content(made, name) for name in before} == before
    payloads = made.lake.read(QUARANTINE_SILVER.name).orderBy("arrival_day").select("payload").collect()
    assert [row.payload for row in payloads] == [None, "k1:sealed"]
    assert not gold_is_behind(made.settings.lake)
    versions = made.lake.versions(*MADE)
    assert made.run(*MADE).success
    changed = {name: notes.changes(made.lake.log(name), version).days for name, version in versions.items()}
    assert changed == dict.fromkeys(MADE, frozenset())
    # A second night finds nothing to do; every run is on record.
    care(made)
    assert (made.newest("care/compaction")["done"], made.newest("care/retention")["rows_emptied"]) == (0, 0)
    assert len(made.lake.ask("care/retention", "select distinct at_ms from asked")) == 3


def test_a_backfill_after_care_brings_no_sealed_message_back(made):
    job = definitions.build(made.settings).resolve_implicit_global_asset_job_def()
    tags = {"dagster/asset_partition_range_start": "2026-06-01", "dagster/asset_partition_range_end": "2026-06-03"}
    before, version = content(made, QUARANTINE_SILVER.name), made.lake.version(QUARANTINE_SILVER.name)
    keys = [dg.AssetKey(name.split("/")) for name in (QUARANTINE_SILVER.name,)]
    assert job.execute_in_process(instance=made.instance, tags=tags, asset_selection=keys).success
    assert (content(made, QUARANTINE_SILVER.name), made.lake.version(QUARANTINE_SILVER.name)) == (before, version)


def test_a_day_whose_rows_upstream_are_gone_is_not_emptied(made):
    gone, kept = date(2025, 6, 2), date(2026, 6, 1)
    write_deltalake(made.lake.path(topics.bronze_table(topics.SHADOW)), ARROW_SCHEMA.empty_table())
    lake = made.lake
    rows = [(f"E{day:%Y%m%d}", day) for day in (gone, kept)]
    frame = lake.spark.createDataFrame(rows, "end_to_end_id string, payment_day date")
    others = [column for column in SHADOW_SILVER.columns if column.name not in frame.columns]
    wide = frame.selectExpr("*", *(f"cast(null as {each.type}) as {each.name}" for each in others))
    lake.overwrite(SHADOW_SILVER, SHADOW_SILVER.shape(wide), note={"read": {}, "made_from": {}, "days": None})
    job = definitions.build(made.settings).resolve_implicit_global_asset_job_def()

    def backfill(day: date) -> dg.ExecuteInProcessResult:
        tags = {"dagster/asset_partition_range_start": str(day), "dagster/asset_partition_range_end": str(day)}
        chosen = [dg.AssetKey(SHADOW_SILVER.name.split("/"))]
        return job.execute_in_process(instance=made.instance, tags=tags, asset_selection=chosen, raise_on_error=False)

    refused = backfill(gone)
    assert not refused.success
    (why,) = made.told(refused).values()
    assert "2025-06-02 of silver/shadow_scores cannot be made anew: rows of bronze/pix_shadow go after 400 days" in why
    assert "It stays as it is; pick days from" in why
    assert len(content(made, SHADOW_SILVER.name)) == 2
    # Of a day within the term bronze has every row, so what it lacks is not there.
    assert backfill(kept).success
    assert len(content(made, SHADOW_SILVER.name)) == 1


def test_days_are_refused_by_the_shortest_term_upstream():
    sources = ["bronze/pix_decisions", "bronze/pix_shadow", "kafka/pix_decisions"]
    first = date(2025, 10, 18)
    require_sources(SHADOW_SILVER, sources, [first], now_ms=NOON_MS + 173 * DAY_MS)
    with pytest.raises(DaysExpired, match=f"{first} and 1 more days of .* pick days from 2025-10-20 on"):
        require_sources(SHADOW_SILVER, sources, [first, date(2025, 10, 19)], now_ms=NOON_MS + 175 * DAY_MS)


def test_spark_goes_on_after_a_log_was_cut(made):
    lake, at_once = made.lake, Care(travel_days=0, small_files=2, why="A test cannot wait.")
    for number in range(11):
        row = (f"h{number}", number, "layout", "fingerprint", 1)
        lake.overwrite(HISTORIES, lake.spark.createDataFrame([row], HISTORIES.ddl))
    assert (lake.log(HISTORIES.name).metadata().configuration)["delta.enableExpiredLogCleanup"] == "false"
    now_ms = epoch_ms() + 1_000
    done = care_work.clear(lake, HISTORIES, at_once, Needs(), now_ms=now_ms, imports={}, dry_run=False)
    assert done.files_after == 1
    log = Log.of(lake.address(HISTORIES.name))
    # Where Spark wrote its checkpoint, and the newest note stands.
    assert min(log.commits) == 10
    assert log.files.get_file_info(LAST_CHECKPOINT_SUM).type.name == "NotFound"
    assert [row.history for row in lake.read(HISTORIES.name).collect()] == ["h10"]
    lake.replace(HISTORIES, lake.spark.createDataFrame([row], HISTORIES.ddl), where="history = 'h10'")
    assert lake.rows(HISTORIES.name) == 1


def test_statistics_outlive_the_vectors_that_they_were_counted_of(made):
    lake, day = made.lake, date(2021, 3, 4)
    now_ms = int(datetime(2021, 3, 5, tzinfo=UTC).timestamp() * 1000)
    from pix.features import FEATURES, FINGERPRINT

    row = {"end_to_end_id": "E1", "source": "live", "fold_day": day, "fingerprint": FINGERPRINT}
    row["features"] = bytearray(8 * len(FEATURES))
    names = ", ".join(f"{c.name} {c.type}" for c in PAYMENT_FEATURES.columns if c.name in row)
    ordered = [c.name for c in PAYMENT_FEATURES.columns if c.name in row]
    frame = lake.spark.createDataFrame([tuple(row[name] for name in ordered)], names)
    others = [column for column in PAYMENT_FEATURES.columns if column.name not in row]
    wide = frame.selectExpr("*", *(f"cast(null as {each.type}) as {each.name}" for each in others))
    lake.overwrite(PAYMENT_FEATURES, PAYMENT_FEATURES.shape(wide))
    assert describe_days(lake, now_ms=now_ms) == 1
    counted = lake.rows(FEATURE_STATISTICS.name)
    assert counted == len(FEATURES)
    later_ms = now_ms + (FIVE_YEARS + 1) * DAY_MS
    done = care_work.expire(lake, PAYMENT_FEATURES, now_ms=later_ms, imports={}, dry_run=False)
    assert (done.rows_deleted, lake.rows(PAYMENT_FEATURES.name)) == (1, 0)
    assert describe_days(lake, now_ms=later_ms) == 0
    assert lake.rows(FEATURE_STATISTICS.name) == counted
