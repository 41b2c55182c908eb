"""Training and promotion. What is learnt and judged lives in ``learning``."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from fraud_assets import learning_rows
from fraud_assets.declared import ARROW_KINDS, keys_of, named, table_asset
from fraud_assets.failures import told
from fraud_assets.feature_checks import newest_parity
from fraud_assets.lake import LakeResource
from fraud_assets.pictures import picture
from fraud_assets.registry import RegistryResource
from fraud_assets.resources import HomeResource, TrackedRun
from fraud_assets.search import best_settings
from learning.label_news import hours_until
from learning.recipe import MEMBERS, SEARCHED, TrainingConfig
from pix.clock import epoch_ms
from pix.contracts import LIVE_HISTORY
from pix.features import FEATURE_NAMES
from pix.offline.tables import EVALUATION, SEARCH, TRAINING_SET

if TYPE_CHECKING:
    from fraud_assets.registry import Judged

CHALLENGER, CHAMPION = "model/challenger", "model/champion"
MODEL_KINDS = frozenset({"catboost", "mlflow"})


class NoChallenger(Exception):
    """No model has been trained yet."""


class RecipeConfig(dg.Config):
    """Whose payments to learn from, and the recipe; see ``learning.recipe.TrainingConfig``.

    Of the trees' settings (iterations, depth, learning_rate, l2_leaf_reg) those that are not named are the best that
    `model/search` found for this history, and the recipe's own while nobody searched; with `searched` off, always.
    """

    history: str = LIVE_HISTORY
    searched: bool = True
    iterations: int | None = None
    depth: int | None = None
    learning_rate: float | None = None
    l2_leaf_reg: float | None = None
    seed: int = 7
    threads: int = 2
    members: list[str] = list(MEMBERS)
    leave_out: bool = True
    folds: int = 3
    test_share: float = 0.4
    newest_days: float | None = None
    honest_rows: int = 300_000


class PromotionConfig(dg.Config):
    """On whose payments to judge, what is asked (``learning.promotion.Gates``), and who has the last word."""

    history: str = LIVE_HISTORY
    margin: float = 0.01
    calibration_error: float = 0.25
    microseconds: float = 500.0
    mode: Literal["environment", "automatic", "approval"] = "environment"
    seed: int = 7


def recipe_of(config: RecipeConfig, found: Mapping[str, Any]) -> TrainingConfig:
    """The recipe that somebody asks for: what is named, else what a search found, else the recipe's own.

    Args:
        config: As it was asked for.
        found: The best settings of a search; none if there was none.
    """
    named = config.model_dump(exclude={"history", "searched"}, exclude_none=True)
    return TrainingConfig(**{**found, **named, "members": tuple(config.members)})


@dg.asset(**named(CHALLENGER, MODEL_KINDS, pii="none"), deps=keys_of(TRAINING_SET, SEARCH))
@told
def challenger(
    context: dg.AssetExecutionContext,
    config: RecipeConfig,
    lake: LakeResource,
    home: HomeResource,
    registry: RegistryResource,
    mlflow: dg.ResourceParam[TrackedRun],
) -> dg.MaterializeResult[Any]:
    """Ensemble fit on the newest training set; registered, not yet serving."""
    from learning import training
    from serving.policy import load_policy
    from serving.rules_only import severities

    with mlflow.run():
        read = learning_rows.read(lake, config.history)
        found = best_settings(lake, config.history) if config.searched else {}
        recipe = recipe_of(config, found)
        rules = partial(severities, load_policy(Path(home.policy)))
        trained = training.fit(read.frame, FEATURE_NAMES, recipe, rules=rules, say=context.log.info)
        news = registry.news_in(read.frame, read.recipe)
        tags = {"dagster_run_id": context.run.run_id, "history": config.history, **news.tags()}
        made = registry.register(trained, datasets=read.datasets, now=datetime.now(UTC), tags=tags)
    waited = {"labels_new": news.labels, **hours_until(tags, epoch_ms())}
    names = {"model_version": made.version, "sha256": made.sha256, "mlflow_run_id": made.run_id}
    settings = {name: getattr(recipe, name) for name in SEARCHED} | {"settings_searched": bool(found)}
    pictures = {name: picture(name, png) for name, png in trained.judgement.pictures.items()}
    return dg.MaterializeResult(metadata={**names, **settings, **waited, **trained.metrics, **pictures})


@dg.asset(**table_asset(EVALUATION, ARROW_KINDS), deps=keys_of(CHALLENGER), io_manager_key="small_tables")
@told
def evaluation(registry: RegistryResource) -> dg.MaterializeResult[Any]:
    """One number of the newest challenger, on days later than it was fit on.

    Beside it the same of a CatBoost on raw fields and of the policy's rules alone, differences with bootstrap
    intervals, and recall and false positives of groups of payments at one threshold.
    """
    challenger = registry.challenger()
    if challenger is None:
        raise NoChallenger("there is no challenger to evaluate: materialise model/challenger first")
    card, version = challenger.card, challenger.ref.version
    table = EVALUATION.arrow([{"model_version": version, **row} for row in card.judgement])
    pictures = {path.stem: picture(path.stem, path.read_bytes()) for path in sorted(challenger.folder.glob("*.png"))}
    metadata = {"dagster/row_count": table.num_rows, "model_version": version, **card.metrics, **pictures}
    return dg.MaterializeResult(value=table, metadata=metadata)


@dg.asset(**named(CHAMPION, MODEL_KINDS, pii="none"), deps=keys_of(CHALLENGER, TRAINING_SET))
@told
def champion(
    context: dg.AssetExecutionContext, config: PromotionConfig, lake: LakeResource, registry: RegistryResource
) -> dg.MaterializeResult[Any]:
    """The model that serves: the challenger where every gate let it pass, else the one before; why is recorded.

    With the mode `approval` (what `environment` means is in config/environments) a challenger that passes is only
    proposed: a person reads the reasons here, and materialises `model/approval` with its version and a name.
    """
    from learning.promotion import Gates

    frame = learning_rows.read(lake, config.history).frame
    rules = Gates(**config.model_dump(include={"margin", "calibration_error", "microseconds"}))
    judged = registry.judge(frame, rules, parity=newest_parity(context.instance), seed=config.seed)
    if judged is None:
        raise NoChallenger("there is no challenger to judge: materialise model/challenger first")
    mode = registry.mode if config.mode == "environment" else config.mode
    outcome = registry.settle(judged, mode, now=datetime.now(UTC))
    context.log.info("%s: %s", outcome, "; ".join(judged.decision.reasons))
    return dg.MaterializeResult(metadata=told_of(judged, outcome, mode))


def told_of(judged: "Judged", outcome: str, mode: str) -> dict[str, Any]:
    """What the asset's page says of a judgement."""
    champion, challenger = judged.champion, judged.challenger
    serves = challenger.version if outcome == "promoted" else champion.version if champion is not None else "none"
    measured = {"challenger": challenger.latency, "champion": champion.latency if champion is not None else None}
    return {
        "model_version": serves,
        "judged_version": challenger.version,
        "outcome": outcome,
        "mode": mode,
        "promoted": outcome == "promoted",
        "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in judged.decision.reasons)),
        **{
            f"{who}_p99_microseconds": round(found.p99_microseconds, 1)
            for who, found in measured.items()
            if found is not None
        },
    }
