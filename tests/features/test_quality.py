"""Every feature tells something, and none says what another one says already."""

from dataclasses import replace

import numpy as np
import pytest

from pix.contracts import DAY_MS, LabelMessage, Payment, behind_the_door, label_from, payment_from
from pix.engines import kernel
from pix.engines.events import entity_keys, kind_of
from pix.engines.online import Desk, pack
from pix.features import FEATURE_NAMES
from pix.labels import PaymentReference, apply_label
from pix.simulator.plan import SimulationPlan
from pix.simulator.simulation import simulate
from pix.tokens import Keyring

KEYRING = Keyring(1, {1: b"q" * 32})
START_MS = 1_780_000_000_000 // DAY_MS * DAY_MS
LIVE = SimulationPlan(seed=6, start_ms=START_MS, days=30, accounts=60, payments=4_000, fraud_per_100k=1_500)
STRETCH = 16
PAST = replace(LIVE, start_ms=START_MS - 6 * DAY_MS, days=6, payments=1_500, run="past")
"""What the same accounts did before, drawn out over 96 days: longer than the longest window, and soon simulated."""


class Life:
    """Keys and payments' references in a dictionary: what happens, folded when it is known."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.references: dict[str, PaymentReference] = {}
        self.desk = Desk()

    def pay(self, payment: Payment, *, is_allowed: bool) -> np.ndarray:
        """The vector of a payment, which is folded then."""
        keys = entity_keys(payment)
        packed = pack(payment, keys)
        self.desk.load(packed, payment.initiated_at_ms, [self.blobs.get(key) for key in packed.slots])
        vector, carried = self.desk.read()
        self.blobs.update(zip(packed.slots, self.desk.fold(carried, is_allowed=is_allowed), strict=True))
        self.references[payment.end_to_end_id] = PaymentReference(keys)
        return vector

    def label(self, what: LabelMessage, known_ms: int) -> None:
        identity = what.end_to_end_id
        self.references[identity], change = apply_label(self.references[identity], what.label_id, what.kind, known_ms)
        for key, event in (change.events(self.references[identity].keys) if change else {}).items():
            self.blobs[key] = kernel.fold(self.blobs[key], kind_of(key), event)


Happened = tuple[int, str, Payment | LabelMessage, bool]
"""Time, id, what it was, and whether it goes on (of a payment)."""


def happened(plan: SimulationPlan, stretch: int) -> list[Happened]:
    """Payments and labels in time order; half of the frauds and one payment in forty are blocked."""

    def drawn_out(at_ms: int) -> int:
        return START_MS - (START_MS - at_ms) * stretch if at_ms < START_MS else at_ms

    simulated = simulate(plan)
    frauds = {row["end_to_end_id"] for row in simulated.truth if row["is_fraud"]}
    found: list[Happened] = []
    for number, message in enumerate(simulated.payments):
        payment = behind_the_door(payment_from(message), KEYRING)
        payment = replace(payment, initiated_at_ms=drawn_out(payment.initiated_at_ms))
        is_blocked = number % 40 == 0 or (payment.end_to_end_id in frauds and number % 2 == 0)
        found.append((payment.initiated_at_ms, payment.end_to_end_id, payment, not is_blocked))
    for label in map(label_from, simulated.labels):
        found.append((drawn_out(label.known_at), label.label_id, label, True))
    return sorted(found, key=lambda each: each[:2])


@pytest.fixture(scope="module")
def judged() -> np.ndarray:
    """Vectors of thirty simulated days after the past (payments x features)."""
    life, vectors = Life(), []
    before, now = happened(PAST, STRETCH), happened(LIVE, 1)
    for at_ms, _, what, is_allowed in sorted([*before, *now], key=lambda each: each[:2]):
        if isinstance(what, LabelMessage):
            life.label(what, at_ms)
            continue
        vector = life.pay(what, is_allowed=is_allowed)
        if at_ms >= START_MS:
            vectors.append(vector)
    return np.stack(vectors)


def constant(values: np.ndarray) -> list[str]:
    """Features whose known values are all the same, or that are never known."""
    return [
        name
        for name, column in zip(FEATURE_NAMES, values.T, strict=True)
        if len(np.unique(column[~np.isnan(column)])) < 2
    ]


def doubled(values: np.ndarray) -> list[list[str]]:
    """Features that are equal on all rows."""
    same: dict[bytes, list[str]] = {}
    for name, column in zip(FEATURE_NAMES, values.T, strict=True):
        same.setdefault(np.where(np.isnan(column), np.nan, column).tobytes(), []).append(name)
    return [names for names in same.values() if len(names) > 1]


def test_no_feature_is_constant(judged: np.ndarray) -> None:
    assert constant(judged) == []


def test_no_two_features_are_equal_on_all_rows(judged: np.ndarray) -> None:
    assert doubled(judged) == []


def test_constants_and_doubles_are_seen(judged: np.ndarray) -> None:
    """The planted faults: a feature that never changes, one that is never known, one that repeats another."""
    spoilt = judged.copy()
    spoilt[:, 3], spoilt[:, 5], spoilt[:, 9] = 7.0, np.nan, spoilt[:, 8]
    assert constant(spoilt) == [FEATURE_NAMES[3], FEATURE_NAMES[5]]
    assert doubled(spoilt) == [[FEATURE_NAMES[8], FEATURE_NAMES[9]]]
