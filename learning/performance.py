"""How a model did on one day whose labels have matured: what it expected, what was found, what its alerts were worth.

Pure: arrays in, one row of ``gold/model_daily`` out. Outcomes that nobody knows are left out of whatever compares with
them, and counted.
"""

from dataclasses import dataclass, fields
from datetime import date

import numpy as np

from learning.calibration import calibration_error
from learning.ranking import Bools, Floats, Ints, average_precision
from quality.concept import Day

LEAST_FRAUDS = 10
"""A day with fewer tells nothing of calibration or of average precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One model's payments of one day, one place per payment in every array.

    Attributes:
        probabilities: Of fraud, as the model said.
        is_fraud: The outcome, where it is known.
        is_known: Whether it is; see ``known``.
        is_alert: Whether the payment was not simply allowed.
        amount_cents: Amount.
    """

    probabilities: Floats
    is_fraud: Bools
    is_known: Bools
    is_alert: Bools
    amount_cents: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """One model on one day; ``gold/model_daily`` says what each number is."""

    payments: int
    outcomes_known: int
    frauds_known: int
    frauds_cents: int
    average_probability: float
    expected_frauds: float
    expected_variance: float
    brier_score: float | None
    calibration_error: float | None
    average_precision: float | None
    alerts: int
    alerts_judged: int
    frauds_caught: int
    caught_cents: int
    alert_precision: float | None
    alert_recall: float | None
    value_recall: float | None

    def day(self, day: date) -> Day:
        """What drift of the concept is looked for in."""
        return Day(
            day=day,
            frauds=self.frauds_known,
            expected=self.expected_frauds,
            variance=self.expected_variance,
            alerts=self.alerts_judged,
            caught=self.frauds_caught,
        )

    def to_row(self) -> dict[str, int | float | None]:
        """Plain values by column."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def known(is_labelled: Bools, was_stopped: Bools, is_contested: Bools) -> Bools:
    """Which outcomes of matured payments are known: as in a training set (``pix.offline.training_frame``).

    A verdict says it. Silence says that a payment was honest, but not of one that was stopped, nor of one that is
    contested and waits for its verdict.

    Args:
        is_labelled: A label says fraud or none.
        was_stopped: Held or blocked.
        is_contested: Contested at least.
    """
    return np.asarray(is_labelled | ~(was_stopped | is_contested))


def performance(decided: Decided) -> Performance:
    """Judge a day.

    Args:
        decided: At least one payment.
    """
    chosen = decided.is_known
    said, frauds = decided.probabilities[chosen], decided.is_fraud[chosen]
    cents, alerts = decided.amount_cents[chosen], decided.is_alert[chosen]
    found, caught = int(frauds.sum()), int((frauds & alerts).sum())
    fraud_cents, caught_cents = int(cents[frauds].sum()), int(cents[frauds & alerts].sum())
    tells = LEAST_FRAUDS <= found < len(frauds)
    return Performance(
        payments=len(decided.probabilities),
        outcomes_known=len(said),
        frauds_known=found,
        frauds_cents=fraud_cents,
        average_probability=float(decided.probabilities.mean()),
        expected_frauds=float(said.sum()),
        expected_variance=float((said * (1 - said)).sum()),
        brier_score=float(((said - frauds) ** 2).mean()) if len(said) else None,
        calibration_error=calibration_error(frauds, said) if tells else None,
        average_precision=average_precision(frauds, said) if tells else None,
        alerts=int(decided.is_alert.sum()),
        alerts_judged=int(alerts.sum()),
        frauds_caught=caught,
        caught_cents=caught_cents,
        alert_precision=_share(caught, int(alerts.sum())),
        alert_recall=_share(caught, found),
        value_recall=_share(caught_cents, fraud_cents),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
