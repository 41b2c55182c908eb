"""What a model would have done: fit on the past as it was known, scores of what came after, move on.

Of each fold's window a sample is fit on, in which every known fraud is; weights stand for the rest. Members are fit on
the older part of the window first: what they say of the newer part tells how to blend them. Then they are fit on all of
it. Labels are those known when the test begins, also for the blend; so the cut is by known frauds, of which the newest
days may have none yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from learning.blending import blend
from learning.costs import Costs
from learning.errors import TrainingDataTooSmall
from learning.evaluation import Judged, Outcomes
from learning.folds import Fold
from learning.inputs import field_scores
from learning.members import FITS
from learning.past import Past
from learning.ranking import Bools, Floats, Ints, average_precision
from learning.recipe import TrainingConfig
from learning.training import ENSEMBLE, RAW, RULES, FittedEnsemble, Rules, outcomes_of, sampled

BLENDED_SHARE = 0.3
"""Share of a window's known frauds, the newest, that say how to blend."""
MIN_FRAUDS = 30
"""Fewer in a window tell nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What one fold's models say of its test.

    Attributes:
        fold: Which.
        places: Rows of the past that were tested.
        scores: Name -> score of each; ``ensemble`` first.
        learnt: Payments of the window.
        known_frauds: How many of them were known to be fraud.
        weights: Member -> weight of its log-odds.
    """

    fold: Fold
    places: Ints
    scores: Mapping[str, Floats]
    learnt: int
    known_frauds: int
    weights: Mapping[str, float]


def score(past: Past, fold: Fold, feature_names: Sequence[str], config: TrainingConfig, rules: Rules) -> Scored:
    """Fit on a fold's window and score its test, which is left whole.

    Args:
        past: The history.
        fold: Which step.
        feature_names: The features, in the order of the vectors.
        config: The recipe; ``folds`` and ``test_share`` do not count here.
        rules: The policy's, without a model.

    Raises:
        TrainingDataTooSmall: Too few known frauds, or nothing to test.
    """
    times, known = past.times_ms, past.known(fold)
    window = np.flatnonzero(fold.trains(times) & past.facts["is_fraud"].notna().to_numpy())
    tested = fold.tests(times)
    chosen = sampled(window, known, np.ones(len(times)), config)
    _refuse_small(fold, known[chosen.places], int(tested.sum()))
    fitted = _fit(past, fold, chosen.places, known, chosen.weights, config)
    scores: dict[str, Floats] = {name: np.full(len(times), np.nan) for name in (ENSEMBLE, RULES, *config.members)}
    for part in past.read(fold.test_from_ms, fold.test_until_ms, tested):
        odds = {member.name: member.log_odds(part.vectors) for member in fitted.members}
        rows = pd.concat(
            [
                past.facts.iloc[part.places].reset_index(drop=True),
                pd.DataFrame(part.vectors, columns=list(feature_names), copy=False),
            ],
            axis=1,
        )
        found = {ENSEMBLE: fitted.blend.probabilities(odds), RULES: rules(rows), **odds}
        for name, values in found.items():
            scores[name][part.places] = values
    places = np.flatnonzero(tested)
    facts = past.facts
    raw = field_scores(facts.iloc[chosen.places], known[chosen.places], chosen.weights, facts.iloc[places], config)
    own = {name: values[places] for name, values in scores.items()}
    return Scored(
        fold=fold,
        places=places,
        scores={ENSEMBLE: own.pop(ENSEMBLE), RAW: raw, **own},
        learnt=len(window),
        known_frauds=int(known[window].sum()),
        weights=fitted.blend.weights,
    )


def _fit(past: Past, fold: Fold, places: Ints, known: Bools, weights: Floats, config: TrainingConfig) -> FittedEnsemble:
    wanted = np.zeros(len(known), np.bool_)
    wanted[places] = True
    vectors = past.gathered(fold.train_from_ms, fold.train_until_ms, wanted).vectors
    labelled, cut = known[places], _cut(known[places])
    early = [FITS[name](vectors[:cut], labelled[:cut], weights[:cut], config) for name in config.members]
    said = {member.name: member.log_odds(vectors[cut:]) for member in early}
    members = tuple(FITS[name](vectors, labelled, weights, config) for name in config.members)
    return FittedEnsemble(members=members, blend=blend(said, labelled[cut:], weights[cut:]))


def _cut(known: Bools) -> int:
    """Where the newer part begins."""
    frauds = np.flatnonzero(known)
    return int(frauds[int(len(frauds) * (1 - BLENDED_SHARE))]) if len(frauds) else len(known)


def _refuse_small(fold: Fold, known: Bools, tested: int) -> None:
    if not tested:
        raise TrainingDataTooSmall(f"fold {fold.number} has no payment to test; see --start and --folds")
    frauds, newer = int(known.sum()), known[_cut(known) :]
    if frauds < MIN_FRAUDS or frauds == len(known) or newer.all():
        raise TrainingDataTooSmall(
            f"fold {fold.number} learns from {len(known):,} payments of which {frauds} were known to be fraud when its "
            f"test began; it needs {MIN_FRAUDS}, and others beside. Learn from more days, or from earlier ones"
        )


def judged(facts: pd.DataFrame, scores: Mapping[str, Floats], costs: Costs) -> tuple[Outcomes, dict[str, Judged]]:
    """Outcomes of the tested payments that are known, and what was said of them by all that could stand alone.

    Args:
        facts: Of the tested payments.
        scores: Name -> score of each.
        costs: What alerts and missed frauds cost.
    """
    clear = facts["is_fraud"].notna().to_numpy()
    rows = facts[clear]
    outcomes = outcomes_of(rows.assign(is_fraud=rows["is_fraud"].astype(bool), weight=1.0))
    models = {name: Judged.model(outcomes, scores[name][clear], costs) for name in (ENSEMBLE, RAW)}
    severity = scores[RULES][clear]
    return outcomes, {**models, RULES: Judged(severity, severity > 0, is_model=False)}


def members_alone(facts: pd.DataFrame, scores: Mapping[str, Floats]) -> dict[str, float]:
    """Average precision of each member by itself; it gives an order, and no probability.

    Args:
        facts: Of the tested payments.
        scores: Name -> score of each.
    """
    clear = facts["is_fraud"].notna().to_numpy()
    is_fraud = facts["is_fraud"][clear].to_numpy(np.bool_)
    names = [name for name in scores if name not in (ENSEMBLE, RAW, RULES)]
    return {name: average_precision(is_fraud, scores[name][clear]) for name in names}


def account_scores(facts: pd.DataFrame, scores: Floats) -> pd.DataFrame:
    """Each account of some payments, on either side of them, with the highest score of its payments.

    Args:
        facts: Of the payments.
        scores: One each.

    Returns:
        Columns account, payments, score, is_fraud (whether it was paid in a known fraud).
    """
    frauds = facts["is_fraud"].eq(True)  # noqa: FBT003 - what is null was not known to be one
    sides = [
        pd.DataFrame({"account": facts["payer_account"].to_numpy(), "score": scores, "is_fraud": False}),
        pd.DataFrame({"account": facts["payee_account"].to_numpy(), "score": scores, "is_fraud": frauds.to_numpy()}),
    ]
    both = pd.concat(sides, ignore_index=True).dropna(subset="account")
    grouped = both.groupby("account", sort=True, observed=True)
    return grouped.agg(payments=("score", "size"), score=("score", "max"), is_fraud=("is_fraud", "any")).reset_index()
