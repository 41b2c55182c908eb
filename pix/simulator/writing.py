"""Payments as messages: the facts a bank would hold about each, with gaps, as JSON-able dictionaries."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pix.identifiers import make_end_to_end_id
from pix.simulator import text
from pix.simulator.flow import AUTO, INITIATIONS, MANU, OWN_DEVICE, UNREGISTERED, Behaviour, Flow, limit_cents
from pix.simulator.population import KEY_TYPES, Population
from pix.simulator.rhythm import DAY_MS, HOUR_MS, SECOND_MS, Bools, Ints

AUTHENTICATIONS = ("PASSWORD", "BIOMETRY", "TOKEN")
_SUFFIX_LETTERS = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", dtype="S1")
_REMARKS = (
    "almoço", "aluguel", "presente", "mercado", "conserto", "mensalidade", "parcela", "pedido", "entrada",
    "frete", "combinado", "obrigado", "conta de luz", "condomínio", "serviço", "produto",
)  # fmt: skip
MARKER_DELAY_MS = 3 * DAY_MS


class Session(NamedTuple):
    """How sessions of one behaviour look: chances, and the median time since login."""

    active_call: float
    remote_access: float
    rooted: float
    authentication: tuple[float, float, float]
    login_median_ms: float


SESSIONS = {
    Behaviour.EVERYDAY: Session(0.02, 0.008, 0.02, (0.27, 0.63, 0.10), 45 * SECOND_MS),
    Behaviour.TALKED_INTO: Session(0.50, 0.10, 0.02, (0.32, 0.58, 0.10), 110 * SECOND_MS),
    Behaviour.INTRUDER: Session(0.03, 0.15, 0.14, (0.52, 0.23, 0.25), 70 * SECOND_MS),
    Behaviour.RELAY: Session(0.02, 0.03, 0.05, (0.40, 0.50, 0.10), 35 * SECOND_MS),
}


class Column(NamedTuple):
    """One field of all payments, and where it is known."""

    name: str
    values: Sequence[Any]
    known: Bools


def write_payments(
    rng: np.random.Generator, population: Population, flow: Flow, amounts: Ints, balances: Ints
) -> list[dict[str, Any]]:
    """One message per row of the flow; what is unknown is left out."""
    messages: list[dict[str, Any]] = [{} for _ in range(len(flow))]
    columns = [
        *_required(rng, population, flow, amounts),
        *_parties(rng, population, flow),
        *_directory_facts(rng, population, flow),
        *_device_facts(rng, population, flow),
        *_session_facts(rng, population, flow, balances),
    ]
    for name, values, known in columns:
        for message, value, there in zip(messages, values, known.tolist(), strict=True):
            if there:
                message[name] = value
    return messages


def _required(rng: np.random.Generator, population: Population, flow: Flow, amounts: Ints) -> list[Column]:
    payer = text.accounts(population, flow.payer, flow.at_ms)
    letters = _SUFFIX_LETTERS[rng.integers(0, len(_SUFFIX_LETTERS), (len(flow), 11))]
    suffixes = np.ascontiguousarray(letters).view("S11").ravel().astype(str).tolist()
    ids = [
        make_end_to_end_id(account[:8], at, suffix)
        for account, at, suffix in zip(payer, flow.at_ms.tolist(), suffixes, strict=True)
    ]
    always = np.ones(len(flow), dtype=np.bool_)
    return [
        Column("end_to_end_id", ids, always),
        Column("initiated_at", text.timestamps(flow.at_ms), always),
        Column("amount_cents", amounts.tolist(), always),
        Column("payer_account", payer, always),
        Column("payee_account", text.accounts(population, flow.payee, flow.at_ms), always),
    ]


def _parties(rng: np.random.Generator, population: Population, flow: Flow) -> list[Column]:
    def kinds(slots: Ints) -> list[str]:
        return ["PJ" if company else "PF" for company in population.company[slots].tolist()]

    opened = population.opened_ms(flow.payer, flow.at_ms)
    payer_known, payee_known = _there(rng, flow, 0.97), _there(rng, flow, 0.96)
    return [
        Column("payer_tax_id", text.tax_ids(population, flow.payer, flow.at_ms), payer_known),
        Column("payee_tax_id", text.tax_ids(population, flow.payee, flow.at_ms), payee_known),
        Column("payer_person_type", kinds(flow.payer), payer_known),
        Column("payee_person_type", kinds(flow.payee), payee_known),
        Column("payer_account_opened_at", text.timestamps(opened), _there(rng, flow, 0.95)),
    ]


def _directory_facts(rng: np.random.Generator, population: Population, flow: Flow) -> list[Column]:
    """The payee's key and what the directory (DICT) says of it; nothing is looked up for MANU and AUTO."""
    initiations = [INITIATIONS[code] for code in flow.initiation.tolist()]
    looked_up = (flow.initiation != MANU) & (flow.initiation != AUTO)
    tax_id = text.tax_ids(population, flow.payee, flow.at_ms)
    keys, types = text.keys(population, flow.payee, flow.at_ms, tax_id)
    created = population.key_created_ms(flow.payee, flow.at_ms)
    opened = population.opened_ms(flow.payee, flow.at_ms)
    phone = population.key_type[flow.payee] == KEY_TYPES.index("PHONE")
    # A telephone number may have been claimed from another holder since the key was made.
    claimed = np.where(phone & (flow.payee % 5 == 0), created + (flow.at_ms - created) // 2, created)
    watermark = flow.at_ms - (rng.uniform(0.5, 12, len(flow)) * HOUR_MS).astype(np.int64)
    statistics = looked_up & _there(rng, flow, 0.75)
    return [
        Column("initiation", initiations, _there(rng, flow, 0.985)),
        Column("pix_key", keys, looked_up),
        Column("pix_key_type", types, looked_up),
        Column("key_created_at", text.timestamps(created), looked_up & _there(rng, flow, 0.93)),
        Column("key_owned_since", text.timestamps(claimed), looked_up & _there(rng, flow, 0.93)),
        Column("payee_account_opened_at", text.timestamps(opened), looked_up & _there(rng, flow, 0.93)),
        Column("payee_fraud_markers_d90", _markers(population, flow, watermark).tolist(), statistics),
        Column("fraud_markers_watermark", text.timestamps(watermark), statistics),
    ]


def _markers(population: Population, flow: Flow, watermark: Ints) -> Ints:
    """Markers that earlier spells of a mule left behind, as far as the lagging statistics know them."""
    by_chance = text.marked_by_chance(population, flow.payee, flow.at_ms)
    over = population.spells_over(flow.payee, watermark - MARKER_DELAY_MS)
    same_account = population.account_number(flow.payee, watermark - MARKER_DELAY_MS) == population.account_number(
        flow.payee, flow.at_ms
    )
    # Every second mule banks where nobody marks.
    marked = (flow.payee % 2 == 0) & same_account
    return by_chance + np.where(marked, over, 0)


def _device_facts(rng: np.random.Generator, population: Population, flow: Flow) -> list[Column]:
    own = flow.device == OWN_DEVICE
    devices = np.where(
        own,
        np.array(text.own_devices(population, flow.payer, flow.at_ms), dtype=object),
        np.array(text.other_devices(population, flow.device), dtype=object),
    )
    opened = population.opened_ms(flow.payer, flow.at_ms)
    foreign = np.maximum(flow.at_ms - flow.device_age_ms, opened)
    registered = np.where(own, population.device_registered_ms(flow.payer, flow.at_ms), foreign)
    # Companies mostly pay from their own systems, where there is no telephone.
    person = ~population.company[flow.payer] | (rng.random(len(flow)) < 0.4)
    known = person & _there(rng, flow, 0.96)
    roaming = rng.random(len(flow)) < 0.12
    intruder = flow.behaviour == Behaviour.INTRUDER
    somewhere = np.where(roaming | intruder, rng.integers(0, population.size, len(flow)), flow.payer)
    is_registered = own | (flow.device_age_ms != UNREGISTERED)
    return [
        Column("device_id", devices.tolist(), known),
        Column(
            "device_registered_at",
            text.timestamps(registered),
            known & is_registered & _there(rng, flow, 0.94),
        ),
        Column(
            "device_ip",
            text.addresses(population, somewhere, rng.integers(1, 255, len(flow))),
            _there(rng, flow, 0.9),
        ),
    ]


def _session_facts(rng: np.random.Generator, population: Population, flow: Flow, balances: Ints) -> list[Column]:
    n = len(flow)
    sessions = [SESSIONS[behaviour] for behaviour in Behaviour]

    def happens(chances: list[float]) -> list[bool]:
        drawn: list[bool] = (rng.random(n) < np.array(chances)[flow.behaviour]).tolist()
        return drawn

    shares = np.cumsum([session.authentication for session in sessions], axis=1)[flow.behaviour]
    authentication = (rng.random(n)[:, None] >= shares[:, :2]).sum(axis=1)
    medians = np.array([session.login_median_ms for session in sessions])[flow.behaviour]
    login_age = (medians * rng.lognormal(0, 0.9, n)).astype(np.int64)
    limits = limit_cents(population, flow.payer, flow.payee, flow.at_ms)
    remarks = [_REMARKS[number] for number in rng.integers(0, len(_REMARKS), n).tolist()]
    person = ~population.company[flow.payer] | (rng.random(n) < 0.4)
    return [
        Column(
            "device_remote_access",
            happens([s.remote_access for s in sessions]),
            person & _there(rng, flow, 0.93),
        ),
        Column("device_rooted", happens([s.rooted for s in sessions]), person & _there(rng, flow, 0.93)),
        Column("active_call", happens([s.active_call for s in sessions]), person & _there(rng, flow, 0.85)),
        Column(
            "authentication",
            [AUTHENTICATIONS[code] for code in authentication.tolist()],
            _there(rng, flow, 0.95),
        ),
        Column("login_age_ms", login_age.tolist(), _there(rng, flow, 0.92)),
        Column("payer_balance_cents", balances.tolist(), _there(rng, flow, 0.85)),
        Column("payer_limit_cents", limits.tolist(), _there(rng, flow, 0.9)),
        Column("remittance_text", remarks, rng.random(n) < 0.25),
    ]


def _there(rng: np.random.Generator, flow: Flow, share: float) -> Bools:
    return rng.random(len(flow)) < share
