"""Honest life: everyday payments among people and companies, and the honest moments that look like fraud.

Amounts, initiation forms and the mix of people and companies follow the Banco Central's figures of June 2026.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pix.simulator.flow import (
    APDN,
    AUTO,
    DICT,
    INIC,
    MANU,
    NO_PURSE,
    OWN_DEVICE,
    QRDN,
    QRES,
    UNREGISTERED,
    UNREGISTERED_CENTS,
    Behaviour,
    Flow,
    Step,
    Typology,
    join,
    place,
)
from pix.simulator.population import CONTACTS, Population
from pix.simulator.rhythm import HOUR_MS, MINUTE_MS, Bools, Floats, Ints, draw_times

KNOWN_PAYEE_SHARE = 0.86
GUEST_DEVICE_SHARE = 0.012
DRAIN_SHARE = 0.006
FRIENDS_DEVICES = 10_000_000


class Kind(NamedTuple):
    """Payments between two sorts of holders."""

    share: float
    payer_company: bool
    payee_company: bool
    median_cents: float
    sigma: float
    tail_share: float
    tail_from_cents: float
    tail_alpha: float
    tail_cap_cents: float
    initiations: dict[int, float]


KINDS = (
    Kind(0.460, False, True, 4_500, 1.05, 0.06, 15_000, 1.2, 3_000_000,
         {QRDN: 0.72, QRES: 0.14, DICT: 0.115, MANU: 0.02, AUTO: 0.002, INIC: 0.001, APDN: 0.002}),
    Kind(0.398, False, False, 6_500, 1.20, 0.10, 20_000, 1.0, 5_000_000,
         {DICT: 0.71, MANU: 0.13, QRDN: 0.13, QRES: 0.03}),
    Kind(0.096, True, False, 11_000, 1.10, 0.08, 50_000, 1.4, 5_000_000,
         {DICT: 0.42, MANU: 0.42, QRDN: 0.16}),
    Kind(0.040, True, True, 80_000, 1.50, 0.10, 500_000, 1.1, 50_000_000,
         {QRDN: 0.45, DICT: 0.27, MANU: 0.28}),
)  # fmt: skip


def honest(rng: np.random.Generator, population: Population, window: tuple[int, int], n: int) -> Flow:
    """``n`` honest payments in the window, epoch ms."""
    parts: list[Flow] = []
    for scenario, share in SCENARIOS.items():
        left = round(n * share)
        while left > 0:
            start_ms = int(draw_times(rng, 1, *window)[0])
            steps = sorted(scenario(rng, population))[:left]
            parts.append(place(steps, start_ms, window, NO_PURSE))
            left -= len(steps)
    return join([everyday(rng, population, window, n - sum(len(part) for part in parts)), *parts])


def everyday(rng: np.random.Generator, population: Population, window: tuple[int, int], n: int) -> Flow:
    """Payments of ordinary days, mostly to payees that the payer pays regularly."""
    shares = np.array([kind.share for kind in KINDS])
    counts = rng.multinomial(n, shares / shares.sum())
    return join([_of_kind(rng, population, window, kind, int(m)) for kind, m in zip(KINDS, counts, strict=True)])


def _of_kind(rng: np.random.Generator, population: Population, window: tuple[int, int], kind: Kind, n: int) -> Flow:
    payer = draw_slots(rng, population, n, company=kind.payer_company)
    contacts = population.company_contacts if kind.payee_company else population.person_contacts
    favourites = 1.0 / np.arange(1, CONTACTS + 1)
    regular = contacts[payer, rng.choice(CONTACTS, n, p=favourites / favourites.sum())]
    payee = np.where(rng.random(n) < KNOWN_PAYEE_SHARE, regular, _strangers(rng, population, n, kind.payee_company))
    payee = not_self(rng, population, payer, payee)
    initiation = rng.choice(list(kind.initiations), n, p=list(kind.initiations.values()))
    amount = _amounts(rng, population, kind, payer, initiation)
    guest = (rng.random(n) < GUEST_DEVICE_SHARE) & (not kind.payer_company)
    # Half of the borrowed or brand-new phones are not registered yet, so they can only pay little.
    age = np.where(rng.random(n) < 0.5, UNREGISTERED, (rng.lognormal(1.0, 1.6, n) * HOUR_MS).astype(np.int64))
    amount = np.where(guest & (age == UNREGISTERED), np.minimum(amount, UNREGISTERED_CENTS), amount)
    return Flow(
        at_ms=draw_times(rng, n, *window, company=kind.payer_company),
        payer=payer,
        payee=payee,
        amount_cents=amount,
        initiation=initiation,
        behaviour=np.full(n, Behaviour.EVERYDAY, dtype=np.int64),
        typology=np.full(n, Typology.HONEST, dtype=np.int64),
        device=np.where(guest, FRIENDS_DEVICES + rng.integers(0, population.size, n), OWN_DEVICE),
        device_age_ms=age,
        purse=np.full(n, NO_PURSE, dtype=np.int64),
        share=np.where((rng.random(n) < DRAIN_SHARE) & (amount > 20_000), rng.uniform(0.85, 1.0, n), 0.0),
        from_purse=np.zeros(n, dtype=np.int64),
    )


def draw_slots(rng: np.random.Generator, population: Population, n: int, *, company: bool) -> Ints:
    """Payers: people, or companies, the active ones more often."""
    return _weighted(rng, population.company == company, population.activity, n)


def _strangers(rng: np.random.Generator, population: Population, n: int, company: bool) -> Ints:
    return _weighted(rng, population.company == company, population.popularity, n)


def _weighted(rng: np.random.Generator, among: Bools, weights: Floats, n: int) -> Ints:
    pool = np.flatnonzero(among)
    return rng.choice(pool, n, p=weights[pool] / weights[pool].sum())


def not_self(rng: np.random.Generator, population: Population, payer: Ints, payee: Ints) -> Ints:
    """Payees, with those that are the payer replaced by another slot."""
    elsewhere = (payer + rng.integers(1, population.size, len(payer))) % population.size
    return np.where(payee == payer, elsewhere, payee)


def _amounts(rng: np.random.Generator, population: Population, kind: Kind, payer: Ints, initiation: Ints) -> Ints:
    n = len(payer)
    body = kind.median_cents * rng.lognormal(0, kind.sigma, n)
    tail = np.minimum(kind.tail_from_cents * (1 + rng.pareto(kind.tail_alpha, n)), kind.tail_cap_cents)
    cents = np.where(rng.random(n) < kind.tail_share, tail, body) * population.wealth[payer]
    cents = cents * np.where(initiation == MANU, 2.0, 1.0)
    return rounded(rng, cents, np.where(initiation == DICT, 0.55, 0.15))


def rounded(rng: np.random.Generator, cents: Floats, round_share: Floats | float) -> Ints:
    """Whole cents, at least one; a share of them as people name sums: multiples of R$ 5, 10, 50 or 100."""
    step = np.select([cents < 5_000, cents < 20_000, cents < 100_000], [500.0, 1_000.0, 5_000.0], 10_000.0)
    named = np.maximum(np.round(cents / step), 1) * step
    chosen = np.where(rng.random(len(cents)) < round_share, named, cents)
    return np.maximum(chosen, 1).astype(np.int64)


def _collection(rng: np.random.Generator, population: Population) -> list[Step]:
    """Tickets, a raffle, a shared gift: strangers pay one account like sums within hours."""
    company = bool(rng.random() < 0.5)
    payee = int(_strangers(rng, population, 1, company)[0])
    n = int(rng.integers(4, 13))
    payers = not_self(rng, population, np.full(n, payee), draw_slots(rng, population, n, company=False))
    price = 100 * round(float(rng.lognormal(4.6, 0.7)))
    offsets = np.cumsum(rng.exponential(12 * MINUTE_MS, n)).astype(np.int64)
    initiation = DICT if rng.random() < 0.6 else QRDN
    return [
        Step(int(offset), int(payer), payee, int(price * rng.choice([1, 1, 1, 2])), initiation)
        for offset, payer in zip(offsets, payers, strict=True)
    ]


def _big_purchase(rng: np.random.Generator, population: Population) -> list[Step]:
    """A car, a deposit, a builder: someone unknown is paid far above the usual, often in rising parts."""
    payer = int(draw_slots(rng, population, 1, company=False)[0])
    payee = int(_strangers(rng, population, 1, bool(rng.random() < 0.5))[0])
    base = 45_000 * population.wealth[payer] * rng.lognormal(0, 0.8)
    parts = int(rng.choice([1, 2, 3, 4], p=[0.45, 0.3, 0.15, 0.1]))
    on_call = Behaviour.TALKED_INTO if rng.random() < 0.1 else Behaviour.EVERYDAY
    steps, at = [], 0.0
    for part in range(parts):
        amount = int(rounded(rng, np.array([base * 1.4**part]), 0.6)[0])
        drain = float(rng.uniform(0.85, 1.0)) if part == parts - 1 and rng.random() < 0.25 else 0.0
        steps.append(Step(int(at), payer, payee, amount, DICT, on_call, share=drain))
        at += rng.exponential(6 * MINUTE_MS)
    return steps if payer != payee else []


def _errand(rng: np.random.Generator, population: Population) -> list[Step]:
    """Money passed on at once: a relative pays someone's bill, a courier hands over the takings."""
    middle = int(draw_slots(rng, population, 1, company=False)[0])
    sender, receiver = (int(contact) for contact in rng.choice(population.person_contacts[middle], 2))
    if rng.random() < 0.4:
        receiver = int(_strangers(rng, population, 1, True)[0])
    amount = int(rounded(rng, np.array([18_000 * rng.lognormal(0, 0.9)]), 0.5)[0])
    onward = int(amount * rng.uniform(0.9, 1.0))
    wait = int(rng.lognormal(2.3, 0.8) * MINUTE_MS)
    steps = [Step(0, sender, middle, amount), Step(wait, middle, receiver, onward)]
    return [step for step in steps if step.payer != step.payee]


# Shares of all honest payments.
SCENARIOS: dict[Callable[[np.random.Generator, Population], list[Step]], float] = {
    _collection: 0.025,
    _big_purchase: 0.012,
    _errand: 0.010,
}
