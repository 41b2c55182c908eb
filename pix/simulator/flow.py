"""Money on its way: the columns that honest life and scenarios fill before payments are written.

Who pays whom, when, how much, in what situation. How a situation looks to a bank (calls, devices,
authentication) is drawn later, from the behaviour alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from pix.simulator.population import Population
from pix.simulator.rhythm import Floats, Ints, local_hour

INITIATIONS = ("MANU", "DICT", "QRDN", "QRES", "AUTO", "INIC", "APDN")
MANU, DICT, QRDN, QRES, AUTO, INIC, APDN = range(len(INITIATIONS))

NIGHT_LIMIT_CENTS = 100_000
# What an unregistered device may pay at once, and in a day.
UNREGISTERED_CENTS, UNREGISTERED_DAY_CENTS = 20_000, 100_000

OWN_DEVICE = -1
UNREGISTERED = -1
NO_PURSE = -1


class Behaviour(IntEnum):
    """What the payer's session is like."""

    EVERYDAY = 0
    TALKED_INTO = 1
    INTRUDER = 2
    RELAY = 3


class Typology(IntEnum):
    """Why a payment is fraud; 0 is honest."""

    HONEST = 0
    ACCOUNT_TAKEOVER = 1
    FALSE_CALL_CENTRE = 2
    FAKE_SALE = 3
    MULE_PASS_THROUGH = 4


class Step(NamedTuple):
    """One payment of a scenario.

    ``share`` > 0 replaces the amount: for ``from_purse`` it is of what the payer got in this scenario and
    still has, else of the payer's balance (then ``amount_cents`` is the least, and three times it the most).
    """

    offset_ms: int
    payer: int
    payee: int
    amount_cents: int
    initiation: int = DICT
    behaviour: Behaviour = Behaviour.EVERYDAY
    typology: Typology = Typology.HONEST
    device: int = OWN_DEVICE
    device_age_ms: int = UNREGISTERED
    share: float = 0.0
    from_purse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Payments as columns. ``device`` other than -1 is somebody else's, registered ``device_age_ms`` ago."""

    at_ms: Ints
    payer: Ints
    payee: Ints
    amount_cents: Ints
    initiation: Ints
    behaviour: Ints
    typology: Ints
    device: Ints
    device_age_ms: Ints
    purse: Ints
    share: Floats
    from_purse: Ints

    def __len__(self) -> int:
        """Number of payments."""
        return len(self.at_ms)

    def take(self, rows: Ints) -> "Flow":
        """The given rows, in that order."""
        return Flow(**{column.name: getattr(self, column.name)[rows] for column in fields(self)})


def join(flows: Sequence[Flow]) -> Flow:
    """All rows of all flows, in time order; ties keep the given order."""
    whole = Flow(
        **{column.name: np.concatenate([getattr(flow, column.name) for flow in flows]) for column in fields(Flow)}
    )
    return whole.take(np.argsort(whole.at_ms, kind="stable"))


def place(steps: Sequence[Step], start_ms: int, window: tuple[int, int], purse: int) -> Flow:
    """A scenario's steps at their times, compressed where the window is shorter than the scenario."""
    offsets = np.array([step.offset_ms for step in steps], dtype=np.int64)
    begin, end = window
    room, span = end - begin - 1, int(offsets.max(initial=0))
    if span > room:
        offsets = offsets * room // max(span, 1)
        span = int(offsets.max(initial=0))
    at_ms = min(start_ms, end - 1 - span) + offsets

    def column(name: str) -> Ints:
        return np.array([getattr(step, name) for step in steps], dtype=np.int64)

    return Flow(
        at_ms=at_ms,
        payer=column("payer"),
        payee=column("payee"),
        amount_cents=column("amount_cents"),
        initiation=column("initiation"),
        behaviour=column("behaviour"),
        typology=column("typology"),
        device=column("device"),
        device_age_ms=column("device_age_ms"),
        purse=np.full(len(steps), purse, dtype=np.int64),
        share=np.array([step.share for step in steps], dtype=np.float64),
        from_purse=column("from_purse"),
    )


def settle(rng: np.random.Generator, population: Population, flow: Flow) -> tuple[Ints, Ints]:
    """Amounts and the payers' balances before each payment, in cents, by one pass in time order.

    Limits bind here, for everyone alike. A payer short of money is topped up from elsewhere (salary,
    savings).
    """
    scale = np.where(population.company, 4_000_000.0, 150_000.0) * population.wealth
    balances = (scale * rng.lognormal(0, 1.0, population.size)).astype(np.int64).tolist()
    top_ups = (scale[flow.payer] * rng.lognormal(-0.7, 1.1, len(flow))).astype(np.int64).tolist()
    limits = _limits(population, flow).tolist()
    amounts, before, purses = flow.amount_cents.tolist(), [0] * len(flow), dict[tuple[int, int], int]()
    rows = zip(
        flow.payer.tolist(), flow.payee.tolist(), flow.purse.tolist(), flow.share.tolist(),
        flow.from_purse.tolist(), strict=True,
    )  # fmt: skip
    for row, (payer, payee, purse, share, from_purse) in enumerate(rows):
        amount = amounts[row]
        if from_purse:
            amount = int(share * purses.get((purse, payer), 0)) or amount
        elif share:
            amount = min(max(int(share * balances[payer]), amount), 3 * amount)
        amount = max(1, min(amount, limits[row]))
        if balances[payer] < amount:
            balances[payer] += amount + top_ups[row]
        if purse != NO_PURSE:
            holder, change = (payer, -amount) if from_purse else (payee, amount)
            purses[purse, holder] = purses.get((purse, holder), 0) + change
        amounts[row], before[row] = amount, balances[payer]
        balances[payer] -= amount
        balances[payee] += amount
    return np.array(amounts, dtype=np.int64), np.array(before, dtype=np.int64)


def limit_cents(population: Population, payer: Ints, payee: Ints, at_ms: Ints) -> Ints:
    """The payer's limit for one payment: low at night from person to person."""
    hour = local_hour(at_ms)
    night = ((hour >= 20) | (hour < 6)) & ~population.company[payer] & ~population.company[payee]
    return np.where(night, NIGHT_LIMIT_CENTS, population.limit_cents[payer])


def _limits(population: Population, flow: Flow) -> Ints:
    unregistered = (flow.device != OWN_DEVICE) & (flow.device_age_ms == UNREGISTERED)
    limits = limit_cents(population, flow.payer, flow.payee, flow.at_ms)
    return np.where(unregistered, np.minimum(limits, UNREGISTERED_CENTS), limits)
