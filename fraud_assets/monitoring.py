"""Has the world moved since the model was trained? Evidently looks, ``quality.drift`` judges."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets.declared import ARROW_KINDS, keys_of, named
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from fraud_assets.learning_rows import of_history
from fraud_assets.resources import HomeResource
from pix.contracts import LIVE_HISTORY
from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.offline.names import history_of
from pix.offline.tables import PAYMENT_FEATURES, TRAINING_SET
from pix.offline.vectors import as_columns

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from quality.drift import DriftSummary

DRIFT_REPORT = "monitoring/drift_report"


class DriftConfig(dg.Config):
    """Whose payments are compared, and how many."""

    history: str = LIVE_HISTORY
    current_rows: int = 5_000
    enough_live_rows: int = 500
    seed: int = 7


@dg.asset(
    **named(DRIFT_REPORT, ARROW_KINDS | {"evidently"}, pii="none"),
    deps=keys_of(TRAINING_SET, PAYMENT_FEATURES),
    io_manager_key="small_tables",
)
@told
def drift_report(
    context: dg.AssetExecutionContext, config: DriftConfig, lake: LakeResource, home: HomeResource
) -> dg.MaterializeResult[Any]:
    """One feature's distance (PSI) between the training set and the newest payments."""
    from quality import drift

    source, current = newest(lake, config)
    # The same data gives the same id, so that one finding asks for one retraining.
    report_id = f"t{lake.version(TRAINING_SET.name)}-f{lake.version(PAYMENT_FEATURES.name)}"
    reference = lake.pandas(TRAINING_SET.name, where=of_history(config.history))
    summary, html = drift.drift_report(reference, current, FEATURE_NAMES, report_id=report_id, seed=config.seed)
    path = home.save_report(f"drift-{report_id}.html", html)
    context.log.info("Evidently compared %d with %d rows: %s", len(reference), len(current), path)
    metadata = {**summary.to_metadata(), "current": source, "html": dg.MetadataValue.path(path)}
    return dg.MaterializeResult(value=as_table(summary), metadata=metadata)


def newest(lake: LakeResource, config: DriftConfig) -> tuple[str, "pd.DataFrame"]:
    """The newest payments' features and where they come from: live decisions, or history while those are few."""
    from pyspark.sql import functions as f

    ours = (f.col("fingerprint") == FINGERPRINT) & (history_of("tenant") == config.history)
    features = lake.read(PAYMENT_FEATURES.name).where(ours)
    live = features.where("source = 'live'")
    source = "live" if live.count() >= config.enough_live_rows else "history"
    chosen = live if source == "live" else features
    rows = chosen.orderBy(f.desc("event_time_ms"), "end_to_end_id").limit(config.current_rows)
    frame: pd.DataFrame = as_columns(rows, []).toPandas()
    return source, frame


def as_table(summary: "DriftSummary") -> "pa.Table":
    """The report as a small table, one row per feature."""
    import pyarrow as pa

    columns = {
        "report_id": pa.array([summary.report_id] * len(FEATURE_NAMES), pa.string()),
        "feature": pa.array(FEATURE_NAMES, pa.string()),
        "psi": pa.array([summary.psi.get(name) for name in FEATURE_NAMES], pa.float64()),
        "is_drifted": pa.array([name in summary.drifted for name in FEATURE_NAMES], pa.bool_()),
        "is_dead": pa.array([name in summary.dead for name in FEATURE_NAMES], pa.bool_()),
    }
    return pa.table(columns)
