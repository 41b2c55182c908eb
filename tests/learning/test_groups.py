import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from learning.groups import Group, of_rows, pooled, share_of, weak

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


def group(name, frauds, found, payments=None):
    recall = share_of(np.ones(frauds), np.arange(frauds) < found)
    return Group(
        by="typology", name=name, payments=payments or frauds, frauds=frauds, recall=recall, false_positive_rate=None
    )


def test_groups_of_several_sets_are_counted_together():
    many, few = pooled([[group("scam", 30, 12), group("theft", 5, 5)], [group("scam", 20, 3)]])
    assert (many.name, many.frauds, many.recall) == ("scam", 50, share_of(np.ones(50), np.arange(50) < 15))
    assert (few.name, few.frauds, few.recall.point) == ("theft", 5, 1)
    assert many.false_positive_rate is None


def test_weak_is_what_surely_is_found_too_seldom():
    surely, perhaps, good, unknown = (
        group("surely", 200, 30), group("perhaps", 40, 10), group("good", 200, 150), group("unknown", 20, 0),
    )  # fmt: skip
    assert perhaps.recall.high > 0.3 > perhaps.recall.point
    assert weak([surely, perhaps, good, unknown]) == (surely,)
    assert weak([surely, good], recall=0.1) == ()
