"""Random histories of one key, and payments that read them."""

from hypothesis import strategies as st

from pix.contracts import DAY_MS, HOUR_MS, MINUTE_MS, Payment
from pix.engines.events import IN, OUT, Event, Labelled, Paid

START_MS = 1_790_000_000_000
GAPS = [0, 1, 999, MINUTE_MS, HOUR_MS, 5 * HOUR_MS, DAY_MS, 7 * DAY_MS, 31 * DAY_MS, 121 * DAY_MS]
CALM_GAPS = [0, 0, 1, 30_000, MINUTE_MS, 20 * MINUTE_MS, HOUR_MS, 9 * HOUR_MS, DAY_MS]
LATE = [0, 0, 0, 1, MINUTE_MS, HOUR_MS, DAY_MS, 40 * DAY_MS, 100 * DAY_MS]
READ_SHIFTS = [0, 0, 1, -HOUR_MS, DAY_MS]
AMOUNTS = [1, 99, 100_00, 50_000_00, 10**8, 10**12 - 1, 10**12]


@st.composite
def histories(draw: st.DrawFn, longest: int = 60) -> list[tuple[Event, int]]:
    """Events in fold order, each with the time of a payment that reads before it."""
    clock, history = START_MS + draw(st.integers(0, 7 * DAY_MS)), []
    counted: list[tuple[int, int, str]] = []
    gaps = draw(st.sampled_from([GAPS, CALM_GAPS, CALM_GAPS]))
    for _ in range(draw(st.integers(1, longest))):
        clock += draw(st.sampled_from(gaps))
        time_ms = clock - draw(st.sampled_from(LATE))
        event = draw(_labels(time_ms, counted)) if draw(st.integers(0, 4)) == 0 else draw(payments(time_ms))
        history.append((event, time_ms + draw(st.sampled_from(READ_SHIFTS))))
    return history


@st.composite
def payments(draw: st.DrawFn, time_ms: int) -> Paid:
    """One payment as its entity sees it; live ones may be attempts, imported ones are allowed."""
    is_imported = draw(st.integers(0, 9)) == 0
    return Paid(
        time_ms,
        draw(st.sampled_from([OUT, IN, OUT | IN])),
        draw(st.sampled_from(AMOUNTS) | st.integers(1, 10**6)),
        draw(st.integers(0, 100) | st.sampled_from([-(2**63), 2**63 - 1])),
        is_imported or draw(st.integers(0, 2)) > 0,
        draw(st.booleans()),
        draw(st.booleans()),
        is_imported,
        draw(st.booleans()),
    )


@st.composite
def _labels(draw: st.DrawFn, time_ms: int, counted: list[tuple[int, int, str]]) -> Labelled:
    """A label, or what takes an earlier one back."""
    known = [label for label in counted if label[0] <= time_ms]
    if known and draw(st.booleans()):
        label = draw(st.sampled_from(known))
        counted.remove(label)
        return Labelled(time_ms, label[1], label[2], -1, label[0])
    flows, measure = draw(st.sampled_from([OUT, IN, OUT | IN])), draw(st.sampled_from(["frauds", "contests"]))
    counted.append((time_ms, flows, measure))
    return Labelled(time_ms, flows, measure, 1, time_ms)


def payment(amount_cents: int = 12_345, **fields: object) -> Payment:
    """A payment behind the door."""
    identity = {"end_to_end_id": "E1", "tenant": "default", "payer_account": "a", "payee_account": "b"}
    return Payment(**{**identity, "initiated_at_ms": START_MS, "amount_cents": amount_cents, **fields})  # type: ignore[arg-type]
