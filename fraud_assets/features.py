"""Offline features: the kernel of the service over the whole lake, and what models learn from."""

import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets.declared import keys_of, named, table_asset, table_spec
from fraud_assets.failures import told
from fraud_assets.lake import LakeError, LakeResource, Written
from fraud_assets.resources import ServiceResource
from fraud_assets.silver import BRONZE_FOLDS, bronze
from pix.contracts import DAY_MS
from pix.offline.tables import (
    BASE_STATES,
    DECISIONS_SILVER,
    HISTORY_LABELS,
    HISTORY_PAYMENTS,
    LABELS_SILVER,
    PAYMENT_FEATURES,
    PAYMENTS_SILVER,
    TRAINING_SET,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

FOLDED = (HISTORY_PAYMENTS, HISTORY_LABELS, DECISIONS_SILVER, BRONZE_FOLDS)


class NothingToLearn(LakeError):
    """No payment has a label that is old enough."""


class TrainingSetConfig(dg.Config):
    """What counts as matured."""

    maturity_days: float = 7.0


@dg.multi_asset(
    name="offline_features",
    specs=[table_spec(PAYMENT_FEATURES, *FOLDED, pii="none"), table_spec(BASE_STATES, *FOLDED)],
    pool="features_payment_features",
)
@told
def offline_features(lake: LakeResource) -> tuple[dg.MaterializeResult[Any], dg.MaterializeResult[Any]]:
    """Feature vectors of all payments, and the states that the online store starts from."""
    from pix.offline import features

    found = features.compute(
        lake.read_or_empty(HISTORY_PAYMENTS),
        lake.read_or_empty(HISTORY_LABELS),
        lake.read(DECISIONS_SILVER.name),
        bronze(lake, BRONZE_FOLDS),
    )
    vectors = lake.overwrite(PAYMENT_FEATURES, found.features)
    return vectors.result(), lake.overwrite(BASE_STATES, found.base_states).result()


@dg.asset(**named("serving/store_base", frozenset({"bentoml", "lmdb"})), deps=keys_of(BASE_STATES))
@told
def store_base(lake: LakeResource, service: ServiceResource) -> dg.MaterializeResult[Any]:
    """The imported history inside the online store: one state per account, pair, device and past payment."""
    states = lake.read(BASE_STATES.name)
    generation = states.agg({"import_number": "max"}).collect()[0][0]
    if generation is None:
        return dg.MaterializeResult(metadata={"generation": 0, "states_written": 0})
    version = lake.version(BASE_STATES.name)
    loaded = service.load_base(lake.path(BASE_STATES.name), version, generation)
    return dg.MaterializeResult(
        metadata={
            "generation": loaded["generation"],
            "states_written": loaded["written"],
            "already_loaded": loaded["already_loaded"],
            "base_states_version": version,
        }
    )


@dg.asset(**table_asset(TRAINING_SET, pii="none"), deps=keys_of(PAYMENT_FEATURES, PAYMENTS_SILVER, LABELS_SILVER))
@told
def training_set(config: TrainingSetConfig, lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One payment whose label has matured, as a model may learn from it."""
    from pix.offline import training_frame

    as_of_ms, maturity_ms = time.time_ns() // 1_000_000, int(config.maturity_days * DAY_MS)
    names = (PAYMENT_FEATURES.name, PAYMENTS_SILVER.name, LABELS_SILVER.name)
    frame = training_frame.build(*(lake.read(name) for name in names), as_of_ms=as_of_ms, maturity_ms=maturity_ms)
    written = _not_empty(lake, frame)
    frauds = lake.read(TRAINING_SET.name).where("is_fraud").count()
    return written.result(as_of_ms=as_of_ms, frauds=frauds, base_rate=frauds / written.rows)


def _not_empty(lake: LakeResource, frame: "DataFrame") -> Written:
    """Write the set unless it has no rows: an empty one would replace what models were made from."""
    kept = frame.persist()
    try:
        if kept.isEmpty():
            raise NothingToLearn(
                "no payment has a matured label: import a history (`sentinela import DIR --history NAME`) or run "
                "`make demo`"
            )
        return lake.overwrite(TRAINING_SET, kept)
    finally:
        kept.unpersist()
