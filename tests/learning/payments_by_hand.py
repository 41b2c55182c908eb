"""Payments with outcomes, and what a model of some strength says of them."""

import numpy as np

from learning.evaluation import Outcomes

DAY_MS = 86_400_000


def outcomes(rows=4_000, seed=3, rate=0.05):
    rng = np.random.default_rng(seed)
    is_fraud = rng.random(rows) < rate
    return Outcomes(
        is_fraud=is_fraud,
        times_ms=np.sort(rng.integers(0, 10 * DAY_MS, rows)),
        amount_cents=np.exp(rng.normal(9 + is_fraud, 0.3)).astype(np.int64),
        accounts=rng.integers(0, 200, rows),
        weights=np.ones(rows),
        groups={"kind": np.where(is_fraud, np.where(rng.random(rows) < 0.5, "a", "b"), "")},
    )


def said(found, strength=2.0, seed=4):
    """Calibrated probabilities of normal scores: by Bayes."""
    score = np.random.default_rng(seed).normal(strength * found.is_fraud)
    rate = found.is_fraud.mean()
    odds = rate / (1 - rate) * np.exp(strength * score - strength**2 / 2)
    return odds / (1 + odds)
