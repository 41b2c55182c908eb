"""The sensor asks for retraining when the newest drift report says so, once per finding."""

import dagster as dg
import pytest

from fraud_assets.automation import drift_retrain_sensor
from quality.drift import DriftSummary

DRIFT_REPORT = dg.AssetKey(["monitoring", "drift_report"])


def summary(drifted: tuple[str, ...], rows: int = 5_000) -> DriftSummary:
    return DriftSummary(
        report_id="t4-f9",
        rows_reference=rows,
        rows_current=rows,
        psi=dict.fromkeys(drifted, 0.5),
        drifted=drifted,
        drifted_share=len(drifted) / 25,
        dead=(),
    )


@pytest.fixture
def ask():
    with dg.DagsterInstance.ephemeral() as instance:
        repository = dg.Definitions(
            assets=[dg.AssetSpec(DRIFT_REPORT)],
            jobs=[dg.job(name="retrain_job")(lambda: None)],
        ).get_repository_def()

        def asked(found: DriftSummary):
            event = dg.AssetMaterialization(DRIFT_REPORT, metadata=found.to_metadata())
            instance.report_runless_asset_event(event)
            with dg.build_sensor_context(instance=instance, repository_def=repository) as context:
                return drift_retrain_sensor.evaluate_tick(context)

        yield asked


def test_drift_asks_for_retraining_and_says_why(ask):
    (request,) = ask(summary(("a", "b", "c", "d", "e", "f"))).run_requests
    assert request.run_key == "drift:t4-f9"
    assert request.tags["reason"].startswith("6 features drifted, 24%")


@pytest.mark.parametrize("found", [summary(("a",)), summary(("a",) * 20, rows=10)])
def test_no_drift_or_too_few_rows_is_skipped_with_the_reason(ask, found):
    tick = ask(found)
    assert not tick.run_requests
    assert tick.skip_message
