"""Features: one payment's read and fold of all its entities, and what a window's length and a key's age cost."""

import random
import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks.pairs import paired
from pix.contracts import DAY_MS, MINUTE_MS, Payment
from pix.engines import compiled, kernel, oracle
from pix.engines.events import IN, NOTHING_CARRIED, OUT, Event, Paid, entity_keys, kind_of, payment_events
from pix.engines.layout import (
    ALL_PLANS,
    HEADER_READS,
    HEADER_WORDS,
    LIST_CAP,
    PLACES,
    PROGRAM,
    RING_WORDS,
    Bank,
    Layout,
    _plan,
)
from pix.engines.online import Desk, pack
from pix.features import FEATURES, ROLES

START_MS = 1_795_000_000_000
CALLS = 500
MEDIAN_EVENTS, HOT_EVENTS = 20, 1_000_000
PAYMENT = Payment(
    end_to_end_id="E12345678202611180646abcdefghijk",
    tenant="default",
    initiated_at_ms=START_MS,
    amount_cents=12_345,
    payer_account="k1:payer",
    payee_account="k1:payee",
    payer_tax_id="k1:one",
    payee_tax_id="k1:two",
    device_id="k1:device",
    device_registered_at_ms=START_MS - DAY_MS,
    payer_balance_cents=10**6,
)
KEYS = entity_keys(PAYMENT)
PACKED = pack(PAYMENT, KEYS)
DESK = Desk()


def feature_rows() -> list[dict[str, object]]:
    """Every measurement of this file, with the sizes of the blobs."""
    median, hot = states(MEDIAN_EVENTS), states(HOT_EVENTS)
    refereed()
    whole = paired(
        f"update and read {len(KEYS)} entities, {len(FEATURES)} features: hot keys / median keys",
        _timed(lambda: whole_payment(hot)),
        _timed(lambda: whole_payment(median)),
    )
    sizes = {ROLES[role]: {"median_bytes": len(median[role]), "busy_bytes": len(hot[role])} for role in KEYS}
    core = paired("the same, compiled part only: hot keys / median keys", _core(hot), _core(median))
    packing = paired(
        "pack one payment / its features and folds", _timed(pack_payment), _timed(lambda: whole_payment(hot))
    )
    return [{**whole, "blobs": sizes}, core, packing, long_over_short_window()]


def long_over_short_window() -> dict[str, object]:
    """Fold and read one saturated key with nothing but a window of 30 days, against one of five minutes."""
    sides = [Window(30 * DAY_MS, 2 * DAY_MS), Window(5 * MINUTE_MS, 25_000)]
    for side in sides:
        side.run()
        side.refereed()
    return paired("fold and read one window: 30 days / 5 minutes", *(side.run for side in sides))


class Window:
    """One key's ring of one window: count and sum of what it paid, about one event a second."""

    EVENTS = 20_000

    def __init__(self, window_ms: int, hop_ms: int) -> None:
        self._measures = ["sum", "count"]
        shape = Layout({Bank("out", -window_ms, hop_ms): self._measures})
        shape.reads = [*((name,) for name in HEADER_READS), *(("out", window_ms, m) for m in (*self._measures, "seen"))]
        self._plan = np.array(_plan(shape), np.int64)
        self._window_ms, self._hop_ms = window_ms, hop_ms
        draw = random.Random(9)  # noqa: S311
        at_ms = START_MS
        self._events = []
        for _ in range(self.EVENTS):
            at_ms += draw.randint(0, 2_000)
            self._events.append(Paid(at_ms, OUT, draw.randint(1, 10**6), 7, is_allowed=True))
        rows = [(0, kernel.READ | kernel.FOLD, *event.words(), 0) for event in self._events]
        self._steps = np.array(rows, np.int64)
        self._reads = np.empty((self.EVENTS, len(shape.reads)), np.int64)

    def run(self) -> float:
        """Microseconds per event: read, then fold."""
        room = max(int(self._plan[RING_WORDS]), HEADER_WORDS + 3 * LIST_CAP)
        states, lengths = np.zeros(room, np.int64), np.zeros(1, np.int64)
        start = time.perf_counter()
        compiled.replay(self._plan, self._steps, np.zeros(1, np.int64), lengths, states, self._reads)
        return (time.perf_counter() - start) / self.EVENTS * 1e6

    def refereed(self) -> None:
        """Stop if some reads are not what a sum over the events says."""
        for n in range(0, self.EVENTS, 997):
            now_ms = self._events[n].time_ms
            first_ms = now_ms // self._hop_ms * self._hop_ms - self._window_ms
            inside = [event.amount_cents for event in self._events[:n] if event.time_ms >= first_ms]
            if self._reads[n, len(HEADER_READS) :][:2].tolist() != [sum(inside), len(inside)]:
                raise SystemExit("a window and its definition disagree; nothing is measured")


def pack_payment() -> None:
    """What is done once per payment, before its states are known."""
    pack(PAYMENT, KEYS)


def states(events: int) -> dict[str, bytes]:
    """Role -> blob of a key that lived through so many events of the last 90 days."""
    found = {}
    for role, key in KEYS.items():
        draw = random.Random(5)  # noqa: S311
        steps = kernel.Steps(kind_of(key))
        for n in range(events):
            at_ms = START_MS - 80 * DAY_MS + n * 80 * DAY_MS // events
            steps.add(key, kernel.FOLD, at_ms, _event(draw, at_ms).words())
        found[role] = steps.run().states[key]
    return found


def _event(draw: random.Random, at_ms: int) -> Paid:
    return Paid(at_ms, draw.choice([IN, OUT]), draw.randint(1, 10**6), draw.randint(0, 500), draw.random() < 0.95)


def refereed() -> None:
    """Stop if kernel and oracle disagree on a history."""
    draw = random.Random(6)  # noqa: S311
    past: list[Event] = [_event(draw, START_MS - 10**7 * n) for n in range(300, 0, -1)]
    blobs: dict[str, bytes | None] = {}
    for role, kind in ROLES.items():
        blobs[role] = None
        for event in past:
            blobs[role] = kernel.fold(blobs[role], kind, event)
    theirs = oracle.vector(PAYMENT, START_MS, dict.fromkeys(ROLES, past))
    if kernel.listed(kernel.features(PAYMENT, START_MS, blobs)) != theirs:
        raise SystemExit("kernel and oracle disagree; nothing is measured")
    median = states(MEDIAN_EVENTS)
    events = payment_events(PAYMENT, KEYS, START_MS, NOTHING_CARRIED, is_allowed=True, is_imported=False)
    if whole_payment(median) != kernel.fold_all(
        [(median[role], ROLES[role], events[key]) for role, key in KEYS.items()]
    ):
        raise SystemExit("folds on a desk and one by one disagree; nothing is measured")


def whole_payment(blobs: dict[str, bytes]) -> list[bytes]:
    """What a decision does between reading the store and committing to it, without packing and the model."""
    DESK.load(PACKED, START_MS, list(blobs.values()))
    _, carried = DESK.read()
    return DESK.fold(carried, is_allowed=True)


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        spent = []
        for _ in range(CALLS):
            start = time.perf_counter_ns()
            work()
            spent.append(time.perf_counter_ns() - start)
        return statistics.median(spent) / 1000

    return run


def _core(blobs: dict[str, bytes]) -> Callable[[], float]:
    """Read, evaluate and fold without the Python around it."""
    desk = Desk()
    desk.load(PACKED, START_MS, list(blobs.values()))
    work = desk._work

    def run() -> None:
        compiled.read_payment(ALL_PLANS, PLACES, PROGRAM, work)
        compiled.fold_payment(ALL_PLANS, PLACES, work)

    return _timed(run)
