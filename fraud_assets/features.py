"""Offline features: the kernel of the service over the whole lake, and what models learn from."""

from typing import Any

import dagster as dg

from fraud_assets import folding, learning_rows
from fraud_assets.declared import keys_of, named, table_asset, table_spec
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from fraud_assets.learning_rows import LEARNT_FROM
from fraud_assets.resources import ServiceResource
from fraud_assets.silver import BRONZE_FOLDS
from pix.clock import epoch_ms
from pix.contracts import LIVE_HISTORY
from pix.features import FINGERPRINT
from pix.offline.tables import (
    BASE_STATES,
    DECISIONS_SILVER,
    FEATURE_STATISTICS,
    HISTORY_LABELS,
    HISTORY_PAYMENTS,
    PAYMENT_FEATURES,
    TRAINING_SET,
)

Result = dg.MaterializeResult[Any]
FOLDED = (HISTORY_PAYMENTS, HISTORY_LABELS, DECISIONS_SILVER, BRONZE_FOLDS)


class TrainingSetConfig(dg.Config):
    """Whose payments are learnt from, as of when, and how many of the honest ones.

    Attributes:
        history: ``live``, or the name of an import.
        as_of: RFC 3339 instant; only labels known then count. Now, without it.
        maturity_days: Age from which silence means honest. Disputes may be opened for 80 days and are decided within
            7 (PIX.md section 2), most within days of the payment; a shorter term takes the slowest frauds for honest.
        honest_rows: At most about so many payments that nobody contested; a sample stands for the others by weight.
        seed: Chooses the sample.
        as_recorded: Version of this table to make again, from the same versions of its inputs; nothing else counts.
    """

    history: str = LIVE_HISTORY
    as_of: str | None = None
    maturity_days: float = 7.0
    honest_rows: int = 2_000_000
    seed: int = 7
    as_recorded: int | None = None


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
    recipe = learning_rows.recipe_of(config.model_dump(), lake, now_ms=epoch_ms())
    written, told = learning_rows.write(lake, recipe)
    aside = lake.ask(PAYMENT_FEATURES.name, f"select count(*) as n from asked where fingerprint <> '{FINGERPRINT}'")  # noqa: S608
    return written.result(**told, of_other_declarations=aside[0]["n"])
