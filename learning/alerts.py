"""What analysts would see: so many alerts a day, the most suspicious first. Pure functions on arrays."""

import numpy as np

from learning.ranking import Bools, Floats, Ints


def precision_at(is_fraud: Bools, scores: Floats, days: Ints, alerts: int, weights: Floats | None = None) -> float:
    """Share of frauds among the ``alerts`` most suspicious payments of each day, averaged over the days.

    Where the last place falls among equal scores, their share of frauds counts: no order between them is known. A day
    with fewer payments alerts on all of them.

    Args:
        is_fraud: The labels.
        scores: The higher, the more suspicious.
        days: Day of each payment, as a number.
        alerts: How many a day.
        weights: Payments that each row stands for; one each without it.
    """
    weighed = np.ones(len(scores)) if weights is None else weights
    found = [_of_a_day(is_fraud[rows], scores[rows], weighed[rows], alerts) for rows in _by_day(days)]
    return float(np.mean(found))


def account_precision_at(is_fraud: Bools, scores: Floats, days: Ints, accounts: Ints, alerts: int) -> float:
    """Share of fraudulent accounts among the ``alerts`` most suspicious ones of each day, averaged over the days.

    An account is as suspicious as the most suspicious of its payments of that day, and fraudulent if one of those is
    fraud. One that was rightly alerted on is known from then on and takes no place on a later day. (Card precision
    top-k of the Fraud Detection Handbook by Le Borgne, Siblini, Lebichot and Bontempi, for accounts.)

    Args:
        is_fraud: The labels; every row is one payment.
        scores: The higher, the more suspicious.
        days: Day of each payment, as a number.
        accounts: Number of the account that each payment would raise an alert on.
        alerts: How many a day.
    """
    known = np.zeros(int(accounts.max()) + 1, np.bool_)
    found = []
    for rows in _by_day(days):
        rows = rows[~known[accounts[rows]]]
        if not len(rows):
            continue
        own, place = np.unique(accounts[rows], return_inverse=True)
        worst, guilty = np.full(len(own), -np.inf), np.zeros(len(own), np.bool_)
        np.maximum.at(worst, place, scores[rows])
        np.logical_or.at(guilty, place, is_fraud[rows])
        found.append(_of_a_day(guilty, worst, np.ones(len(own)), alerts))
        first = np.argsort(-worst, kind="stable")[:alerts]
        known[own[first][guilty[first]]] = True
    return float(np.mean(found))


def _by_day(days: Ints) -> list[Ints]:
    order = np.argsort(days, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(days[order])) + 1)


def _of_a_day(is_fraud: Bools, scores: Floats, weights: Floats, alerts: int) -> float:
    """Precision of the first ``alerts`` of these payments."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    flagged = np.concatenate(([0.0], np.cumsum(weights[order])[ends]))
    frauds = np.concatenate(([0.0], np.cumsum((weights * is_fraud)[order])[ends]))
    taken = min(float(alerts), float(flagged[-1]))
    return float(np.interp(taken, flagged, frauds)) / taken
