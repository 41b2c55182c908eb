"""A search of the trees' settings as an asset, and what a challenger takes from it; ``learning.search`` does it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets import learning_rows
from fraud_assets.declared import ARROW_KINDS, keys_of, table_asset
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from fraud_assets.learning_rows import of_history
from fraud_assets.pictures import picture
from fraud_assets.resources import HomeResource, TrackedRun
from learning.recipe import SEARCHED, TrainingConfig
from pix.contracts import LIVE_HISTORY
from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.offline.tables import SEARCH, TRAINING_SET

if TYPE_CHECKING:
    from learning.search import Found


class SearchConfig(dg.Config):
    """How long to search, on whose payments.

    Attributes:
        history: ``live``, or the name of an import.
        seconds: For this materialisation; a search that is not done goes on with the next one.
        trials: Of the whole search, over all materialisations on the same rows.
        honest_rows: At most about so many payments without a fraud are fit on per fold, and as many measured on: fewer
            than a challenger is fit on, so that more settings are tried in the time.
        test_share: Share of the newest payments that a challenger is judged by; nothing is measured on them.
        seed: Of samples, of CatBoost and of what is tried.
        threads: Threads of CatBoost.
    """

    history: str = LIVE_HISTORY
    seconds: float = 600.0
    trials: int = 30
    honest_rows: int = 60_000
    test_share: float = 0.4
    seed: int = 7
    threads: int = 2


@dg.asset(
    **table_asset(SEARCH, ARROW_KINDS | {"catboost", "mlflow"}),
    deps=keys_of(TRAINING_SET),
    io_manager_key="small_tables",
)
@told
def search(
    context: dg.AssetExecutionContext,
    config: SearchConfig,
    lake: LakeResource,
    home: HomeResource,
    mlflow: dg.ResourceParam[TrackedRun],
) -> dg.MaterializeResult[Any]:
    """One set of settings that was tried, and the average precision it reached on payments before those that judge.

    Optuna chooses what to try next; every trial is a nested run in MLflow. What a session leaves undone, the next one
    goes on with. `model/challenger` takes the best settings where its configuration names none.
    """
    from learning import plots
    from learning import search as searching
    from learning.registering import log_trial

    with mlflow.run():
        read = learning_rows.read(lake, config.history)
        recipe = TrainingConfig(**config.model_dump(include={"honest_rows", "test_share", "seed", "threads"}))
        found = searching.search(
            read.frame,
            FEATURE_NAMES,
            recipe,
            name=f"{config.history}-{read.datasets[0].digest}-{FINGERPRINT}",
            storage=home.studies,
            seconds=config.seconds,
            trials=config.trials,
            tell=log_trial,
            say=context.log.info,
        )
    table = SEARCH.arrow([*_of_others(lake, config.history), *_rows(found, config.history)])
    best, start = found.best.average_precision or 0.0, found.start.average_precision or 0.0
    return dg.MaterializeResult(
        value=table,
        metadata={
            "dagster/row_count": table.num_rows,
            "study": found.study,
            "trials": len(found.trials),
            **{f"best_{name}": value for name, value in found.best.settings.items()},
            "average_precision": best,
            "over_the_recipes_own": best - start,
            "progress": picture("progress", plots.progress([trial.average_precision for trial in found.trials], start)),
        },
    )


def best_settings(lake: LakeResource, history: str) -> dict[str, Any]:
    """The settings that the newest search of a history found best; none if there was no search."""
    chosen = f"select {', '.join(SEARCHED)} from asked where is_best and {of_history(history)}"  # noqa: S608
    rows = lake.ask(SEARCH.name, chosen)
    return rows[0] if rows else {}


def _of_others(lake: LakeResource, history: str) -> list[dict[str, Any]]:
    return lake.ask(SEARCH.name, f"select * from asked where not ({of_history(history)})")  # noqa: S608


def _rows(found: "Found", history: str) -> list[dict[str, Any]]:
    return [
        {
            "history": history,
            "study": found.study,
            "number": trial.number,
            "state": trial.state,
            "is_best": trial.number == found.best.number,
            "average_precision": trial.average_precision,
            "seconds": trial.seconds,
            **_settings(trial.settings),
        }
        for trial in found.trials
    ]


def _settings(tried: Mapping[str, Any]) -> dict[str, Any]:
    """A trial whose process died may have none."""
    return {name: tried.get(name) for name in SEARCHED}
