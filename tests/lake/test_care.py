"""The care of tables on real Delta tables: what goes, what stays, and that writers and readers go on."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from fraud_assets import care_work, notes
from fraud_assets.care_log import Log
from fraud_assets.care_needs import LEARNT_FROM, Needs, needs
from fraud_assets.lake import LakeResource
from fraud_streaming import bronze_tables
from fraud_streaming.bronze_rows import ARROW_SCHEMA
from learning.errors import RegistryUnavailable
from pix import topics
from pix.contracts import DAY_MS
from pix.offline.care import BRONZE, EXPIRED, Care, gone_before
from pix.offline.days import begin_ms, day_at
from pix.offline.declaration import Column, Table
from pix.offline.dictionary import bronze_tables as bronze_declared
from pix.offline.retention import SEASON, TEN_YEARS
from pix.offline.tables import (
    BASE_STATES,
    QUARANTINE_SILVER,
    TRAINING_SET,
)
from pix.settings import Settings
from sentinela import verify
from tests.conftest import REPOSITORY

NOW_MS = 1_795_300_000_000
DLQ, DECISIONS = topics.bronze_table(topics.DLQ), topics.bronze_table(topics.DECISIONS)
AT_ONCE = Care(travel_days=0, small_files=2, why="A test cannot wait.")
DAILY = Table("quality/scorecard", "One.", (Column("n", "bigint"), Column("day", "date")), partitions=("day",))
COMMITS, GONE = 60, 20


@pytest.fixture
def lake(tmp_path: Path) -> LakeResource:
    return LakeResource.of(Settings(home=tmp_path))


def messages(topic: str, rows: list[tuple[int, int, int, str | None]]) -> pa.Table:
    """Rows of bronze: partition, offset, time and value."""
    named = [
        {
            "topic": topic,
            "partition": part,
            "offset": offset,
            "timestamp_ms": at_ms,
            "value": value,
            "body_token": "k1:b",
        }
        for part, offset, at_ms, value in rows
    ]
    return pa.Table.from_pylist(named, ARROW_SCHEMA)


def stream(lake: LakeResource, topic: str, commits: int = COMMITS) -> DeltaTable:
    """A bronze table as its stream leaves it: a commit for every few messages, and a handle that stays open."""
    bronze_tables.create_tables(lake.root)
    table = bronze_tables.open_table(bronze_tables.table_path(lake.root, topic))
    for number in range(commits):
        append(table, topic, number)
    return table


def append(table: DeltaTable, topic: str, number: int) -> None:
    rows = [(0, 2 * number + each, NOW_MS + number, f"v{2 * number + each}") for each in range(2)]
    bronze_tables.append(table, messages(topic, rows), "app", number)


def rows(lake: LakeResource, table: str) -> list[tuple]:
    return sorted(tuple(row.values()) for row in lake.ask(table, "select * from asked"))


def daily(lake: LakeResource, *days: date, note: dict | None = None, first: int = 0) -> None:
    """One commit that puts a row in place of each day's."""
    content = pa.table({"n": pa.array(range(first, first + len(days)), pa.int64()), "day": pa.array(days, pa.date32())})
    where = " or ".join(f"day = date '{day}'" for day in days)
    said = {"userMetadata": json.dumps(note)} if note is not None else {}
    options = {"predicate": where} if lake.exists(DAILY.name) else {}
    write_deltalake(
        lake.address(DAILY.name),
        content,
        mode="overwrite",
        partition_by=["day"],
        commit_properties=CommitProperties(custom_metadata=said),
        **options,
    )


def cleared(
    lake: LakeResource, table: Table, need: Needs | None = None, care: Care = AT_ONCE, now_ms: int | None = None
) -> care_work.Done:
    at_ms = now_ms or int(time.time() * 1000) + 1_000
    return care_work.clear(lake, table, care, need or Needs(), now_ms=at_ms, imports={}, dry_run=False)


BRONZE_DLQ, BRONZE_DECISIONS = bronze_declared()[topics.DLQ], bronze_declared()[topics.DECISIONS]
TRANSACTIONS = bronze_declared()[topics.TRANSACTIONS]


def test_every_row_stays_and_old_ones_go_while_the_stream_appends(lake):
    table, stop = stream(lake, topics.DECISIONS), threading.Event()

    def write() -> int:
        number = COMMITS
        while not stop.is_set():
            bronze_tables.refresh(table)
            append(table, topics.DECISIONS, number)
            number += 1
        return number

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            done = [care_work.compact(lake, BRONZE_DECISIONS, BRONZE, dry_run=False) for _ in range(5)]
            gone = [expired(lake, NOW_MS + TEN_YEARS * DAY_MS + number) for number in range(1, GONE + 1)]
            cleared(lake, BRONZE_DECISIONS, care=BRONZE)
        finally:
            stop.set()
        written = writer.result()
    assert done[0].did == care_work.DONE
    assert done[0].files_after < done[0].files_before / 2
    assert [each.rows_deleted for each in gone] == [2] * GONE
    assert written > COMMITS
    assert [row[2] for row in rows(lake, DECISIONS)] == list(range(2 * GONE, 2 * written))
    # What the stream looks at when it starts: log, files, batches, ends.
    bronze_tables.check_table(lake.address(DECISIONS))
    fresh = bronze_tables.open_table(lake.address(DECISIONS))
    assert fresh.transaction_version("app") == written - 1
    assert lake.ends(DECISIONS) == bronze_tables.ends(fresh) == {0: 2 * written - 1}


def expired(lake: LakeResource, now_ms: int) -> care_work.Done:
    return care_work.done_to(
        lake,
        BRONZE_DECISIONS,
        lambda: care_work.expire(lake, BRONZE_DECISIONS, now_ms=now_ms, imports={}, dry_run=False),
    )


def test_a_stream_that_was_quiet_goes_on_after_care(lake):
    table = stream(lake, topics.DECISIONS)
    other = bronze_tables.open_table(lake.address(DECISIONS))
    care_work.compact(lake, BRONZE_DECISIONS, BRONZE, dry_run=False)
    cleared(lake, BRONZE_DECISIONS)
    # The commits that came after the handle's version are not in the log any more.
    assert min(Log.of(lake.address(DECISIONS)).commits) > table.version()
    bronze_tables.refresh(table)
    append(table, topics.DECISIONS, COMMITS)
    bronze_tables.refresh(other)
    assert bronze_tables.held(other, {0: (0, 1)}) == {(0, 0): NOW_MS, (0, 1): NOW_MS}
    assert lake.ends(DECISIONS) == {0: 2 * COMMITS + 1}


def test_a_second_time_nothing_is_left_to_do(lake):
    stream(lake, topics.DECISIONS)
    daily(lake, date(2026, 6, 1), note={"read": {}, "days": None})
    daily(lake, date(2026, 6, 1), note={"read": {}, "days": ["2026-06-01"]}, first=5)
    for table, care in ((BRONZE_DECISIONS, BRONZE), (DAILY, AT_ONCE)):
        care_work.compact(lake, table, care, dry_run=False)
        cleared(lake, table)
        version, files = lake.version(table.name), Log.of(lake.address(table.name))
        done = [care_work.compact(lake, table, care, dry_run=False), cleared(lake, table)]
        assert [each.did for each in done] == [care_work.NOTHING] * 2
        assert lake.version(table.name) == version
        assert Log.of(lake.address(table.name)).data == files.data


def test_needed_versions_and_notes_outlive_files_and_commits_of_others(lake):
    note = {"read": {DECISIONS: {"0": 7}}, "made_from": {"silver/other": 3}, "days": None}
    first = date(2026, 6, 1)
    for number in range(12):
        daily(lake, first, note=None if number > 3 else {**note, "number": number}, first=number)
    before = {version: rows_at(lake, version) for version in (2, 6)}
    done = cleared(lake, DAILY, Needs({DAILY.name: {2: "model 1", 6: "model 2"}}))
    assert set(done.kept_versions) == {2, 6}
    assert {version: rows_at(lake, version) for version in (2, 6)} == before
    for version in (1, 3, 5, 10):
        with pytest.raises(Exception, match=r"(?i)not found|No files|metadata"):
            rows_at(lake, version)
    assert lake.note(DAILY.name)["number"] == 3
    # The commits of the care itself keep every row.
    assert (done.oldest_version, done.version_before, lake.version(DAILY.name)) == (11, 11, 14)
    assert rows_at(lake, done.oldest_version) == rows(lake, DAILY.name)
    # Nobody needs them any more: they go, and the log as far as the newest note lets it.
    again = cleared(lake, DAILY)
    assert again.files_after == 1
    assert lake.note(DAILY.name)["number"] == 3
    assert notes.changes(lake.log(DAILY.name), again.oldest_version).days == frozenset()


def rows_at(lake: LakeResource, version: int) -> list[tuple]:
    return [tuple(row.values()) for row in lake.ask(DAILY.name, "select * from asked order by n", version=version)]


def test_a_log_is_cut_at_a_checkpoint_only(lake):
    for number in range(5):
        daily(lake, date(2026, 6, 1), first=number)
    cleared(lake, DAILY)
    for number in range(5, 9):
        daily(lake, date(2026, 6, 1), first=number)
    cleared(lake, DAILY)
    log = Log.of(lake.address(DAILY.name))
    assert min(log.commits) in log.checkpoints
    assert len(log.commits) < 4
    assert rows(lake, DAILY.name) == [(8, date(2026, 6, 1))]


def held_bytes(lake: LakeResource, table: str) -> str:
    """All that any file of a table says, data and log, whether a version has it or not."""
    folder = Path(lake.path(table))
    said = [str(pq.read_table(path, partitioning=None).to_pydict()) for path in folder.rglob("*.parquet")]
    return " ".join([*said, *(path.read_text() for path in folder.rglob("*.json"))])


def test_rows_past_their_term_go_and_so_do_their_bytes(lake):
    old, new = NOW_MS - (SEASON + 1) * DAY_MS, NOW_MS - (SEASON - 1) * DAY_MS
    table = stream(lake, topics.TRANSACTIONS, commits=0)
    written = [(0, 0, old, "SECRET-A"), (0, 1, new, "kept"), (1, 0, old, "SECRET-B"), (1, 1, old + 1, "SECRET-C")]
    for batch, (part, offset, at_ms, said) in enumerate(written):
        row = part, offset, at_ms, json.dumps({"end_to_end_id": said, "amount_cents": 1})
        bronze_tables.append(table, messages(topics.TRANSACTIONS, [row]), "app", batch)
    expire = {"now_ms": NOW_MS, "imports": {}}
    planned = care_work.expire(lake, TRANSACTIONS, **expire, dry_run=True)
    assert (planned.rows_deleted, lake.version(TRANSACTIONS.name)) == (2, 4)
    done = care_work.expire(lake, TRANSACTIONS, **expire, dry_run=False)
    assert done.rows_deleted == 2
    # The newest message of a partition stays as a place without content: everybody reads there where the table ends.
    found = lake.ask(TRANSACTIONS.name, 'select "partition", "offset", body_token, reason from asked order by 1, 2')
    assert [tuple(row.values()) for row in found] == [(0, 1, "k1:b", None), (1, 1, None, EXPIRED)]
    assert lake.ends(TRANSACTIONS.name) == {0: 1, 1: 1}
    # Nobody has to answer for what was sent there.
    assert [line.end_to_end_id for line in verify._in_bronze(lake.root)] == ["kept"]
    assert "SECRET" in held_bytes(lake, TRANSACTIONS.name)
    care_work.compact(lake, TRANSACTIONS, BRONZE, dry_run=False)
    cleared(lake, TRANSACTIONS)
    assert "SECRET" not in held_bytes(lake, TRANSACTIONS.name)
    assert "kept" in held_bytes(lake, TRANSACTIONS.name)
    again = care_work.expire(lake, TRANSACTIONS, **expire, dry_run=False)
    assert (again.did, again.rows_deleted, again.version_after) == (care_work.NOTHING, 0, again.version_before)
    bronze_tables.check_table(lake.address(TRANSACTIONS.name))


LETTER = {
    "reason": "not_json",
    "origin": {"offset": 7, "partition": 0, "topic": topics.LABELS},
    "payload": "k1:SEALED==",
}
NOTE = {"origin": LETTER["origin"], "redriven": {"at_ms": 1, "to": LETTER["origin"]}}


def test_of_a_dead_letter_only_the_sealed_message_goes(lake):
    def written(content: dict) -> str:
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    old, new = NOW_MS - 91 * DAY_MS, NOW_MS - 89 * DAY_MS
    table = stream(lake, topics.DLQ, commits=0)
    values = [(old, written(LETTER)), (old, written(NOTE)), (old, "CLEAR TEXT"), (old, None), (new, written(LETTER))]
    content = [(0, offset, at_ms, value) for offset, (at_ms, value) in enumerate(values)]
    bronze_tables.append(table, messages(topics.DLQ, content), "app", 0)
    done = care_work.expire(lake, BRONZE_DLQ, now_ms=NOW_MS, imports={}, dry_run=False)
    assert (done.rows_deleted, done.rows_emptied) == (0, 2)
    found = [row["value"] for row in lake.ask(DLQ, 'select value from asked order by "offset"')]
    assert found == [written({**LETTER, "payload": None}), written(NOTE), None, None, written(LETTER)]
    assert care_work.expire(lake, BRONZE_DLQ, now_ms=NOW_MS, imports={}, dry_run=False).did == care_work.NOTHING


def test_contents_go_before_their_row_and_downstream_is_not_made_again(lake):
    today = day_at(NOW_MS)
    days = [today - timedelta(days=age) for age in (TEN_YEARS + 1, 91, 90)]
    empty = pa.array([None] * 3, pa.string())
    texts = {name: empty for name in QUARANTINE_SILVER.names if kind(QUARANTINE_SILVER, name) == "string"}
    numbers = {
        name: pa.array([1] * 3, pa.int32() if kind(QUARANTINE_SILVER, name) == "int" else pa.int64())
        for name in QUARANTINE_SILVER.names
        if kind(QUARANTINE_SILVER, name) in ("int", "bigint")
    }
    content = {**texts, **numbers, "payload": pa.array(["x", "y", "z"]), "arrival_day": pa.array(days, pa.date32())}
    note = {"read": {DLQ: {"0": 3}}, "days": None, "aside": {"arrivals": ["2026-01-01"]}}
    write_deltalake(
        lake.address(QUARANTINE_SILVER.name),
        pa.table({name: content[name] for name in QUARANTINE_SILVER.names}),
        partition_by=["arrival_day"],
        commit_properties=CommitProperties(custom_metadata={"userMetadata": json.dumps(note)}),
    )
    done = care_work.expire(lake, QUARANTINE_SILVER, now_ms=NOW_MS, imports={}, dry_run=False)
    assert (done.rows_deleted, done.rows_emptied) == (1, 1)
    found = lake.ask(QUARANTINE_SILVER.name, "select arrival_day, payload from asked order by 1")
    assert [tuple(row.values()) for row in found] == [(days[1], None), (days[2], "z")]
    assert lake.note(QUARANTINE_SILVER.name) == {"read": {DLQ: {"0": 3}}, "days": []}
    assert notes.changes(lake.log(QUARANTINE_SILVER.name), 0).days == frozenset()


def kind(table: Table, name: str) -> str:
    return next(column.type for column in table.columns if column.name == name)


def test_the_law_comes_before_whoever_needs_a_version(lake):
    cutoff = NOW_MS - 1_827 * DAY_MS
    for at_ms in (cutoff - 1, cutoff + 1, cutoff + 2):
        content = pa.table({"history": ["live"], "event_time_ms": [at_ms]})
        write_deltalake(lake.address(TRAINING_SET.name), content, mode="overwrite")
    need = Needs({TRAINING_SET.name: {0: "model 1", 1: "model 2", 9: "model 3"}})
    done = cleared(lake, TRAINING_SET, need, now_ms=NOW_MS)
    assert set(done.kept_versions) == {1}
    assert "version 0 needed by model 1, and let go: 1 of its rows are past their term" in done.why
    assert "version 9 needed by model 3, and gone already" in done.why
    assert done.files_after == 2


def test_models_decisions_and_notes_say_what_they_need(lake):
    for number, layout in ((1, "a"), (1, "b"), (1, "b"), (2, "b")):
        content = pa.table({"key": ["k"], "import_number": pa.array([number], pa.int32()), "layout": [layout]})
        write_deltalake(lake.address(BASE_STATES.name), content, mode="overwrite")
    write_deltalake(lake.address(TRAINING_SET.name), pa.table({"event_time_ms": [1]}))
    daily(lake, date(2026, 6, 1), note={"made_from": {"silver/decisions": 5}, "days": None})
    tables = {table.name: table for table in (DAILY, BASE_STATES, TRAINING_SET)}
    found = needs(lake, tables, lambda: {"7": {TRAINING_SET.name: 0, BASE_STATES.name: 2}})
    assert found.versions == {
        "silver/decisions": {5: "note of quality/scorecard"},
        TRAINING_SET.name: {0: "model 7"},
        BASE_STATES.name: {
            0: "decisions on 1 imports, layout a",
            2: "decisions on 1 imports, layout b, model 7",
            3: "decisions on 2 imports, layout b",
        },
    }

    def away() -> dict[str, dict[str, int]]:
        raise RegistryUnavailable("MLflow does not answer")

    unknown = needs(lake, tables, away)
    assert set(unknown.unknown) == set(LEARNT_FROM)
    done = cleared(lake, TRAINING_SET, unknown)
    assert (done.did, done.files_after) == (care_work.LEFT_OUT, 1)
    assert "MLflow does not answer" in done.why


def test_a_version_that_cannot_be_opened_keeps_everything(lake):
    """An error is no sign that nobody needs a version."""
    for number in (1, 2):
        content = pa.table({"key": ["k"], "import_number": pa.array([number], pa.int32()), "layout": ["a"]})
        write_deltalake(lake.address(BASE_STATES.name), content, mode="overwrite")
    # The newest version is read from its checkpoint, older ones are not.
    DeltaTable(lake.address(BASE_STATES.name)).create_checkpoint()
    torn = Path(lake.address(BASE_STATES.name)) / "_delta_log" / f"{0:020}.json"
    torn.write_text("".join(line for line in torn.read_text().splitlines(True) if "commitInfo" in line))
    needed = needs(lake, {BASE_STATES.name: BASE_STATES}, dict)
    assert "which versions decisions stand on is not known" in needed.unknown[BASE_STATES.name]
    done = cleared(lake, BASE_STATES, needed)
    assert (done.did, done.files_after) == (care_work.LEFT_OUT, 2)


@contextmanager
def busy(lake: LakeResource) -> Iterator[None]:
    """Another process writes the table."""
    held = "import sys, time; from pathlib import Path; from pix import locks; locks.hold(Path(sys.argv[1]))"
    wait = "print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", f"{held}; {wait}", f"{lake.locks}/lake-quality-scorecard"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.kill()


def test_a_table_that_is_written_is_left_out_and_said_to_be(lake):
    daily(lake, date(2026, 6, 1))
    stream(lake, topics.DECISIONS, commits=3)
    with busy(lake):
        left = care_work.done_to(lake, DAILY, lambda: cleared(lake, DAILY), patience_seconds=0.2)
    assert left.did == care_work.LEFT_OUT
    assert "is writing quality/scorecard" in left.why
    done = care_work.done_to(
        lake, BRONZE_DECISIONS, lambda: care_work.compact(lake, BRONZE_DECISIONS, BRONZE, dry_run=False)
    )
    assert done.did == care_work.DONE
    for path in Path(lake.path(DAILY.name)).rglob("*.parquet"):
        path.unlink()
    broken = care_work.done_to(lake, DAILY, lambda: care_work.Done(table_name=str(rows(lake, DAILY.name))))
    assert broken.did == care_work.FAILED
    assert "not found" in broken.why.lower()


def test_of_days_before_a_term_rows_may_be_gone():
    assert begin_ms(gone_before(400, NOW_MS)) > NOW_MS - 400 * DAY_MS
    assert begin_ms(gone_before(400, NOW_MS)) - DAY_MS <= NOW_MS - 400 * DAY_MS
