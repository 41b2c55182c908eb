"""Money on its way: the columns that honest life and scenarios fill before payments are written.

Who pays whom, when, how much, in what situation. How a situation looks to a bank (calls, devices,
authentication) is drawn later, from the behaviour alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from pix.simulator import published
from pix.simulator.population import Population
from pix.simulator.rhythm import Bools, Ints, Window, is_night

MANU, DICT, QRDN, QRES, AUTO, INIC, APDN = range(len(published.INITIATIONS))

# What an unregistered device may pay at once, and in a day.
UNREGISTERED_CENTS = round(published.UNREGISTERED_LIMIT * 100)
UNREGISTERED_DAY_CENTS = round(published.UNREGISTERED_DAY_LIMIT * 100)

OWN = -1
"""The payer's own device, or the payer's own place."""
UNREGISTERED = -1
NEVER = -1
HONEST_CAMPAIGN = -1


class Behaviour(IntEnum):
    """What the payer's session is like."""

    EVERYDAY = 0
    TALKED_INTO = 1
    INTRUDER = 2
    RELAY = 3
    ROBOT = 4
    COERCED = 5


class Typology(IntEnum):
    """Why a payment is fraud; 0 is honest. The twelve of the field's typology lists."""

    HONEST = 0
    FALSE_CALL_CENTRE = 1
    WHATSAPP_RELATIVE = 2
    FAKE_SALE = 3
    FAKE_INVESTMENT = 4
    REMOTE_ACCESS = 5
    ACCOUNT_TAKEOVER = 6
    COERCION = 7
    MULE_PASS_THROUGH = 8
    APPLICATION_FRAUD = 9
    QR_TAMPERING = 10
    PROBING = 11
    TRIANGULATION = 12


class Step(NamedTuple):
    """One payment of a scenario; its amount is final.

    Attributes:
        offset_ms: Since the scenario began.
        payer, payee: Slots.
        amount_cents: At least 1.
        initiation: Place in ``published.INITIATIONS``.
        behaviour: What the session is like.
        typology: Why it is fraud.
        hop: 0 for a victim's payment, 1 and more for money passed on.
        device: ``OWN``, or the number of somebody else's.
        device_age_ms: Of such a device since it was registered for the payer, or ``UNREGISTERED``.
        place: ``OWN``, or a place in ``MUNICIPALITY_CODES``.
        credentials_age_ms, limit_age_ms, funds_age_ms: Since the payer's credentials changed, limit was raised,
            and loan or savings were turned into balance, for this scenario; ``NEVER``.
    """

    offset_ms: int
    payer: int
    payee: int
    amount_cents: int
    initiation: int = DICT
    behaviour: Behaviour = Behaviour.EVERYDAY
    typology: Typology = Typology.HONEST
    hop: int = 0
    device: int = OWN
    device_age_ms: int = UNREGISTERED
    place: int = OWN
    credentials_age_ms: int = NEVER
    limit_age_ms: int = NEVER
    funds_age_ms: int = NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Payments as columns: those of ``Step``, with the time (epoch ms) and the campaign they belong to."""

    at_ms: Ints
    payer: Ints
    payee: Ints
    amount_cents: Ints
    initiation: Ints
    behaviour: Ints
    typology: Ints
    hop: Ints
    device: Ints
    device_age_ms: Ints
    place: Ints
    credentials_age_ms: Ints
    limit_age_ms: Ints
    funds_age_ms: Ints
    campaign: Ints

    def __len__(self) -> int:
        """Number of payments."""
        return len(self.at_ms)

    def take(self, rows: Ints | Bools) -> "Flow":
        """The given rows, in that order."""
        return Flow(**{column.name: getattr(self, column.name)[rows] for column in fields(self)})


EVERYDAY = {
    "behaviour": Behaviour.EVERYDAY, "typology": Typology.HONEST, "hop": 0, "device": OWN,
    "device_age_ms": UNREGISTERED, "place": OWN, "credentials_age_ms": NEVER, "limit_age_ms": NEVER,
    "funds_age_ms": NEVER, "campaign": HONEST_CAMPAIGN,
}  # fmt: skip


def everyday(**columns: Ints) -> Flow:
    """Payments in which nothing is special but the given columns."""
    n = len(columns["at_ms"])
    usual = {name: np.full(n, value, dtype=np.int64) for name, value in EVERYDAY.items() if name not in columns}
    return Flow(**columns, **usual)


def join(flows: Sequence[Flow]) -> Flow:
    """All rows of all flows, in time order; ties keep the given order."""
    whole = Flow(
        **{column.name: np.concatenate([getattr(flow, column.name) for flow in flows]) for column in fields(Flow)}
    )
    return whole.take(np.argsort(whole.at_ms, kind="stable"))


def place_steps(steps: Sequence[Step], start_ms: int, window: Window, campaign: int) -> Flow:
    """A scenario's steps at their times, moved or compressed so that they lie in the window."""
    offsets = np.array([step.offset_ms for step in steps], dtype=np.int64)
    begin, end = window
    room, span = end - begin - 1, int(offsets.max(initial=0))
    if span > room:
        offsets = offsets * room // max(span, 1)
        span = int(offsets.max(initial=0))
    names = [name for name in Step._fields if name != "offset_ms"]
    columns = {name: np.array([getattr(step, name) for step in steps], dtype=np.int64) for name in names}
    return Flow(
        at_ms=min(start_ms, end - 1 - span) + offsets,
        campaign=np.full(len(steps), campaign, dtype=np.int64),
        **columns,
    )


def night_rule(population: Population, payer: Ints, payee: Ints) -> Bools:
    """Whether the night's limit is for this pair: persons and sole traders paying persons or sole traders."""
    small = ~population.company | population.mei
    both: Bools = small[payer] & small[payee]
    return both


def limit_cents(population: Population, payer: Ints, payee: Ints, at_ms: Ints) -> Ints:
    """The payer's limit at that time: the night's where its rule holds, else the day's."""
    night = is_night(at_ms) & night_rule(population, payer, payee)
    return np.where(night, population.night_limit_cents[payer], population.limit_cents[payer])
