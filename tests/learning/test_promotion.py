import dataclasses

import pytest

from learning.evaluation import Interval
from learning.promotion import Evidence, decide


def interval(point, low, high):
    return Interval(point=point, low=low, high=high, confidence=0.95)


CHAMPION = Evidence(
    version="3",
    fingerprint="f1",
    rows=900,
    frauds=45,
    average_precision=0.61,
    over_raw=interval(0.2, 0.15, 0.25),
)
CHALLENGER = dataclasses.replace(
    CHAMPION, version="4", average_precision=0.66, over_champion=interval(0.05, 0.01, 0.09)
)


def judge(champion=CHAMPION, *, margin=0.01, **changes):
    challenger = dataclasses.replace(CHALLENGER, **changes)
    return decide(champion, challenger, served_fingerprint="f1", margin=margin)


def test_a_better_challenger_is_promoted_with_both_numbers():
    decision = judge()
    assert decision.promote
    assert decision.reason == (
        "challenger v4 is better: average precision 0.6600 against 0.6100 of v3 on the same 900 later rows "
        "with 45 frauds, difference +0.0500 [+0.0100, +0.0900]"
    )


def test_the_first_champion_is_promoted_for_beating_raw_fields():
    decision = judge(None, over_champion=None)
    assert decision.promote
    assert "first champion" in decision.reason
    assert "+0.2000 [+0.1500, +0.2500]" in decision.reason


def test_not_worse_within_the_margin_is_enough_and_beyond_it_is_not():
    assert judge(over_champion=interval(0.0, -0.009, 0.01)).promote
    refused = judge(over_champion=interval(0.02, -0.011, 0.05))
    assert not refused.promote
    assert "may be worse by more than 0.01" in refused.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fingerprint": "f0"}, "trained on features f0, the service computes f1"),
        ({"over_raw": interval(-0.01, -0.05, 0.03)}, "does not beat a CatBoost on raw fields"),
        ({"over_raw": interval(0.0, 0.0, 0.0)}, "does not beat a CatBoost on raw fields"),
        ({"version": "3"}, "v3 is the champion already"),
        ({"over_champion": None, "rows": 40, "frauds": 1}, "only 40 later rows with 1 frauds"),
    ],
    ids=["fingerprint", "raw baseline", "raw tie", "same version", "not comparable"],
)
def test_each_guard_refuses_and_says_why(changes, reason):
    decision = judge(**changes)
    assert not decision.promote
    assert reason in decision.reason


def test_a_champion_that_can_no_longer_be_served_is_replaced():
    old = dataclasses.replace(CHAMPION, fingerprint="f0", average_precision=None)
    decision = judge(old, over_champion=None)
    assert decision.promote
    assert "no longer computes" in decision.reason
