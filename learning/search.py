"""Which settings of the trees find most fraud: Optuna asks, folds of the past answer.

Only payments before those that judge a model are looked at (``learning.training``): what chooses must not judge. The
study is kept in a database, so a search that was stopped goes on where it stood; the same rows under the same recipe
are the same study.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from learning.errors import SearchUnfinished, TrainingDataTooSmall
from learning.folds import growing, labels_at
from learning.inputs import vectors
from learning.members import BORDERS, classifier
from learning.ranking import Bools, Floats, average_precision
from learning.recipe import SEARCHED, TrainingConfig
from learning.training import MIN_FRAUDS_PER_SIDE, by_time, sampled

if TYPE_CHECKING:
    import optuna

FOLDS, JUDGED_SHARE = 2, 0.4
MOST = 0.9
UNPRUNED = 5
"""So many trials are measured on every fold; later ones end early where they fall behind the median of those."""
DONE, PRUNED, STOPPED = "done", "pruned", "stopped"


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of settings and what it found.

    Attributes:
        number: In its study, from 0.
        state: ``done``, ``pruned`` (ended early, it fell behind) or ``stopped`` (time was up; it is tried again).
        settings: Name of a setting -> its value; those of ``SEARCHED``.
        average_precision: Mean over the folds; None unless done.
        seconds: How long it took.
    """

    number: int
    state: str
    settings: Mapping[str, Any]
    average_precision: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a search knows, with what earlier sessions of it found.

    Attributes:
        study: Name of the study.
        trials: All of them, by number.
        best: The one with the highest average precision, the first of equals.
        start: The recipe's own settings: the first that are measured.
    """

    study: str
    trials: tuple[Trial, ...]
    best: Trial
    start: Trial


def search(
    frame: pd.DataFrame,
    feature_names: Sequence[str],
    config: TrainingConfig,
    *,
    name: str,
    storage: str,
    seconds: float,
    trials: int,
    tell: Callable[[Trial], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    timer: Callable[[], float] = time.monotonic,
) -> Found:
    """Search until so many trials are known or time is up.

    Args:
        frame: The training set (``features/training_set``).
        feature_names: The model's inputs, in order.
        config: The recipe whose settings are the first trial, and which says how rows are split and sampled.
        name: Says which rows these are, such as history and digest; the study's name is made of it and the recipe.
        storage: Address of Optuna's database.
        seconds: For this session, the preparation of the rows included. A trial that runs then is stopped.
        trials: Of the study, over all of its sessions.
        tell: Told of every trial when it is over.
        say: Told of every step.
        timer: Seconds of a monotonic clock.

    Raises:
        TrainingDataTooSmall: Too few frauds are known before the payments that judge.
        SearchUnfinished: Time was up before the first trial was measured.
    """
    ends = timer() + seconds
    study = _study(f"{name}-{_recipe_hash(feature_names, config)}", storage, config)
    folds = _prepared(frame, feature_names, config)
    say(f"study {study.study_name}: {len(_measured(study))} trials known, {trials} wanted, {seconds:.0f} s at most")
    while len(_measured(study)) < trials and timer() < ends:
        over = _one(study, folds, config, ends=ends, timer=timer)
        tell(over)
        say(_told(over, trials))
    return _found(study, config)


class _TimeUp(Exception):
    """The session's time ended within a trial."""


@dataclass(frozen=True, slots=True)
class _Fold:
    """What trees are fit on, already binned as the recipe has it, and rows that judge them."""

    learnt: Any
    rows: Floats
    is_fraud: Bools
    weights: Floats


def _one(
    study: "optuna.Study", folds: Sequence[_Fold], config: TrainingConfig, *, ends: float, timer: Callable[[], float]
) -> Trial:
    """Ask for settings, measure them on the folds one by one, tell what was found."""
    import optuna

    trial = study.ask(_space())
    tried, found = replace(config, **trial.params), []
    try:
        for number, fold in enumerate(folds, 1):
            found.append(_measure(fold, tried, ends, timer))
            trial.report(float(np.mean(found)), number)
            if number < len(folds) and trial.should_prune():
                raise optuna.TrialPruned
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except _TimeUp:
        _give_back(study, trial.number, trial.params)
    else:
        study.tell(trial, float(np.mean(found)))
    return _trial(study.get_trials(deepcopy=False)[trial.number])


def _measure(fold: _Fold, config: TrainingConfig, ends: float, timer: Callable[[], float]) -> float:
    """Average precision of trees with these settings.

    Raises:
        _TimeUp: It took too long.
    """

    class Clock:
        def after_iteration(self, _: Any) -> bool:
            return timer() < ends

    model = classifier(config).fit(fold.learnt, callbacks=[Clock()])
    if timer() >= ends:
        raise _TimeUp
    scores = np.asarray(model.predict(fold.rows, prediction_type="RawFormulaVal"), np.float64)
    return average_precision(fold.is_fraud, scores, fold.weights)


def _prepared(frame: pd.DataFrame, feature_names: Sequence[str], config: TrainingConfig) -> list[_Fold]:
    """Folds within the payments that judge nothing."""
    frame = by_time(frame)
    times = frame["event_time_ms"].to_numpy(np.int64)
    judged = growing(times, judged_share=config.test_share, count=config.folds, delay_ms=config.gap_ms)[0]
    # What is found out later than the judging begins is not known yet; where most is missing, nothing is measured.
    ripe_ms = judged.test_from_ms - _delay_ms(frame, labels_at(frame, judged.test_from_ms))
    earlier = frame[judged.trains(times) & (times < ripe_ms)]
    known_then = labels_at(earlier, judged.test_from_ms)
    times, weights = times[: len(earlier)], earlier["weight"].to_numpy(np.float64)
    found = []
    for fold in growing(times, judged_share=JUDGED_SHARE, count=FOLDS, delay_ms=config.gap_ms):
        known = labels_at(earlier, fold.known_until_ms)
        before, after = np.flatnonzero(fold.trains(times)), np.flatnonzero(fold.tests(times))
        counts = int(known[before].sum()), int(known_then[after].sum())
        if min(counts) < MIN_FRAUDS_PER_SIDE:
            raise TrainingDataTooSmall(
                f"fold {fold.number} of the search has {counts[0]} known frauds to learn from and {counts[1]} to be "
                f"measured on, among the {len(earlier)} payments before those that judge a model; it needs "
                f"{MIN_FRAUDS_PER_SIDE} of each. Import more history, and materialise features/training_set again"
            )
        learnt, tested = (sampled(places, of, weights, config) for places, of in ((before, known), (after, known_then)))
        found.append(
            _Fold(
                _binned(
                    vectors(earlier.iloc[learnt.places], feature_names), known[learnt.places], learnt.weights, config
                ),
                vectors(earlier.iloc[tested.places], feature_names),
                known_then[tested.places],
                tested.weights,
            )
        )
    return found


def _delay_ms(frame: pd.DataFrame, known: Bools) -> float:
    """How long most known frauds took to become known."""
    frauds = frame[known]
    taken = (frauds["fraud_known_at_ms"] - frauds["event_time_ms"]).to_numpy(np.float64)
    return float(np.quantile(taken, MOST)) if len(taken) else 0.0


def _binned(rows: Floats, is_fraud: Bools, weights: Floats, config: TrainingConfig) -> Any:
    """CatBoost's pool with the bins that every trial shares; trees on it are those on the rows."""
    from catboost import Pool

    pool = Pool(rows, is_fraud.astype(np.int8), weight=weights, thread_count=config.threads)
    pool.quantize(border_count=config.border_count, feature_border_type=BORDERS)
    return pool


def _study(name: str, storage: str, config: TrainingConfig) -> "optuna.Study":
    """The study as earlier sessions left it; the recipe's own settings are the first trial of a new one."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
    there = study.get_trials(deepcopy=False)
    # A sampler that begins anew would ask again what it asked in the session before.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(there))
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED)
    study.enqueue_trial({name: getattr(config, name) for name in SEARCHED}, skip_if_exists=True)
    for trial in there:
        if trial.state == optuna.trial.TrialState.RUNNING:
            _give_back(study, trial.number, trial.params)
    return study


def _give_back(study: "optuna.Study", number: int, settings: Mapping[str, Any]) -> None:
    """End a trial that was not measured to its end, and put its settings first in the queue."""
    import optuna

    study.tell(number, state=optuna.trial.TrialState.FAIL)
    if set(settings) == set(SEARCHED):
        study.enqueue_trial(dict(settings))


def _space() -> "dict[str, optuna.distributions.BaseDistribution]":
    """Values of ``SEARCHED``. More or deeper trees than these would take a decision too long."""
    from optuna.distributions import FloatDistribution, IntDistribution

    return {
        "iterations": IntDistribution(50, 600, step=10),
        "depth": IntDistribution(3, 8),
        "learning_rate": FloatDistribution(0.01, 0.3, log=True),
        "l2_leaf_reg": FloatDistribution(0.3, 30.0, log=True),
    }


def _measured(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _trial(known: "optuna.trial.FrozenTrial") -> Trial:
    from optuna.trial import TrialState

    states = {TrialState.COMPLETE: DONE, TrialState.PRUNED: PRUNED, TrialState.FAIL: STOPPED}
    done = known.state == TrialState.COMPLETE
    taken = known.duration.total_seconds() if known.duration else 0.0
    return Trial(known.number, states[known.state], dict(known.params), known.value if done else None, taken)


def _found(study: "optuna.Study", config: TrainingConfig) -> Found:
    trials = tuple(_trial(known) for known in study.get_trials(deepcopy=False) if known.state.is_finished())
    done = [trial for trial in trials if trial.average_precision is not None]
    own = {name: getattr(config, name) for name in SEARCHED}
    start = next((trial for trial in done if trial.settings == own), None)
    if start is None:
        raise SearchUnfinished(
            f"time was up before the first trial of the study {study.study_name} was measured; give it more seconds or "
            "fewer honest_rows"
        )
    best = max(done, key=lambda trial: (trial.average_precision or -math.inf, -trial.number))
    return Found(study.study_name, trials, best, start)


def _recipe_hash(feature_names: Sequence[str], config: TrainingConfig) -> str:
    """Eight hex digits of all that makes a trial's number what it is, but for the rows."""
    fixed = {name: value for name, value in asdict(config).items() if name not in ("threads", "members", "leave_out")}
    told = json.dumps([fixed, list(feature_names), FOLDS, JUDGED_SHARE], sort_keys=True)
    return blake2b(told.encode(), digest_size=4).hexdigest()


def _told(trial: Trial, trials: int) -> str:
    said = ", ".join(f"{name} {value:.4g}" for name, value in trial.settings.items())
    reached = trial.state if trial.average_precision is None else f"average precision {trial.average_precision:.4f}"
    return f"trial {trial.number + 1} of {trials}: {reached} in {trial.seconds:.0f} s with {said}"
