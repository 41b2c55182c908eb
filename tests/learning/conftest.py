"""A small synthetic training set whose features know more than its raw fields."""

import socket

import numpy as np
import pandas as pd
import pytest

FEATURE_NAMES = ("payer_amount_sum_24h", "pair_payment_count_30d", "payee_inflow_ratio", "payer_blocks_7d")
HOUR_MS = 3_600_000


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
    return pd.DataFrame(
        {
            "end_to_end_id": [f"E{i:031d}" for i in range(rows)],
            "event_time_ms": 1_700_000_000_000 + np.arange(rows) * HOUR_MS,
            "is_fraud": is_fraud,
            "payer_amount_sum_24h": amount * rng.uniform(1, 3, rows),
            "pair_payment_count_30d": pair,
            "payee_inflow_ratio": rng.beta(2 + 2 * is_fraud, 3),
            "payer_blocks_7d": np.nan,
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
