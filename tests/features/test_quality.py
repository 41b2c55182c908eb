"""Every feature tells something, and none says what another one says already."""

from collections.abc import Iterator
from heapq import merge
from typing import Any

import numpy as np
import pytest

from pix.contracts import DAY_MS, Payment, behind_the_door, label_from, payment_from
from pix.engines import kernel
from pix.engines.events import entity_keys, kind_of
from pix.engines.online import Desk, pack
from pix.features import FEATURE_NAMES
from pix.labels import PaymentReference, apply_label
from pix.simulator.plan import SimulationPlan
from pix.simulator.simulation import simulate
from pix.tokens import Keyring

KEYRING = Keyring(1, {1: b"q" * 32})
JUDGED_DAYS, PAST_DAYS = 30, 95
PLAN = SimulationPlan(
    seed=3,
    start_ms=1_780_000_000_000 // DAY_MS * DAY_MS,
    days=PAST_DAYS + JUDGED_DAYS,
    accounts=60,
    payments=6_000,
    fraud_per_100k=1_500,
)


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

    def label(self, identity: str, kind: str, known_ms: int) -> None:
        self.references[identity], change = apply_label(self.references[identity], kind, known_ms)
        for key, event in (change.events(self.references[identity].keys) if change else {}).items():
            self.blobs[key] = kernel.fold(self.blobs[key], kind_of(key), event)


def lived() -> Iterator[tuple[int, np.ndarray]]:
    """Event time and vector of every payment; half of the frauds and one payment in forty are blocked."""
    simulated = simulate(PLAN)
    frauds = {row["end_to_end_id"] for row in simulated.truth if row["is_fraud"]}
    paid = [behind_the_door(payment_from(message), KEYRING) for message in simulated.payments]
    labels = [label_from(message) for message in simulated.labels]
    happened: Iterator[tuple[int, int, Any]] = merge(
        ((payment.initiated_at_ms, number, payment) for number, payment in enumerate(paid)),
        sorted((label.known_at, len(paid) + number, label) for number, label in enumerate(labels)),
    )
    life = Life()
    for at_ms, number, what in happened:
        if isinstance(what, Payment):
            is_blocked = number % 40 == 0 or (what.end_to_end_id in frauds and number % 2 == 0)
            yield at_ms, life.pay(what, is_allowed=not is_blocked)
        else:
            life.label(what.end_to_end_id, what.kind, at_ms)


@pytest.fixture(scope="module")
def judged() -> np.ndarray:
    """Vectors of the last thirty days, after a past that is longer than the longest window."""
    from_ms = PLAN.window[0] + PAST_DAYS * DAY_MS
    return np.stack([vector for at_ms, vector in lived() if at_ms >= from_ms])


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
