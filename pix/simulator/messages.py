"""Payments as a bank would see them: every field of the payment contract as an Arrow column, with gaps.

Facts follow from who people are and from how they behave, never from a label.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pix.simulator import chance, identity, published
from pix.simulator.directory import Directory, statistics
from pix.simulator.flow import (
    AUTO,
    MANU,
    NEVER,
    OWN,
    QRDN,
    UNREGISTERED,
    Behaviour,
    Flow,
    limit_cents,
)
from pix.simulator.letters import Bytes, beside, constant, digits, strings
from pix.simulator.population import ACCOUNT_TYPES, KEY_TYPES, MUNICIPALITY_CODES, Population
from pix.simulator.rhythm import DAY_MS, MINUTE_MS, SECOND_MS, Bools, Ints
from pix.simulator.settling import balances, is_preregistered

TIME = pa.timestamp("ms", "UTC")
AUTHENTICATIONS = ("PASSWORD", "BIOMETRY", "TOKEN")
_ALPHANUMERIC = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
_OCTETS = pa.array([str(number) for number in range(256)])
_REMARKS = (
    "almoço", "aluguel", "presente", "mercado", "conserto", "mensalidade", "parcela", "pedido", "entrada",
    "frete", "combinado", "obrigado", "conta de luz", "condomínio", "serviço", "produto",
)  # fmt: skip
_PURPOSES, _PRIORITIES = ("IPAY", "GSCB", "OTHR"), ("HIGH", "NORM")
_KINDS = ("PF", "PJ")


class Session(NamedTuple):
    """How sessions of one behaviour look: chances, and medians in ms."""

    active_call: float
    remote_access: float
    rooted: float
    authentication: tuple[float, float, float]
    login_median_ms: float
    typing_median_ms: float


SESSIONS = {
    Behaviour.EVERYDAY: Session(0.02, 0.006, 0.02, (0.27, 0.63, 0.10), 45 * SECOND_MS, 210),
    Behaviour.TALKED_INTO: Session(0.50, 0.09, 0.02, (0.32, 0.58, 0.10), 110 * SECOND_MS, 290),
    Behaviour.INTRUDER: Session(0.03, 0.12, 0.14, (0.52, 0.23, 0.25), 70 * SECOND_MS, 190),
    Behaviour.RELAY: Session(0.02, 0.03, 0.05, (0.40, 0.50, 0.10), 35 * SECOND_MS, 170),
    Behaviour.ROBOT: Session(0.22, 0.45, 0.06, (0.45, 0.40, 0.15), 60 * SECOND_MS, 90),
    Behaviour.COERCED: Session(0.03, 0.006, 0.02, (0.25, 0.65, 0.10), 80 * SECOND_MS, 330),
}
# How often life changes by itself: days between new passwords, raised limits, redeemed savings or loans.
_USUAL_DAYS = {chance.CREDENTIALS: 240, chance.LIMIT: 400, chance.FUNDS: 75}


class Scene(NamedTuple):
    """A day's payments with those who make and get them."""

    flow: Flow
    payer: identity.Holders
    payee: identity.Holders
    rng: np.random.Generator

    def known(self, share: float) -> Bools:
        """A fact's gaps: it is there in this share of payments."""
        there: Bools = self.rng.random(len(self.flow), dtype=np.float32) < share
        return there


def payments(rng: np.random.Generator, population: Population, known: Directory, flow: Flow) -> pa.Table:
    """One row per row of the flow; columns are the payment contract's fields, times UTC.

    Args:
        rng: Source of the gaps and of what sessions look like.
        population: Who pays.
        known: What was reported.
        flow: One day, in time order.
    """
    scene = Scene(
        flow,
        identity.holders(population, flow.payer, flow.at_ms),
        identity.holders(population, flow.payee, flow.at_ms),
        rng,
    )
    columns = {
        **_required(scene),
        **_parties(scene),
        **_key_facts(scene, known),
        **_device_facts(scene),
        **_session_facts(scene),
        **_money_facts(scene, population),
    }
    return pa.table(columns)


def _required(scene: Scene) -> dict[str, pa.Array]:
    flow, n = scene.flow, len(scene.flow)
    minute = (flow.at_ms // MINUTE_MS * MINUTE_MS).astype("datetime64[ms]")
    day = minute.astype("datetime64[D]")
    month, year = day.astype("datetime64[M]"), day.astype("datetime64[Y]")
    since = (minute - day).astype(np.int64) // MINUTE_MS
    ids = beside(
        constant("E", n),
        identity.ispbs(scene.payer.population, flow.payer),
        digits(year.astype(np.int64) + 1970, 4),
        digits((month - year).astype(np.int64) + 1, 2),
        digits((day - month).astype(np.int64) + 1, 2),
        digits(since // 60, 2),
        digits(since % 60, 2),
        _letters(scene, 11),
    )
    return {
        "end_to_end_id": strings(ids),
        "initiated_at": _times(flow.at_ms),
        "amount_cents": pa.array(flow.amount_cents),
        "payer_account": strings(identity.accounts(scene.payer)),
        "payee_account": strings(identity.accounts(scene.payee)),
    }


def _parties(scene: Scene) -> dict[str, pa.Array]:
    flow, population = scene.flow, scene.payer.population
    found: dict[str, pa.Array] = {}
    for side, who, share in (("payer", scene.payer, 0.97), ("payee", scene.payee, 0.96)):
        there = scene.known(share)
        letters, lengths = identity.tax_ids(who)
        found[f"{side}_tax_id"] = strings(letters, lengths, there)
        found[f"{side}_person_type"] = _one_of(_KINDS, population.company[who.slots].astype(np.int64), there)
        found[f"{side}_account_type"] = _one_of(ACCOUNT_TYPES, population.account_type[who.slots], scene.known(share))
    found["payer_age_years"] = pa.array(
        population.age_years[flow.payer], mask=population.company[flow.payer] | ~scene.known(0.95)
    )
    found["payer_municipality"] = _one_of(MUNICIPALITY_CODES, population.municipality[flow.payer], scene.known(0.93))
    found["payer_account_opened_at"] = _times(scene.payer.opened_ms, scene.known(0.95))
    return found


def _key_facts(scene: Scene, known: Directory) -> dict[str, pa.Array]:
    """The payee's key and what the directory says; nothing is looked up for MANU and AUTO."""
    flow, population = scene.flow, scene.payer.population
    looked_up = (flow.initiation != MANU) & (flow.initiation != AUTO)
    letters, lengths, kinds = identity.keys(scene.payee)
    created = population.key_created_ms(flow.payee, flow.at_ms, scene.payee.opened_ms)
    phone = kinds == KEY_TYPES.index("PHONE")
    # A telephone number may have been claimed from another holder since the key was made.
    claimed = np.where(phone & (flow.payee % 5 == 0), created + (flow.at_ms - created) // 2, created)
    dates, noted = looked_up & scene.known(0.93), looked_up & scene.known(0.75)
    answer = statistics(known, scene.payee, scene.rng.uniform(0.04, 1.0, len(flow)))
    dynamic = flow.initiation == QRDN

    def count(values: Ints) -> pa.Array:
        return pa.array(values, mask=~noted)

    return {
        "initiation": _one_of(published.INITIATIONS, flow.initiation, scene.known(0.985)),
        "txid": strings(_letters(scene, 26), known=dynamic),
        "pix_key": strings(letters, lengths, looked_up),
        "pix_key_type": _one_of(KEY_TYPES, kinds, looked_up),
        "key_created_at": _times(created, dates),
        "key_owned_since": _times(claimed, dates),
        "payee_account_opened_at": _times(scene.payee.opened_ms, dates),
        "payee_settlements_d90": count(answer.settlements),
        "payee_fraud_markers_d90": count(answer.fraud_markers),
        "payee_mule_markers_d90": count(answer.mule_markers),
        "payee_fraud_reporters_d90": count(answer.reporters),
        "payee_rejected_reports_d90": count(answer.rejected),
        "payee_open_reports": count(answer.open_reports),
        "fraud_markers_watermark": _times(answer.watermark_ms, noted),
    }


def _device_facts(scene: Scene) -> dict[str, pa.Array]:
    flow, population, rng = scene.flow, scene.payer.population, scene.rng
    own = flow.device == OWN
    mine = population.device_registered_ms(flow.payer, flow.at_ms, scene.payer.opened_ms)
    letters = np.where(
        own[:, None],
        identity.devices(population, flow.payer, mine),
        identity.devices(population, flow.device),
    )
    foreign = np.maximum(flow.at_ms - flow.device_age_ms, scene.payer.opened_ms)
    registered = own | (flow.device_age_ms != UNREGISTERED)
    there = _has_phone(scene) & scene.known(0.96)
    n = len(flow)
    roams = (rng.random(n) < 0.07) & (flow.place == OWN)
    home = population.municipality[flow.payer]
    place = np.select([flow.place != OWN, roams], [flow.place, rng.integers(0, len(MUNICIPALITY_CODES), n)], home)
    # A household shares a network; away from home it is somebody else's.
    host = np.where(roams | (flow.place != OWN), rng.integers(0, population.size, n), flow.payer)
    return {
        "device_id": strings(letters, known=there),
        "device_registered_at": _times(np.where(own, mine, foreign), there & registered & scene.known(0.94)),
        "device_ip": _addresses(scene, host, scene.known(0.9)),
        "device_municipality": _one_of(MUNICIPALITY_CODES, place, there & scene.known(0.85)),
    }


def _session_facts(scene: Scene) -> dict[str, pa.Array]:
    flow, rng, n = scene.flow, scene.rng, len(scene.flow)
    sessions = [SESSIONS[behaviour] for behaviour in Behaviour]
    phone = _has_phone(scene)

    def happens(chances: list[float], share: float) -> pa.Array:
        return pa.array(rng.random(n) < np.array(chances)[flow.behaviour], mask=~(phone & scene.known(share)))

    def around(medians: list[float], sigma: float, share: float, there: Bools) -> pa.Array:
        values = np.array(medians)[flow.behaviour] * np.exp(sigma * rng.standard_normal(n))
        return pa.array(values.astype(np.int64), mask=~(there & scene.known(share)))

    edges = np.cumsum([session.authentication for session in sessions], axis=1)[flow.behaviour]
    authentication = (rng.random(n)[:, None] >= edges[:, :2]).sum(axis=1)
    always = np.ones(n, dtype=np.bool_)
    changed = _last_change(scene, chance.CREDENTIALS, flow.credentials_age_ms)
    return {
        "device_remote_access": happens([s.remote_access for s in sessions], 0.93),
        "device_rooted": happens([s.rooted for s in sessions], 0.93),
        "active_call": happens([s.active_call for s in sessions], 0.85),
        "authentication": _one_of(AUTHENTICATIONS, authentication, scene.known(0.95)),
        "login_age_ms": around([s.login_median_ms for s in sessions], 0.9, 0.92, always),
        "typing_interval_ms": around([s.typing_median_ms for s in sessions], 0.45, 0.7, phone),
        "credentials_changed_at": _times(changed, scene.known(0.9)),
    }


def _money_facts(scene: Scene, population: Population) -> dict[str, pa.Array]:
    flow, n = scene.flow, len(scene.flow)
    limits = limit_cents(population, flow.payer, flow.payee, flow.at_ms)
    # Who pays more than the usual limit has asked for more.
    raised = flow.amount_cents > limits
    age = np.where(
        raised & (flow.limit_age_ms == NEVER), 2 * DAY_MS + flow.amount_cents % (20 * DAY_MS), flow.limit_age_ms
    )
    remarks = pa.array(_REMARKS).take(pa.array(scene.rng.integers(0, len(_REMARKS), n), mask=~scene.known(0.25)))
    funds = _last_change(scene, chance.FUNDS, flow.funds_age_ms)
    return {
        "purpose": _one_of(_PURPOSES, np.zeros(n, dtype=np.int64), scene.known(0.95)),
        "priority": _one_of(_PRIORITIES, (scene.rng.random(n) < 0.03).astype(np.int64), scene.known(0.95)),
        "payee_is_preregistered": pa.array(
            is_preregistered(population, flow.payer, flow.payee), mask=~scene.known(0.9)
        ),
        "payer_balance_cents": pa.array(balances(population, flow), mask=~scene.known(0.85)),
        "payer_limit_cents": pa.array(
            np.maximum(limits, np.where(raised, flow.amount_cents, 0)), mask=~scene.known(0.9)
        ),
        "limit_raised_at": _times(_last_change(scene, chance.LIMIT, age), scene.known(0.85)),
        "funds_raised_at": _times(funds, ~population.company[flow.payer] & scene.known(0.8)),
        "remittance_text": remarks,
    }


def _has_phone(scene: Scene) -> Bools:
    """Companies mostly pay from their own systems, where there is no telephone."""
    companies: Bools = scene.payer.population.company[scene.flow.payer]
    return ~companies | (scene.flow.payer % 5 < 2)  # noqa: PLR2004


def _last_change(scene: Scene, purpose: int, special_age_ms: Ints) -> Ints:
    """When something last changed: by itself, at each holder's own pace, or for this payment's scenario."""
    flow, population = scene.flow, scene.payer.population
    cycle = _USUAL_DAYS[purpose] * DAY_MS
    phase = (chance.uniform(population.seed, purpose, flow.payer) * cycle).astype(np.int64)
    usual = (flow.at_ms - phase) // cycle * cycle + phase
    changed = np.where(special_age_ms == NEVER, usual, np.maximum(usual, flow.at_ms - special_age_ms))
    latest: Ints = np.maximum(changed, scene.payer.opened_ms)
    return latest


def _addresses(scene: Scene, hosts: Ints, there: Bools) -> pa.Array:
    """IP addresses from the range of carrier-grade NAT: the same network for the same household."""
    import pyarrow.compute as pc

    network = identity.networks(scene.payer.population, hosts).astype(np.int64) & 0xFFFF
    parts = (64 + network % 64, network >> 8, scene.rng.integers(1, 255, len(hosts)))
    octets = [_OCTETS.take(pa.array(part, mask=~there)) for part in parts]
    return pc.binary_join_element_wise("100", *octets, ".")


def _letters(scene: Scene, width: int) -> Bytes:
    drawn: Bytes = _ALPHANUMERIC[scene.rng.integers(0, len(_ALPHANUMERIC), (len(scene.flow), width), dtype=np.uint8)]
    return drawn


def _times(at_ms: Ints, there: Bools | None = None) -> pa.Array:
    return pa.array(at_ms, mask=None if there is None else ~there).cast(TIME)


def _one_of(names: tuple[str, ...], codes: Ints, there: Bools) -> pa.Array:
    return pa.array(names).take(pa.array(codes, mask=~there))
