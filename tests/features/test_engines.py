"""The kernel computes what the oracle says, bit for bit."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from histories import START_MS, histories, payment
from hypothesis import given, settings
from hypothesis import strategies as st

from pix.contracts import DAY_MS, MAX_AMOUNT_CENTS
from pix.engines import kernel, layout, online, oracle
from pix.engines.events import IN, OUT, Event, Labelled, Paid, event_of, flows_by_key
from pix.features import DISTINCT_CAP, FEATURES, ROLES

ALL_ROLES = sorted(ROLES)


def folded(events: Sequence[Event], kind: str) -> bytes | None:
    blob = None
    for event in events:
        blob = kernel.fold(blob, kind, event)
    return blob


def differing(ours: np.ndarray, theirs: Sequence[float | None]) -> dict[str, tuple[float, float | None]]:
    """Features whose 64 bits differ."""
    expected = np.array([np.nan if value is None else value for value in theirs])
    is_same = (ours.view(np.int64) == expected.view(np.int64)) | (np.isnan(ours) & np.isnan(expected))
    return {FEATURES[n].name: (float(ours[n]), theirs[n]) for n in np.flatnonzero(~is_same)}


@given(histories(), st.sampled_from(ALL_ROLES), st.booleans())
@settings(max_examples=150, deadline=None)
def test_kernel_reads_what_the_oracle_reads(history: list[tuple[Event, int]], role: str, is_imported: bool) -> None:
    blob, past = None, []
    for event, at_ms in history:
        ours = kernel.features(payment(), at_ms, {role: blob}, is_imported=is_imported)
        assert differing(ours, oracle.vector(payment(), at_ms, {role: past}, is_imported=is_imported)) == {}
        blob = kernel.fold(blob, ROLES[role], event)
        past.append(event)


@given(st.lists(histories(40), min_size=6, max_size=6))
@settings(max_examples=25, deadline=None)
def test_all_roles_at_once(pasts: list[list[tuple[Event, int]]]) -> None:
    events = {role: [event for event, _ in past] for role, past in zip(ALL_ROLES, pasts, strict=True)}
    states = {role: folded(past, ROLES[role]) for role, past in events.items()}
    at_ms = max(event.time_ms for past in events.values() for event in past)
    assert differing(kernel.features(payment(777), at_ms, states), oracle.vector(payment(777), at_ms, events)) == {}


@given(histories(50), st.sampled_from(ALL_ROLES))
@settings(max_examples=60, deadline=None)
def test_a_replay_is_the_same_as_one_by_one(history: list[tuple[Event, int]], role: str) -> None:
    steps, kind = kernel.Steps(ROLES[role]), ROLES[role]
    blob, reads = None, []
    for event, at_ms in history:
        steps.add("k", kernel.READ, at_ms)
        steps.add("k", kernel.FOLD, event.time_ms, event.words())
        reads.append(kernel.vector(payment(), at_ms, {role: kernel.read(blob, role, at_ms)}))
        assert differing(kernel.features(payment(), at_ms, {role: blob}), kernel.listed(reads[-1])) == {}
        blob = kernel.fold(blob, kind, event)
    half = len(history) // 2
    replayed = steps.run()
    assert replayed.states == {"k": blob}
    together = np.stack(
        [kernel.integers_of(payment(), at, {role: r}) for (_, at), r in zip(history, replayed.reads, strict=True)]
    )
    assert np.array_equal(kernel.evaluate(together), np.stack(reads), equal_nan=True)
    rest = kernel.Steps(kind)
    for event, _ in history[half:]:
        rest.add("k", kernel.FOLD, event.time_ms, event.words())
    before = folded([event for event, _ in history[:half]], kind)
    assert rest.run({"k": before} if before else {}).states == {"k": blob}


@given(histories(80), st.sampled_from(ALL_ROLES))
@settings(max_examples=60, deadline=None)
def test_list_and_rings_read_the_same(history: list[tuple[Event, int]], role: str) -> None:
    """The same events behind a list that is full and behind one that is not."""
    events = [event for event, _ in history][: layout.LIST_CAP]
    blob = folded(events, ROLES[role])
    assert blob is not None
    rings = as_rings(blob, ROLES[role])
    assert len(rings) == 8 * layout.PLANS[ROLES[role]][layout.RING_WORDS]
    for at_ms in (history[-1][1], history[-1][1] + DAY_MS, history[-1][1] + 119 * DAY_MS):
        assert np.array_equal(kernel.read(blob, role, at_ms), kernel.read(rings, role, at_ms))


def as_rings(blob: bytes, kind: str) -> bytes:
    from pix.engines import tiles

    plan = layout.PLANS[kind]
    state = np.zeros(plan[layout.RING_WORDS], np.int64)
    words = np.frombuffer(blob, np.int64)
    state[: len(words)] = words
    tiles.to_rings(plan, state, 0, np.zeros(len(layout.MEASURES), np.int64))
    return state.tobytes()


def test_a_hot_key_is_exact_and_no_larger_than_declared() -> None:
    """Two thousand payments, saturated tables, the greatest amounts."""
    draw = random.Random(3)
    events: list[Event] = []
    for n in range(2_000):
        at_ms = START_MS + n * 180_000 - draw.choice([0, 0, 0, DAY_MS])
        amount = draw.choice([MAX_AMOUNT_CENTS, draw.randint(1, 10**6)])
        events.append(Paid(at_ms, draw.choice([IN, OUT]), amount, draw.randint(0, 300), draw.random() < 0.9))
    blob = folded(events, "account")
    assert blob is not None
    assert len(blob) <= 8 * 1024
    at_ms = START_MS + 2_000 * 180_000
    theirs = oracle.vector(payment(), at_ms, {"payee_account": events})
    assert differing(kernel.features(payment(), at_ms, {"payee_account": blob}), theirs) == {}
    names = [feature.name for feature in FEATURES]
    assert theirs[names.index("payee_distinct_payers_30d")] == DISTINCT_CAP


def test_a_quiet_account_is_small() -> None:
    blob = folded([Paid(START_MS + n, OUT, 1, n, is_allowed=True) for n in range(layout.LIST_CAP)], "account")
    assert blob is not None
    assert len(blob) <= 1024


@pytest.mark.parametrize("shift_ms", [-1, 1])
def test_an_off_by_one_window_edge_is_seen(shift_ms: int) -> None:
    """The planted fault: an engine whose tiles begin one millisecond off differs from the oracle."""
    at_ms = START_MS // DAY_MS * DAY_MS
    edge = Paid(at_ms - DAY_MS + (0 if shift_ms < 0 else -1), OUT, 500, 1, is_allowed=True)
    expected = oracle.vector(payment(), at_ms, {"payer_account": [edge]})
    right = kernel.fold(None, "account", edge)
    assert differing(kernel.features(payment(), at_ms, {"payer_account": right}), expected) == {}
    moved = Paid(edge.time_ms + shift_ms, edge.flows, edge.amount_cents, edge.counterpart, edge.is_allowed)
    wrong = kernel.fold(None, "account", moved)
    assert "payer_amount_sum_24h" in differing(kernel.features(payment(), at_ms, {"payer_account": wrong}), expected)


@pytest.mark.parametrize("tiles", [-1, 1])
def test_a_window_that_is_off_by_one_hop_is_seen(monkeypatch: pytest.MonkeyPatch, tiles: int) -> None:
    """The planted fault: one bank of one engine reaches back one tile too few or too many."""
    at_ms = START_MS // DAY_MS * DAY_MS
    kinds = list(layout.PLANS)
    plans, start = layout.ALL_PLANS.copy(), int(layout.PLACES[layout.AT_PLANS + kinds.index("account")])
    banks = list(layout.LAYOUTS["account"].banks)
    place = next(n for n, bank in enumerate(banks) if bank.flow == "out" and bank.minus_window_ms == -DAY_MS)
    plans[start + layout.PLAN_HEADER + place * layout.BANK_FIELDS + layout.BANK_TILES] += tiles
    age_ms = DAY_MS if tiles < 0 else DAY_MS + 1
    edge = Paid(at_ms - age_ms, OUT, 500, 1, is_allowed=True)
    blob = kernel.fold(None, "account", edge)
    expected = oracle.vector(payment(), at_ms, {"payer_account": [edge]})
    assert differing(kernel.features(payment(), at_ms, {"payer_account": blob}), expected) == {}
    monkeypatch.setattr(online, "ALL_PLANS", plans)
    assert "payer_amount_sum_24h" in differing(kernel.features(payment(), at_ms, {"payer_account": blob}), expected)


def test_a_fold_applied_twice_is_seen() -> None:
    """The planted fault: a redelivered event that is folded again."""
    event = Paid(START_MS, OUT, 500, 1, is_allowed=True)
    twice = kernel.fold(kernel.fold(None, "account", event), "account", event)
    expected = oracle.vector(payment(), START_MS, {"payer_account": [event]})
    assert differing(kernel.features(payment(), START_MS, {"payer_account": twice}), expected)


def test_a_label_counts_from_its_known_time_and_not_from_its_effect() -> None:
    """The planted fault: a label read from its effect time moves the windows."""
    known_ms, effect_ms = START_MS, START_MS - 20 * DAY_MS
    label = Labelled(known_ms, IN, "frauds", 1, known_ms)
    wrong = Labelled(known_ms, IN, "frauds", 1, effect_ms)
    expected = oracle.vector(payment(), START_MS, {"payee_account": [label]})
    blobs = [kernel.fold(None, "account", event) for event in (label, wrong)]
    right, skewed = (differing(kernel.features(payment(), START_MS, {"payee_account": b}), expected) for b in blobs)
    assert right == {}
    assert set(skewed) == {"payee_frauds_7d"}


def test_equal_folds_give_equal_blobs_and_events_survive_their_words() -> None:
    draw = random.Random(4)
    events: list[Event] = [
        Paid(
            START_MS + n * 1000,
            draw.choice([IN, OUT, IN | OUT]),
            n + 1,
            draw.getrandbits(60),
            True,
            n % 2 == 0,
            n % 3 == 0,
        )
        for n in range(100)
    ]
    events += [Labelled(START_MS + 200_000, IN, "contests", 1, START_MS), Labelled(START_MS, OUT, "frauds", -1, 5)]
    assert folded(events, "account") == folded(events, "account")
    assert [event_of(event.words()) for event in events] == events


def test_one_person_on_both_sides_is_one_event() -> None:
    assert flows_by_key({"payer_person": "p", "payee_person": "p", "payer_account": "a"}) == {"p": IN | OUT, "a": OUT}


@pytest.mark.parametrize("broken", [b"x" * 9, b"\0" * 8, (33).to_bytes(8, "little") + bytes(8 * 108)])
def test_bytes_that_are_no_blob_are_refused(broken: bytes) -> None:
    with pytest.raises(kernel.BrokenBlob):
        kernel.read(broken, "payer_account", START_MS)
