"""Every engine computes what the oracle says, bit for bit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix.contracts import DAY_MS, HOUR_MS, MINUTE_MS
from pix.engines import kernel, oracle
from pix.engines.kernel import Event, Labelled, Paid
from pix.features import ROLES

START_MS = 1_790_000_000_000
GAPS = [0, 1, 999, MINUTE_MS, HOUR_MS, 5 * HOUR_MS, DAY_MS, 7 * DAY_MS, 31 * DAY_MS, 121 * DAY_MS]
LATE = [0, 0, 0, 1, MINUTE_MS, HOUR_MS, DAY_MS, 40 * DAY_MS]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Event, int]]:
    """Events in fold order, each with the time of a payment that reads before it."""
    clock, counted, history = START_MS, [], []
    for _ in range(draw(st.integers(1, 60))):
        clock += draw(st.sampled_from(GAPS))
        time_ms = clock - draw(st.sampled_from(LATE))
        shape = draw(st.integers(0, 9))
        if shape == 0:
            counted.append(time_ms)
            event: Event = Labelled(time_ms, "in", 1, time_ms)
        elif shape == 1 and counted:
            event = Labelled(time_ms, "in", -1, counted.pop())
        else:
            amount = draw(st.integers(1, 10**12))
            counterpart = draw(st.integers(0, 100))
            event = Paid(time_ms, draw(st.sampled_from(["in", "out"])), amount, counterpart, draw(st.booleans()))
        history.append((event, time_ms + draw(st.sampled_from([0, 0, 1, -HOUR_MS, DAY_MS]))))
    return history


@given(histories(), st.sampled_from(sorted(ROLES)))
@settings(max_examples=150, deadline=None)
def test_kernel_reads_what_the_oracle_reads(history: list[tuple[Event, int]], role: str) -> None:
    state, folded = None, []
    for event, read_at_ms in history:
        expected = oracle.read(folded, role, read_at_ms)
        unpacked = None if state is None else kernel.unpack(kernel.pack(state))
        assert kernel.read(unpacked, role, read_at_ms) == expected
        state = kernel.fold(unpacked, ROLES[role], event)
        folded.append(event)


def test_a_distinct_count_stops_at_its_cap() -> None:
    events = [Paid(START_MS + n, "in", 100, n, allowed=True) for n in range(200)]
    state = None
    for event in events:
        state = kernel.fold(state, "account", event)
    assert kernel.read(state, "payee_account", START_MS + 500) == oracle.read(events, "payee_account", START_MS + 500)


@pytest.mark.parametrize("shift_ms", [-1, 1])
def test_an_off_by_one_window_edge_is_seen(monkeypatch: pytest.MonkeyPatch, shift_ms: int) -> None:
    """The planted fault: an engine whose tiles begin one millisecond off differs from the oracle."""
    at_ms = START_MS // DAY_MS * DAY_MS
    edge = Paid(at_ms - DAY_MS + (0 if shift_ms < 0 else -1), "out", 500, 1, allowed=True)
    expected = oracle.read([edge], "payer_account", at_ms)
    assert kernel.read(kernel.fold(None, "account", edge), "payer_account", at_ms) == expected

    moved = Paid(edge.time_ms + shift_ms, edge.flow, edge.amount_cents, edge.counterpart, edge.allowed)
    monkeypatch.setattr(kernel, "_count", _count_of(moved, kernel._count))
    assert kernel.read(kernel.fold(None, "account", edge), "payer_account", at_ms) != expected


def _count_of(moved: Paid, count):
    def shifted(state, layout, flow, measure, _time_ms, value, *, allowed):
        count(state, layout, flow, measure, moved.time_ms, value, allowed=allowed)

    return shifted


def test_equal_events_in_any_order_of_one_instant_give_equal_blobs() -> None:
    events = [Paid(START_MS, "out", 100 + n, n, allowed=True) for n in range(5)]

    def blob(order: list[Paid]) -> bytes:
        state = None
        for event in order:
            state = kernel.fold(state, "account", event)
        assert state is not None
        return kernel.pack(state)

    assert blob(events) == blob(events[::-1])
