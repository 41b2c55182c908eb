"""Members that add nothing are left out, by what folds show that came before."""

import numpy as np
import pytest

from learning.ranking import average_precision
from learning.selection import Said, judged, kept, together, worth

MEMBERS = ("strong", "other", "noise")


def fold(seed: int, rows: int = 12_000) -> Said:
    """Two members that know different things of a fraud, and one that knows nothing."""
    draw = np.random.default_rng(seed)
    is_fraud = draw.random(rows) < 0.03
    said = {name: draw.normal(gain * is_fraud) for name, gain in zip(MEMBERS, (2.0, 1.5, 0.0), strict=True)}
    return Said(said, is_fraud, np.ones(rows))


@pytest.fixture(scope="module")
def folds():
    return [fold(1), fold(2), fold(3)]


def precision(folds, members):
    whole = together(folds[1:])
    return average_precision(whole.is_fraud, judged(folds, members), whole.weights)


def test_what_adds_nothing_is_left_out_and_what_adds_stays(folds):
    double = [Said({**one.log_odds, "echo": -one.log_odds["noise"]}, one.is_fraud, one.weights) for one in folds]
    chosen = kept(double, (*MEMBERS, "echo"))
    assert {"strong", "other"} <= set(chosen)
    assert len(chosen) < 4
    assert precision(double, chosen) >= precision(double, (*MEMBERS, "echo"))
    only_noise = [Said({"noise": one.log_odds["noise"]}, one.is_fraud, one.weights) for one in folds]
    assert kept(only_noise, ("noise",)) == ("noise",)


def test_one_fold_cannot_judge_what_it_taught(folds):
    assert kept(folds[:1], MEMBERS) == MEMBERS
    assert worth(folds[:1], MEMBERS, seed=1) == {}


def test_worth_is_what_the_others_lack(folds):
    found = worth(folds, MEMBERS, seed=1)
    without = [name for name in MEMBERS if name != "strong"]
    assert found["strong"].point == precision(folds, MEMBERS) - precision(folds, without)
    assert found["strong"].low > found["other"].low > 0
    assert found["noise"].low < 0.002
    assert found["noise"].high < found["other"].low


def test_a_fold_is_judged_by_those_before_it_only(folds):
    later = Said(folds[2].log_odds, ~folds[2].is_fraud, folds[2].weights)
    np.testing.assert_array_equal(judged(folds, MEMBERS), judged([*folds[:2], later], MEMBERS))
    other = Said(folds[0].log_odds, np.roll(folds[0].is_fraud, 1), folds[0].weights)
    assert (judged([other, *folds[1:]], MEMBERS) != judged(folds, MEMBERS)).any()
