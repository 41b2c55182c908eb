"""How soon is planted drift found, is retraining asked for once, and does it help? Day by day on simulated payments.

The trial does what the platform does every night, on payments that fit into memory: the service's kernel makes the
features, the ensemble's twin and its matured days are looked at by ``quality.verdict``, a retraining is asked for where
the sensor would ask, and ``learning.promotion`` decides on what comes out. Labels count from when they are known.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from learning import promotion, training
from learning.artefact import write_models
from learning.calibration import calibration_error
from learning.costs import Costs, worthwhile
from learning.drift_world import as_known, matured
from learning.ensemble import load_ensemble
from learning.evaluation import average_precision_difference
from learning.inputs import RAW_PREFIX, labels, vectors
from learning.latency import Latency, measure
from learning.performance import Decided, performance
from learning.ranking import Bools, Floats, average_precision
from learning.recipe import TrainingConfig
from pix.contracts import DAY_MS
from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.offline.days import day_at
from quality import concept, drift
from quality.verdict import Finding, Shares, of_days, of_features, of_labels, of_probabilities, of_scores, verdict

if TYPE_CHECKING:
    import pandas as pd

CURRENT_DAYS = 7
LABEL_DAYS = 28
DAYS_OF_A_WEEK = 7
NOTHING_LIVE = promotion.Parity(compared=0, mismatches=0, at="in memory, one kernel makes all features")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is tried.

    Attributes:
        start_ms: Begin of the first day, epoch milliseconds.
        days: How many there are.
        warm_days: Days that only features look back on: a history's first days are like no later ones.
        train_days: The first champion is trained when so many days are over.
        drift_day: From when on the world is another; None if it stays.
        recipe: Of every model.
        weekly: Whether a challenger is trained every seven days besides, as the platform's schedule does.
        feature_names: What models are fit on.
        maturity_ms: Age from which silence means honest.
    """

    start_ms: int
    days: int
    warm_days: int
    train_days: int
    drift_day: int | None
    recipe: TrainingConfig
    weekly: bool = False
    feature_names: tuple[str, ...] = FEATURE_NAMES
    maturity_ms: int = 7 * DAY_MS

    def at_ms(self, day: int) -> int:
        """Begin of a day."""
        return self.start_ms + day * DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request for retraining, and what came of it.

    Attributes:
        day: Days since the begin of the simulation.
        reasons: Why.
        promoted: Whether the challenger serves from then on.
        decision: Why, or why not.
        before: The champion's average precision on the days after the request.
        after: The challenger's on the same days.
    """

    day: int
    reasons: tuple[str, ...]
    promoted: bool
    decision: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What happened.

    Attributes:
        found: Day -> names of what was found then.
        asked: The requests, in order.
        weekly: What the schedule trained, in order.
        precision: The first champion's average precision on its days before any drift and from then on.
    """

    found: Mapping[int, tuple[str, ...]]
    asked: tuple[Asked, ...]
    weekly: tuple[Asked, ...]
    precision: tuple[float, float]

    def first(self, kind: str) -> int | None:
        """The first day on which a kind of finding was there."""
        return next((day for day, names in self.found.items() if any(name.startswith(kind) for name in names)), None)


class _Champion:
    """The model that serves, and what is known of its time."""

    def __init__(
        self,
        version: int,
        whole: "pd.DataFrame",
        trial: Trial,
        day: int,
        *,
        newest_days: float | None = None,
    ) -> None:
        self.version, self.trial, self.since_ms = version, trial, trial.at_ms(day)
        times, until_ms = whole["event_time_ms"], self.since_ms - trial.maturity_ms
        rows = whole[(times >= trial.at_ms(trial.warm_days)) & (times <= until_ms)]
        self.learnt = as_known(rows, self.since_ms)
        recipe = replace(trial.recipe, newest_days=newest_days)
        self.trained = training.fit(self.learnt, trial.feature_names, recipe)
        self.shares = _shares(matured(self.learnt, trial.maturity_ms))
        self.reported = self.shares.frauds / int(labels(self.learnt).sum())
        self.usual: Mapping[str, float] | None = None
        self.scores_then = self.twin_log_odds(self.learnt[self.learnt["event_time_ms"] >= self.trained.cut_ms])

    def probabilities(self, rows: "pd.DataFrame") -> Floats:
        return self.trained.ensemble.probabilities(rows, self.trial.feature_names)

    def twin(self, rows: "pd.DataFrame") -> Floats:
        return self.trained.evaluation_ensemble.probabilities(rows, self.trial.feature_names)

    def twin_log_odds(self, rows: "pd.DataFrame") -> "pd.Series[float]":
        import pandas as pd

        clipped = np.clip(self.twin(rows), 1e-9, 1 - 1e-9)
        return pd.Series(np.log(clipped / (1 - clipped)))

    def precision(self, rows: "pd.DataFrame") -> float:
        is_fraud: Bools = labels(rows)
        return average_precision(is_fraud, self.probabilities(rows)) if 0 < is_fraud.sum() < len(rows) else float("nan")

    def look(self, whole: "pd.DataFrame", at_ms: int, seen: concept.Watched) -> list[Finding]:
        """What the night's report would find."""
        trial, times, until_ms = self.trial, whole["event_time_ms"], at_ms - self.trial.maturity_ms
        current = whole[(times >= at_ms - CURRENT_DAYS * DAY_MS) & (times < at_ms)]
        features = drift.compare(
            *(self.learnt, current, trial.feature_names),
            report_id="trial",
            seed=trial.recipe.seed,
            usual=self.usual,
        )
        self.usual = features.usual
        scores_now = self.twin_log_odds(current)
        from_ms = max(self.trained.until_ms + 1, until_ms - LABEL_DAYS * DAY_MS)
        known = matured(whole[(times >= from_ms) & (times < until_ms)], trial.maturity_ms)
        return [
            *of_features(features),
            *of_scores(*drift.number_psi(self.scores_then, scores_now), rows=min(len(self.scores_then), len(current))),
            *of_labels(self.shares, _shares(known)),
            *of_days(seen.days, before=seen.before, learnt_until=day_at(self.trained.until_ms)),
            *of_probabilities(seen.own, reported=self.reported),
        ]

    def judged_day(self, whole: "pd.DataFrame", from_ms: int) -> concept.Day:
        """A day that has matured, as this model decided it."""
        times = whole["event_time_ms"]
        rows = matured(whole[(times >= from_ms) & (times < from_ms + DAY_MS)], self.trial.maturity_ms)
        cents = rows[f"{RAW_PREFIX}amount_cents"].to_numpy(np.int64)
        said = self.probabilities(rows)
        judged = performance(
            Decided(
                probabilities=said,
                is_fraud=labels(rows),
                is_known=np.ones(len(rows), np.bool_),
                is_alert=worthwhile(said, cents, Costs()) > 0,
                amount_cents=cents,
            )
        )
        return judged.day(day_at(from_ms))


class _Days:
    """Every model's matured days, as ``gold/model_daily`` has them."""

    def __init__(self, whole: "pd.DataFrame", first: _Champion) -> None:
        self.whole = whole
        self.served = [first]
        self.by_model: dict[str, list[concept.Day]] = {}

    def add(self, from_ms: int) -> None:
        """A day that has matured; whoever served decided it."""
        served = [one for one in self.served if one.since_ms <= from_ms]
        if served:
            self.by_model.setdefault(str(served[-1].version), []).append(served[-1].judged_day(self.whole, from_ms))


def run(trial: Trial, whole: "pd.DataFrame", say: Callable[[str], None] = lambda _: None) -> Tried:
    """Train after some days, then look every night; train again when that is asked for, and weekly where that is tried.

    Args:
        trial: What is tried.
        whole: All payments; see ``learning.drift_world``.
        say: Told of every request and finding.
    """
    first = _Champion(1, whole, trial, trial.train_days)
    found: dict[int, tuple[str, ...]] = {}
    asked: list[Asked] = []
    weekly: list[Asked] = []
    asks: set[str] = set()
    days = _Days(whole, first)
    for day in range(trial.train_days + 1, trial.days + 1):
        champion = days.served[-1]
        days.add(trial.at_ms(day - 1) - trial.maturity_ms)
        seen = concept.watched(str(champion.version), days.by_model)
        findings = champion.look(whole, trial.at_ms(day), seen)
        if findings:
            found[day] = tuple(one.name for one in findings)
            say(f"day {day}: {'; '.join(one.told for one in findings)}")
        judged = verdict(
            findings,
            champion=str(champion.version),
            asked=asks,
            last_request_ms=trial.at_ms(asked[-1].day) if asked else None,
            now_ms=trial.at_ms(day),
        )
        is_week_over = trial.weekly and (day - trial.train_days) % DAYS_OF_A_WEEK == 0
        if judged.retrain or is_week_over:
            asks.update(judged.asks)
            version = champion.version + 1
            challenger = _Champion(version, whole, trial, day, newest_days=judged.newest_days)
            why = judged.reasons if judged.retrain else ("the week is over",)
            made = _compared(champion, challenger, whole, day, why)
            (asked if judged.retrain else weekly).append(made)
            say(f"day {day}: {made}")
            if made.promoted:
                days.served.append(challenger)
    precision = _before_and_after(first, whole)
    return Tried(found=found, asked=tuple(asked), weekly=tuple(weekly), precision=precision)


def _compared(
    champion: _Champion, challenger: _Champion, whole: "pd.DataFrame", day: int, reasons: tuple[str, ...]
) -> Asked:
    decision = _decided(champion, challenger)
    later = whole[whole["event_time_ms"] >= challenger.since_ms]
    return Asked(
        day=day,
        reasons=reasons,
        promoted=decision.promote,
        decision="; ".join(decision.reasons),
        before=champion.precision(later),
        after=challenger.precision(later),
    )


def _before_and_after(first: _Champion, whole: "pd.DataFrame") -> tuple[float, float]:
    trial = first.trial
    own = whole[whole["event_time_ms"] >= first.since_ms]
    is_calm = own["event_time_ms"] < trial.at_ms(trial.days if trial.drift_day is None else trial.drift_day)
    return first.precision(own[is_calm]), first.precision(own[~is_calm])


def _decided(champion: _Champion, challenger: _Champion) -> promotion.Decision:
    """What promotion says: both twins on the rows that neither has seen."""
    cut_ms, seed = max(champion.trained.cut_ms, challenger.trained.cut_ms), champion.trial.recipe.seed
    rows = challenger.learnt[challenger.learnt["event_time_ms"] >= cut_ms]
    is_fraud, theirs, ours = labels(rows), champion.twin(rows), challenger.twin(rows)
    over = average_precision_difference(is_fraud, ours, theirs, rng=np.random.default_rng(seed))

    def evidence(of: _Champion, scores: Floats) -> promotion.Evidence:
        return promotion.Evidence(
            version=str(of.version),
            fingerprint=FINGERPRINT,
            rows=len(rows),
            frauds=int(is_fraud.sum()),
            average_precision=average_precision(is_fraud, scores),
            over_raw=of.trained.over_raw,
            calibration_error=of.trained.metrics["calibration_error"],
            calibrated_on=of.trained.metrics["frauds"],
            error_here=calibration_error(is_fraud, scores),
            latency=_latency(of, rows),
            parity=NOTHING_LIVE,
        )

    return promotion.decide(
        evidence(champion, theirs),
        replace(evidence(challenger, ours), over_champion=over),
        served_fingerprint=FINGERPRINT,
        rules=promotion.Gates(),
    )


def _latency(of: _Champion, rows: "pd.DataFrame") -> Latency:
    """Of the ensemble as it would be served."""
    with tempfile.TemporaryDirectory(prefix="sentinela-trial-") as folder:
        write_models(of.trained, Path(folder), fingerprint=FINGERPRINT)
        served = load_ensemble(Path(folder))
    (measured,) = measure([served], vectors(rows.reindex(columns=list(FEATURE_NAMES)), FEATURE_NAMES), rounds=1)
    return measured


def _shares(rows: "pd.DataFrame") -> Shares:
    frauds = rows[labels(rows)]
    paid = frauds[["payee_account", "fraud_type"]].dropna().drop_duplicates()
    by_type = {str(name): float(count) for name, count in paid["fraud_type"].value_counts().items()}
    return Shares(payments=len(rows), frauds=len(frauds), by_type=by_type)
