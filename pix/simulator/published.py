"""Published figures of Pix that the simulator aims at, each once, with where it comes from.

Sources: BCB open data on Pix (mix, values and disputes; June 2026 and January to April 2026 unless said),
Nubank and the press for curves of time, Febraban and Silverguard for the mix of typologies. Shares are of
counts, means are reais.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

INITIATIONS = ("MANU", "DICT", "QRDN", "QRES", "AUTO", "INIC", "APDN")
INITIATION_SHARES = (0.107, 0.372, 0.431, 0.082, 0.0006, 0.0003, 0.0002)
INITIATION_MEANS = (1_623.0, 567.0, 90.0, 134.0, 291.0, 425.0, 44.0)

RELATIONS = ("P2B", "P2P", "B2P", "B2B")
"""Who pays whom: persons and businesses."""
RELATION_SHARES = (0.460, 0.398, 0.096, 0.041)
RELATION_MEANS = (111.0, 267.0, 522.0, 5_392.0)
PERSON_PAYER_SHARE, PERSON_PAYER_MEAN, COMPANY_PAYER_MEAN = 0.861, 184.0, 1_995.0
# Of all payments in September 2026; June's relations make a little less.
MEAN = 450.0
BELOW_100_SHARE, PERSONS_BELOW_200_SHARE, B2B_FROM_2000_SHARE = 0.61, 0.931, 0.186

# Derived from the means, from 61 % of all below R$ 100, and from 93.1 % of persons' payments below R$ 200.
PERSON_MEDIAN, PERSON_P95, PERSON_P99 = 62.0, 400.0, 2_000.0
BODY_MEDIAN, BODY_SIGMA, BODY_CUT = 65.0, 1.0, 200.0
TAIL_FROM, TAIL_CAP = 200.0, 100_000.0
BUSINESS_SIGMA = {"B2P": 1.58, "B2B": 2.56}
"""Spread of ln(reais); B2B's follows from its mean and from 18.6 % of it being R$ 2,000 or more."""

# 0h to 23h, Brasília, per cent of a day; consistent with peaks at noon and after 18h.
HOURS = (
    1.1, 0.6, 0.4, 0.3, 0.35, 0.7, 1.6, 3.0, 4.8, 6.0, 6.7, 7.2,
    7.4, 6.4, 6.2, 6.3, 6.4, 6.8, 7.2, 6.6, 5.3, 4.1, 2.8, 1.75,
)  # fmt: skip
# Judgement: businesses pay in office hours. Persons get what is left of HOURS.
COMPANY_HOURS = (
    0.3, 0.2, 0.2, 0.2, 0.3, 0.6, 1.8, 4.0, 8.0, 10.0, 10.5, 10.0,
    8.0, 8.0, 9.5, 9.5, 8.6, 7.0, 4.0, 2.5, 1.9, 1.4, 0.9, 0.6,
)  # fmt: skip
SATURDAY_TO_FRIDAY, SUNDAY_TO_FRIDAY = 0.85, 0.45
# Monday to Sunday relative to Friday, persons and businesses; together they make the two figures above.
PERSON_WEEKDAYS = (0.90, 0.92, 0.92, 0.95, 1.0, 1.020, 0.540)
COMPANY_WEEKDAYS = (0.95, 0.97, 0.97, 0.97, 1.0, 0.27, 0.12)
# January to December; 0.84 and 1.17 are derived from 2025, between them by judgement.
MONTHS = (0.84, 0.87, 0.94, 0.95, 0.98, 0.98, 1.02, 1.03, 1.03, 1.07, 1.12, 1.17)

REGION_SHARES = {"Southeast": 0.42, "Northeast": 0.27, "South": 0.12, "North": 0.10, "Centre-West": 0.09}
# ISPB and per cent of Pix keys, June 2026; the tail without a published figure is spread by judgement.
PSPS = (
    ("18236120", 18.9), ("00360305", 13.3), ("22896431", 10.1), ("10573521", 7.6), ("60746948", 5.9),
    ("00416968", 5.9), ("60701190", 5.2), ("00000000", 8.0), ("90400888", 8.0), ("08561701", 7.0),
    ("31872495", 6.0), ("16501555", 4.1),
)  # fmt: skip
PSPS_WITH_SHARE = {
    "Nubank": "18236120", "Caixa": "00360305", "PicPay": "22896431", "Mercado Pago": "10573521",
    "Bradesco": "60746948", "Inter": "00416968", "Itaú": "60701190",
}  # fmt: skip
"""The PSPs of ``PSPS`` whose share of keys is published, by name."""
COMPANY_USER_SHARE = 18.3 / (166.5 + 18.3)

ACCEPTED_PER_100K, CONTESTED_PER_100K = 4.5, 46.0
ACCEPTED_MEAN = 2_328.0
COMPANY_FRAUD_VALUE_SHARE = 0.65
FULL, PARTIAL, NO_BALANCE, CLOSED, OTHER = "full", "partial", "no_balance", "account_closed", "other"
REFUND_SHARES = {FULL: 0.15, PARTIAL: 0.19, NO_BALANCE: 0.58, CLOSED: 0.05, OTHER: 0.04}
PARTIAL_RECOVERS, RETURNED_VALUE_SHARE = 0.15, 0.145
CONTEST_WITHIN_DAYS, ANALYSIS_WITHIN_DAYS, NOTIFIED_WITHIN_SECONDS, DICT_LAG_HOURS = 80, 7, 1_800, 12
NIGHT_LIMIT, UNREGISTERED_LIMIT, UNREGISTERED_DAY_LIMIT = 1_000.0, 200.0, 1_000.0

# Which relation is started how, before fitting: judgement. Rows as RELATIONS, columns as INITIATIONS.
_START = np.array(
    [
        [0.010, 0.110, 0.750, 0.130, 0.0010, 0.0006, 0.0004],
        [0.130, 0.780, 0.050, 0.040, 1e-6, 1e-6, 1e-6],
        [0.500, 0.450, 0.045, 0.005, 1e-6, 1e-6, 1e-6],
        [0.620, 0.330, 0.040, 0.010, 1e-6, 1e-6, 1e-6],
    ]
)
_FITS = 200


@cache
def cell_shares() -> Floats:
    """Share of all payments per relation and initiation, (4, 7): both published margins hold.

    Fitted by iterative proportional fitting (Deming and Stephan, 1940).
    """
    rows, columns = _normal(RELATION_SHARES), _normal(INITIATION_SHARES)
    return _fitted(_START * rows[:, None], rows, columns)


@cache
def cell_means() -> Floats:
    """Mean in reais per relation and initiation, (4, 7): both published margins of value hold."""
    counts = cell_shares()
    rows = _normal(RELATION_SHARES) * np.array(RELATION_MEANS)
    columns = _normal(INITIATION_SHARES) * np.array(INITIATION_MEANS)
    return _fitted(counts * np.array(RELATION_MEANS)[:, None], rows, columns * rows.sum() / columns.sum()) / counts


def _fitted(start: Floats, rows: Floats, columns: Floats) -> Floats:
    table = start.copy()
    for _ in range(_FITS):
        table *= (rows / table.sum(axis=1))[:, None]
        table *= columns / table.sum(axis=0)
    return table


def _normal(weights: tuple[float, ...]) -> Floats:
    array = np.array(weights, dtype=np.float64)
    normal: Floats = array / array.sum()
    return normal
