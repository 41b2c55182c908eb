"""What the rules and the balances make of a day's payments.

Limits bind honest payers here: who meets the night's limit pays the next day. Scenarios know the rules and
keep them themselves (``scenarios``). Balances follow from what comes in and goes out; what moves outside Pix
is drawn anew for each day.
"""

from dataclasses import replace

import numpy as np

from pix.simulator import chance
from pix.simulator.flow import HONEST_CAMPAIGN, OWN, UNREGISTERED, UNREGISTERED_CENTS, Flow, night_rule
from pix.simulator.population import Population
from pix.simulator.rhythm import DAY_CUT_MS, DAY_MS, HOUR_MS, Bools, Ints, Window, is_night

_PERSON_CENTS, _COMPANY_CENTS = 110_000.0, 4_000_000.0
# 9h to 19h, when those pay who met the limit of the night; since the cut at 6h.
_LATER_FROM_MS, _LATER_FOR_MS = 3 * HOUR_MS, 10 * HOUR_MS


def opening_cents(population: Population, slots: Ints, at_ms: Ints) -> Ints:
    """Balance with which an account begins the day of a time, centavos."""
    day = (at_ms - DAY_CUT_MS) // DAY_MS
    spread = 0.7 * population.wealth[slots] + 1.0 * chance.normal(population.seed, chance.PURSE, slots, day)
    scale = np.where(population.company[slots], _COMPANY_CENTS, _PERSON_CENTS)
    # Accounts opened or kept for crime are empty between the crimes.
    emptied = np.where(population.serves_crime[slots], 0.1, 1.0)
    return np.asarray(scale * np.exp(spread) * emptied, dtype=np.int64)


def is_preregistered(population: Population, payer: Ints, payee: Ints) -> Bools:
    """Whether the payer has told the bank beforehand to trust this payee: some of the two dearest contacts."""
    contacts = np.where(
        population.company[payee][:, None],
        population.company_contacts[payer, :2],
        population.person_contacts[payer, :2],
    )
    trusted = chance.uniform(population.seed, chance.REGISTERED, payer, payee) < 0.2  # noqa: PLR2004
    registered: Bools = (contacts == payee[:, None]).any(axis=1) & trusted
    return registered


def obey(rng: np.random.Generator, population: Population, flow: Flow, window: Window) -> Flow:
    """The flow with honest payments moved or cut where a limit forbids them, in time order.

    Args:
        rng: Source of chance.
        population: Who pays.
        flow: In time order.
        window: Of the day, cut at 6h, epoch ms.
    """
    unregistered = (flow.device != OWN) & (flow.device_age_ms == UNREGISTERED)
    amount = np.where(unregistered, np.minimum(flow.amount_cents, UNREGISTERED_CENTS), flow.amount_cents)
    over, left = _over_night_limit(population, flow, amount)
    begin = (window[0] - DAY_CUT_MS) // DAY_MS * DAY_MS + DAY_CUT_MS + _LATER_FROM_MS
    low, high = max(window[0], begin), min(window[1], begin + _LATER_FOR_MS)
    if low < high:
        at_ms = np.where(over, low + (rng.random(len(flow)) * (high - low)).astype(np.int64), flow.at_ms)
        moved = replace(flow, at_ms=at_ms, amount_cents=amount)
        return moved.take(np.argsort(moved.at_ms, kind="stable"))
    return replace(flow, amount_cents=np.where(over, left, amount))


def _over_night_limit(population: Population, flow: Flow, amount: Ints) -> tuple[Bools, Ints]:
    """Honest payments beyond what their payer may pay in this night, and what would be left for them."""
    ruled = is_night(flow.at_ms) & night_rule(population, flow.payer, flow.payee)
    ruled &= ~is_preregistered(population, flow.payer, flow.payee)
    rows = np.flatnonzero(ruled)
    # Frauds first: they happened under this limit, honest payments take what is left.
    order = rows[np.lexsort((flow.at_ms[rows], flow.campaign[rows] == HONEST_CAMPAIGN, flow.payer[rows]))]
    payer, paid = flow.payer[order], amount[order]
    total = np.cumsum(paid)
    first = np.flatnonzero(np.concatenate([[True], payer[1:] != payer[:-1]])) if len(order) else order
    sizes = np.diff(np.concatenate([first, [len(order)]]))
    so_far = total - np.repeat(total[first] - paid[first], sizes)
    limit = population.night_limit_cents[payer]
    over, left = np.zeros(len(flow), dtype=np.bool_), np.ones(len(flow), dtype=np.int64)
    over[order] = (so_far > limit) & (flow.campaign[order] == HONEST_CAMPAIGN)
    # Never more than an even share: several small ones together stay below, too.
    left[order] = np.maximum(np.minimum(paid, (limit - (so_far - paid)) // np.repeat(sizes, sizes)), 1)
    return over, left


def balances(population: Population, flow: Flow) -> Ints:
    """The payers' balances before each payment, centavos; nobody goes below zero.

    Args:
        population: Who pays.
        flow: One day, in time order.
    """
    n = len(flow)
    slots = np.concatenate([flow.payer, flow.payee])
    change = np.concatenate([-flow.amount_cents, flow.amount_cents])
    order = np.argsort(slots * (2 * n + 1) + np.tile(np.arange(n) * 2, 2) + np.repeat([0, 1], n))
    change, slots = change[order], slots[order]
    first = np.flatnonzero(np.concatenate([[True], slots[1:] != slots[:-1]])) if n else order
    sizes = np.diff(np.concatenate([first, [2 * n]]))
    total = np.cumsum(change)
    after = total - np.repeat(total[first] - change[first], sizes)
    opening = opening_cents(population, slots[first], np.full(len(first), flow.at_ms[0] if n else 0))
    lowest = np.minimum.reduceat(after, first) if n else after
    # Whoever would run out was topped up from elsewhere: savings, a salary, a card.
    short = np.maximum(0, -(opening + lowest))
    start = opening + short + np.where(short > 0, opening // 4, 0)
    before = np.empty(2 * n, dtype=np.int64)
    before[order] = after - change + np.repeat(start, sizes)
    return before[:n]
