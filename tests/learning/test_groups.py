import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from learning.groups import of_rows, share_of

DAY_MS = 86_400_000


def test_payers_are_grouped_by_age_account_and_region():
    frame = pd.DataFrame(
        {
            "event_time_ms": [2_000 * DAY_MS] * 6,
            "fraud_type": ["SCAM", None, None, None, None, None],
            "raw_payer_age_years": pd.array([17, 18, 29, 60, 130, None], dtype="Int64"),
            "raw_payer_account_opened_at_ms": pd.array(
                [1_970 * DAY_MS + 1, 1_970 * DAY_MS, 1_635 * DAY_MS, 904 * DAY_MS, 0, None], dtype="Int64"
            ),
            "raw_payer_municipality": pd.Categorical(["3550308", "1302603", "2927408", "4314902", "9", None]),
        }
    )
    found = of_rows(frame)
    assert found["fraud_type"].tolist() == ["SCAM", "", "", "", "", ""]
    assert found["payer_age"].tolist() == ["under 18", "18 to 29", "18 to 29", "60 and over", "60 and over", ""]
    assert found["payer_account_age"].tolist() == [
        "under 30 days", "30 days to 1 year", "1 to 3 years", "over 3 years", "over 3 years", "",
    ]  # fmt: skip
    assert found["payer_region"].tolist() == ["Southeast", "North", "Northeast", "South", "", ""]
    assert "initiation" not in found


def test_a_share_has_wilsons_interval():
    flagged = np.arange(50) < 4
    found = share_of(np.ones(50), flagged)
    expected = binomtest(4, 50).proportion_ci(0.95, method="wilson")
    assert found.point == pytest.approx(0.08)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert share_of(np.zeros(0), np.zeros(0, bool)) is None


def test_rows_that_stand_for_many_tell_no_more_than_rows():
    flagged = np.arange(50) < 4
    assert share_of(np.full(50, 20.0), flagged) == share_of(np.ones(50), flagged)
    half = np.arange(50) % 2 == 0
    even, uneven = (share_of(weights, half) for weights in (np.ones(50), np.where(np.arange(50) < 25, 1.0, 9.0)))
    assert uneven.high - uneven.low > 1.2 * (even.high - even.low)
    assert share_of(np.ones(30), np.zeros(30, bool)).low == 0
