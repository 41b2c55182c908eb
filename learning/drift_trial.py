"""How soon is planted drift found, is retraining asked for once, and does it help? Day by day on simulated payments.

The trial does what the platform does every night, on payments that fit into memory: the service's kernel makes the
features, the ensemble's twin and its matured days are looked at by ``quality.verdict``, a retraining is asked for where
the sensor would ask, and ``learning.promotion`` decides on what comes out. Labels count from when they are known.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learning import promotion, training
from learning.artefact import write_models
from learning.calibration import calibration_error
from learning.costs import Costs, worthwhile
from learning.ensemble import load_ensemble
from learning.evaluation import average_precision_difference
from learning.inputs import RAW_PREFIX, labels, vectors
from learning.latency import Latency, measure
from learning.performance import Decided, performance
from learning.ranking import Bools, Floats, average_precision
from learning.recipe import TrainingConfig
from learning.small_history import frame
from pix.contracts import DAY_MS, FRAUD_KINDS, behind_the_door, label_from, payment_from
from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.labels import CLEARING_KINDS, CONTESTED
from pix.offline.days import day_at
from pix.simulator.plan import SimulationPlan
from pix.simulator.simulation import simulate
from pix.tokens import Keyring
from quality import concept, drift
from quality.verdict import Finding, Shares, of_days, of_features, of_labels, of_scores, verdict

if TYPE_CHECKING:
    import pandas as pd

RAW = ("amount_cents", "initiation", "payer_age_years")
CURRENT_DAYS = 7
LABEL_DAYS = 28
DAYS_OF_A_WEEK = 7
_KEYRING = Keyring(1, {1: b"drift trial".ljust(32, b".")})
MOVED_TO = {"payer_age_years": (16, 20), "local_hour": (6, 8), "is_night": (0, 1), "is_business_hours": (0, 1)}
"""Feature -> its least value, and the first one above its greatest; see ``elsewhere``."""
OF_FIELDS = {"payer_age_years": (f"{RAW_PREFIX}payer_age_years", 0), "local_hour": (f"{RAW_PREFIX}hour", 3)}
"""Feature -> the field that says the same, and how much more it says: hours of fields are those of UTC."""
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


def history(plan: SimulationPlan) -> "pd.DataFrame":
    """Every simulated payment with its features of the moment, and since when what is known of it.

    Columns: those of ``learning.small_history.frame``, and what a training set has beside them; ``contested_at_ms``.
    ``is_fraud`` is as it becomes known in the end.
    """
    import pandas as pd

    simulation = simulate(plan)
    payments = [behind_the_door(payment_from(one), _KEYRING) for one in simulation.payments]
    said = [label_from(one) for one in simulation.labels]
    whole = frame(payments, said, RAW, as_of_ms=plan.window[1] + 200 * DAY_MS, maturity_ms=0)
    times: dict[str, dict[str, float]] = {"fraud_known_at_ms": {}, "cleared_at_ms": {}, "contested_at_ms": {}}
    for label in said:
        kind = label.kind
        column = "fraud_known" if kind in FRAUD_KINDS else "cleared" if kind in CLEARING_KINDS else CONTESTED
        known = times[f"{column}_at_ms"]
        known[label.end_to_end_id] = min(known.get(label.end_to_end_id, np.inf), label.known_at)
    identity = whole["end_to_end_id"]
    columns: dict[str, pd.Series[Any]] = {
        name: identity.map(pd.Series(known, dtype=np.float64)) for name, known in times.items()
    }
    columns["fraud_type"] = identity.map({label.end_to_end_id: label.fraud_type for label in said if label.fraud_type})
    columns["payee_account"] = identity.map({one.end_to_end_id: one.payee_account for one in payments})
    whole = whole.assign(**columns, weight=1.0, label_class="")
    return whole.sort_values(["event_time_ms", "end_to_end_id"], kind="stable", ignore_index=True)


def elsewhere(whole: "pd.DataFrame", from_ms: int, *, seed: int) -> "pd.DataFrame":
    """The same payments in a world where criminals do something else from some time on.

    From then on a fraud looks like some honest payment of its own day in every feature and field, but for
    ``MOVED_TO``: it is by a young payer, early in the morning. Of its own day, because many features only grow: a fraud
    that looked like a payment of next week would teach that next week's payments are fraud. The simulator's own drifts
    do less: a model hardly suffers from them.

    Args:
        whole: Of ``history``; every day from then on has an honest payment.
        from_ms: From when on, epoch milliseconds.
        seed: Draws which honest payments.
    """
    rng = np.random.default_rng(seed)
    times = whole["event_time_ms"].to_numpy(np.int64)
    is_fraud, days = labels(whole), (times - from_ms) // DAY_MS
    moved = np.flatnonzero(is_fraud & (days >= 0))
    alike = {day: np.flatnonzero(~is_fraud & (days == day)) for day in np.unique(days[moved])}
    drawn = np.array([rng.choice(alike[day]) for day in days[moved]], np.int64)
    found = whole.copy()
    columns = [name for name in whole if name in FEATURE_NAMES or str(name).startswith(RAW_PREFIX)]
    found.loc[moved, columns] = whole.loc[drawn, columns].to_numpy()
    for name, (low, high) in MOVED_TO.items():
        values = rng.integers(low, high, len(moved))
        field, more = OF_FIELDS.get(name, ("", 0))
        found.loc[moved, name] = values
        if field in columns:
            found.loc[moved, field] = values + more
    return found


def as_known(rows: "pd.DataFrame", at_ms: "int | pd.Series") -> "pd.DataFrame":
    """Rows as they are known at some time; those that are contested and wait for their verdict are left out.

    Args:
        rows: Of ``history``.
        at_ms: Epoch milliseconds, one for all or one for each.
    """
    is_cleared = rows["cleared_at_ms"] <= at_ms
    is_fraud = (rows["fraud_known_at_ms"] <= at_ms) & ~is_cleared
    is_open = (rows["contested_at_ms"] <= at_ms) & ~is_fraud & ~is_cleared
    return rows.assign(is_fraud=is_fraud)[~is_open]


def matured(rows: "pd.DataFrame", maturity_ms: int) -> "pd.DataFrame":
    """Rows as each was known when it had just matured: so days compare with each other, old and new ones."""
    return as_known(rows, rows["event_time_ms"] + maturity_ms)


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
        earlier: Sequence[concept.Day] = (),
    ) -> None:
        self.version, self.trial, self.since_ms = version, trial, trial.at_ms(day)
        times, until_ms = whole["event_time_ms"], self.since_ms - trial.maturity_ms
        rows = whole[(times >= trial.at_ms(trial.warm_days)) & (times <= until_ms)]
        self.learnt = as_known(rows, self.since_ms)
        recipe = replace(trial.recipe, newest_days=newest_days)
        self.trained = training.fit(self.learnt, trial.feature_names, recipe)
        self.shares = _shares(matured(self.learnt, trial.maturity_ms))
        self.reported = self.shares.frauds / int(labels(self.learnt).sum())
        self.days: list[concept.Day] = []
        self.earlier = earlier
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

    def look(self, whole: "pd.DataFrame", at_ms: int) -> list[Finding]:
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
        self._judge_day(known, until_ms)
        return [
            *of_features(features),
            *of_scores(*drift.number_psi(self.scores_then, scores_now), rows=min(len(self.scores_then), len(current))),
            *of_labels(self.shares, _shares(known)),
            *of_days(self.days, before=concept.reference(self.days, self.earlier), reported=self.reported),
        ]

    def _judge_day(self, known: "pd.DataFrame", until_ms: int) -> None:
        """Add the day that has just matured, if this model decided it."""
        from_ms = until_ms - DAY_MS
        rows = known[known["event_time_ms"] >= from_ms]
        if from_ms < self.since_ms or rows.empty:
            return
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
        self.days.append(judged.day(day_at(from_ms)))


def run(trial: Trial, whole: "pd.DataFrame", say: Callable[[str], None] = lambda _: None) -> Tried:
    """Train after some days, then look every night; train again when that is asked for, and weekly where that is tried.

    Args:
        trial: What is tried.
        whole: All payments; see ``history``.
        say: Told of every request and finding.
    """
    first = champion = _Champion(1, whole, trial, trial.train_days)
    found: dict[int, tuple[str, ...]] = {}
    asked: list[Asked] = []
    weekly: list[Asked] = []
    asks: set[str] = set()
    for day in range(trial.train_days + 1, trial.days + 1):
        findings = champion.look(whole, trial.at_ms(day))
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
            challenger = _Champion(
                *(champion.version + 1, whole, trial, day),
                newest_days=judged.newest_days,
                earlier=(*champion.earlier, *champion.days),
            )
            why = judged.reasons if judged.retrain else ("the week is over",)
            made = _compared(champion, challenger, whole, day, why)
            (asked if judged.retrain else weekly).append(made)
            say(f"day {day}: {made}")
            champion = challenger if made.promoted else champion
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
