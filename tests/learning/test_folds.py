import math

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from learning.folds import growing, labels_at, rolling

DAY_MS = 86_400_000


def test_rolling_folds_leave_the_delay_out_and_move_by_what_they_judge():
    folds = rolling(start_ms=0, train_ms=14 * DAY_MS, delay_ms=3 * DAY_MS, test_ms=7 * DAY_MS, count=3)
    assert [(fold.train_from_ms // DAY_MS, fold.train_until_ms // DAY_MS) for fold in folds] == [
        (0, 14),
        (7, 21),
        (14, 28),
    ]
    assert [(fold.test_from_ms // DAY_MS, fold.test_until_ms // DAY_MS) for fold in folds] == [
        (17, 24),
        (24, 31),
        (31, 38),
    ]
    times = np.arange(40) * DAY_MS
    assert times[folds[0].trains(times)].max() == 13 * DAY_MS
    assert times[folds[0].tests(times)].min() == 17 * DAY_MS


@given(
    st.lists(st.integers(0, 10_000), min_size=30, max_size=200).map(sorted),
    st.integers(2, 4),
    st.integers(0, 500),
)
def test_growing_folds_judge_each_of_the_newest_once_and_learn_from_nothing_later(times, count, delay):
    times = np.array(times)
    folds = growing(times, judged_share=0.4, count=count, delay_ms=delay)
    judged = sum(fold.tests(times).astype(int) for fold in folds)
    assert (judged == (times >= folds[0].test_from_ms)).all()
    assert judged.sum() >= int(len(times) * 0.4)
    for fold in folds:
        assert not (fold.trains(times) & (times >= fold.test_from_ms - delay)).any()


def test_a_short_last_fold_learns_by_every_label_and_the_others_judge_what_is_left():
    times = np.arange(100) * 10
    folds = growing(times, judged_share=0.4, count=3, delay_ms=0, newest=95)
    assert [(fold.test_from_ms, fold.test_until_ms) for fold in folds] == [(600, 770), (770, 950), (950, 991)]
    assert [fold.known_until_ms for fold in folds] == [600, 770, math.inf]
    even = growing(times, judged_share=0.4, count=3, delay_ms=0)
    assert [fold.known_until_ms for fold in even] == [fold.test_from_ms for fold in even]
    # What would judge more than an even fold is none.
    assert growing(times, judged_share=0.4, count=3, delay_ms=0, newest=80) == even


def test_a_payment_is_fraud_from_its_verdict_until_it_is_cleared():
    frame = pd.DataFrame({"fraud_known_at_ms": [10, 10, None], "cleared_at_ms": [None, 20, 15]})
    assert [labels_at(frame, at).tolist() for at in (9, 10, 19, 20)] == [
        [False, False, False],
        [True, True, False],
        [True, True, False],
        [True, False, False],
    ]
