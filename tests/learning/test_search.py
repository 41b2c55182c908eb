import dataclasses
import itertools

import numpy as np
import optuna
import pytest

from learning import search as searching
from learning.errors import SearchUnfinished, TrainingDataTooSmall
from learning.members import boosted, classifier
from learning.recipe import SEARCHED, TrainingConfig
from learning.search import DONE, STOPPED, search

SMALL = TrainingConfig(iterations=50, depth=3, learning_rate=0.15)
OWN = {name: getattr(SMALL, name) for name in SEARCHED}


@pytest.fixture
def storage(tmp_path):
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def look(training_frame, feature_names, storage):
    def one(frame=None, *, trials=3, seconds=600.0, config=SMALL, name="live-1", **others):
        rows = training_frame() if frame is None else frame
        return search(rows, feature_names, config, name=name, storage=storage, seconds=seconds, trials=trials, **others)

    return one


class Interrupted(Exception):
    """Somebody stopped the search."""


def test_the_recipe_is_the_first_trial_and_the_best_is_no_worse(look):
    found = look(trials=6)
    assert found.start == found.trials[0]
    assert found.start.settings == OWN
    assert len(found.trials) == 6
    done = [trial.average_precision for trial in found.trials if trial.state == DONE]
    assert found.best.average_precision == max(done) >= found.start.average_precision
    assert len({tuple(trial.settings.values()) for trial in found.trials}) == 6


def test_a_search_that_was_stopped_goes_on_where_it_stood(look):
    seen = []

    def stop(trial):
        seen.append(trial)
        if len(seen) == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        look(trials=4, tell=stop)
    resumed = []
    found = look(trials=4, tell=resumed.append)
    assert [trial.number for trial in resumed] == [2, 3]
    assert list(found.trials[:2]) == seen
    assert look(trials=4).trials == found.trials


def test_a_trial_whose_process_died_is_measured_again(look, storage):
    look(trials=1)
    name = optuna.get_all_study_names(storage)[0]
    study = optuna.load_study(study_name=name, storage=storage)
    died = study.ask(searching._space())
    found = look(trials=2)
    assert [trial.state for trial in found.trials] == [DONE, STOPPED, DONE]
    assert found.trials[2].settings == dict(died.params)


def test_time_ends_a_trial_between_two_trees_and_its_settings_come_first_in_the_next_session(look):
    clock = itertools.count()
    found = look(trials=9, seconds=400, timer=lambda: float(next(clock)))
    stopped = found.trials[-1]
    assert stopped.state == STOPPED
    assert stopped.average_precision is None
    assert 400 <= next(clock) < 420
    later = look(trials=9)
    assert later.trials[stopped.number + 1].settings == stopped.settings
    assert later.trials[stopped.number + 1].state != STOPPED


def test_a_search_without_time_for_one_trial_says_so(look):
    clock = itertools.count()
    with pytest.raises(SearchUnfinished, match="more seconds"):
        look(seconds=5, timer=lambda: float(next(clock)))


def test_rows_that_judge_a_model_choose_nothing(look, training_frame):
    """Neither their labels, nor what is found out of earlier ones after they begin."""
    frame = training_frame()
    cut_ms = frame["event_time_ms"].iloc[int(len(frame) * (1 - SMALL.test_share))]
    changed = frame.copy()
    late = changed["event_time_ms"] >= cut_ms
    changed.loc[late, "is_fraud"] = np.arange(late.sum()) % 3 == 0
    changed.loc[late, "fraud_known_at_ms"] = changed["event_time_ms"]
    not_yet = ~late & (changed["fraud_known_at_ms"] >= cut_ms)
    changed.loc[not_yet, "fraud_known_at_ms"] += 86_400_000
    assert [trial.average_precision for trial in look(frame, name="one").trials] == [
        trial.average_precision for trial in look(changed, name="other").trials
    ]
    changed.loc[~late & changed["is_fraud"], "fraud_known_at_ms"] = np.nan
    with pytest.raises(TrainingDataTooSmall, match="0 known frauds"):
        look(changed, name="third")


def test_other_rows_or_another_recipe_are_another_study(look):
    studies = {
        look(trials=1, name=name, config=config).study
        for name, config in (
            ("live-1", SMALL),
            ("live-2", SMALL),
            ("live-1", dataclasses.replace(SMALL, seed=8)),
            ("live-1", dataclasses.replace(SMALL, threads=1)),
        )
    }
    assert len(studies) == 3


def test_trees_on_shared_bins_are_those_on_the_rows(training_frame, feature_names):
    frame = training_frame(1_000, 60)
    rows, is_fraud = frame[list(feature_names)].to_numpy(float), frame["is_fraud"].to_numpy()
    weights = np.random.default_rng(1).uniform(1, 9, len(rows))
    binned = classifier(SMALL).fit(searching._binned(rows, is_fraud, weights, SMALL))
    plain = boosted(rows, is_fraud, weights, SMALL)
    assert (binned.predict(rows, "RawFormulaVal") == plain.predict(rows, "RawFormulaVal")).all()
