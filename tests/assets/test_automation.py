"""The sensor asks for retraining when the newest report found something, once per finding; a schedule asks weekly."""

import datetime as dt
import json

import dagster as dg
import pytest

from fraud_assets.automation import ASKED_TAG, BY_MONITORING, drift_retrain_sensor, weekly_retrain_schedule
from fraud_assets.definitions import build
from pix.offline.tables import TRAINING_SET
from pix.settings import Settings
from quality.verdict import SETTLE_DAYS, Finding

DRIFT_REPORT = dg.AssetKey(["monitoring", "drift_report"])
DATA = Finding(kind="data", what="features", told="80 features drifted, 29% against a threshold of 25%")
CONCEPT = Finding(kind="concept", what="residual-up", told="90 frauds where 40 were expected")


class Platform:
    """An instance with the sensor; what it asks for becomes a run, as the daemon would have it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.job = dg.job(name="retrain_job")(lambda: None)
        definitions = dg.Definitions(assets=[dg.AssetSpec(DRIFT_REPORT)], jobs=[self.job])
        self.repository = definitions.get_repository_def()

    def report(self, *findings: Finding, champion: str | None = "3"):
        metadata = {"findings": [one.to_dict() for one in findings], "champion": champion}
        self.instance.report_runless_asset_event(dg.AssetMaterialization(DRIFT_REPORT, metadata=metadata))
        with dg.build_sensor_context(instance=self.instance, repository_def=self.repository) as context:
            tick = drift_retrain_sensor.evaluate_tick(context)
        for request in tick.run_requests:
            self.instance.create_run_for_job(self.job, tags=request.tags)
        return tick


@pytest.fixture
def platform():
    with dg.DagsterInstance.ephemeral() as instance:
        yield Platform(instance)


def test_a_finding_asks_for_retraining_and_says_why(platform):
    (request,) = platform.report(DATA, CONCEPT).run_requests
    assert request.run_key == "drift:v3:concept:residual-up+v3:data:features"
    assert request.tags["reason"].startswith("data: 80 features drifted, 29%")
    assert json.loads(request.tags[ASKED_TAG]) == ["v3:concept:residual-up", "v3:data:features"]
    assert all(len(value) <= 250 for value in request.tags.values())


def test_where_fraud_has_changed_the_challenger_is_judged_on_the_newest_days(platform, tmp_path):
    (request,) = platform.report(CONCEPT).run_requests
    assert request.run_config == {"ops": {"model__challenger": {"config": {"newest_days": SETTLE_DAYS}}}}
    assert dg.validate_run_config(build(Settings(home=tmp_path)).resolve_job_def("retrain_job"), request.run_config)


def test_where_the_data_alone_have_the_folds_are_as_always(platform):
    (request,) = platform.report(DATA).run_requests
    assert request.run_config == {}


def test_a_long_reason_is_cut_and_nothing_else_is(platform):
    long = [Finding(kind="labels", what=f"kind-{n}", told="x" * 200) for n in range(3)]
    (request,) = platform.report(*long).run_requests
    assert len(request.tags["reason"]) == 250
    assert len(json.loads(request.tags[ASKED_TAG])) == 3


def test_the_same_finding_asks_once_however_often_it_is_reported(platform):
    assert len(platform.report(DATA).run_requests) == 1
    for _ in range(3):
        tick = platform.report(DATA)
        assert not tick.run_requests
        assert tick.skip_message == "asked for already, of champion v3: data:features"


def test_another_finding_waits_for_the_cooldown(platform):
    assert platform.report(DATA).run_requests
    tick = platform.report(DATA, CONCEPT)
    assert not tick.run_requests
    assert tick.skip_message == "asked not long ago, 72 h to go: concept:residual-up"


@pytest.mark.parametrize(("findings", "champion"), [((), "3"), ((DATA,), None)])
def test_nothing_found_or_nothing_serving_is_skipped_with_the_reason(platform, findings, champion):
    tick = platform.report(*findings, champion=champion)
    assert not tick.run_requests
    assert tick.skip_message


def test_a_run_that_somebody_else_asked_for_is_no_request(platform):
    platform.instance.create_run_for_job(platform.job, tags={"reason": "by hand"})
    (request,) = platform.report(DATA).run_requests
    assert request.tags.items() >= BY_MONITORING.items()


def test_once_a_week_is_trained_where_anything_ever_was(tmp_path):
    at = dt.datetime(2026, 11, 22, 7, 0, tzinfo=dt.UTC)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, dg.build_schedule_context(instance, at) as context:
        skipped = weekly_retrain_schedule.evaluate_tick(context)
        assert "nothing was ever trained" in skipped.skip_message
        instance.report_runless_asset_event(dg.AssetMaterialization(TRAINING_SET.name.split("/")))
        (request,) = weekly_retrain_schedule.evaluate_tick(context).run_requests
    assert (request.run_key, request.tags["reason"]) == ("weekly:2026-W47", "weekly retraining, 2026-W47")
    assert weekly_retrain_schedule.execution_timezone == "America/Sao_Paulo"
    assert weekly_retrain_schedule.cron_schedule == "0 4 * * 0"
