"""The sensors that keep one run of each stream alive, with back-off; they say what they saw in a note.

A run is begun here and nowhere else; that there is exactly one is the lock's doing, which the run's process holds.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from fraud_streaming import keeping
from fraud_streaming.keeping import HEALTHY_SECONDS, LONGEST_BACK_OFF_SECONDS
from pix.locks import holder
from pix.settings import Settings

KEEPER_SECONDS = 5
# Time between the start of a run and its taking the lock; within it a free lock means nothing.
GRACE_SECONDS = 15
MOST_COUNTED = 8
MOST_WHY = 500

Status = dg.DagsterRunStatus
ALIVE = [Status.QUEUED, Status.NOT_STARTED, Status.STARTING, Status.STARTED, Status.CANCELING]
ENDED = [Status.SUCCESS, Status.FAILURE, Status.CANCELED]


def keeper(stream: str, job: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor that keeps one run of a stream alive."""

    @dg.sensor(
        name=f"{stream}_keeper",
        job=job,
        minimum_interval_seconds=KEEPER_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Keeps one run of {stream} alive; restarts it after a crash, with back-off.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason | dg.RunRequest:
        settings, now = Settings(), time.time()
        if not is_of_home(context.instance, settings):
            # Its runs are kept alive by locks of that home, so that all of them would look dead from here.
            return dg.SkipReason(f"the daemon of another home asks; {settings.root} has nothing to do with its runs")
        lock_holder = holder(settings.locks / stream)
        living = living_run(context.instance, job.name, lock_holder=lock_holder, now=now)
        failures = failures_in_a_row(context.instance, job.name)
        waits = reason_to_wait(stream, living, failures, lock_holder=lock_holder, now=now)
        count = counted(failures, living, now=now)
        why = why_failed(context.instance, failures.last_run) if count else ""
        note = keeping.Note(at=now, says=waits or "a run was asked for", failures=count, why=why)
        keeping.write(settings.keepers, stream, note)
        return dg.SkipReason(waits) if waits else dg.RunRequest()

    return sensor


def is_of_home(instance: dg.DagsterInstance, settings: Settings) -> bool:
    """Whether the runs are this home's: another home's daemon may have found this code server on its port."""
    return instance.is_ephemeral or Path(instance.root_directory).resolve() == (settings.root / "dagster").resolve()


@dataclass(frozen=True, slots=True)
class Failures:
    """Runs in a row that failed and had never got healthy.

    Attributes:
        count: How many, at most ``MOST_COUNTED``.
        ended_at: When the last of them ended, seconds since the epoch.
        last_run: Its id.
    """

    count: int = 0
    ended_at: float = 0.0
    last_run: str = ""


def reason_to_wait(
    stream: str, living: dg.RunRecord | None, failures: Failures, *, lock_holder: int, now: float
) -> str:
    """Why no run is asked for now; empty when one is."""
    if living is not None:
        return f"run {living.dagster_run.run_id[:8]} is {living.dagster_run.status.value}"
    if lock_holder:
        return f"process {lock_holder} holds the lock of {stream}, but has no run that is alive"
    wait = back_off_seconds(failures, now=now)
    return f"waiting {wait:.0f} s after failure {failures.count} in a row" if wait > 0 else ""


def living_run(instance: dg.DagsterInstance, job_name: str, *, lock_holder: int, now: float) -> dg.RunRecord | None:
    """The run that is alive; one whose process is dead is marked failed first.

    A run that started long enough ago and whose lock is free has no process any more: Dagster's own
    monitoring does not see that when the code server died with it.
    """
    living = None
    for record in instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=ALIVE)):
        run = record.dagster_run
        young = now - (record.start_time or now) < GRACE_SECONDS
        if lock_holder or young or run.status not in (Status.STARTED, Status.CANCELING):
            living = record
            continue
        fresh = instance.get_run_by_id(run.run_id)
        if fresh is not None and not fresh.is_finished:
            instance.report_run_failed(fresh, "the stream's lock is free: its process is dead")
    return living


def failures_in_a_row(instance: dg.DagsterInstance, job_name: str) -> Failures:
    """The newest runs that ended in failure, as far as none of them had lived long enough to be healthy."""
    count, ended_at, last_run = 0, 0.0, ""
    for record in instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=ENDED), limit=MOST_COUNTED):
        lived = (record.end_time or 0.0) - (record.start_time or record.end_time or 0.0)
        if record.dagster_run.status != Status.FAILURE or lived > HEALTHY_SECONDS:
            break
        count += 1
        ended_at, last_run = ended_at or record.end_time or 0.0, last_run or record.dagster_run.run_id
    return Failures(count, ended_at, last_run)


def counted(failures: Failures, living: dg.RunRecord | None, *, now: float) -> int:
    """The failures in a row as of now: a run that lives for long enough ends the count."""
    healthy = living is not None and now - (living.start_time or now) > HEALTHY_SECONDS
    return 0 if healthy else failures.count


def back_off_seconds(failures: Failures, *, now: float) -> float:
    """How much longer to wait before the next run; doubles with each failure."""
    if not failures.count:
        return 0.0
    pause = min(5.0 * float(2**failures.count), float(LONGEST_BACK_OFF_SECONDS))
    return failures.ended_at + pause - now


def why_failed(instance: dg.DagsterInstance, run_id: str) -> str:
    """The sentence that a failed run ended with."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for entry in instance.all_logs(run_id, of_type=kinds):
        event = entry.dagster_event
        if event is None:
            continue
        if not event.is_step_failure:
            return (event.message or "no reason was recorded")[:MOST_WHY]
        told, error = event.step_failure_data.user_failure_data, event.step_failure_data.error
        if told is not None and told.description:
            return told.description[:MOST_WHY]
        if error is not None:
            return (error.cause or error).message.strip()[:MOST_WHY]
    return "no reason was recorded"
