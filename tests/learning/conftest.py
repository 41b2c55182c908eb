"""A small synthetic training set whose features know more than its raw fields."""

import socket

import numpy as np
import pandas as pd
import pytest

from pix.features import FEATURE_NAMES as DECLARED

FEATURE_NAMES = DECLARED[30:34]
"""Stand for an amount, a count of the pair, a share, and one that is always missing."""
HOUR_MS = 3_600_000
DELAY_MS = 20 * HOUR_MS
"""From a fraud to its label."""


def build(rows: int = 3_000, frauds: int = 150, seed: int = 5) -> pd.DataFrame:
    """Frauds show weakly in the amount, strongly in the pair's history; one feature is always missing."""
    rng = np.random.default_rng(seed)
    is_fraud = np.zeros(rows, dtype=bool)
    is_fraud[rng.choice(rows, frauds, replace=False)] = True
    amount = np.exp(rng.normal(8 + 0.6 * is_fraud, 1.2))
    pair = np.where(is_fraud, rng.poisson(0.3, rows), rng.poisson(4, rows)).astype(float)
    pair[rng.random(rows) < 0.05] = np.nan
    form = rng.choice(["MANU", "DICT", "QRDN"], rows).astype(object)
    form[rng.random(rows) < 0.1] = None
    rooted = np.where(rng.random(rows) < 0.3, None, rng.random(rows) < 0.02 + 0.1 * is_fraud)
    at_ms = 1_700_000_000_000 + np.arange(rows) * HOUR_MS
    sum_name, pair_name, ratio_name, missing_name = FEATURE_NAMES
    return pd.DataFrame(
        {
            "end_to_end_id": [f"E{i:031d}" for i in range(rows)],
            "event_time_ms": at_ms,
            "is_fraud": is_fraud,
            "label_class": np.where(is_fraud, "fraud", "honest"),
            "fraud_known_at_ms": np.where(is_fraud, at_ms + DELAY_MS, np.nan),
            "cleared_at_ms": np.nan,
            "fraud_type": np.where(is_fraud, rng.choice(["SCAM", "COERCION"], rows), None),
            "payee_account": [f"a{number}" for number in rng.integers(0, 50, rows)],
            "weight": 1.0,
            sum_name: amount * rng.uniform(1, 3, rows),
            pair_name: pair,
            ratio_name: rng.beta(2 + 2 * is_fraud, 3),
            missing_name: np.nan,
            "raw_amount_cents": amount.astype("int64"),
            "raw_hour": rng.integers(0, 24, rows),
            "raw_initiation": form,
            "raw_device_rooted": pd.Series(rooted, dtype=object),
            "raw_active_call": pd.array([None] * rows, dtype="boolean"),
            "raw_login_age_ms": rng.exponential(60_000, rows),
        }
    )


@pytest.fixture(scope="session")
def feature_names():
    return FEATURE_NAMES


@pytest.fixture(scope="session")
def training_frame():
    return build


@pytest.fixture
def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
