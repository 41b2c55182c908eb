"""What decisions cost and save, in centavos. Pure functions on arrays."""

from dataclasses import dataclass

import numpy as np

from learning.ranking import Bools, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What one alert costs, and what a missed fraud does.

    Attributes:
        review_cents: An analyst's work on one alert.
        friction_cents: Trouble of a payer whose honest payment was alerted on.
        returned_share: Share of a missed fraud's amount that comes back anyway: 14.5 % of the accepted value, January
            to April 2026 (PIX.md section 3).
    """

    review_cents: int = 1_000
    friction_cents: int = 2_000
    returned_share: float = 0.145

    def __post_init__(self) -> None:
        if self.review_cents < 0 or self.friction_cents < 0:
            raise ValueError(f"costs must not be negative, got {self.review_cents} and {self.friction_cents} centavos")
        if not 0 <= self.returned_share < 1:
            raise ValueError(f"returned_share must lie in [0, 1), got {self.returned_share}")


def worthwhile(probabilities: Floats, amount_cents: Ints, costs: Costs) -> Floats:
    """What an alert on each payment is expected to save, in centavos: alert where that is more than nothing.

    The loss that is avoided if it is fraud, less the friction if it is not, less the review in any case.

    Args:
        probabilities: Calibrated probability of fraud.
        amount_cents: Amount of each payment.
        costs: See ``Costs``.
    """
    avoided = probabilities * amount_cents * (1 - costs.returned_share)
    return avoided - (1 - probabilities) * costs.friction_cents - costs.review_cents


def saved(alerts: Bools, is_fraud: Bools, amount_cents: Ints, costs: Costs) -> Floats:
    """What each payment's decision saved against letting everything go, in centavos; negative where it cost.

    Args:
        alerts: Which payments were alerted on.
        is_fraud: The labels.
        amount_cents: Amount of each payment.
        costs: See ``Costs``.
    """
    avoided = np.where(is_fraud, amount_cents * (1 - costs.returned_share), -float(costs.friction_cents))
    return np.where(alerts, avoided - costs.review_cents, 0.0)


def capped(worth: Floats, days: Ints, alerts_a_day: int) -> Bools:
    """The alerts worth raising, at most so many a day: the most worthwhile first.

    Args:
        worth: What each alert is expected to save; see ``worthwhile``.
        days: Day of each payment, as a number.
        alerts_a_day: What analysts can look at.
    """
    order = np.lexsort((-worth, days))
    starts = np.flatnonzero(np.diff(days[order], prepend=days[order][:1] - 1))
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    taken = np.zeros(len(worth), np.bool_)
    taken[order[place < alerts_a_day]] = True
    return taken & (worth > 0)
