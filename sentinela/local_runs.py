"""Dagster runs without a webserver: a process of its own, on the home's instance, so that they stand in the UI.

The parent starts ``python -m sentinela.local_runs JOB RUN_ID``; the child runs the job and prints its steps
as JSON lines. A process apart, because Spark's JVM and the libraries' logs belong to it and end with it.
"""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sentinela.configuration import REPOSITORY
from sentinela.dagster_runs import FinishedRun, RunFailed
from sentinela.progress import Say
from sentinela.runtime import dagster_home, services
from sentinela.runtime.home import Home

LOG = "import"
POLL_SECONDS = 0.3


def launch(
    home: Home,
    job: str,
    say: Say,
    *,
    code_port: int,
    while_running: Callable[[], None] = lambda: None,
) -> FinishedRun:
    """Run a job of the code location in a process of its own and follow it to its end.

    Args:
        home: The instance's home; its Dagster instance is made where there is none.
        job: Name of the job.
        say: Told of every asset step that ends.
        code_port: Port that the instance's configuration names for its code server.
        while_running: Called a few times a second.

    Raises:
        NotRunning: Dagster refuses the home.
        RunFailed: The run did not succeed.
    """
    start = time.monotonic()
    environment = {**services.common_environment(home, os.environ), **dagster_home.environment(home, code_port)}
    dagster_home.prepare(home, REPOSITORY, environment)
    run_id, log = str(uuid.uuid4()), home.log(LOG)
    words = [sys.executable, "-m", "sentinela.local_runs", job, run_id]
    with log.open("ab") as file:
        process = subprocess.Popen(  # noqa: S603 - our own command
            words, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=file, text=True
        )
        try:
            # The child speaks when it is done, and little: nothing need be read before.
            while process.poll() is None:
                while_running()
                time.sleep(POLL_SECONDS)
        except BaseException:
            process.terminate()
            raise
        finally:
            lines = [json.loads(line) for line in process.communicate()[0].splitlines()]
    while_running()
    for line in lines[:-1]:
        say(f"    {line['step']:40} {line['status']:8} {line['seconds']:5.1f} s")
    if process.returncode:
        cause = lines[-1]["cause"] if lines else "its process ended"
        raise RunFailed(f"{job} failed: {cause} (run {run_id}; its log is {log})")
    return FinishedRun(run_id, time.monotonic() - start)


def run(job: str, run_id: str) -> bool:
    """The child: run the job here, then print its steps and at last why it failed, or null."""
    import dagster as dg

    from fraud_assets.daily import partition_of
    from fraud_assets.definitions import defs

    loaded = defs().resolve_job_def(job)
    with dg.DagsterInstance.get() as instance:
        result = loaded.execute_in_process(
            run_id=run_id,
            partition_key=partition_of(datetime.now(UTC)) if loaded.partitions_def else None,
            instance=instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "WARNING"}}}},
        )
        for stats in sorted(instance.get_run_step_stats(run_id), key=lambda each: each.end_time or 0):
            seconds = (stats.end_time or 0) - (stats.start_time or 0)
            status = stats.status.value.lower() if stats.status else "unknown"
            _print({"step": stats.step_key, "status": status, "seconds": seconds})
    _print({"cause": None if result.success else _cause(result)})
    return bool(result.success)


def _cause(result: Any) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            said = data.user_failure_data.description if data.user_failure_data else None
            return f"{event.step_key}: {said or str(data.error.cause or data.error).strip()}"
    return "no cause was recorded"


def _print(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Entry point of the child; what libraries print goes to stderr, so that stdout holds our lines only."""
    job, run_id = sys.argv[1:3]
    own = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(own, "w")
    sys.exit(0 if run(job, run_id) else 1)


if __name__ == "__main__":
    main()
