"""From the inbox to the champion, in this process, on real Spark, Delta and MLflow."""

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pix.features import FEATURE_NAMES
from pix.offline import inbox
from pix.offline.tables import BATCH_SCORES, DAILY_KPIS, EVALUATION, FLOW, HOURLY_KPIS, MODEL_DAILY, SEARCH, TABLES

ALONE = (
    "silver/decisions",
    "silver/payments",
    "silver/labels",
    "silver/quarantine",
    "gold/decisions",
    "gold/daily_kpis",
    "features/training_set",
    "model/evaluation",
    "model/champion",
    "monitoring/drift_report",
)
# KPIs and the evaluation go through the IO manager, the flow and batch scores are made in runs of their own.
BY_ARROW = (BATCH_SCORES, HOURLY_KPIS, DAILY_KPIS, MODEL_DAILY, FLOW, EVALUATION, SEARCH)
BY_SPARK = sorted(TABLES.keys() - {table.name for table in BY_ARROW})


def test_every_payment_reaches_the_features(trained):
    lake = trained.lake
    assert lake.rows("silver/history_payments") == 2_500
    assert lake.rows("silver/payments") == lake.rows("features/payment_features") == 2_500
    assert lake.rows("features/training_set") == 2_500


@pytest.mark.parametrize("table", BY_SPARK)
def test_each_materialisation_tells_rows_columns_and_version(trained, table):
    told = trained.newest(table)
    assert told["dagster/row_count"] == trained.lake.rows(table)
    assert [column.name for column in told["dagster/column_schema"].columns] == TABLES[table].names
    assert told["delta_version"] == trained.lake.version(table)


@pytest.mark.parametrize("table", BY_SPARK)
def test_tables_stay_readable_by_delta_rs(trained, table):
    found = DeltaTable(trained.lake.path(table))
    assert found.metadata().configuration.get("delta.enableDeletionVectors") == "false"
    assert found.metadata().configuration.get("delta.columnMapping.mode") == "none"


def test_no_clear_identifier_reaches_the_lake(trained):
    clear = json.loads((trained.settings.root / "simulated/payments.jsonl").read_text().splitlines()[0])
    row = trained.lake.read("silver/payments").where(f"end_to_end_id = '{clear['end_to_end_id']}'").collect()[0]
    stored = json.dumps(row.asDict(), default=str)
    for name in ("payer_account", "payee_account", "payer_tax_id", "pix_key", "device_id"):
        assert clear.get(name) is None or clear[name] not in stored


def test_a_file_is_imported_once(trained):
    assert trained.newest("silver/history_payments")["imported_now"] == ["live"]
    names = ("silver/history_payments", "silver/history_labels", "silver/history_refused", "silver/history_imports")
    before = [trained.lake.rows(name) for name in names]
    inbox.deposit(trained.settings.root / "inbox", trained.settings.root / "simulated", "live", None)
    assert trained.run(*names).success
    assert trained.newest("silver/history_payments")["imported_now"] == []
    assert [trained.lake.rows(name) for name in names] == before


def test_what_was_imported_does_not_stay_in_the_inbox(trained):
    assert [path for path in (trained.settings.root / "inbox").rglob("*") if path.is_file()] == []


def test_the_champion_is_registered_with_its_reason(trained):
    from mlflow import MlflowClient

    client = MlflowClient(trained.settings.mlflow)
    serves = client.get_model_version_by_alias("pix_fraud", "champion")
    told = trained.newest("model/champion")
    assert str(serves.version) == told["model_version"]
    for reason in serves.tags["promotion_reasons"].split("\n"):
        assert f"- {reason}" in told["reasons"] or "champion already" in told["reasons"]
    assert client.get_run(serves.run_id).info.status == "FINISHED"


def test_the_challenger_stands_beside_the_base_rate_and_raw_fields(trained):
    told = trained.newest("model/challenger")
    assert {"average_precision", "base_rate", "raw_fields_average_precision"} <= told.keys()
    for name in ("precision_recall", "gain", "calibration", "threshold_cost"):
        assert told[name].startswith(f"![{name.replace('_', ' ')}](data:image/png;base64,")
        assert len(told[name]) < 100_000


def test_the_evaluation_compares_with_raw_fields_and_with_rules_and_looks_at_groups(trained):
    rows = trained.lake.read("model/evaluation").collect()
    assert {row.judged for row in rows} == {"ensemble", "raw fields", "rules only"}
    gains = {(row.metric, row.part): row for row in rows if row.split == "against"}
    assert set(gains) == {
        (metric, name)
        for metric in ("average_precision_over", "saved_reais_over")
        for name in ("raw fields", "rules only")
    }
    assert all(row.low <= row.value <= row.high for row in gains.values())
    payers = {"payer", "payer_age", "payer_account_age", "payer_region"}
    assert {row.split for row in rows} == {"", "against", "fraud_type", "initiation", "member", *payers}
    shares = [row for row in rows if row.metric in ("recall", "false_positive_rate")]
    assert all(0 <= row.low <= row.value <= row.high <= 1 for row in shares)
    assert {row.part for row in rows if row.split == "member"} == {"catboost", "scorecard", "histogram"}


def test_a_version_says_what_it_was_made_from(trained):
    from mlflow import MlflowClient

    client = MlflowClient(trained.settings.mlflow)
    version = client.get_model_version("pix_fraud", trained.newest("model/evaluation")["model_version"])
    read = {each.dataset.name: each.dataset for each in client.get_run(version.run_id).inputs.dataset_inputs}
    assert set(read) == {
        "features/training_set",
        "features/payment_features",
        "silver/payments",
        "silver/labels",
        "silver/decisions",
    }
    assert len(read["features/training_set"].digest) == 32
    recorded = client.get_run(version.run_id).data.tags
    for name, dataset in read.items():
        assert int(recorded[f"data_version.{name}"]) == json.loads(dataset.source).get("delta_table_version", 0)


def test_small_tables_are_stored_by_the_io_manager(trained):
    assert DeltaTable(trained.lake.path("model/evaluation")).count() > 60
    assert DeltaTable(trained.lake.path("monitoring/drift_report")).count() == len(FEATURE_NAMES)
    assert DeltaTable(trained.lake.path("gold/daily_kpis")).count() == 0


def test_the_drift_report_is_a_file_and_a_summary(trained):
    told = trained.newest("monitoring/drift_report")
    assert f"Drift in column '{max(told['psi'], key=told['psi'].get)}'" in Path(told["html"]).read_text()
    assert told["current"] == "history"
    assert len(told["psi"]) + len(told["dead"]) >= 25
    # Of the first champion, whose twin never saw the history's newest days.
    assert told["champion"] == "1"
    assert "Drift in column 'the champion's log-odds'" in Path(told["html"]).read_text().replace("&#39;", "'")
    kept = json.loads(Path(told["html"]).with_suffix(".json").read_text())
    assert kept["findings"] == told["findings"]
    assert Path(told["html"]).name in Path(told["html"]).with_name("index.html").read_text()


@pytest.mark.parametrize("name", ALONE)
def test_every_asset_can_be_materialised_alone(trained, name):
    result = trained.run(name)
    assert result.success, trained.told(result)


def test_without_a_service_the_base_says_how_to_start_it(trained):
    result = trained.run("serving/store_base")
    assert not result.success
    (sentence,) = trained.told(result).values()
    assert sentence.startswith("the decision service at http://127.0.0.1:9 does not answer")
    assert "`sentinela up`" in sentence


def test_retraining_ends_its_mlflow_run_by_the_hook(trained):
    from mlflow import MlflowClient

    config = {"ops": {"model__challenger": {"config": {"iterations": 5}}}}
    result = trained.run("model/challenger", job="retrain_job", config=config)
    assert result.success, trained.told(result)
    assert "HOOK_COMPLETED" in {event.event_type_value for event in result.all_events}
    run = MlflowClient(trained.settings.mlflow).get_run(trained.newest("model/challenger")["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["dagster_run_id"] == result.run_id


def test_a_failed_training_ends_its_mlflow_run_as_failed(trained):
    from mlflow import MlflowClient, active_run

    config = {"ops": {"model__challenger": {"config": {"learning_rate": 7.0}}}}
    result = trained.run("model/challenger", config=config)
    assert not result.success
    assert active_run() is None
    client = MlflowClient(trained.settings.mlflow)
    experiment = client.get_experiment_by_name("sentinela")
    newest = client.search_runs([experiment.experiment_id], f"tags.dagster_run_id = '{result.run_id}'")
    assert [run.info.status for run in newest] == ["FAILED"]
