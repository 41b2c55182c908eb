"""Jobs, the retraining sensor and the schedules. Sensors look; ``quality.verdict`` judges.

Jobs with daily tables follow the news (``fraud_assets.daily``): launch one by hand under today's partition.

All runs use the in-process executor: with a process per step each one would start its own JVM.
"""

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

from fraud_assets.cards import CARD
from fraud_assets.daily import FOLLOWS_NEWS, partition_of
from fraud_assets.declared import key_of
from fraud_assets.folding import TABLES as FOLDED_TABLES
from fraud_assets.models import CHALLENGER, CHAMPION
from fraud_assets.monitoring import DRIFT_REPORT
from fraud_assets.resources import end_mlflow_on_run_finished
from fraud_assets.thresholds import PROPOSAL
from pix import topics
from pix.offline.care import CARE_TABLES, COMPACTION_DONE
from pix.offline.days import TIMEZONE
from pix.offline.tables import (
    BATCH_SCORES,
    DAILY_KPIS,
    DECISIONS_GOLD,
    DECISIONS_SILVER,
    EVALUATION,
    FEATURE_STATISTICS,
    FLOW,
    HISTORY_IMPORTS,
    HISTORY_LABELS,
    HISTORY_PAYMENTS,
    HISTORY_REFUSED,
    HOURLY_KPIS,
    LABELS_SILVER,
    MODEL_DAILY,
    PAYEE_PROFILES,
    PAYER_PROFILES,
    PAYMENTS_SILVER,
    QUARANTINE_SILVER,
    SEARCH,
    SHADOW_SILVER,
    TRAINING_SET,
)
from quality.scorecard import SCORECARD

REASON_TAG, ASKED_TAG = "reason", "sentinela/asked-for"
BY_MONITORING = {"sentinela/asked-by": "monitoring"}
MOST_OF_A_TAG = 250
"""A tag stands on one line of the run's page; the report has all of it."""


def selection(*names: str) -> dg.AssetSelection:
    """These assets, with their checks."""
    return dg.AssetSelection.assets(*[key_of(name) for name in names])


IMPORTED = (HISTORY_PAYMENTS.name, HISTORY_LABELS.name, HISTORY_REFUSED.name, HISTORY_IMPORTS.name)
LAKE = (
    DECISIONS_SILVER.name,
    PAYMENTS_SILVER.name,
    LABELS_SILVER.name,
    QUARANTINE_SILVER.name,
    DECISIONS_GOLD.name,
    HOURLY_KPIS.name,
    DAILY_KPIS.name,
)
BRONZE_TABLES = [topics.bronze_table(topic) for topic in topics.ALL]
PROFILES = (PAYER_PROFILES.name, PAYEE_PROFILES.name)
FEATURES = (*(table.name for table in FOLDED_TABLES), FEATURE_STATISTICS.name)
MODELS = (TRAINING_SET.name, CHALLENGER, EVALUATION.name, CHAMPION, CARD, PROPOSAL)
MONITORED = (MODEL_DAILY.name, DRIFT_REPORT)

refresh_lake_job = dg.define_asset_job(
    "refresh_lake_job",
    selection(*LAKE),
    tags=FOLLOWS_NEWS,
    description="Bring silver and gold up to date with bronze; `sentinela verify` runs it.",
)
import_history_job = dg.define_asset_job(
    "import_history_job",
    selection(*IMPORTED, *LAKE, *FEATURES, "serving/store_base"),
    tags=FOLLOWS_NEWS,
    description="Import what waits in the inbox, up to the online store's base; `sentinela import` of live runs it.",
)
import_to_lake_job = dg.define_asset_job(
    "import_to_lake_job",
    selection(*IMPORTED, *LAKE),
    tags=FOLLOWS_NEWS,
    description="Import what waits in the inbox into the lake; `sentinela import` of other histories runs it.",
)
features_job = dg.define_asset_job(
    "features_job",
    selection(*FEATURES),
    description="Recompute every feature offline, and prove that it equals what the service logged.",
)
retrain_job = dg.define_asset_job(
    "retrain_job",
    selection(*FEATURES, *MODELS),
    description="Recompute features, fit a challenger, and promote it if it earned that.",
    hooks={end_mlflow_on_run_finished},
)
daily_refresh_job = dg.define_asset_job(
    "daily_refresh_job",
    selection(*LAKE, FLOW.name, *PROFILES, SHADOW_SILVER.name, *FEATURES, *MONITORED),
    tags=FOLLOWS_NEWS,
    description="Bring silver, gold and features up to date, hold them against Kafka, and look for drift.",
)
search_job = dg.define_asset_job(
    "search_job",
    selection(SEARCH.name),
    description="Search settings of the trees on the newest training set, for ten minutes unless told otherwise.",
    hooks={end_mlflow_on_run_finished},
)
batch_scoring_job = dg.define_asset_job(
    "batch_scoring_job",
    selection(BATCH_SCORES.name),
    description="Score past days with any model version, beside what was decided: pick days, name a model_version.",
)
everything_job = dg.define_asset_job(
    "everything_job",
    selection(*IMPORTED, *LAKE, *PROFILES, SHADOW_SILVER.name, *FEATURES, "serving/store_base", *MODELS, *MONITORED),
    tags=FOLLOWS_NEWS,
    description="From the inbox to the champion and its drift report; `make demo` runs it.",
    hooks={end_mlflow_on_run_finished},
)

scorecard_job = dg.define_asset_job(
    "scorecard_job",
    selection(SCORECARD.name),
    description="Judge every table and day; in a run of its own, which no table's red check stops.",
)

care_job = dg.define_asset_job(
    "care_job",
    selection(*(table.name for table in CARE_TABLES)),
    description="What had to go goes, small files are put together, what nobody needs is cleared away.",
)
compaction_job = dg.define_asset_job(
    "compaction_job",
    selection(COMPACTION_DONE.name),
    description="Small files are put together; every hour in bronze, whose stream leaves up to 1,800 a topic and hour.",
)


@dg.asset_sensor(
    asset_key=key_of(DRIFT_REPORT),
    job=retrain_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def drift_retrain_sensor(
    context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry
) -> dg.RunRequest | dg.SkipReason:
    """Request retraining when the newest report found what no request has asked for yet, of this champion."""
    from quality.verdict import Finding, verdict

    materialization = asset_event.asset_materialization
    if materialization is None:
        return dg.SkipReason("the event is no materialisation")
    told: dict[str, Any] = {name: value.value for name, value in materialization.metadata.items()}
    asked, last_request_ms = _requests(context.instance)
    judged = verdict(
        [Finding(**one) for one in told.get("findings", [])],
        champion=told.get("champion"),
        asked=asked,
        last_request_ms=last_request_ms,
        now_ms=int(asset_event.timestamp * 1000),
    )
    reasons = "; ".join(judged.reasons)
    if not judged.retrain:
        return dg.SkipReason(reasons)
    tags = {REASON_TAG: reasons[:MOST_OF_A_TAG], ASKED_TAG: json.dumps(judged.asks), **BY_MONITORING}
    run_config = _of_op(CHALLENGER, {"newest_days": judged.newest_days}) if judged.newest_days else {}
    return dg.RunRequest(run_key=f"drift:{'+'.join(judged.asks)}", tags=tags, run_config=run_config)


def _of_op(asset: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {"ops": {"__".join(key_of(asset).path): {"config": dict(config)}}}


def _requests(instance: dg.DagsterInstance) -> tuple[frozenset[str], int | None]:
    """What retraining was ever asked for, and when it last was, epoch milliseconds."""
    asked = dg.RunsFilter(job_name=retrain_job.name, tags=BY_MONITORING)
    records = instance.get_run_records(asked)
    names = {name for record in records for name in json.loads(record.dagster_run.tags.get(ASKED_TAG, "[]"))}
    return frozenset(names), max((int(one.create_timestamp.timestamp() * 1000) for one in records), default=None)


def _ever_trained(instance: dg.DagsterInstance) -> bool:
    return instance.get_latest_materialization_event(key_of(TRAINING_SET.name)) is not None


def _always(
    name: str, job: Any, cron: str, description: str, run_config: Mapping[str, Any] | None = None
) -> dg.ScheduleDefinition:
    """A schedule that runs a job whenever it is time, by Brasília's clock, unless somebody switches it off."""
    return dg.ScheduleDefinition(
        name=name,
        job=job,
        cron_schedule=cron,
        description=description,
        run_config=run_config,
        execution_timezone=TIMEZONE,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


# Running by default: that the lake is fresh every morning is a promise, not an option to click on. A machine
# that sleeps at that hour skips the night; the next `sentinela verify` or run brings everything up to date.
@dg.schedule(
    job=daily_refresh_job,
    cron_schedule="30 0 * * *",
    execution_timezone=TIMEZONE,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def daily_refresh_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Half past midnight in Brasília, when the day that the KPIs count is over."""
    if not _ever_trained(context.instance):
        return dg.SkipReason("nothing was ever trained on this home, so there is nothing to compare with")
    return dg.RunRequest(partition_key=partition_of(context.scheduled_execution_time))


@dg.schedule(
    job=retrain_job,
    cron_schedule="0 4 * * 0",
    execution_timezone=TIMEZONE,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def weekly_retrain_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Sunday at four in Brasília, when little is paid and the night's care is over: new labels, whatever was found."""
    if not _ever_trained(context.instance):
        return dg.SkipReason("nothing was ever trained on this home; `make demo` or a first run of retrain_job does it")
    week = context.scheduled_execution_time.strftime("%G-W%V")
    return dg.RunRequest(run_key=f"weekly:{week}", tags={REASON_TAG: f"weekly retraining, {week}"})


daily_scorecard_schedule = _always(
    "daily_scorecard_schedule",
    scorecard_job,
    "30 1 * * *",
    "Half past one in Brasília, when the nightly refresh is over.",
)
# Whoever reads bronze opens its files one by one: a day's 40,000 of a topic keep Spark busy for minutes each time.
hourly_compaction_schedule = _always(
    "hourly_compaction_schedule",
    compaction_job,
    "10 * * * *",
    "Ten past every hour, so that the nightly refresh finds twenty minutes' small files.",
    _of_op(COMPACTION_DONE.name, {"tables": BRONZE_TABLES}),
)
# After the night's runs, so that little is left out for being written; a night that is slept through is made up for by
# the next.
nightly_care_schedule = _always(
    "nightly_care_schedule",
    care_job,
    "30 2 * * *",
    "Half past two in Brasília, when refresh and scorecard are over.",
)


JOBS = (
    refresh_lake_job,
    import_history_job,
    import_to_lake_job,
    features_job,
    retrain_job,
    search_job,
    batch_scoring_job,
    daily_refresh_job,
    everything_job,
    scorecard_job,
    care_job,
    compaction_job,
)
