"""How often days without drift raise an alarm of the concept, and how soon other fraud does: a table in Markdown.

.venv/bin/python scripts/alarm_rates.py
"""

import argparse
from collections.abc import Callable, Sequence
from datetime import date, timedelta

import numpy as np

from quality.concept import LEARNT_DAYS, Day, Found, precision_drift, recall_drift, residual_drift

FIRST = date(2026, 1, 1)
QUIET_DAYS, DRIFT_DAY, DAYS = LEARNT_DAYS + 37, 25, 60
RATES = ((3, 1), (10, 1), (30, 5), (10, 3), (3, 3))
"""Frauds a day, and how many of them come together."""
CAUGHT, LATER = 0.6, 0.05
"""Share of the frauds that alerts catch, and when criminals do something else."""
FALSE_ALERTS = 0.8
"""For every fraud."""
DETECTORS: tuple[Callable[[Sequence[Day]], Found | None], ...] = (residual_drift, precision_drift, recall_drift)


def days(count: int, seed: int, rate: int, together: int, *, more: float = 1.0, later: float = CAUGHT) -> list[Day]:
    """So many days of a model that is right; from ``DRIFT_DAY`` on ``more`` fraud, of which alerts catch ``later``."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        is_other = number >= DRIFT_DAY
        campaigns = int(rng.poisson(rate * (more if is_other else 1.0) / together))
        caught = int(rng.binomial(campaigns, later if is_other else CAUGHT)) * together
        found.append(
            Day(
                day=FIRST + timedelta(days=number),
                frauds=campaigns * together,
                expected=rate,
                variance=0.7 * rate,
                alerts=caught + int(rng.poisson(rate * FALSE_ALERTS)),
                caught=caught,
            )
        )
    return found


def delays(detector: Callable[[Sequence[Day]], Found | None], of: Sequence[Sequence[Day]]) -> str:
    """Half and nine of ten are found within so many days."""
    found = [detector(one) for one in of]
    waited = [np.inf if one is None else (one.day - FIRST).days - DRIFT_DAY for one in found]
    half, most = (np.quantile(waited, share, method="higher") for share in (0.5, 0.9))
    return f"{half:.0f} ({most:.0f})"


def main() -> None:
    """Count, and print."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--series", type=int, default=400, help="quiet ones; of those with drift a quarter")
    many = words.parse_args().series
    print(f"| frauds a day | together | alarms of {many} | twice the frauds | nothing caught: recall | precision |")
    print("|--:|--:|--:|--:|--:|--:|")
    for rate, together in RATES:
        quiet = [days(QUIET_DAYS, seed, rate, together) for seed in range(many)]
        alarms = sum(any(detector(one) is not None for detector in DETECTORS) for one in quiet)
        doubled, missed = (
            [days(DAYS, seed, rate, together, **drift) for seed in range(many // 4)]
            for drift in ({"more": 2.0}, {"later": LATER})
        )
        waited = (delays(residual_drift, doubled), delays(recall_drift, missed), delays(precision_drift, missed))
        print(f"| {rate} | {together} | {alarms} | {' | '.join(waited)} |")


if __name__ == "__main__":
    main()
