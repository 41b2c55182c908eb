"""How accounts, people, keys, devices and times are written: a function of seed and number, never of chance.

The same customer is written the same way in every run of a seed.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pix.identifiers import cnpj, cpf
from pix.simulator.population import ISPBS, KEY_TYPES, Population
from pix.simulator.rhythm import BRASILIA_OFFSET_MS, DAY_MS, Ints

Texts = list[str]

_ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Receita Federal issues CNPJs with letters from this day on: 2026-07-01.
_ALPHANUMERIC_CNPJ_FROM_MS = 20_635 * DAY_MS
_AREA_CODES = ("11", "21", "31", "41", "51", "61", "71", "81", "85", "92")
_ACCOUNT, _BRANCH, _PERSON, _PHONE, _EVP, _EVP_TAIL, _DEVICE, _NETWORK, _MARKER = range(9)


def timestamps(at_ms: Ints) -> Texts:
    """RFC 3339 in Brasília time with milliseconds."""
    local = (at_ms + BRASILIA_OFFSET_MS).astype("datetime64[ms]")
    return [f"{text}-03:00" for text in np.datetime_as_string(local, unit="ms").tolist()]


def scrambled(seed: int, purpose: int, *numbers: Ints) -> NDArray[np.uint64]:
    """Evenly spread 64-bit hashes of (seed, purpose, numbers); not for secrets."""
    start = (seed * 1_000_003 + purpose * 7_919 + 1) & 0xFFFF_FFFF_FFFF_FFFF
    state = np.full(len(numbers[0]), start, dtype=np.uint64)
    for number in numbers:
        state = _mixed(state ^ number.astype(np.uint64))
    return _mixed(state)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of splitmix64; wrapping around is meant."""
    state = state + np.uint64(0x9E37_79B9_7F4A_7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return state ^ (state >> np.uint64(31))


def accounts(population: Population, slots: Ints, at_ms: Ints) -> Texts:
    """ISPB-branch-number of the account that each slot holds at a time; no two are alike."""

    def write(slot: Ints, number: Ints, _: Ints) -> Texts:
        branches = scrambled(population.seed, _BRANCH, slot) % np.uint64(9_000) + np.uint64(1)
        # Digital banks, four of the first six, have one branch.
        digital = np.isin(population.bank[slot], (0, 2, 3, 5, 9, 10, 11))
        branches = np.where(digital, np.uint64(1), branches)
        checks = scrambled(population.seed, _ACCOUNT, slot, number) % np.uint64(100)
        serials = _serial(population, slot, number)
        rows = zip(population.bank[slot], branches, serials, checks, strict=True)
        return [f"{ISPBS[bank][0]}-{branch:04}-{serial}{check:02}" for bank, branch, serial, check in rows]

    return _per_account(population, slots, at_ms, write)


def tax_ids(population: Population, slots: Ints, at_ms: Ints) -> Texts:
    """CPF or CNPJ of the customer who holds each slot's account at a time."""

    def write(slot: Ints, number: Ints, opened_ms: Ints) -> Texts:
        # The multiplier is coprime to 10**9, so different customers get different ids.
        bases = (_serial(population, slot, number) * 387_420_489 + population.seed * 7_919) % 1_000_000_000
        rows = zip(population.company[slot], bases.tolist(), opened_ms, strict=True)
        return [_company_id(base, opened) if company else _person_id(base) for company, base, opened in rows]

    return _per_account(population, slots, at_ms, write)


def keys(population: Population, slots: Ints, at_ms: Ints, tax_id: Texts) -> tuple[Texts, Texts]:
    """Pix keys of the accounts at a time, and their types."""
    created = population.key_created_ms(slots, at_ms)
    phone = scrambled(population.seed, _PHONE, slots, created)
    head = scrambled(population.seed, _EVP, slots, created)
    tail = scrambled(population.seed, _EVP_TAIL, slots, created)
    types = [KEY_TYPES[code] for code in population.key_type[slots]]
    rows = zip(types, tax_id, phone.tolist(), head.tolist(), tail.tolist(), strict=True)
    return [_key(*row) for row in rows], types


def own_devices(population: Population, slots: Ints, at_ms: Ints) -> Texts:
    """The device that each holder uses at a time."""
    hashes = scrambled(population.seed, _DEVICE, slots, population.device_registered_ms(slots, at_ms))
    return [f"{value:016x}" for value in hashes.tolist()]


def other_devices(population: Population, devices: Ints) -> Texts:
    """Devices that belong to no holder's own account: borrowed, new, or a criminal's."""
    return [f"{value:016x}" for value in scrambled(population.seed, _DEVICE, devices).tolist()]


def addresses(population: Population, places: Ints, hosts: Ints) -> Texts:
    """IP addresses from the range of carrier-grade NAT: the same network for the same place."""
    network = scrambled(population.seed, _NETWORK, places)
    second = 64 + (network % np.uint64(64)).astype(np.int64)
    third = (network >> np.uint64(8)).astype(np.int64) % 256
    rows = zip(second.tolist(), third.tolist(), hosts.tolist(), strict=True)
    return [f"100.{b}.{c}.{d}" for b, c, d in rows]


def marked_by_chance(population: Population, slots: Ints, at_ms: Ints) -> Ints:
    """Fraud markers of the last 90 days that say nothing: 1 for few accounts, other ones every quarter."""
    drawn = scrambled(population.seed, _MARKER, slots, at_ms // (90 * DAY_MS))
    marked: Ints = (drawn % np.uint64(70) == 0).astype(np.int64)
    return marked


def _serial(population: Population, slots: Ints, number: Ints) -> Ints:
    # The first account of a slot may have number -1: it was opened before the epoch.
    return (number + 1) * population.size + slots + 10_000


def _per_account(population: Population, slots: Ints, at_ms: Ints, write: Callable[[Ints, Ints, Ints], Texts]) -> Texts:
    """Writes each account once, however many payments it has."""
    number = population.account_number(slots, at_ms)
    _, first, inverse = np.unique(number * population.size + slots, return_index=True, return_inverse=True)
    opened_ms = population.opened_ms(slots[first], at_ms[first])
    written = write(slots[first], number[first], opened_ms)
    return [written[index] for index in inverse.tolist()]


def _person_id(base: int) -> str:
    digits = f"{base:09}"
    return cpf(digits if digits != digits[0] * 9 else "123456789")


def _company_id(base: int, opened_ms: int) -> str:
    root = f"{base:09}"[1:]
    if opened_ms >= _ALPHANUMERIC_CNPJ_FROM_MS:
        root = "".join(_ALPHANUMERIC[base // 36**place % 36] for place in range(7, -1, -1))
    return cnpj(f"{root}0001")


def _key(kind: str, tax_id: str, phone: int, head: int, tail: int) -> str:
    if kind == "PHONE":
        return f"+55{_AREA_CODES[phone % len(_AREA_CODES)]}9{phone // 16 % 100_000_000:08}"
    if kind == "EMAIL":
        return f"cliente.{phone:x}@example.com"
    if kind == "EVP":
        text = f"{head:016x}{tail:016x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
    return tax_id
