"""The streams' Dagster side: assets, keepers, the lock."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.test_utils import create_run_for_test

from fraud_assets import external, keepers, streams
from fraud_streaming import keeping, labels, scoring
from fraud_streaming.bronze import TableStats
from pix import topics
from pix.settings import Settings

Status = dg.DagsterRunStatus
NOW = time.time()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as fresh:
        yield fresh


def run_of(
    instance: dg.DagsterInstance, status: Status, *, started: float, ended: float | None = None
) -> dg.DagsterRun:
    """A run of ``score_stream``; times in seconds before ``NOW``."""
    run = create_run_for_test(instance, job_name="score_stream", status=status)
    seen = [] if status == Status.STARTING else [(DagsterEventType.RUN_START, started)]
    if ended is not None:
        kind = {Status.FAILURE: DagsterEventType.RUN_FAILURE, Status.SUCCESS: DagsterEventType.RUN_SUCCESS}[status]
        seen.append((kind, ended))
    for kind, ago in seen:
        event = DagsterEvent(event_type_value=kind.value, job_name="score_stream")
        instance.run_storage.handle_run_event(run.run_id, event, datetime.fromtimestamp(NOW - ago, UTC))
    return run


def test_lineage_from_topics_to_bronze_is_whole() -> None:
    specs = {spec.key: spec for spec in external.external_assets()}
    for topic in topics.ALL:
        bronze = specs[external.bronze_key(topic)]
        assert [dep.asset_key for dep in bronze.deps] == [external.topic_key(topic)]
        assert bronze.metadata["dagster/column_schema"].columns
    assert all(spec.description and spec.owners and spec.group_name and spec.kinds for spec in specs.values())
    elsewhere = {dg.AssetKey(["serving", "store_base"]), dg.AssetKey(["model", "champion"])}
    assert {dep.asset_key for spec in specs.values() for dep in spec.deps} - set(specs) == elsewhere


def test_definitions_load_with_a_running_keeper_for_each_stream(tmp_path: Path) -> None:
    definitions = streams.stream_definitions(Settings(home=tmp_path, scoring_instances=3))
    repository = definitions.get_repository_def()
    sensors = {sensor.name: sensor for sensor in repository.sensor_defs}
    names = [stream.name for stream in streams.streams(3)]
    assert names == ["score_stream", "score_stream_2", "score_stream_3", "label_stream", "bronze_stream"]
    for stream in streams.streams(3):
        job = repository.get_job(stream.name)
        assert job.tags["stream"] == stream.name
        assert sensors[f"{stream.name}_keeper"].default_status == dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize(
    "stats", [scoring.Stats(lag=3, offsets={0: 7}, partitions=[0, 2]), labels.Stats(), TableStats()]
)
def test_what_a_stream_tells_becomes_an_observation(stats: scoring.Stats | labels.Stats | TableStats) -> None:
    told = asdict(stats)
    observed = dg.AssetObservation(external.topic_key(topics.TRANSACTIONS), metadata=streams.as_metadata(told))
    assert observed.metadata.keys() == {name for name, value in told.items() if value is not None}


def test_a_dead_worker_is_found_by_its_free_lock(instance: dg.DagsterInstance) -> None:
    run = run_of(instance, Status.STARTED, started=100)
    assert keepers.living_run(instance, "score_stream", lock_holder=0, now=NOW) is None
    after = instance.get_run_by_id(run.run_id)
    assert after is not None
    assert after.status == Status.FAILURE


@pytest.mark.parametrize(
    ("status", "started", "lock_holder"),
    [(Status.STARTED, 100, 4321), (Status.STARTED, 3, 0), (Status.STARTING, 100, 0)],
)
def test_a_run_that_may_live_is_left_alone(
    instance: dg.DagsterInstance, status: Status, started: float, lock_holder: int
) -> None:
    run = run_of(instance, status, started=started)
    living = keepers.living_run(instance, "score_stream", lock_holder=lock_holder, now=NOW)
    assert living is not None
    assert living.dagster_run.run_id == run.run_id


def test_back_off_grows_with_failures_and_forgets_them_after_a_healthy_run(
    instance: dg.DagsterInstance,
) -> None:
    def wait() -> float:
        failures = keepers.failures_in_a_row(instance, "score_stream")
        return round(keepers.back_off_seconds(failures, now=NOW))

    assert wait() == 0
    run_of(instance, Status.SUCCESS, started=500, ended=300)
    assert wait() == 0
    run_of(instance, Status.FAILURE, started=13, ended=3)
    assert wait() == 10 - 3
    run_of(instance, Status.FAILURE, started=12, ended=2)
    assert wait() == 20 - 2
    run_of(instance, Status.FAILURE, started=200, ended=1)
    assert wait() == 0


def test_a_keeper_says_what_it_waits_for_and_why_the_last_run_failed(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTINELA_HOME", str(tmp_path))
    settings, definitions = Settings(), streams.stream_definitions(Settings())

    def look() -> tuple[bool, keeping.Note]:
        with dg.build_sensor_context(instance=instance, definitions=definitions) as context:
            asked = definitions.resolve_sensor_def("score_stream_keeper").evaluate_tick(context).run_requests
        note = keeping.read(settings.keepers, "score_stream")
        assert note is not None
        return bool(asked), note

    asked, note = look()
    assert asked
    assert (note.failures, note.why) == (0, "")
    # Without keys the stream cannot start; twice.
    for _ in range(2):
        job = definitions.resolve_job_def("score_stream")
        assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    asked, note = look()
    assert not asked
    assert note.failures == 2
    assert "after failure 2 in a row" in note.says
    assert "`sentinela up` makes the keys of a home" in note.why
    assert time.time() - note.at < 30


def test_a_keeper_leaves_the_runs_of_another_home_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code server may have come by the port of this one; all of that home's locks look free from here."""
    monkeypatch.setenv("SENTINELA_HOME", str(tmp_path / "here"))
    definitions, there = streams.stream_definitions(Settings()), tmp_path / "there" / "dagster"
    there.mkdir(parents=True)
    with dg.DagsterInstance.local_temp(str(there)) as other:
        run = run_of(other, Status.STARTED, started=100)
        with dg.build_sensor_context(instance=other, definitions=definitions) as context:
            tick = definitions.resolve_sensor_def("score_stream_keeper").evaluate_tick(context)
        found = other.get_run_by_id(run.run_id)
    assert (tick.run_requests, found is not None and found.status) == ([], Status.STARTED)
    assert "another home" in str(tick.skip_message)
    assert keeping.read(Settings().keepers, "score_stream") is None


def test_a_run_that_lives_for_a_minute_ends_the_count_of_failures(instance: dg.DagsterInstance) -> None:
    run_of(instance, Status.FAILURE, started=300, ended=290)
    run_of(instance, Status.STARTED, started=100)
    failures = keepers.failures_in_a_row(instance, "score_stream")
    young, old = (keepers.living_run(instance, "score_stream", lock_holder=1, now=NOW + more) for more in (-80, 0))
    assert failures.count == 1
    assert keepers.counted(failures, young, now=NOW - 80) == 1
    assert keepers.counted(failures, old, now=NOW) == 0


def test_a_second_stream_process_says_who_holds_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTINELA_HOME", str(tmp_path))
    lock = tmp_path / "locks" / "score_stream"
    code = (
        "import sys; from pathlib import Path; from pix.locks import hold;"
        "hold(Path(sys.argv[1])); print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        job = streams.stream_definitions(Settings()).resolve_job_def("score_stream")
        result = job.execute_in_process(raise_on_error=False)
        other.kill()
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    told = failure.step_failure_data.user_failure_data
    assert told is not None
    assert told.description is not None
    assert told.description.startswith(f"score_stream is already running: process {other.pid} holds")


def test_importing_the_streams_starts_nothing_heavy() -> None:
    code = (
        "import sys; from fraud_assets.streams import stream_definitions; from pix.settings import Settings;"
        "stream_definitions(Settings());"
        "print([m for m in ('pyspark', 'httpx', 'confluent_kafka', 'deltalake') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
