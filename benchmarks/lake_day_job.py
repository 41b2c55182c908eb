"""One night of the lake in a process of its own, as Dagster runs it; says as JSON what each step took.

``python -m benchmarks.lake_day_job HOME MLFLOW``: the assets of ``refresh_lake_job`` and ``features_job`` with their
checks, one after the other, in the Spark session that the settings name (``SENTINELA_SPARK_...``).
"""

import json
import os
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import dagster as dg
import psutil

from fraud_assets import definitions
from fraud_assets.automation import FEATURES, LAKE
from fraud_assets.daily import partition_of
from fraud_assets.declared import key_of
from pix.settings import Settings

LOOK_SECONDS = 0.25
Looks = list[tuple[float, float, int]]
"""Epoch seconds, processor seconds spent until then, resident bytes: of this process and all below it."""


def main(home: str, mlflow: str) -> None:
    """Run, and write what there is to say to standard output."""
    definitions.prepare_process()
    job = definitions.build(Settings(home=Path(home), mlflow_uri=mlflow)).resolve_job_def("daily_refresh_job")
    chosen = [key_of(name) for name in (*LAKE, *FEATURES)]
    with dg.DagsterInstance.ephemeral() as instance, _watched() as looks:
        result = job.execute_in_process(
            instance=instance,
            partition_key=partition_of(datetime.now(UTC)),
            asset_selection=chosen,
            raise_on_error=False,
        )
        told = {"steps": _steps(instance, result.run_id, looks), "checks": _checks(result)}
    told |= {"success": result.success, "peak_mb": max(bytes_ for _, _, bytes_ in looks) / 2**20}
    # At the end the JVM is gone, and with it what it spent.
    told |= {"cpu_seconds": max(cpu for _, cpu, _ in looks), "errors": _errors(result)}
    sys.stdout.write(json.dumps(told) + "\n")


@contextmanager
def _watched() -> Iterator[Looks]:
    looks: Looks = [_look()]
    ended = Event()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            looks.append(_look())

    thread = Thread(target=watch, daemon=True)
    thread.start()
    yield looks
    ended.set()
    thread.join()


def _look() -> tuple[float, float, int]:
    cpu, resident, here = 0.0, 0, psutil.Process()
    for each in (here, *here.children(recursive=True)):
        try:
            cpu += sum(each.cpu_times()[:4])
            resident += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return time.time(), cpu, resident


def _steps(instance: dg.DagsterInstance, run: str, looks: Looks) -> list[dict[str, Any]]:
    """Seconds and processor seconds of each step, in order."""
    kinds = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}
    begun, steps = {}, []
    for entry in instance.all_logs(run, of_type=kinds):
        event = entry.get_dagster_event()
        if event.event_type_value == dg.DagsterEventType.STEP_START.value:
            begun[event.step_key] = entry.timestamp
        else:
            start = begun[event.step_key]
            spent = _at(looks, entry.timestamp) - _at(looks, start)
            steps.append({"step": event.step_key, "seconds": entry.timestamp - start, "cpu_seconds": spent})
    return steps


def _at(looks: Looks, when: float) -> float:
    """Processor seconds until then, between two looks in proportion."""
    after = min(bisect_right([look[0] for look in looks], when), len(looks) - 1)
    (t0, cpu0, _), (t1, cpu1, _) = looks[max(after - 1, 0)], looks[after]
    share = min(max((when - t0) / (t1 - t0), 0.0), 1.0) if t1 > t0 else 1.0
    return cpu0 + share * (cpu1 - cpu0)


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """How many were evaluated, which did not pass, and what parity compared."""
    found = result.get_asset_check_evaluations()
    compared = [c.metadata["compared"].value for c in found if c.check_name == "online_equals_offline"]
    return {
        "evaluated": len(found),
        "not_passed": sorted(
            f"{c.asset_key.to_user_string()} {c.check_name} ({c.severity.value}): {c.description}"
            for c in found
            if not c.passed
        ),
        "compared": compared[0] if compared else 0,
    }


def _errors(result: dg.ExecuteInProcessResult) -> list[str]:
    failures = [event for event in result.all_events if event.is_step_failure]
    return [f"{event.step_key}: {str(event.step_failure_data.error)[:2000]}" for event in failures]


if __name__ == "__main__":
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    main(*sys.argv[1:3])
