"""How good are scores? Pure functions on arrays: outcomes and scores in, frozen numbers out.

No model, no registry and no table is known here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from learning.alerts import account_precision_at, precision_at
from learning.calibration import calibration_error
from learning.costs import Costs, capped, saved, worthwhile
from learning.ranking import Bools, Floats, Ints, Ranking, base_rate
from pix.contracts import DAY_MS

FALSE_POSITIVE_RATES = (1e-4, 1e-3, 1e-2)
ALERTS_A_DAY = 100
REAL = 100
RESAMPLES, CONFIDENCE = 400, 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number and its bootstrap interval.

    Attributes:
        point: The number on the rows as they are.
        low: Lower end of the interval.
        high: Upper end of the interval.
        confidence: Share of resamples that the interval covers.
    """

    point: float
    low: float
    high: float
    confidence: float

    def __str__(self) -> str:
        return f"{self.point:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of the payments that models are judged by, one place per payment in every array.

    Attributes:
        is_fraud: The labels.
        times_ms: Event time, epoch milliseconds.
        amount_cents: Amount.
        accounts: Number of the account that would be alerted on: the payee's.
        weights: Payments that each row stands for.
        groups: Name of a grouping, such as ``typology`` -> each payment's group; "" where it has none.
    """

    is_fraud: Bools
    times_ms: Ints
    amount_cents: Ints
    accounts: Ints
    weights: Floats
    groups: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)

    @property
    def days(self) -> Ints:
        """Day (UTC) of each payment since 1970."""
        return self.times_ms // DAY_MS

    def where(self, chosen: Bools) -> "Outcomes":
        """Some of the payments."""
        return Outcomes(
            is_fraud=self.is_fraud[chosen],
            times_ms=self.times_ms[chosen],
            amount_cents=self.amount_cents[chosen],
            accounts=self.accounts[chosen],
            weights=self.weights[chosen],
            groups={name: values[chosen] for name, values in self.groups.items()},
        )

    def at_base_rate(self, rate: float, unknown_frauds: Bools | None = None) -> "Outcomes":
        """The same payments, frauds weighed so that they are ``rate`` of all.

        Every share of frauds and every share of other payments stays what it was; precision and money change.

        Args:
            rate: Share of the known frauds, of all payments.
            unknown_frauds: Payments that are fraud though the label does not say so: they become as rare.
        """
        thinned = self.is_fraud if unknown_frauds is None else self.is_fraud | unknown_frauds
        weights = np.where(thinned, self.weights * self.factor_to(rate, unknown_frauds), self.weights)
        return Outcomes(**{**{name: getattr(self, name) for name in self.__slots__}, "weights": weights})

    def factor_to(self, rate: float, unknown_frauds: Bools | None = None) -> float:
        """How many times as many frauds there would be, were the known ones ``rate`` of all; see ``at_base_rate``."""
        unknown = np.zeros_like(self.is_fraud) if unknown_frauds is None else unknown_frauds & ~self.is_fraud
        honest = ~(self.is_fraud | unknown)
        frauds, hidden, others = (float((self.weights * of).sum()) for of in (self.is_fraud, unknown, honest))
        return rate * others / (frauds - rate * (frauds + hidden))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What the scores of one model are worth on one set of payments.

    Attributes:
        payments: Payments judged.
        frauds: How many of them are fraud.
        base_rate: frauds / payments, the average precision of random scores.
        average_precision: Area under the precision-recall steps.
        roc_auc: Chance that a fraud scores above a payment that is none; ties count half.
        recall_at_fpr: (false-positive rate allowed, share of frauds found) pairs.
        value_recall_at_fpr: The same of their amounts.
        precision_at_100_a_day: Share of frauds among the 100 most suspicious payments of a day.
        account_precision_at_100_a_day: Share of fraudulent accounts among the 100 most suspicious ones of a day.
        alerts: Alerts raised where they were expected to be worth their costs.
        saved_reais: What those saved, less their costs, in reais.
        calibration_error: See ``learning.calibration``; None for what gives no probability, such as rules.
    """

    payments: float
    frauds: float
    base_rate: float
    average_precision: float
    roc_auc: float
    recall_at_fpr: tuple[tuple[float, float], ...]
    value_recall_at_fpr: tuple[tuple[float, float], ...]
    precision_at_100_a_day: float
    account_precision_at_100_a_day: float
    alerts: float
    saved_reais: float
    calibration_error: float | None

    def to_dict(self) -> dict[str, float]:
        """One flat name per number, fit for MLflow metrics and Dagster metadata."""
        flat = {name: value for name, value in asdict(self).items() if isinstance(value, float)}
        for name in ("recall_at_fpr", "value_recall_at_fpr"):
            flat |= {f"{name}_{rate:.0e}": recall for rate, recall in getattr(self, name)}
        return flat


@dataclass(frozen=True, slots=True)
class Judged:
    """What is judged: a model, or rules.

    Attributes:
        scores: The higher, the more suspicious; a model's are probabilities.
        alerts: Which payments it alerts on.
        is_model: Whether the scores are probabilities.
    """

    scores: Floats
    alerts: Bools
    is_model: bool = True

    @classmethod
    def model(
        cls, outcomes: Outcomes, probabilities: Floats, costs: Costs, alerts_a_day: int | None = None
    ) -> "Judged":
        """A model that alerts where that is expected to be worth what it costs; see ``learning.costs``.

        Args:
            outcomes: The payments.
            probabilities: The model's, of fraud.
            costs: What alerts and missed frauds cost.
            alerts_a_day: What analysts can look at; without it, every alert that is expected to be worth it is raised.
        """
        worth = worthwhile(probabilities, outcomes.amount_cents, costs)
        alerts = worth > 0 if alerts_a_day is None else capped(worth, outcomes.days, alerts_a_day)
        return cls(probabilities, alerts)


def evaluate(
    outcomes: Outcomes, judged: Judged, costs: Costs, *, rates: Sequence[float] = FALSE_POSITIVE_RATES
) -> Evaluation:
    """Judge a model or rules on payments that hold both classes.

    Args:
        outcomes: The payments.
        judged: What said something of each of them.
        costs: What alerts and missed frauds cost.
        rates: False-positive rates that recalls are told at.
    """
    is_fraud, weights, days, scores = outcomes.is_fraud, outcomes.weights, outcomes.days, judged.scores
    ranking, values = Ranking(is_fraud, scores, weights), outcomes.amount_cents.astype(np.float64)
    return Evaluation(
        payments=float(weights.sum()),
        frauds=float((weights * is_fraud).sum()),
        base_rate=base_rate(is_fraud, weights),
        average_precision=ranking.average_precision(),
        roc_auc=ranking.roc_auc(),
        recall_at_fpr=tuple((rate, ranking.recall_at_fpr(rate)) for rate in rates),
        value_recall_at_fpr=tuple((rate, ranking.recall_at_fpr(rate, values=values)) for rate in rates),
        precision_at_100_a_day=precision_at(is_fraud, scores, days, ALERTS_A_DAY, weights),
        account_precision_at_100_a_day=account_precision_at(is_fraud, scores, days, outcomes.accounts, ALERTS_A_DAY),
        alerts=float((weights * judged.alerts).sum()),
        saved_reais=float((weights * saved(judged.alerts, is_fraud, outcomes.amount_cents, costs)).sum()) / REAL,
        calibration_error=calibration_error(is_fraud, scores, weights) if judged.is_model else None,
    )


def intervals(
    is_fraud: Bools,
    statistics: Callable[[Floats | None], Mapping[str, float]],
    *,
    rng: np.random.Generator,
    series: Ints | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> dict[str, Interval]:
    """Statistics with their bootstrap intervals, all over the same resamples.

    Frauds and other payments are resampled apart: a resample keeps the base rate, on which precision depends more
    than on any model. Frauds of one campaign are alike: as many of them tell less than as many strangers. With
    ``series`` they are drawn a series at a time, and how many there are varies too, as it does from month to month.

    Args:
        is_fraud: The labels.
        statistics: Name -> number, given how often each row was drawn; once each without that.
        rng: Source of the resamples; the same seed gives the same intervals.
        series: Number of the series that each fraud belongs to, such as its campaign; that of other rows does not
            count. Each is its own without it.
        resamples: How many.
        confidence: Share of resamples that an interval covers.
    """
    frauds, others = np.flatnonzero(is_fraud), np.flatnonzero(~is_fraud)
    member = np.arange(len(frauds)) if series is None else np.unique(series[frauds], return_inverse=True)[1]
    classes = [(rows, of, int(of.max()) + 1) for rows, of in ((frauds, member), (others, np.arange(len(others))))]
    points = statistics(None)
    drawn, found = np.zeros(len(is_fraud)), np.empty((resamples, len(points)))
    for i in range(resamples):
        for rows, of, count in classes:
            drawn[rows] = np.bincount(rng.integers(0, count, count), minlength=count)[of]
        found[i] = list(statistics(drawn).values())
    tail = (1 - confidence) / 2
    lows, highs = np.quantile(found, [tail, 1 - tail], axis=0)
    return {
        name: Interval(point=point, low=float(low), high=float(high), confidence=confidence)
        for (name, point), low, high in zip(points.items(), lows, highs, strict=True)
    }


def average_precision_difference(
    is_fraud: Bools,
    ours: Floats,
    theirs: Floats,
    *,
    rng: np.random.Generator,
    weights: Floats | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Average precision of ``ours`` minus that of ``theirs``, both judged on the same resampled rows.

    Args:
        is_fraud: The labels.
        ours: Scores of the one model.
        theirs: Scores of the other model, on the same rows.
        rng: Source of the resamples.
        weights: Payments that each row stands for; one each without it.
        resamples: How many.
        confidence: Share of resamples that the interval covers.
    """
    one, other = Ranking(is_fraud, ours, weights), Ranking(is_fraud, theirs, weights)

    def difference(times: Floats | None) -> Mapping[str, float]:
        return {"difference": one.average_precision(times) - other.average_precision(times)}

    return intervals(is_fraud, difference, rng=rng, resamples=resamples, confidence=confidence)["difference"]
