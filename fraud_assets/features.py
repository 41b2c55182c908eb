"""Offline features: the kernel of the service over the whole lake, and what models learn from."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets import folding
from fraud_assets.declared import keys_of, named, table_asset, table_spec
from fraud_assets.failures import told
from fraud_assets.lake import LakeError, LakeResource, Written
from fraud_assets.resources import ServiceResource
from fraud_assets.silver import BRONZE_FOLDS
from pix.clock import epoch_ms
from pix.contracts import DAY_MS, LIVE_HISTORY
from pix.features import FINGERPRINT
from pix.offline.names import usable
from pix.offline.tables import (
    BASE_STATES,
    DECISIONS_SILVER,
    FEATURE_STATISTICS,
    HISTORY_LABELS,
    HISTORY_PAYMENTS,
    LABELS_SILVER,
    PAYMENT_FEATURES,
    PAYMENTS_SILVER,
    TRAINING_SET,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Result = dg.MaterializeResult[Any]
LEARNT_FROM = (PAYMENT_FEATURES, PAYMENTS_SILVER, LABELS_SILVER, DECISIONS_SILVER)
FOLDED = (HISTORY_PAYMENTS, HISTORY_LABELS, DECISIONS_SILVER, BRONZE_FOLDS)


class NothingToLearn(LakeError):
    """No payment has a label that is old enough."""


class TrainingSetConfig(dg.Config):
    """Whose payments are learnt from, and what counts as matured."""

    history: str = LIVE_HISTORY
    maturity_days: float = 7.0


@dg.multi_asset(
    name="offline_features",
    specs=[table_spec(table, *FOLDED) for table in folding.TABLES],
    pool="features_payment_features",
)
@told
def offline_features(lake: LakeResource) -> tuple[Result, Result, Result, Result, Result, Result]:
    """Feature vectors of all payments, and the states that the online store and the next run start from.

    A history is folded when an import changed it. Of the live log only what came since the last run is folded, on
    the states that run left; where a read came from before them, its keys are folded from their beginning.
    """
    folding.prepare(lake)
    histories = folding.fold_histories(lake)
    run = folding.fold_log(lake)
    features, base, folded, states, unanswered, log = (
        lake.unchanged(table).result(histories_folded=histories, **run) for table in folding.TABLES
    )
    return features, base, folded, states, unanswered, log


@dg.asset(**table_asset(FEATURE_STATISTICS), deps=keys_of(PAYMENT_FEATURES))
@told
def feature_statistics(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One feature's values on one fold day: how many are missing or zero, and where the others lie.

    A day is counted again when payments were added to it. Quantiles are of at most 20,000 payments a day.
    """
    days = folding.describe_days(lake, now_ms=epoch_ms())
    return lake.unchanged(FEATURE_STATISTICS).result(days_counted=days)


@dg.asset(**named("serving/store_base", frozenset({"bentoml", "lmdb"})), deps=keys_of(BASE_STATES))
@told
def store_base(
    context: dg.AssetExecutionContext, lake: LakeResource, service: ServiceResource
) -> dg.MaterializeResult[Any]:
    """The past of the live traffic inside the online store, beneath everything that was decided since."""
    if not lake.rows(BASE_STATES.name):
        return dg.MaterializeResult(metadata={"generation": 0})
    version = lake.version(BASE_STATES.name)
    used = service.rebuild_store(version, context.log.info)
    return dg.MaterializeResult(metadata={**used, "base_states_version": version})


@dg.asset(**table_asset(TRAINING_SET), deps=keys_of(*LEARNT_FROM))
@told
def training_set(config: TrainingSetConfig, lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One payment whose label has matured, as a model may learn from it; each history's rows apart."""
    from pix.offline import training_frame

    as_of_ms, maturity_ms = epoch_ms(), int(config.maturity_days * DAY_MS)
    frame = training_frame.build(
        *(lake.read(table.name) for table in LEARNT_FROM),
        history=usable(config.history),
        as_of_ms=as_of_ms,
        maturity_ms=maturity_ms,
    )
    written = _not_empty(lake, frame, config.history)
    made = lake.read(TRAINING_SET.name).where(of_history(config.history))
    payments, frauds = made.count(), made.where("is_fraud").count()
    aside = lake.ask(PAYMENT_FEATURES.name, f"select count(*) as n from asked where fingerprint <> '{FINGERPRINT}'")  # noqa: S608
    return written.result(
        history=config.history,
        payments=payments,
        as_of_ms=as_of_ms,
        frauds=frauds,
        base_rate=frauds / payments,
        of_other_declarations=aside[0]["n"],
    )


def of_history(name: str) -> str:
    """The rows of one history in the training set."""
    return f"history = '{name}'"


def _not_empty(lake: LakeResource, frame: "DataFrame", history: str) -> Written:
    """Replace the history's set, unless it would have no rows: models were made from the one before."""
    kept = frame.persist()
    try:
        if kept.isEmpty():
            raise NothingToLearn(
                f"no payment of the history {history!r} has a matured label: import one "
                f"(`sentinela import FILE --history {history}`) or run `make demo`"
            )
        if lake.exists(TRAINING_SET.name) and lake.read(TRAINING_SET.name).columns == TRAINING_SET.names:
            return lake.replace(TRAINING_SET, kept, where=of_history(history), note={"history": history})
        # Rows of earlier feature declarations cannot stand beside these.
        return lake.overwrite(TRAINING_SET, kept, note={"history": history})
    finally:
        kept.unpersist()
