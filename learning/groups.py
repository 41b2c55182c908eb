"""How a model treats groups of payments: by kind of fraud, and by who paid from where and with what account."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from learning.evaluation import CONFIDENCE, Interval, Outcomes
from learning.ranking import Bools, Floats
from pix.contracts import DAY_MS
from pix.municipalities import REGIONS

if TYPE_CHECKING:
    import pandas as pd

RATE = 1e-3
"""False-positive rate, over all payments, whose threshold groups are compared at."""
WEAK_RECALL = 0.3
"""A kind of fraud of which surely less is found is named as weak."""
FEW_FRAUDS = 30
"""Of fewer frauds nothing is said but their number."""
METRICS = ("payments", "frauds", "recall", "false_positive_rate")
AGES = ((18, "under 18"), (30, "18 to 29"), (45, "30 to 44"), (60, "45 to 59"), (200, "60 and over"))
"""(first age in years that is too old, band)."""
ACCOUNT_DAYS = ((30, "under 30 days"), (365, "30 days to 1 year"), (1_095, "1 to 3 years"), (1e6, "over 3 years"))
"""(first age in days that is too old, band)."""

Texts = NDArray[np.str_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """How a model treats some of the payments, at the threshold of ``RATE`` over all of them.

    Attributes:
        by: What they have in common, such as ``fraud_type``.
        name: Which of those.
        payments: How many.
        frauds: How many frauds.
        recall: Share of the frauds at or above the threshold; None without frauds.
        false_positive_rate: Share of the others at or above it; None where all are frauds.
    """

    by: str
    name: str
    payments: float
    frauds: float
    recall: Interval | None
    false_positive_rate: Interval | None


def of_rows(frame: "pd.DataFrame") -> dict[str, Texts]:
    """Name of a grouping -> each row's group; "" where it has none.

    Args:
        frame: Rows of the training set, as far as they have the facts.
    """
    found = {
        name: frame[column].astype("object").where(frame[column].notna(), "").to_numpy(np.str_)
        for name, column in (
            ("fraud_type", "fraud_type"),
            ("initiation", "raw_initiation"),
            ("payer", "raw_payer_person_type"),
        )
        if column in frame
    }
    if "raw_payer_age_years" in frame:
        found["payer_age"] = _banded(frame["raw_payer_age_years"], AGES)
    if "raw_payer_account_opened_at_ms" in frame:
        days = (frame["event_time_ms"] - frame["raw_payer_account_opened_at_ms"]) / DAY_MS
        found["payer_account_age"] = _banded(days, ACCOUNT_DAYS)
    if "raw_payer_municipality" in frame:
        digit = frame["raw_payer_municipality"].astype("object").str.slice(0, 1)
        found["payer_region"] = digit.map(REGIONS).fillna("").to_numpy(np.str_)
    return found


def _banded(values: "pd.Series[float]", bands: tuple[tuple[float, str], ...]) -> Texts:
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    names = np.array([*(name for _, name in bands), ""])
    place = np.searchsorted([end for end, _ in bands], numbers, side="right")
    return names[np.where(np.isnan(numbers), len(bands), place)]


def groups(outcomes: Outcomes, scores: Floats, rate: float = RATE) -> tuple[Group, ...]:
    """A model by groups of payments, at one threshold for all of them.

    Args:
        outcomes: The payments, with their groups.
        scores: The model's.
        rate: False-positive rate over all payments that sets the threshold.
    """
    others = ~outcomes.is_fraud
    order = np.argsort(-scores[others], kind="stable")
    share = np.cumsum(outcomes.weights[others][order]) / outcomes.weights[others].sum()
    beyond = scores[others][order][int(np.searchsorted(share, rate, side="right"))]
    flagged = scores > beyond
    return tuple(
        _group(outcomes, flagged, by, str(name), values == name)
        for by, values in outcomes.groups.items()
        for name in np.unique(values[values != ""])
    )


def _group(outcomes: Outcomes, flagged: Bools, by: str, name: str, members: Bools) -> Group:
    frauds, others = (outcomes.weights[members & of] for of in (outcomes.is_fraud, ~outcomes.is_fraud))
    return Group(
        by=by,
        name=name,
        payments=float(frauds.sum() + others.sum()),
        frauds=float(frauds.sum()),
        recall=share_of(frauds, flagged[members & outcomes.is_fraud]),
        false_positive_rate=share_of(others, flagged[members & ~outcomes.is_fraud]),
    )


def pooled(parts: Iterable[Sequence[Group]]) -> tuple[Group, ...]:
    """Groups of the same name in several sets of payments as one, each set at its own threshold.

    Args:
        parts: Groups of each set, whose rows are one payment each.
    """
    alike: dict[tuple[str, str], list[Group]] = {}
    for group in (group for part in parts for group in part):
        alike.setdefault((group.by, group.name), []).append(group)
    found = []
    for (by, name), groups in alike.items():
        frauds, payments = (sum(getattr(group, count) for group in groups) for count in ("frauds", "payments"))
        flagged = sum(group.recall.point * group.frauds for group in groups if group.recall)
        stopped = sum(
            group.false_positive_rate.point * (group.payments - group.frauds)
            for group in groups
            if group.false_positive_rate
        )
        found.append(
            Group(
                by=by,
                name=name,
                payments=payments,
                frauds=frauds,
                recall=_counted(flagged, frauds),
                false_positive_rate=_counted(stopped, payments - frauds),
            )
        )
    return tuple(found)


def _counted(flagged: float, of: float) -> Interval | None:
    return share_of(np.ones(round(of)), np.arange(round(of)) < round(flagged))


def weak(groups: Iterable[Group], recall: float = WEAK_RECALL) -> tuple[Group, ...]:
    """Groups of enough frauds of which surely less than ``recall`` is found: its whole interval lies below."""
    return tuple(
        group for group in groups if group.recall and group.frauds >= FEW_FRAUDS and group.recall.high < recall
    )


def share_of(weights: Floats, flagged: Bools, confidence: float = CONFIDENCE) -> Interval | None:
    """The weighed share of rows that are flagged, with its score interval (E. B. Wilson, JASA 1927); None of none.

    Rows that stand for many payments tell less than as many payments would: the interval is that of the number of
    rows of one weight that would tell as much, (sum of weights)^2 / sum of squared weights (L. Kish, 1965).

    Args:
        weights: Payments that each row stands for.
        flagged: Which rows are.
        confidence: What the interval covers.
    """
    total = float(weights.sum())
    if total == 0:
        return None
    share, count = float(weights[flagged].sum()) / total, total**2 / float((weights**2).sum())
    z = float(norm.ppf((1 + confidence) / 2))
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    # At the ends rounding would put the share outside.
    return Interval(point=share, low=min(low, share), high=max(high, share), confidence=confidence)
