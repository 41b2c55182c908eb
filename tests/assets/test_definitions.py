"""What the code location holds, and what it must not import."""

import datetime as dt
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import dagster as dg
import pytest

from fraud_assets import definitions
from pix import topics
from pix.offline.care import care_of
from pix.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = (
    *("pyspark", "mlflow", "evidently", "great_expectations", "catboost", "bentoml", "sklearn"),
    *("pandas", "scipy", "numba", "river", "optuna", "deltalake", "matplotlib"),
)
MOST_MODULES = 550
"""Beside Dagster's own 870; today 470."""

MATERIALIZABLE = {
    "care/compaction",
    "care/retention",
    "care/vacuum",
    "features/base_states",
    "features/histories",
    "features/live_states",
    "features/payment_features",
    "features/runs",
    "features/statistics",
    "features/training_set",
    "features/unanswered",
    "gold/batch_scores",
    "gold/daily_kpis",
    "gold/decisions",
    "gold/hourly_kpis",
    "gold/model_daily",
    "gold/payee_profiles",
    "gold/payer_profiles",
    "model/approval",
    "model/challenger",
    "model/champion",
    "model/evaluation",
    "model/reproduction",
    "model/card",
    "model/search",
    "model/threshold_proposal",
    "monitoring/drift_report",
    "quality/scorecard",
    "quality/flow",
    "serving/store_base",
    "silver/decisions",
    "silver/history_imports",
    "silver/history_labels",
    "silver/history_payments",
    "silver/history_refused",
    "silver/labels",
    "silver/payments",
    "silver/quarantine",
    "silver/shadow_scores",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return definitions.build(Settings(home=tmp_path_factory.mktemp("unused")))


@pytest.fixture(scope="module")
def graph(loaded):
    return loaded.resolve_asset_graph()


def names(keys) -> set[str]:
    return {key.to_user_string() for key in keys}


def test_the_assets(graph):
    assert names(graph.materializable_asset_keys) == MATERIALIZABLE
    external = names(graph.external_asset_keys)
    assert {"bronze/pix_decisions", "bronze/pix_labels", "bronze/pix_folds", "bronze/pix_dlq"} <= external
    assert "serving/online_store" in external


def test_every_asset_is_described(graph):
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.description, key
        assert node.owners, key
        assert node.kinds, key
        assert node.group_name == key.path[0], key
        assert node.pools, key


def test_lineage_reaches_from_the_topics_to_the_drift_report(graph):
    upstream, waiting = set(), [dg.AssetKey(["monitoring", "drift_report"])]
    while waiting:
        for parent in graph.get(waiting.pop()).parent_keys - upstream:
            upstream.add(parent)
            waiting.append(parent)
    stages = {"kafka/pix_transactions", "bronze/pix_decisions", "silver/payments", "features/training_set"}
    assert stages <= names(upstream)


def test_expectations_block(graph):
    checks = {key.name: graph.get(key) for key in graph.asset_check_keys}
    assert checks["amounts_are_possible"].blocking
    assert checks["online_equals_offline"].blocking
    assert checks["decisions_come_out_again"].blocking
    assert not checks["other_words_are_known"].blocking


def test_training_jobs_carry_the_mlflow_hook(loaded):
    for name in ("retrain_job", "everything_job"):
        assert {hook.name for hook in loaded.resolve_job_def(name).hook_defs} == {"end_mlflow_on_run_finished"}


def test_jobs_run_in_one_process(loaded):
    for job in loaded.resolve_all_job_defs():
        assert job.executor_def.name == "in_process", job.name


def test_automation(loaded):
    assert loaded.resolve_schedule_def("daily_refresh_schedule").execution_timezone == "America/Sao_Paulo"
    care = loaded.resolve_schedule_def("nightly_care_schedule")
    assert (care.execution_timezone, care.default_status.value) == ("America/Sao_Paulo", "RUNNING")
    assert loaded.resolve_sensor_def("drift_retrain_sensor").job_name == "retrain_job"


def test_bronze_is_compacted_every_hour_and_nothing_else_is(loaded):
    schedule = loaded.resolve_schedule_def("hourly_compaction_schedule")
    with dg.DagsterInstance.ephemeral() as instance:
        tick = schedule.evaluate_tick(
            dg.build_schedule_context(instance, dt.datetime(2026, 11, 22, 3, 10, tzinfo=dt.UTC))
        )
    (request,) = tick.run_requests
    job = loaded.resolve_job_def(schedule.job_name)
    assert dg.validate_run_config(job, request.run_config)
    (asked,) = [op["config"]["tables"] for op in request.run_config["ops"].values()]
    assert asked == [topics.bronze_table(topic) for topic in topics.ALL]
    assert all(care_of(table).small_files for table in asked)


def test_the_code_location_is_light():
    """Dagster starts a process per run, which imports all of this first; heavy libraries come with the assets' work."""
    code = f"""
import json, sys
import dagster
before = len(sys.modules)
import fraud_assets.definitions as location
location.defs().get_repository_def()
print(json.dumps([len(sys.modules) - before, [name for name in {HEAVY!r} if name in sys.modules]]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    modules, heavy = json.loads(done.stdout.splitlines()[-1])
    assert heavy == []
    assert modules < MOST_MODULES


def test_the_lineage_is_no_circle(graph):
    """Dagster loads circular external assets, but its asset graph then shows nothing."""
    parents = {key: graph.get(key).parent_keys for key in graph.get_all_asset_keys()}
    assert len(tuple(TopologicalSorter(parents).static_order())) == len(parents)


def test_days_begin_with_the_institutions_first(tmp_path):
    began = dt.date(2026, 9, 1)
    graph = definitions.build(Settings(home=tmp_path, first_day=began)).get_repository_def().asset_graph
    parted = {node.key.to_user_string(): node.partitions_def for node in graph.asset_nodes if node.partitions_def}
    daily = {"decisions", "payments", "labels", "quarantine", "shadow_scores"}
    assert parted.keys() == {*(f"silver/{name}" for name in daily), "gold/decisions", "gold/batch_scores"}
    assert {days.start.date() for days in parted.values()} == {began}
    # A job over several of them needs them alike, and alike in Dagster means equal.
    assert len(set(parted.values())) == 1
