"""What the directory (DICT) says of a payee: markers and reports, as of its lagging watermark.

Counts of disputes in this simulation, and what other banks' customers reported, which nobody here sees
happen: chance for few accounts, and the traces that earlier spells of a mule left.
"""

from dataclasses import dataclass

import numpy as np

from pix.simulator import chance, published
from pix.simulator.flow import Flow
from pix.simulator.identity import Holders
from pix.simulator.outcomes import NEVER_MS, Dispute
from pix.simulator.rhythm import DAY_MS, HOUR_MS, Bools, Floats, Ints

QUARTER_MS = 90 * DAY_MS
# A mule's spell becomes known to the directory this long after its end.
_MARKED_AFTER_MS = 3 * DAY_MS
_BY_CHANCE = 0.004
_TIME_BITS = 42


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts per payment about its payee, as columns, known at ``watermark_ms``."""

    watermark_ms: Ints
    settlements: Ints
    fraud_markers: Ints
    mule_markers: Ints
    reporters: Ints
    rejected: Ints
    open_reports: Ints


@dataclass(frozen=True, slots=True)
class Directory:
    """Times at which something was noted about a slot: sorted numbers ``slot << 42 | epoch ms``."""

    contested: Ints
    accepted: Ints
    rejected: Ints
    closed: Ints


def directory(flow: Flow, dispute: Dispute) -> Directory:
    """The directory that follows from disputes; who was paid is who is noted."""

    def noted(times: Ints, rows: Bools) -> Ints:
        return np.sort((flow.payee[rows] << _TIME_BITS) | times[rows])

    disputed = dispute.contested_ms != NEVER_MS
    return Directory(
        contested=noted(dispute.contested_ms, disputed),
        accepted=noted(dispute.decided_ms, dispute.accepted),
        rejected=noted(dispute.decided_ms, disputed & ~dispute.accepted),
        closed=noted(dispute.decided_ms, disputed),
    )


def statistics(known: Directory, payees: Holders, lag: Floats) -> Statistics:
    """What a look-up at the payment's time would answer.

    Args:
        known: The directory.
        payees: The payees at the time of their payments.
        lag: Between 0 and 1: how much of the longest lag the watermark is behind.
    """
    population, slots = payees.population, payees.slots
    watermark = payees.at_ms - (lag * published.DICT_LAG_HOURS * HOUR_MS).astype(np.int64)
    # Nothing of an earlier customer of the same slot.
    since = np.maximum(watermark - QUARTER_MS, payees.opened_ms)

    def counted(times: Ints, after: Ints) -> Ints:
        key = slots << _TIME_BITS
        found: Ints = np.searchsorted(times, key | watermark, "right") - np.searchsorted(times, key | after, "right")
        return np.maximum(found, 0)

    accepted = counted(known.accepted, since)
    elsewhere = _elsewhere(payees, watermark)
    markers = accepted + elsewhere
    is_mule_account = chance.uniform(population.seed, chance.MARKER, slots) < 0.6  # noqa: PLR2004
    open_now = counted(known.contested, payees.opened_ms) - counted(known.closed, payees.opened_ms)
    return Statistics(
        watermark_ms=watermark,
        settlements=_settlements(payees, watermark),
        fraud_markers=markers,
        mule_markers=np.where(is_mule_account, markers, 0),
        reporters=np.ceil(markers * 0.7).astype(np.int64),
        rejected=counted(known.rejected, since) + _by_chance(payees, 2 * _BY_CHANCE, 1),
        open_reports=np.maximum(open_now, 0),
    )


def _elsewhere(payees: Holders, watermark: Ints) -> Ints:
    """Markers from reports of other banks' customers; every second mule banks where nobody marks."""
    population, slots = payees.population, payees.slots
    seen = watermark - _MARKED_AFTER_MS
    over = np.where(population.account_number(slots, seen) == payees.number, population.spells_over(slots, seen), 0)
    return np.where(slots % 2 == 0, over, 0) + _by_chance(payees, _BY_CHANCE, 0)


def _by_chance(payees: Holders, share: float, purpose: int) -> Ints:
    quarter = payees.at_ms // QUARTER_MS
    drawn = chance.uniform(payees.population.seed, chance.MARKER, payees.slots, quarter * 2 + purpose)
    return (drawn < share).astype(np.int64)


def _settlements(payees: Holders, watermark: Ints) -> Ints:
    """Payments that the payee got in 90 days, by its popularity and by how long the account has existed."""
    population, slots = payees.population, payees.slots
    open_days = np.clip((watermark - payees.opened_ms) / DAY_MS, 0, 90)
    mood = chance.normal(population.seed, chance.SETTLEMENTS, slots, payees.at_ms // QUARTER_MS)
    return (population.popularity[slots] * open_days * 0.6 * np.exp(0.4 * mood)).astype(np.int64)
