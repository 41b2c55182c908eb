"""Time per row, by a clock of our own."""

from dataclasses import dataclass

import numpy as np

from learning.latency import measure


@dataclass
class Clock:
    now: int = 0

    def __call__(self):
        return self.now


@dataclass
class Slow:
    """Takes so many nanoseconds for a row, ten times as many for those that begin with 1."""

    clock: Clock
    takes: int
    asked: int = 0

    def raw_score(self, vector):
        self.clock.now += self.takes * (10 if vector[0] == 1 else 1)
        self.asked += 1
        return 0.0

    def probability(self, raw_score):
        return raw_score

    def contributions(self, vector):
        self.clock.now += self.takes
        return vector.tolist()


def test_every_row_is_timed_alone_for_each_in_turn():
    clock = Clock()
    quick, slow = Slow(clock, 10_000), Slow(clock, 100_000)
    rows = np.zeros((1_000, 3))
    rows[:20, 0] = 1
    first, second = measure([quick, slow], rows, timer=clock, rounds=2)
    assert (first.rows, first.p50_microseconds, first.p99_microseconds) == (1_000, 20, 110)
    assert (second.p50_microseconds, second.p99_microseconds) == (200, 1_100)
    assert quick.asked == slow.asked == 2 * 1_000 + 200
    assert str(second) == "p50 200 µs, p99 1100 µs of 1,000 payments"


def test_the_quietest_round_counts():
    clock, noise = Clock(), iter([0] * 200 + [50_000] * 400 + [0] * 200 + [7_000] * 200)

    class Noisy(Slow):
        def contributions(self, vector):
            self.clock.now += next(noise)
            return super().contributions(vector)

    (found,) = measure([Noisy(clock, 1_000)], np.zeros((200, 1)), timer=clock, rounds=4)
    assert (found.p50_microseconds, found.p99_microseconds) == (2, 2)
