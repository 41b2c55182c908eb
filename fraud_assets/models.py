"""Training and promotion. What is learnt and judged lives in ``learning``."""

import base64
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from fraud_assets.declared import ARROW_KINDS, keys_of, named
from fraud_assets.failures import told
from fraud_assets.features import of_history
from fraud_assets.lake import LakeResource
from fraud_assets.resources import RegistryResource, TrackedRun
from pix.contracts import LIVE_HISTORY
from pix.features import FEATURE_NAMES
from pix.offline.tables import BASE_STATES, PAYMENT_FEATURES, TRAINING_SET

CHALLENGER, EVALUATION, CHAMPION = "model/challenger", "model/evaluation", "model/champion"
MODEL_KINDS = frozenset({"catboost", "mlflow"})


class NoChallenger(Exception):
    """No model has been trained yet."""


class RecipeConfig(dg.Config):
    """Whose payments to learn from, and the recipe; see ``learning.training.TrainingConfig``."""

    history: str = LIVE_HISTORY
    iterations: int = 300
    depth: int = 6
    learning_rate: float = 0.06
    seed: int = 7
    threads: int = 2


class PromotionConfig(dg.Config):
    """On whose payments to judge, and how much average precision a challenger may lose and still be no worse."""

    history: str = LIVE_HISTORY
    margin: float = 0.01
    seed: int = 7


@dg.asset(**named(CHALLENGER, MODEL_KINDS, pii="none"), deps=keys_of(TRAINING_SET))
@told
def challenger(
    context: dg.AssetExecutionContext,
    config: RecipeConfig,
    lake: LakeResource,
    registry: RegistryResource,
    mlflow: dg.ResourceParam[TrackedRun],
) -> dg.MaterializeResult[Any]:
    """CatBoost model fit on the newest training set; registered, not yet serving."""
    from learning import training

    with mlflow.run():
        frame = lake.pandas(TRAINING_SET.name, where=of_history(config.history))
        recipe = training.TrainingConfig(**config.model_dump(exclude={"history"}))
        trained = training.fit(frame, FEATURE_NAMES, recipe)
        versions = {name: lake.version(name) for name in (TRAINING_SET.name, PAYMENT_FEATURES.name, BASE_STATES.name)}
        tags = {"dagster_run_id": context.run.run_id, "history": config.history}
        made = registry.register(trained, data_versions=versions, now=datetime.now(UTC), tags=tags)
    names = {"model_version": made.version, "sha256": made.sha256, "mlflow_run_id": made.run_id}
    picture = {"precision_recall": _picture(trained.curve_png)}
    return dg.MaterializeResult(metadata={**names, **trained.metrics, **picture})


@dg.asset(**named(EVALUATION, ARROW_KINDS, pii="none"), deps=keys_of(CHALLENGER), io_manager_key="small_tables")
@told
def evaluation(registry: RegistryResource) -> dg.MaterializeResult[Any]:
    """One metric of the newest challenger on days later than it was fit on, by its name."""
    import pyarrow as pa

    challenger = registry.challenger()
    if challenger is None:
        raise NoChallenger("there is no challenger to evaluate: materialise model/challenger first")
    card, version = challenger.card, challenger.ref.version
    rows = [{"model_version": version, "metric": name, "value": value} for name, value in card.metrics.items()]
    table = pa.Table.from_pylist(rows)
    return dg.MaterializeResult(value=table, metadata={"dagster/row_count": table.num_rows, **card.metrics})


@dg.asset(**named(CHAMPION, MODEL_KINDS, pii="none"), deps=keys_of(CHALLENGER, TRAINING_SET))
@told
def champion(
    context: dg.AssetExecutionContext, config: PromotionConfig, lake: LakeResource, registry: RegistryResource
) -> dg.MaterializeResult[Any]:
    """The model that serves: the challenger where it earned it, else the one before; the reason is recorded."""
    frame = lake.pandas(TRAINING_SET.name, where=of_history(config.history))
    judged = registry.judge(frame, margin=config.margin, seed=config.seed)
    if judged is None:
        raise NoChallenger("there is no challenger to judge: materialise model/challenger first")
    before, evidence, decision = judged
    if decision.promote:
        registry.promote(evidence.version, decision.reason, now=datetime.now(UTC))
    context.log.info("promoted: %s: %s", decision.promote, decision.reason)
    serves = evidence.version if decision.promote else before.version if before else "none"
    return dg.MaterializeResult(
        metadata={"model_version": serves, "promoted": decision.promote, "reason": decision.reason}
    )


def _picture(png: bytes) -> dg.MarkdownMetadataValue:
    """Precision and recall as a picture small enough for Dagster's database (about 20 KB)."""
    return dg.MetadataValue.md(f"![precision and recall](data:image/png;base64,{base64.b64encode(png).decode()})")
