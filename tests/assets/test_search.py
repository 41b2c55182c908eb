"""A search over the shared home's history, and the challenger that takes what it found."""

import pytest

from fraud_assets.models import RecipeConfig, recipe_of
from fraud_assets.search import best_settings

FOUND = {"iterations": 120, "depth": 5, "learning_rate": 0.1, "l2_leaf_reg": 2.0}


def config(**asked):
    """Of so few payments most have to be searched on, or a fold has no fraud."""
    return {"ops": {"model__search": {"config": {"honest_rows": 500, "test_share": 0.1, **asked}}}}


@pytest.fixture(scope="module")
def searched(trained):
    result = trained.run("model/search", job="search_job", config=config(trials=2))
    assert result.success, trained.told(result)
    return result


def test_every_trial_is_a_row_and_a_nested_run_of_mlflow(trained, searched):
    from mlflow import MlflowClient

    rows = trained.lake.pandas("model/search").sort_values("number")
    assert rows["number"].tolist() == [0, 1]
    assert rows["is_best"].sum() == 1
    client = MlflowClient(trained.settings.mlflow)
    experiment = client.get_experiment_by_name("sentinela").experiment_id
    runs = client.search_runs([experiment], "tags.dagster_run_id = '" + searched.run_id + "'")
    children = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{runs[0].info.run_id}'")
    reached = {run.info.run_name: run.data.metrics["average_precision"] for run in children}
    assert reached == {f"trial {row.number}": pytest.approx(row.average_precision) for row in rows.itertuples()}
    assert {int(run.data.params["iterations"]) for run in children} == set(rows["iterations"])


@pytest.mark.usefixtures("searched")
def test_another_session_goes_on_and_adds_what_is_new(trained):
    result = trained.run("model/search", job="search_job", config=config(trials=3))
    assert result.success, trained.told(result)
    assert sorted(trained.lake.pandas("model/search")["number"]) == [0, 1, 2]


@pytest.mark.usefixtures("searched")
def test_a_challenger_takes_the_settings_that_were_found_best(trained):
    asked = {"ops": {"model__challenger": {"config": {"iterations": 7, "folds": 2}}}}
    result = trained.run("model/challenger", job="retrain_job", config=asked)
    assert result.success, trained.told(result)
    best, told = best_settings(trained.lake, "live"), trained.newest("model/challenger")
    assert told["settings_searched"]
    assert told["iterations"] == 7
    assert told["depth"] == best["depth"]
    assert told["learning_rate"] == best["learning_rate"]


def test_what_is_named_counts_before_what_was_found_and_that_before_the_recipes_own():
    assert recipe_of(RecipeConfig(), {}).depth == 6
    assert recipe_of(RecipeConfig(), FOUND).depth == 5
    named = recipe_of(RecipeConfig(depth=3), FOUND)
    assert (named.depth, named.iterations) == (3, 120)
