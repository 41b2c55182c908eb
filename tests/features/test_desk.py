"""One payment on its desk: the same events, features and states as by the slow way."""

import numpy as np
import pytest
from histories import START_MS, histories, payment
from hypothesis import given, settings
from hypothesis import strategies as st

from pix.contracts import DAY_MS, Payment
from pix.engines import kernel, oracle
from pix.engines.events import Carried, Event, entity_keys, kind_of, payment_events
from pix.engines.online import BrokenBlob, Desk, pack

OPENED = st.none() | st.integers(START_MS - 60 * DAY_MS, START_MS + DAY_MS)


@st.composite
def any_payments(draw: st.DrawFn) -> Payment:
    """Payments with and without device and persons, also between one person's two accounts."""
    return payment(
        draw(st.integers(1, 10**12)),
        payer_tax_id=draw(st.sampled_from([None, "one", "two"])),
        payee_tax_id=draw(st.sampled_from([None, "one"])),
        device_id=draw(st.sampled_from([None, "d"])),
        payer_account_opened_at_ms=draw(OPENED),
        payee_account_opened_at_ms=draw(OPENED),
        payee_fraud_markers_d90=draw(st.sampled_from([None, 0, 2])),
    )


@given(
    any_payments(),
    st.lists(histories(60), min_size=6, max_size=6),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
@settings(max_examples=30, deadline=None)
def test_a_desk_reads_what_the_oracle_reads_and_folds_what_the_replay_folds(
    paid: Payment, pasts: list[list[tuple[Event, int]]], outcome: tuple[bool, bool, bool]
) -> None:
    keys = entity_keys(paid)
    packed = pack(paid, keys)
    events = {key: [event for event, _ in past] for key, past in zip(packed.slots, pasts, strict=False)}
    blobs: dict[str, bytes | None] = dict.fromkeys(packed.slots)
    for key, past in events.items():
        for event in past:
            blobs[key] = kernel.fold(blobs[key], kind_of(key), event)
    at_ms = max(past[-1].time_ms for past in events.values())
    desk = Desk()
    desk.load(packed, at_ms, list(blobs.values()))
    vector, _ = desk.read()
    assert kernel.listed(vector) == oracle.vector(paid, at_ms, {role: events[key] for role, key in keys.items()})

    is_allowed, carried = outcome[0], Carried(outcome[1], outcome[2])
    folded = payment_events(paid, keys, at_ms, carried, is_allowed=is_allowed, is_imported=False)
    expected = kernel.fold_all([(blobs[key], kind_of(key), folded[key]) for key in packed.slots])
    assert desk.fold(carried, is_allowed=is_allowed) == expected
    # Folding again, with the other outcome and back, starts from the loaded states: nothing is folded twice.
    assert desk.fold(carried, is_allowed=not is_allowed) != expected
    assert desk.fold(carried, is_allowed=is_allowed) == expected


def test_another_payment_leaves_nothing_on_the_desk() -> None:
    rich = payment(5_000, device_id="d", payer_tax_id="one", payee_tax_id="two")
    poor, desk = payment(777), Desk()
    first = pack(rich, entity_keys(rich))
    desk.load(first, START_MS, [None] * len(first.slots))
    blobs = desk.fold(Carried(True, True), is_allowed=True)
    desk.load(first, START_MS, blobs)
    desk.read()
    desk.load(pack(poor, entity_keys(poor)), START_MS, [None] * 3)
    left = desk.read()[0]
    assert np.array_equal(left, kernel.features(poor, START_MS, dict.fromkeys(entity_keys(poor))), equal_nan=True)
    assert kernel.listed(left) == oracle.vector(poor, START_MS, dict.fromkeys(entity_keys(poor), []))


@pytest.mark.parametrize("broken", [b"x" * 9, bytes(8), (33).to_bytes(8, "little") + bytes(8 * 108), bytes(10**6)])
def test_bytes_that_are_no_state_are_refused(broken: bytes) -> None:
    with pytest.raises(BrokenBlob, match="payee_account"):
        kernel.features(payment(), START_MS, {"payee_account": broken})
