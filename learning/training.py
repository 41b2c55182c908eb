"""Fit the ensemble and prove it on later days. Pure: a training set in, models with their evidence out.

Members are fit on growing folds and judged on what came after (``learning.folds``). Their predictions there say how to
blend and to calibrate them; every fold but the first is judged by a blend of the folds before it, so nothing is judged
by what it was fit on. The model that is served is then fit on all rows: the newest fraud is the most telling, and
holding it back from service would only buy a tidier number. The ensemble before the last fold is kept beside it, so
that a later challenger can be compared on rows neither has seen.

A row of the training set may stand for several payments, and honest ones are sampled further to a size that can be fit
on; weights undo both exactly, so a score is a probability at the natural base rate.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from learning import selection
from learning.blending import Blend
from learning.costs import Costs
from learning.errors import TrainingDataTooSmall, TrainingDataUnusable
from learning.evaluation import Interval, Judged, Outcomes
from learning.folds import Fold, growing, labels_at
from learning.groups import of_rows
from learning.inputs import RAW_PREFIX, TIME_ORDER, field_scores, labels, vectors
from learning.judging import Judgement, judge, row
from learning.members import FITS, FittedMember
from learning.ranking import Bools, Floats, Ints
from learning.recipe import TrainingConfig
from learning.selection import Said
from pix.contracts import DAY_MS

MIN_ROWS = 1_000
MIN_FRAUDS = 30
MIN_FRAUDS_PER_SIDE = 5
NEWEST_FRAUDS = 30
"""So many frauds a short last fold judges at least."""
AT_ONCE = 100_000
"""Rows that are scored at a time: their vectors are copied."""
ENSEMBLE, RAW, RULES = "ensemble", "raw fields", "rules only"
Rules = Callable[[pd.DataFrame], Floats]
"""Says how severe rules alone find each of some rows: 0 where they let it go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedEnsemble:
    """Members and how they are put together."""

    members: tuple[FittedMember, ...]
    blend: Blend

    def probabilities(self, frame: pd.DataFrame, feature_names: Sequence[str]) -> Floats:
        """Probability of fraud per row."""
        return self.blend.probabilities(log_odds(self.members, frame, feature_names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model and what is known about it.

    Attributes:
        ensemble: The final one, fit on all rows.
        evaluation_ensemble: The same recipe fit on the rows before ``cut_ms`` only.
        judgement: Every fold but the first, each by what was known before it.
        worth: Member -> what it adds to the others' average precision there; what adds nothing is left out.
        feature_names: The model's inputs, in order.
        config: The recipe.
        rows: Rows of the training set.
        frauds: Frauds among them.
        cut_ms: The evaluation ensemble saw rows before this instant only.
        until_ms: Newest event time among all rows.
        seconds: Duration of all fits and evaluations.
    """

    ensemble: FittedEnsemble
    evaluation_ensemble: FittedEnsemble
    judgement: Judgement
    worth: Mapping[str, Interval]
    feature_names: tuple[str, ...]
    config: TrainingConfig
    rows: int
    frauds: int
    cut_ms: int
    until_ms: int
    seconds: float

    @property
    def over_raw(self) -> Interval:
        """Average precision less that of a CatBoost on the raw fields."""
        return self.judgement.over[RAW]

    def evaluation_rows(self) -> list[dict[str, Any]]:
        """Every number as a row of ``model/evaluation``."""
        added = [row(ENSEMBLE, "member", name, "adds_average_precision", gain) for name, gain in self.worth.items()]
        return [*self.judgement.rows(), *added]

    @property
    def metrics(self) -> dict[str, float]:
        """The few numbers worth a place in MLflow and in the asset's metadata."""
        found = self.judgement
        others = {
            f"{name.replace(' ', '_')}_{metric}": value
            for name in found.over
            for metric, value in found.evaluations[name].to_dict().items()
            if metric in ("average_precision", "roc_auc", "saved_reais")
        }
        gains = {
            f"{metric}_over_{name.replace(' ', '_')}{end}": value
            for metric, of in (("average_precision", found.over), ("saved_reais", found.saved_over))
            for name, gain in of.items()
            for end, value in (("", gain.point), ("_low", gain.low), ("_high", gain.high))
        }
        added = {
            f"{name}_adds{end}": value
            for name, gain in self.worth.items()
            for end, value in (("", gain.point), ("_low", gain.low), ("_high", gain.high))
        }
        return {
            **found.evaluations[ENSEMBLE].to_dict(),
            **added,
            "average_precision_low": found.average_precision.low,
            "average_precision_high": found.average_precision.high,
            **others,
            **gains,
            "training_rows": self.rows,
            "training_frauds": self.frauds,
            "training_seconds": self.seconds,
        }


def fit(
    frame: pd.DataFrame,
    feature_names: Sequence[str],
    config: TrainingConfig,
    *,
    rules: Rules | None = None,
    costs: Costs | None = None,
    say: Callable[[str], None] = lambda _: None,
    timer: Callable[[], float] = time.perf_counter,
) -> Trained:
    """Fit on growing folds, judge, and fit again on everything.

    Args:
        frame: The training set (``features/training_set``).
        feature_names: The model's inputs, in the order of the service's vectors.
        config: The recipe.
        rules: The policy's, without a model.
        costs: What alerts and missed frauds cost.
        say: Told of every step.
        timer: Seconds of a monotonic clock.

    Raises:
        TrainingDataTooSmall: Too few rows or frauds, in all or in a fold.
        TrainingDataUnusable: A column is missing or a label is null.
    """
    started, costs = timer(), costs or Costs()
    _refuse_unusable(frame, feature_names)
    frame = by_time(frame)
    _refuse_small(frame)
    folds = _folds(frame, config)
    steps = [_step(frame, fold, feature_names, config, say) for fold in folds]
    said = [_said(frame, step) for step in steps]
    taught = [_taught(said[:n], config) for n in range(1, len(said) + 1)]
    chosen, worth = tuple(taught[-1].weights), selection.worth(said, config.members, seed=config.seed)
    for name, gain in worth.items():
        say(f"{name} adds {gain} of average precision{'' if name in chosen else ', so it is left out'}")
    say(f"fitting {', '.join(chosen)} on all rows")
    final = replace(config, members=chosen)
    members = _fit_members(frame, np.arange(len(frame)), labels(frame), feature_names, final)[1]
    return Trained(
        ensemble=FittedEnsemble(members=members, blend=taught[-1]),
        evaluation_ensemble=_of(steps[-1].members, taught[-2]),
        judgement=_judgement(frame, steps, taught, rules, costs, seed=config.seed),
        worth=worth,
        feature_names=tuple(feature_names),
        config=config,
        rows=len(frame),
        frauds=int(labels(frame).sum()),
        cut_ms=folds[-1].test_from_ms,
        until_ms=int(frame["event_time_ms"].iloc[-1]),
        seconds=timer() - started,
    )


def _folds(frame: pd.DataFrame, config: TrainingConfig) -> tuple[Fold, ...]:
    times, frauds = frame["event_time_ms"].to_numpy(np.int64), np.flatnonzero(labels(frame))
    newest = None
    if config.newest_days is not None:
        by_days = int(np.searchsorted(times, times[-1] - config.newest_days * DAY_MS))
        newest = min(by_days, int(frauds[-NEWEST_FRAUDS:][0]))
    return growing(times, judged_share=config.test_share, count=config.folds, delay_ms=config.gap_ms, newest=newest)


def by_time(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of their payments.

    Delta returns rows in file order; a model must not depend on how files were compacted. Rows that are in order
    already are not copied.
    """
    if _is_ordered(frame):
        return frame
    return frame.sort_values(list(TIME_ORDER), kind="stable", ignore_index=True)


def _is_ordered(frame: pd.DataFrame) -> bool:
    times, ids = (frame[name].to_numpy() for name in TIME_ORDER)
    ties = np.flatnonzero(times[1:] == times[:-1])
    rising = (times[1:] >= times[:-1]).all() and (ids[ties] <= ids[ties + 1]).all()
    return bool(rising) and np.array_equal(frame.index, np.arange(len(frame)))


@dataclass(frozen=True, slots=True)
class _Step:
    """What one fold gave: places of the rows after it, its members, what they and raw fields say of those rows."""

    places: Ints
    members: tuple[FittedMember, ...]
    log_odds: Mapping[str, Floats]
    raw: Floats


def _step(
    frame: pd.DataFrame, fold: Fold, feature_names: Sequence[str], config: TrainingConfig, say: Callable[[str], None]
) -> _Step:
    times = frame["event_time_ms"].to_numpy(np.int64)
    known = labels_at(frame, fold.known_until_ms)
    before, after = np.flatnonzero(fold.trains(times)), np.flatnonzero(fold.tests(times))
    found = [int(known[before].sum()), int(labels(frame)[after].sum())]
    say(
        f"fold {fold.number} of {config.folds}: {len(before):,} payments with {found[0]:,} known frauds, judged on "
        f"{len(after):,} with {found[1]:,}"
    )
    if min(found) < MIN_FRAUDS_PER_SIDE or found[1] == len(after):
        raise TrainingDataTooSmall(
            f"fold {fold.number} has {found[0]} known frauds to learn from and {found[1]} among {len(after)} payments "
            f"to be judged on; it needs {MIN_FRAUDS_PER_SIDE} of each. {_MORE}"
        )
    chosen, members = _fit_members(frame, before, known, feature_names, config)
    tested = frame.iloc[after]
    raw = field_scores(frame.iloc[chosen.places], known[chosen.places], chosen.weights, tested, config)
    return _Step(after, members, log_odds(members, tested, feature_names), raw)


def _judgement(
    frame: pd.DataFrame,
    steps: Sequence[_Step],
    taught: Sequence[Blend],
    rules: Rules | None,
    costs: Costs,
    *,
    seed: int,
) -> Judgement:
    """Every fold but the first, by the blend of those before it, beside raw fields and rules."""
    judged = [one.probabilities(step.log_odds) for one, step in zip(taught, steps[1:], strict=False)]
    tested = frame.iloc[np.concatenate([step.places for step in steps[1:]])]
    outcomes = outcomes_of(tested)
    scores = {ENSEMBLE: np.concatenate(judged), RAW: np.concatenate([step.raw for step in steps[1:]])}
    compared = {name: Judged.model(outcomes, found, costs) for name, found in scores.items()}
    if rules is not None:
        severity = rules(tested)
        compared[RULES] = Judged(severity, severity > 0, is_model=False)
    return judge(outcomes, compared, ENSEMBLE, costs, seed=seed)


def _taught(folds: Sequence[Said], config: TrainingConfig) -> Blend:
    """The blend that folds teach, of the members that they show to be worth it; later ones must not choose for them."""
    return selection.taught(folds, selection.kept(folds, config.members) if config.leave_out else config.members)


def _of(members: Sequence[FittedMember], blended: Blend) -> FittedEnsemble:
    return FittedEnsemble(members=tuple(each for each in members if each.name in blended.weights), blend=blended)


def _said(frame: pd.DataFrame, step: _Step) -> Said:
    weights = frame["weight"].to_numpy(np.float64)
    return Said(step.log_odds, labels(frame)[step.places], weights[step.places])


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows that are fit on.

    Attributes:
        places: Where they stand, rising.
        weights: Payments that each stands for.
    """

    places: Ints
    weights: Floats


def sampled(places: Ints, is_fraud: Bools, weights: Floats, config: TrainingConfig) -> Sample:
    """All frauds, and so many others that they can be fit on. The weights of either class sum to what they were.

    Args:
        places: Of the rows that may be chosen.
        is_fraud: Labels of all rows, as far as they are known.
        weights: Payments that each of all rows stands for.
        config: The recipe.
    """
    frauds, others = places[is_fraud[places]], places[~is_fraud[places]]
    kept, factor = others, 1.0
    if len(others) > config.honest_rows:
        kept = np.random.default_rng(config.seed).choice(others, config.honest_rows, replace=False)
        factor = float(weights[others].sum() / weights[kept].sum())
    chosen = np.sort(np.concatenate([frauds, kept]))
    return Sample(chosen, np.where(is_fraud[chosen], weights[chosen], weights[chosen] * factor))


def _fit_members(
    frame: pd.DataFrame, places: Ints, is_fraud: Bools, feature_names: Sequence[str], config: TrainingConfig
) -> tuple[Sample, tuple[FittedMember, ...]]:
    chosen = sampled(places, is_fraud, frame["weight"].to_numpy(np.float64), config)
    matrix = vectors(frame.iloc[chosen.places], feature_names)
    labelled = is_fraud[chosen.places]
    return chosen, tuple(FITS[name](matrix, labelled, chosen.weights, config) for name in config.members)


def log_odds(members: Sequence[FittedMember], frame: pd.DataFrame, feature_names: Sequence[str]) -> dict[str, Floats]:
    """Member -> its log-odds of every row."""
    parts: dict[str, list[Floats]] = {member.name: [] for member in members}
    for start in range(0, len(frame), AT_ONCE):
        matrix = vectors(frame.iloc[start : start + AT_ONCE], feature_names)
        for member in members:
            parts[member.name].append(member.log_odds(matrix))
    return {name: np.concatenate(found) for name, found in parts.items()}


def outcomes_of(frame: pd.DataFrame) -> Outcomes:
    """What became of the payments of a training set."""
    return Outcomes(
        is_fraud=labels(frame),
        times_ms=frame["event_time_ms"].to_numpy(np.int64),
        amount_cents=frame[f"{RAW_PREFIX}amount_cents"].to_numpy(np.int64),
        accounts=pd.factorize(frame["payee_account"])[0].astype(np.int64),
        weights=frame["weight"].to_numpy(np.float64),
        groups=of_rows(frame),
    )


_MORE = (
    "Import more history (sentinela simulate, then sentinela import) or wait until more labels have matured, and "
    "materialise features/training_set again"
)


def _refuse_unusable(frame: pd.DataFrame, feature_names: Sequence[str]) -> None:
    needed = ["end_to_end_id", "event_time_ms", "is_fraud", "fraud_known_at_ms", "cleared_at_ms", "weight"]
    missing = [name for name in (*needed, "payee_account", *feature_names) if name not in frame.columns]
    if missing:
        raise TrainingDataUnusable(
            f"the training set lacks the columns {missing}; materialise features/training_set again, "
            "it was built for other features"
        )
    if f"{RAW_PREFIX}amount_cents" not in frame.columns:
        raise TrainingDataUnusable(
            f"the training set has no {RAW_PREFIX}amount_cents column, so there is no baseline to judge features by; "
            "materialise features/training_set again"
        )
    unknown = int(frame["is_fraud"].isna().sum())
    if unknown:
        raise TrainingDataUnusable(
            f"is_fraud is null in {unknown} of {len(frame)} rows of the training set; leave out rows whose "
            "label has not matured"
        )


def _refuse_small(frame: pd.DataFrame) -> None:
    rows, frauds = len(frame), int(labels(frame).sum())
    if rows < MIN_ROWS or not MIN_FRAUDS <= frauds < rows:
        raise TrainingDataTooSmall(
            f"the training set has {rows} rows with {frauds} frauds; a model needs {MIN_ROWS} rows and {MIN_FRAUDS} "
            f"frauds. {_MORE}"
        )
