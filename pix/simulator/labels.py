"""What becomes known about payments, and when: the Pix dispute (MED) and the analyst.

Late, incomplete and sometimes wrong, as in life: some fraud is never reported, some disputes are rejected,
honest payments are disputed too, and an accepted dispute may be reversed.
"""

from typing import Any

import numpy as np

from pix.contracts import label_id
from pix.simulator.flow import Typology
from pix.simulator.rhythm import DAY_MS, HOUR_MS, MINUTE_MS, Ints
from pix.simulator.text import timestamps

# Of fraudulent payments.
UNREPORTED_SHARE = 0.10
ANALYST_SHARE = 0.22
WRONGLY_REJECTED_SHARE = 0.05
REVERSED_SHARE = 0.02
# Of honest payments.
DISPUTED_SHARE = 0.0015
DISMISSED_SHARE = 0.0008

_FRAUD_TYPES = {
    Typology.HONEST: "SCAM",
    Typology.ACCOUNT_TAKEOVER: "ACCOUNT_TAKEOVER",
    Typology.FALSE_CALL_CENTRE: "SCAM",
    Typology.FAKE_SALE: "SCAM",
    Typology.MULE_PASS_THROUGH: "OTHER",
}


def draw_labels(rng: np.random.Generator, ids: list[str], at_ms: Ints, typology: Ints) -> list[dict[str, Any]]:
    """All labels that will ever become known, in the order in which they do.

    Args:
        rng: Source of chance.
        ids: EndToEndIds of the payments.
        at_ms: When each payment was initiated, epoch ms.
        typology: Why each is fraud, ``Typology``; 0 is honest.
    """
    histories: list[tuple[int, int, str, int, str]] = []
    for row in np.flatnonzero(typology != Typology.HONEST):
        histories += [(int(row), *event) for event in _of_fraud(rng, int(at_ms[row]))]
    luck = rng.random(len(ids))
    honest = typology == Typology.HONEST
    for row in np.flatnonzero(honest & (luck < DISPUTED_SHARE)):
        contested = _contested_ms(rng, int(at_ms[row]))
        histories += [(int(row), contested, "contested", _heard(rng, contested), "med")]
        rejected = contested + int(rng.uniform(0.5, 7) * DAY_MS)
        histories += [(int(row), rejected, "rejected", _heard(rng, rejected), "med")]
    dismissed = honest & (luck >= DISPUTED_SHARE) & (luck < DISPUTED_SHARE + DISMISSED_SHARE)
    for row in np.flatnonzero(dismissed):
        looked = int(at_ms[row]) + _minutes(rng)
        histories += [(int(row), looked, "dismissed", looked, "analyst")]
    return _written(histories, ids, typology)


def _of_fraud(rng: np.random.Generator, at_ms: int) -> list[tuple[int, str, int, str]]:
    """(effective, kind, known, source) of one fraudulent payment."""
    events: list[tuple[int, str, int, str]] = []
    if rng.random() < UNREPORTED_SHARE:
        return events
    if rng.random() < ANALYST_SHARE:
        looked = at_ms + _minutes(rng)
        events.append((looked, "confirmed", looked, "analyst"))
    contested = _contested_ms(rng, at_ms)
    events.append((contested, "contested", _heard(rng, contested), "med"))
    decided = contested + HOUR_MS + int(rng.beta(1.2, 2.4) * 6.9 * DAY_MS)
    if rng.random() < WRONGLY_REJECTED_SHARE:
        return [*events, (decided, "rejected", _heard(rng, decided), "med")]
    events.append((decided, "accepted", _heard(rng, decided), "med"))
    if rng.random() < REVERSED_SHARE:
        reversed_ms = decided + int(rng.uniform(2, 20) * DAY_MS)
        events.append((reversed_ms, "reversed", _heard(rng, reversed_ms), "med"))
    return events


def _contested_ms(rng: np.random.Generator, at_ms: int) -> int:
    """Hours to days later, 1.5 days on average."""
    return at_ms + int(rng.lognormal(-0.1, 1.0) * DAY_MS)


def _heard(rng: np.random.Generator, effective_ms: int) -> int:
    return effective_ms + int(rng.uniform(1, 30) * MINUTE_MS)


def _minutes(rng: np.random.Generator) -> int:
    return int((2 + rng.exponential(15)) * MINUTE_MS)


def _written(histories: list[tuple[int, int, str, int, str]], ids: list[str], typology: Ints) -> list[dict[str, Any]]:
    histories = sorted(histories, key=lambda history: (history[3], ids[history[0]], history[2]))
    effective = timestamps(np.array([history[1] for history in histories], dtype=np.int64))
    known = timestamps(np.array([history[3] for history in histories], dtype=np.int64))
    labels = []
    for (row, _, kind, _, source), effective_at, known_at in zip(histories, effective, known, strict=True):
        says_fraud = kind in ("contested", "accepted", "confirmed")
        label: dict[str, Any] = {
            "end_to_end_id": ids[row],
            "kind": kind,
            "fraud_type": _FRAUD_TYPES[Typology(int(typology[row]))] if says_fraud else None,
            "effective_at": effective_at,
            "known_at": known_at,
            "source": source,
        }
        labels.append({"label_id": label_id(label), **label})
    return labels
