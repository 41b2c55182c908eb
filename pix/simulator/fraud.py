"""Fraud as scenarios: what criminals, victims and mules do, never what a label would show.

A campaign uses one mule that is in a spell of use, so the same account meets several victims over days.
Most campaigns end with the money passed on at once.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pix.simulator.flow import (
    DICT,
    MANU,
    QRDN,
    QRES,
    UNREGISTERED,
    UNREGISTERED_CENTS,
    UNREGISTERED_DAY_CENTS,
    Behaviour,
    Flow,
    Step,
    Typology,
    join,
    place,
)
from pix.simulator.honest import draw_slots, rounded
from pix.simulator.population import Population
from pix.simulator.rhythm import HOUR_MS, MINUTE_MS, Ints, draw_times

CRIMINAL_DEVICES = 20_000_000
GANGS = 7
PASS_THROUGH_SHARE = 0.75
INNOCENT_SHARE = 0.22
# Not a multiple of 3, see _slice.
SLICES = 8


class Cast(NamedTuple):
    """Who takes part in a campaign, and when it begins (epoch ms)."""

    population: Population
    mule: int
    helpers: Ints
    start_ms: int


Scenario = Callable[[np.random.Generator, Cast], list[Step]]


def fraud(rng: np.random.Generator, population: Population, window: tuple[int, int], n: int) -> Flow:
    """Exactly ``n`` fraudulent payments in the window, epoch ms."""
    parts: list[Flow] = [place([], window[0], window, 0)]
    names, weights = list(SCENARIOS), list(SCENARIOS.values())
    left = n
    while left > 0:
        scenario = names[rng.choice(len(names), p=weights)]
        start_ms = int(draw_times(rng, 1, *_slice(window, len(parts)))[0])
        cast = _cast(rng, population, start_ms)
        steps = scenario(rng, cast)
        if rng.random() < PASS_THROUGH_SHARE:
            steps = steps + _passed_on(rng, cast, steps)
        # Cut by time, so that money is never passed on that did not come in.
        steps = sorted(steps)[:left]
        parts.append(place(steps, start_ms, window, purse=len(parts)))
        left -= len(steps)
    return join(parts)


def _slice(window: tuple[int, int], campaign: int) -> tuple[int, int]:
    """Campaigns take turns among the window's slices: few as they are, none of its parts goes without."""
    begin, end = window
    if end - begin < SLICES:
        return window
    turn = campaign * 3 % SLICES
    return begin + (end - begin) * turn // SLICES, begin + (end - begin) * (turn + 1) // SLICES


def _cast(rng: np.random.Generator, population: Population, start_ms: int) -> Cast:
    hot = population.hot_mules(start_ms)
    # Some campaigns borrow an account that never served before and never will again.
    innocent = rng.random() < INNOCENT_SHARE
    mule = int(rng.integers(0, population.size) if innocent else rng.choice(hot))
    helpers = rng.permutation(population.mules[population.mules != mule])[:3]
    return Cast(population, mule, helpers, start_ms)


def _victim(rng: np.random.Generator, cast: Cast) -> int:
    while True:
        victim = int(draw_slots(rng, cast.population, 1, company=False)[0])
        if victim != cast.mule and victim not in cast.helpers:
            return victim


def _account_takeover(rng: np.random.Generator, cast: Cast) -> list[Step]:
    """A stranger's device in the victim's account: a probe, then rising transfers within minutes."""
    steps: list[Step] = []
    device = CRIMINAL_DEVICES + 1_000 * (cast.mule % GANGS) + int(rng.integers(0, 12))
    at = 0.0
    for _ in range(int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))):
        victim = _victim(rng, cast)
        registered = rng.random() < 0.45
        age = int(rng.lognormal(0.5, 1.4) * HOUR_MS) if registered else UNREGISTERED
        amounts = [int(rng.integers(1, 20)) * 100] if rng.random() < 0.7 else []
        first = 45_000 * rng.lognormal(0, 0.7) if registered else rng.uniform(4_000, 11_000)
        amounts += _rising(rng, first, int(rng.integers(2, 5)))
        if not registered:
            amounts = [amount for amount in _below_cliffs(amounts) if amount > 0]
        for amount in amounts:
            payee = _payee(rng, cast)
            steps.append(
                Step(
                    int(at), victim, payee, amount, _transfer(rng), Behaviour.INTRUDER,
                    Typology.ACCOUNT_TAKEOVER, device, age,
                )
            )  # fmt: skip
            at += rng.exponential(2.5 * MINUTE_MS)
        at += rng.exponential(4 * HOUR_MS)
    return steps


def _below_cliffs(amounts: list[int]) -> list[int]:
    """Criminals know what an unregistered device may pay, at once and in a day, and stay just below."""
    kept, total = [], 0
    for amount in amounts:
        allowed = min(amount, UNREGISTERED_CENTS - 1_000, UNREGISTERED_DAY_CENTS - total)
        kept.append(allowed)
        total += allowed
    return kept


def _false_call_centre(rng: np.random.Generator, cast: Cast) -> list[Step]:
    """A voice on the phone makes the victim move money, more each time, from the own device."""
    victim = _victim(rng, cast)
    payees = [cast.mule, _payee(rng, cast)]
    first = 60_000 * cast.population.wealth[victim] ** 0.7 * rng.lognormal(0, 0.9)
    amounts = _rising(rng, first, int(rng.choice([2, 3, 4, 5], p=[0.35, 0.35, 0.2, 0.1])))
    steps, at = [], 0.0
    for index, amount in enumerate(amounts):
        drain = float(rng.uniform(0.8, 1.0)) if index == len(amounts) - 1 and rng.random() < 0.5 else 0.0
        payee = payees[int(rng.random() < 0.3)]
        steps.append(
            Step(
                int(at), victim, payee, amount, _transfer(rng), Behaviour.TALKED_INTO,
                Typology.FALSE_CALL_CENTRE, share=drain,
            )
        )  # fmt: skip
        at += rng.exponential(7 * MINUTE_MS)
    return steps


def _fake_sale(rng: np.random.Generator, cast: Cast) -> list[Step]:
    """An offer too good to be true: strangers pay the same young account like amounts."""
    n = int(rng.integers(4, 11))
    price = 19_000 * rng.lognormal(0, 0.8)
    initiation = DICT if rng.random() < 0.55 else int(rng.choice([QRDN, QRES], p=[0.8, 0.2]))
    steps, at = [], 0.0
    for _ in range(n):
        amount = int(rounded(rng, np.array([price * rng.choice([1.0, 1.0, 1.08, 0.9])]), 0.4)[0])
        steps.append(Step(int(at), _victim(rng, cast), cast.mule, amount, initiation, typology=Typology.FAKE_SALE))
        at += rng.exponential(14 * MINUTE_MS)
    return steps


def _passed_on(rng: np.random.Generator, cast: Cast, steps: list[Step]) -> list[Step]:
    """The mule forwards at least 90 % of what came in, minutes after each batch of it."""
    inflows = sorted(step.offset_ms for step in steps if step.payee == cast.mule)
    if not inflows:
        return []
    batches = [inflows[len(inflows) // 2], inflows[-1]] if len(inflows) > 5 and rng.random() < 0.6 else [inflows[-1]]  # noqa: PLR2004
    out: list[Step] = []
    for batch in batches:
        at = batch + rng.exponential(5 * MINUTE_MS) + 20_000
        # Two parts leave at most 6 % behind: the second takes its share of what the first left.
        shares = [rng.uniform(0.9, 1.0)] if rng.random() < 0.5 else [rng.uniform(0.4, 0.7), rng.uniform(0.9, 1.0)]
        for share in shares:
            out.append(_onward(rng, cast, int(at), float(share)))
            at += rng.exponential(2 * MINUTE_MS) + 5_000
    return out


def _onward(rng: np.random.Generator, cast: Cast, offset_ms: int, share: float) -> Step:
    """To a second layer: another mule, or an ordinary account where the money is spent."""
    payee = int(rng.choice(cast.helpers))
    if rng.random() < 0.5:
        payee = int(rng.integers(0, cast.population.size))
        payee = payee if payee != cast.mule else int(cast.helpers[0])
    gang_device = CRIMINAL_DEVICES + 1_000 * (cast.mule % GANGS) + int(rng.integers(100, 104))
    own = rng.random() < 0.5
    return Step(
        offset_ms,
        cast.mule,
        payee,
        1_000,
        DICT if rng.random() < 0.7 else MANU,
        Behaviour.RELAY,
        Typology.MULE_PASS_THROUGH,
        device=-1 if own else gang_device,
        device_age_ms=int(rng.lognormal(4.5, 1.0) * HOUR_MS),
        share=share,
        from_purse=True,
    )


def _payee(rng: np.random.Generator, cast: Cast) -> int:
    return cast.mule if rng.random() < 0.7 else int(cast.helpers[0])


def _transfer(rng: np.random.Generator) -> int:
    return int(rng.choice([DICT, QRDN, MANU], p=[0.72, 0.16, 0.12]))


def _rising(rng: np.random.Generator, first_cents: float, n: int) -> list[int]:
    amounts = first_cents * np.cumprod(np.concatenate([[1.0], rng.uniform(1.1, 1.9, n - 1)]))
    return [int(amount) for amount in rounded(rng, amounts, 0.5)]


# Shares of campaigns. A fake sale has more payments than the others, so it leads by count.
SCENARIOS: dict[Scenario, float] = {_account_takeover: 0.31, _false_call_centre: 0.45, _fake_sale: 0.24}
