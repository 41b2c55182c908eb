"""Dagster runs from the command line: launched through the webserver, so that they stand in the UI."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from pix.clock import epoch_ms
from pix.offline.days import day_at
from sentinela.errors import NotRunning, SentinelaError
from sentinela.progress import Say

LOCATION = "sentinela"
REPOSITORY = "__repository__"
AT = {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY}
POLL_SECONDS = 0.7
FINISHED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } }
} }"""
PARTITION_SETS = """
query ($at: RepositorySelector!, $job: String!) { partitionSetsOrError(repositorySelector: $at, pipelineName: $job) {
  ... on PartitionSets { results { name } } } }"""
STATE = """
query ($id: ID!) { runOrError(runId: $id) { ... on Run {
  status stepStats { stepKey status startTime endTime } } } }"""
FAILURES = """
query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  __typename
  ... on ExecutionStepFailureEvent { stepKey error { message causes { message } } }
  ... on RunFailureEvent { message error { message } }
} } } }"""


class RunFailed(SentinelaError):
    """A Dagster run ended without success; the message is its cause and where to look."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A successful run: its id and its wall time in seconds."""

    run_id: str
    seconds: float


def launch(
    dagster: str,
    job: str,
    say: Say,
    *,
    run_config: Mapping[str, Any] | None = None,
    while_running: Callable[[], None] = lambda: None,
) -> FinishedRun:
    """Launch a job of the code location and follow it to its end.

    Args:
        dagster: Base URL of the webserver.
        job: Name of the job.
        say: Told of every asset step that ends.
        run_config: Run configuration.
        while_running: Called about once a second.

    Raises:
        NotRunning: The webserver does not answer.
        RunFailed: The run could not be launched or did not succeed.
    """
    start = time.monotonic()
    params = {
        "selector": {**AT, "jobName": job},
        "runConfigData": dict(run_config or {}),
        "executionMetadata": {"tags": _tags(dagster, job)},
    }
    launched = _ask(dagster, LAUNCH, {"params": params})["launchRun"]
    if "run" not in launched:
        raise RunFailed(f"{job} could not be launched: {launched}")
    run_id = launched["run"]["runId"]
    say(f"  {job}: {dagster}/runs/{run_id}")
    told: set[str] = set()
    while True:
        run = _ask(dagster, STATE, {"id": run_id})["runOrError"]
        _tell_steps(run["stepStats"], told, say)
        while_running()
        if run["status"] in FINISHED:
            break
        time.sleep(POLL_SECONDS)
    if run["status"] != "SUCCESS":
        raise RunFailed(f"{job} ended as {run['status']}: {_cause(dagster, run_id)} ({dagster}/runs/{run_id})")
    return FinishedRun(run_id, time.monotonic() - start)


def _tags(dagster: str, job: str) -> list[dict[str, str]]:
    """A job with daily tables runs under the partition of today, in Brasília."""
    found = _ask(dagster, PARTITION_SETS, {"at": AT, "job": job})["partitionSetsOrError"]
    today = str(day_at(epoch_ms()))
    return [{"key": "dagster/partition", "value": today}] if found.get("results") else []


def _tell_steps(steps: list[dict[str, Any]], told: set[str], say: Say) -> None:
    for step in sorted(steps, key=lambda step: step["endTime"] or 0):
        if step["endTime"] and step["stepKey"] not in told:
            told.add(step["stepKey"])
            say(f"    {step['stepKey']:40} {step['status'].lower():8} {step['endTime'] - step['startTime']:5.1f} s")


def _cause(dagster: str, run_id: str) -> str:
    for event in _ask(dagster, FAILURES, {"id": run_id})["logsForRun"]["events"]:
        if event["__typename"] == "ExecutionStepFailureEvent" and event.get("error"):
            innermost = (event["error"]["causes"] or [event["error"]])[-1]
            return f"{event['stepKey']}: {innermost['message'].strip()}"
        if event["__typename"] == "RunFailureEvent" and event.get("message"):
            return str(event["message"])
    return "no cause was recorded"


def _ask(dagster: str, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    try:
        answer = httpx.post(f"{dagster}/graphql", json={"query": query, "variables": dict(variables)}, timeout=60)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise NotRunning(f"the Dagster webserver at {dagster} does not answer ({error}); run `sentinela up`") from error
    content: dict[str, Any] = answer.json()
    if content.get("errors"):
        raise RunFailed(f"Dagster refused the query: {content['errors'][0]['message']}")
    found: dict[str, Any] = content["data"]
    return found
