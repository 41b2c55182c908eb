"""Scenarios played: who is met by whom, payment by payment, with amounts that keep the rules.

A campaign uses mules that are in a spell of use, so the same account meets several victims over days. Its
payments are final here; nothing of them depends on how a report will end.
"""

from typing import NamedTuple

import numpy as np

from pix.simulator import amounts
from pix.simulator.flow import (
    DICT,
    MANU,
    NEVER,
    OWN,
    UNREGISTERED,
    UNREGISTERED_CENTS,
    UNREGISTERED_DAY_CENTS,
    Behaviour,
    Step,
    Typology,
    limit_cents,
    night_rule,
)
from pix.simulator.honest import draw
from pix.simulator.population import MUNICIPALITY_CODES, Population
from pix.simulator.rhythm import HOUR_MS, MINUTE_MS, is_night
from pix.simulator.scenarios import BUSINESS_FACTOR, Layer, Scenario
from pix.simulator.settling import opening_cents

CRIMINAL_DEVICES = 20_000_000
GANGS = 40
_GANG_PHONES = 12
_TRIES = 20


class Cast(NamedTuple):
    """Who takes part, and when it begins (epoch ms)."""

    population: Population
    receivers: list[int]
    start_ms: int
    gang: int


def play(rng: np.random.Generator, population: Population, scenario: Scenario, start_ms: int) -> list[Step]:
    """The payments of one campaign, in time order."""
    cast = Cast(population, _receivers(rng, population, scenario.layer, start_ms), start_ms, int(rng.integers(GANGS)))
    steps: list[Step] = []
    at = 0.0
    for _ in range(_between(rng, scenario.victims)):
        steps += _victim_pays(rng, cast, scenario, int(at))
        at += rng.exponential(scenario.victim_gap_ms)
    if scenario.layer.passed_on and rng.random() < scenario.layer.passed_on:
        steps += _passed_on(rng, cast, scenario.layer, steps)
    return sorted(steps)


def _receivers(rng: np.random.Generator, population: Population, layer: Layer, start_ms: int) -> list[int]:
    """The accounts that victims pay: businesses' or persons', clean ones or mules in use."""
    company = bool(rng.random() < layer.company_share)
    if rng.random() < layer.clean_share:
        # Anybody, not those whom everybody pays: a well-known merchant would stand out.
        pool = np.unique(draw(rng, population.companies if company else population.persons, 8))
    else:
        pool = population.hot_mules(start_ms, company=company, for_crime=bool(rng.random() < layer.for_crime_share))
    n = min(_between(rng, layer.accounts), len(pool))
    return [int(slot) for slot in rng.choice(pool, n, replace=False)]


def _victim_pays(rng: np.random.Generator, cast: Cast, scenario: Scenario, offset_ms: int) -> list[Step]:
    """One victim's payments: probes, then rising sums, perhaps all that is left."""
    victim = _victim(rng, cast, scenario)
    base = _situation(rng, cast, scenario, victim)
    count = _between(rng, scenario.payments)
    recipe = scenario.amounts
    probes = int(rng.integers(1, recipe.probes + 1)) if rng.random() < recipe.probe_share else 0
    first = recipe.median * np.exp(recipe.by_wealth * cast.population.wealth[victim]) * rng.lognormal(0, recipe.sigma)
    first *= BUSINESS_FACTOR if cast.population.company[victim] else 1.0
    reais = first * np.cumprod(np.concatenate([[1.0], rng.uniform(*recipe.growth, count - 1)]))
    planned = [*rng.integers(1, 101, probes).tolist(), *amounts.cents(rng, reais, recipe.round_share).tolist()]
    drains = bool(rng.random() < recipe.drain_share)
    steps: list[Step] = []
    if scenario.payback:
        steps.append(Step(offset_ms, cast.receivers[0], victim, max(1_000, planned[0] // 4), DICT))
        offset_ms += int(rng.exponential(scenario.gap_ms))
    at = float(offset_ms)
    for place, cents in enumerate(planned):
        payee = cast.receivers[int(rng.integers(len(cast.receivers)))] if rng.random() < 0.4 else cast.receivers[0]
        wanted = _all_that_is_left(rng, cast, victim, cents, at) if drains and place == len(planned) - 1 else cents
        allowed = _allowed(cast, base, victim, payee, at, wanted, steps)
        if allowed:
            steps.append(
                base._replace(offset_ms=int(at), payee=payee, amount_cents=allowed, initiation=_form(rng, scenario))
            )
        at += rng.exponential(scenario.gap_ms)
    return steps


def _victim(rng: np.random.Generator, cast: Cast, scenario: Scenario) -> int:
    """Somebody of the scenario's sort and ages who is no receiver; in application fraud the new account itself."""
    population = cast.population
    if rng.random() < scenario.business_share:
        firms = draw(rng, population.company_payers, _TRIES)
        others = firms[~np.isin(firms, cast.receivers)]
        if len(others):
            return int(others[0])
    if scenario.typology == Typology.APPLICATION_FRAUD:
        fresh = population.hot_mules(cast.start_ms, company=False, for_crime=True)
        others = fresh[~np.isin(fresh, cast.receivers)]
        if len(others):
            return int(rng.choice(others))
    drawn = draw(rng, population.person_payers, _TRIES)
    allowed = drawn[~np.isin(drawn, cast.receivers)]
    low, high = scenario.ages
    ages = population.age_years[allowed]
    right = allowed[(ages >= low) & (ages <= high)]
    if len(right):
        return int(right[0])
    return int(allowed[0]) if len(allowed) else (cast.receivers[0] + 1) % population.size


def _situation(rng: np.random.Generator, cast: Cast, scenario: Scenario, victim: int) -> Step:
    """What the victim's payments have in common."""

    def just_before(share: float, within_hours: float) -> int:
        return int(rng.exponential(within_hours) * HOUR_MS) + MINUTE_MS if rng.random() < share else NEVER

    device, age = OWN, UNREGISTERED
    if rng.random() < scenario.stranger_share:
        device = _gang_device(rng, cast)
        if rng.random() < scenario.registered_share:
            age = int(rng.lognormal(1.2, 1.5) * HOUR_MS)
    away = rng.random() < scenario.away_share
    return Step(
        offset_ms=0,
        payer=victim,
        payee=cast.receivers[0],
        amount_cents=1,
        behaviour=scenario.behaviour,
        typology=scenario.typology,
        device=device,
        device_age_ms=age,
        place=int(rng.integers(len(MUNICIPALITY_CODES))) if away else OWN,
        credentials_age_ms=just_before(scenario.credentials_share, 6),
        limit_age_ms=just_before(scenario.limit_share, 36),
        funds_age_ms=just_before(scenario.funds_share, 3),
    )


def _gang_device(rng: np.random.Generator, cast: Cast) -> int:
    return CRIMINAL_DEVICES + 1_000 * cast.gang + int(rng.integers(_GANG_PHONES))


def _form(rng: np.random.Generator, scenario: Scenario) -> int:
    forms, shares = list(scenario.initiations), np.cumsum(list(scenario.initiations.values()))
    return forms[int(np.searchsorted(shares, rng.random() * shares[-1]))]


def _all_that_is_left(rng: np.random.Generator, cast: Cast, victim: int, least: int, offset_ms: float) -> int:
    opening = opening_cents(cast.population, np.array([victim]), np.array([cast.start_ms + int(offset_ms)]))[0]
    return int(np.clip(opening * rng.uniform(0.85, 1.0), least, 8 * least))


def _allowed(cast: Cast, base: Step, payer: int, payee: int, offset_ms: float, wanted: int, before: list[Step]) -> int:
    """What the rules let through, given what the payer paid before in this campaign; criminals know them.

    A raised limit holds for the night, too; an unregistered device meets both of its cliffs.
    """
    at_ms = np.array([cast.start_ms + int(offset_ms)])
    who, whom = np.array([payer]), np.array([payee])
    limit = int(limit_cents(cast.population, who, whom, at_ms)[0]) * (4 if base.limit_age_ms != NEVER else 1)
    within = 12 * HOUR_MS if _is_night_pair(cast.population, payer, payee, int(at_ms[0])) else 24 * HOUR_MS
    used = sum(step.amount_cents for step in before if step.payer == payer and offset_ms - step.offset_ms < within)
    allowed = min(wanted, limit - used)
    if base.device != OWN and base.device_age_ms == UNREGISTERED:
        allowed = min(allowed, UNREGISTERED_CENTS - 100 * (wanted % 12), UNREGISTERED_DAY_CENTS - used)
    return max(0, allowed)


def _is_night_pair(population: Population, payer: int, payee: int, at_ms: int) -> bool:
    ruled = night_rule(population, np.array([payer]), np.array([payee]))[0]
    return bool(ruled and is_night(np.array([at_ms]))[0])


def _passed_on(rng: np.random.Generator, cast: Cast, layer: Layer, steps: list[Step]) -> list[Step]:
    """Receivers forward at least 90 % of what came in, minutes after each batch, hop after hop."""
    out: list[Step] = []
    arrived = {
        slot: [(step.offset_ms, step.amount_cents) for step in steps if step.payee == slot and step.amount_cents > 100]  # noqa: PLR2004
        for slot in cast.receivers
    }
    for hop in range(1, _between(rng, layer.hops) + 1):
        onward: dict[int, list[tuple[int, int]]] = {}
        for slot, inflows in arrived.items():
            for at, cents in _batches(rng, inflows):
                for step in _spread(rng, cast, layer, slot, at, cents, hop):
                    out.append(step)
                    onward.setdefault(step.payee, []).append((step.offset_ms, step.amount_cents))
        arrived = {slot: flows for slot, flows in onward.items() if rng.random() < 0.5}  # noqa: PLR2004
    return out


def _batches(rng: np.random.Generator, inflows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """When a mule acts, and on how much: once, or twice if many paid."""
    if not inflows:
        return []
    inflows = sorted(inflows)
    cut = len(inflows) // 2 if len(inflows) > 4 and rng.random() < 0.6 else 0  # noqa: PLR2004
    parts = [inflows[:cut], inflows[cut:]] if cut else [inflows]
    return [(part[-1][0], sum(cents for _, cents in part)) for part in parts]


def _spread(
    rng: np.random.Generator, cast: Cast, layer: Layer, payer: int, offset_ms: int, cents: int, hop: int
) -> list[Step]:
    """One hop: the money goes on to a few accounts, within the payer's limits."""
    shares = rng.dirichlet(np.full(_between(rng, layer.fan_out), 3.0)) * rng.uniform(0.9, 1.0)
    base = Step(
        0, payer, payer, 1, behaviour=Behaviour.RELAY, typology=Typology.MULE_PASS_THROUGH, hop=hop,
        device=OWN if rng.random() < 0.5 else _gang_device(rng, cast),
        device_age_ms=int(rng.lognormal(4.5, 1.0) * HOUR_MS),
    )  # fmt: skip
    steps: list[Step] = []
    at = offset_ms + rng.exponential(5 * MINUTE_MS) + 20_000
    for share in shares:
        payee = _next_account(rng, cast, layer, payer)
        allowed = _allowed(cast, base, payer, payee, at, int(cents * share), steps)
        if allowed:
            form = DICT if rng.random() < 0.7 else MANU
            steps.append(base._replace(offset_ms=int(at), payee=payee, amount_cents=allowed, initiation=form))
        at += rng.exponential(2 * MINUTE_MS) + 5_000
    return steps


def _next_account(rng: np.random.Generator, cast: Cast, layer: Layer, payer: int) -> int:
    """Another mule, or an ordinary account where the money is spent; at times within the same PSP."""
    population = cast.population
    if rng.random() < 0.55:  # noqa: PLR2004
        pool = population.mules
    else:
        pool = draw(rng, population.companies if rng.random() < 0.6 else population.persons, 16)  # noqa: PLR2004
    pool = pool[pool != payer]
    near = pool[population.bank[pool] == population.bank[payer]]
    chosen = near if len(near) and rng.random() < layer.same_psp else pool
    return int(rng.choice(chosen)) if len(chosen) else (payer + 1) % population.size


def _between(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))
