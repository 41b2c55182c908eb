"""Honest life: everyday payments among people and companies, and the honest moments that look like fraud."""

from typing import NamedTuple

import numpy as np

from pix.simulator import amounts, chance, published
from pix.simulator.flow import DICT, MANU, QRDN, UNREGISTERED, Behaviour, Flow, everyday, join
from pix.simulator.population import CONTACTS, Population, Slots
from pix.simulator.rhythm import DAY_MS, HOUR_MS, MINUTE_MS, Floats, Ints, Window, draw_times

P2B, P2P, B2P, B2B = range(len(published.RELATIONS))
PAYER_IS_COMPANY, PAYEE_IS_COMPANY = (False, False, True, True), (True, False, False, True)

KNOWN_PAYEE_SHARE = 0.86
GUEST_DEVICE_SHARE = 0.012
FRIENDS_DEVICES = 10_000_000
# Shares of all honest payments that belong to moments that look like fraud.
COLLECTION_SHARE, PURCHASE_SHARE, ERRAND_SHARE = 0.020, 0.010, 0.010
# Of what businesses pay to persons on a payday.
SALARY_SHARE = 0.55
# Salaries are larger than what businesses pay to persons otherwise; both together have the published mean.
BESIDE_SALARIES = 0.84
_REDRAWS = 20
_FAVOURITE = np.repeat(np.arange(CONTACTS), np.round(64 / np.arange(1, CONTACTS + 1)).astype(np.int64))


class Shift(NamedTuple):
    """How life differs from the usual.

    Attributes:
        older: Persons over 55 do this share of what persons pay, drawn anew.
        amounts: Factor on all amounts.
    """

    older: float = 0.0
    amounts: float = 1.0


USUAL = Shift()


def honest(
    rng: np.random.Generator,
    population: Population,
    window: Window,
    counts: tuple[int, ...],
    *,
    payday: bool,
    shift: Shift = USUAL,
) -> Flow:
    """The honest payments of a window.

    Args:
        rng: Source of chance.
        population: Who pays.
        window: Epoch ms.
        counts: Payments per relation of ``published.RELATIONS``.
        payday: Whether salaries come.
        shift: How life differs from the usual.
    """
    people = counts[P2B] + counts[P2P]
    lookalikes = [
        _collections(rng, population, window, round(people * COLLECTION_SHARE)),
        _purchases(rng, population, window, round(people * PURCHASE_SHARE)),
        _errands(rng, population, window, round(people * ERRAND_SHARE)),
    ]
    left = list(counts)
    for flow in lookalikes:
        # What looks like fraud stands in for payments of its own relation, so that the mix stays.
        to_company = int(population.company[flow.payee].sum())
        left[P2B] -= to_company
        left[P2P] -= len(flow) - to_company
    salaries = round(left[B2P] * SALARY_SHARE) if payday else 0
    parts = [
        _usual(rng, population, window, relation, max(0, n - (salaries if relation == B2P else 0)), shift)
        for relation, n in enumerate(left)
    ]
    return join([*parts, _salaries(rng, population, window, salaries), *lookalikes])


def _usual(
    rng: np.random.Generator, population: Population, window: Window, relation: int, n: int, shift: Shift
) -> Flow:
    """Payments of ordinary days, mostly to payees that the payer pays regularly."""
    payers = population.company_payers if PAYER_IS_COMPANY[relation] else population.person_payers
    payer = draw(rng, payers, n)
    if shift.older and not PAYER_IS_COMPANY[relation]:
        old = payers[population.age_years[payers] > 55]  # noqa: PLR2004
        payer = np.where(rng.random(n) < shift.older, draw(rng, old if len(old) else payers, n), payer)
    contacts = population.company_contacts if PAYEE_IS_COMPANY[relation] else population.person_contacts
    regular = contacts[payer, _FAVOURITE[rng.integers(0, len(_FAVOURITE), n)]].astype(np.int64)
    strangers = draw(rng, population.company_payees if PAYEE_IS_COMPANY[relation] else population.person_payees, n)
    payee = not_self(rng, population, payer, np.where(rng.random(n) < KNOWN_PAYEE_SHARE, regular, strangers))
    shares = published.cell_shares()[relation]
    initiation = np.searchsorted(np.cumsum(shares / shares.sum()), rng.random(n)).clip(max=len(shares) - 1)
    z = amounts.standing(rng, population.wealth[payer], chance.normal(population.seed, chance.PAIR, payer, payee))
    paid = amounts.reais(np.full(n, relation), initiation, z) * shift.amounts
    paid *= BESIDE_SALARIES if relation == B2P else 1.0
    guest = (rng.random(n) < GUEST_DEVICE_SHARE) & (not PAYER_IS_COMPANY[relation])
    # Half of the borrowed or brand-new phones are not registered yet, so they can only pay little.
    age = np.where(rng.random(n) < 0.5, UNREGISTERED, (rng.lognormal(1.0, 1.6, n) * HOUR_MS).astype(np.int64))
    return everyday(
        at_ms=draw_times(rng, n, window, company=PAYER_IS_COMPANY[relation]),
        payer=payer,
        payee=payee,
        amount_cents=amounts.cents(rng, paid, np.where(initiation == DICT, 0.55, 0.15)),
        initiation=initiation,
        device=np.where(guest, FRIENDS_DEVICES + rng.integers(0, population.size, n), -1),
        device_age_ms=age,
    )


def draw(rng: np.random.Generator, table: Slots, n: int) -> Ints:
    """Slots from a table of draws."""
    return table[rng.integers(0, len(table), n)].astype(np.int64)


def not_self(rng: np.random.Generator, population: Population, one: Ints, other: Ints) -> Ints:
    """The other sides, with those that are the one side replaced by another slot of the same sort."""
    other = other.copy()
    for _ in range(_REDRAWS):
        same = np.flatnonzero(other == one)
        if not len(same):
            return other
        company = population.company[one[same]]
        other[same] = np.where(
            company, draw(rng, population.company_payees, len(same)), draw(rng, population.person_payees, len(same))
        )
    return np.where(other == one, (one + 1) % population.size, other)


def _salaries(rng: np.random.Generator, population: Population, window: Window, n: int) -> Flow:
    payee = draw(rng, population.person_payers, n)
    payer = population.employer[payee].astype(np.int64)
    paid = population.salary_cents[payee] * rng.choice([0.4, 0.6, 1.0], n, p=[0.25, 0.15, 0.6])
    return everyday(
        at_ms=draw_times(rng, n, window, company=True),
        payer=payer,
        payee=payee,
        amount_cents=np.maximum(paid, 1).astype(np.int64),
        initiation=np.where(rng.random(n) < 0.6, MANU, DICT),
    )


def _collections(rng: np.random.Generator, population: Population, window: Window, n: int) -> Flow:
    """Tickets, a raffle, a shared gift: strangers pay one account like sums within hours."""
    event, first = _events(rng, n, 4, 12)
    k = int(event[-1]) + 1 if n else 0
    payee = np.where(
        rng.random(k) < 0.5, draw(rng, population.company_payees, k), draw(rng, population.person_payees, k)
    )
    price = np.round(rng.lognormal(3.9, 0.8, k)) + 1
    several = price[event] * rng.choice([1, 1, 1, 2], n)
    initiation = np.where(rng.random(k) < 0.6, DICT, QRDN)[event]
    payer = not_self(rng, population, payee[event], draw(rng, population.person_payers, n))
    return _lookalike(rng, window, event, first, payer, payee[event], several, initiation, 12 * MINUTE_MS)


def _purchases(rng: np.random.Generator, population: Population, window: Window, n: int) -> Flow:
    """A car, a deposit, a builder: someone unknown is paid far above the usual, often in rising parts."""
    event, first = _events(rng, n, 1, 4)
    k = int(event[-1]) + 1 if n else 0
    payer = draw(rng, population.person_payers, k)
    payee = np.where(
        rng.random(k) < 0.5, draw(rng, population.company_payees, k), draw(rng, population.person_payees, k)
    )
    payee = not_self(rng, population, payer, payee)
    base = 260 * np.exp(0.5 * population.wealth[payer]) * rng.lognormal(0, 0.9, k)
    part = np.arange(n) - first
    calls = np.where(rng.random(k) < 0.12, Behaviour.TALKED_INTO, Behaviour.EVERYDAY)[event]
    initiation = np.full(n, DICT)
    return _lookalike(
        rng, window, event, first, payer[event], payee[event], base[event] * 1.4**part, initiation,
        6 * MINUTE_MS, calls,
    )  # fmt: skip


def _errands(rng: np.random.Generator, population: Population, window: Window, n: int) -> Flow:
    """Money passed on at once: a relative pays someone's bill, a courier hands over the takings."""
    k = n // 2
    middle = draw(rng, population.person_payers, k)
    contacts = population.person_contacts
    sender = not_self(rng, population, middle, contacts[middle, rng.integers(0, CONTACTS, k)].astype(np.int64))
    receiver = np.where(
        rng.random(k) < 0.4,
        draw(rng, population.company_payees, k),
        contacts[middle, rng.integers(0, CONTACTS, k)].astype(np.int64),
    )
    receiver = not_self(rng, population, middle, receiver)
    paid = 120 * rng.lognormal(0, 1.0, k)
    event = np.repeat(np.arange(k), 2)
    onward = np.tile([False, True], k)
    return _lookalike(
        rng, window, event, np.repeat(np.arange(k) * 2, 2),
        np.where(onward, middle[event], sender[event]), np.where(onward, receiver[event], middle[event]),
        paid[event] * np.where(onward, rng.uniform(0.9, 1.0, k)[event], 1.0),
        np.full(2 * k, DICT), 14 * MINUTE_MS,
    )  # fmt: skip


def _events(rng: np.random.Generator, n: int, low: int, high: int) -> tuple[Ints, Ints]:
    """``n`` rows cut into events of ``low`` to ``high``: the event of each row, and the event's first row."""
    sizes = rng.integers(low, high + 1, n // low + 1)
    event = np.repeat(np.arange(len(sizes)), sizes)[:n]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return event, starts[event] if n else event


def _lookalike(
    rng: np.random.Generator, window: Window, event: Ints, first: Ints, payer: Ints,
    payee: Ints, paid: Floats, initiation: Ints, gap_ms: int, behaviour: Ints | None = None,
) -> Flow:  # fmt: skip
    """Rows of events, ``gap_ms`` apart on average, never beyond the window."""
    n, k = len(event), int(event[-1]) + 1 if len(event) else 0
    elapsed = np.cumsum(rng.exponential(gap_ms, n))
    since = elapsed - elapsed[first] if n else elapsed
    at_ms = np.minimum(draw_times(rng, k, window)[event] + since.astype(np.int64), window[1] - 1)
    special = {} if behaviour is None else {"behaviour": behaviour}
    funds = np.where(rng.random(n) < 0.06, (rng.random(n) * 3 * DAY_MS).astype(np.int64), -1)
    return everyday(
        at_ms=at_ms, payer=payer, payee=payee, amount_cents=amounts.cents(rng, paid, 0.6), initiation=initiation,
        funds_age_ms=funds, **special,
    )  # fmt: skip
