"""The Dagster code location: everything that can be seen and run, put together once.

Read it for the lineage: topics -> bronze (streams) -> silver -> gold -> features -> training set -> challenger
-> champion -> drift report. This module is a process root: here, and only when Dagster loads ``defs``, the
settings are read and the environment of this process is set.
"""

import os

import dagster as dg

from fraud_assets import (
    batch_scores,
    cards,
    care,
    features,
    flow,
    gold,
    imports,
    model_days,
    models,
    monitoring,
    search,
    silver,
    succession,
    thresholds,
)
from fraud_assets.automation import (
    JOBS,
    daily_refresh_schedule,
    daily_scorecard_schedule,
    drift_retrain_sensor,
    hourly_compaction_schedule,
    nightly_care_schedule,
    weekly_retrain_schedule,
)
from fraud_assets.care import care_checks
from fraud_assets.checks import all_checks
from fraud_assets.daily import beginning
from fraud_assets.lateness import late_data_sensor
from fraud_assets.resources import all_resources
from fraud_assets.scorecard import scorecard, unexpected_rows
from fraud_assets.streams import stream_definitions
from pix.settings import Settings

ASSETS = (
    imports.imported_history,
    silver.decisions,
    silver.payments,
    silver.labels,
    silver.quarantine,
    silver.shadow_scores,
    gold.decisions,
    gold.hourly_kpis,
    gold.daily_kpis,
    model_days.model_daily,
    flow.hourly_flow,
    gold.payer_profiles,
    gold.payee_profiles,
    features.offline_features,
    features.feature_statistics,
    features.store_base,
    features.training_set,
    search.search,
    models.challenger,
    models.evaluation,
    models.champion,
    cards.card,
    succession.approval,
    succession.reproduction,
    thresholds.threshold_proposal,
    batch_scores.batch_scores,
    monitoring.drift_report,
    scorecard,
    unexpected_rows,
    care.retention,
    care.compaction,
    care.vacuum,
)


def build(settings: Settings) -> dg.Definitions:
    """The code location over the home that the settings name."""
    return dg.Definitions.merge(
        dg.Definitions(
            assets=beginning(ASSETS, settings.first_day),
            asset_checks=[*all_checks(), *care_checks()],
            jobs=JOBS,
            sensors=[drift_retrain_sensor, late_data_sensor],
            schedules=[
                daily_refresh_schedule,
                daily_scorecard_schedule,
                hourly_compaction_schedule,
                nightly_care_schedule,
                weekly_retrain_schedule,
            ],
            resources=all_resources(settings),
            executor=dg.in_process_executor,
        ),
        stream_definitions(settings),
    )


def prepare_process() -> None:
    """Switches that libraries read from the environment when they are first imported."""
    from learning.registry import MLFLOW_ENVIRONMENT
    from pix.offline.session import use_this_python
    from quality.expectations import GX_ENVIRONMENT

    os.environ.update({**MLFLOW_ENVIRONMENT, **GX_ENVIRONMENT})
    use_this_python()


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    prepare_process()
    return build(Settings())
