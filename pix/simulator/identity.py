"""How accounts, people, keys and devices are written: a function of seed and number, never of a draw.

The same customer is written the same way in every run of a seed. Shapes: one row of letters per slot asked
for.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pix.simulator import chance, published
from pix.simulator.chance import scrambled
from pix.simulator.letters import Bytes, beside, constant, digits, hexadecimal
from pix.simulator.population import KEY_TYPES, Population
from pix.simulator.rhythm import DAY_MS, Bools, Ints

# Receita Federal issues CNPJs with letters since July 2026.
_ALPHANUMERIC_CNPJ_FROM_MS = 20_635 * DAY_MS
_ALPHABET = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype=np.uint8)
_AREA_CODES = np.array([11, 21, 31, 41, 51, 61, 71, 81, 85, 92])
# Places in ``published.PSPS`` of digital banks, which have one branch.
_DIGITAL = (0, 2, 3, 5, 9, 10, 11)
_CPF_WEIGHTS = (np.arange(10, 1, -1), np.arange(11, 1, -1))
_CNPJ_WEIGHTS = (np.array([5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]), np.array([6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]))
_ISPBS = np.frombuffer("".join(code for code, _ in published.PSPS).encode(), dtype=np.uint8).reshape(-1, 8)


class Holders(NamedTuple):
    """Some slots at some times, with what is asked of them most: the account's number and its opening."""

    population: Population
    slots: Ints
    at_ms: Ints
    number: Ints
    opened_ms: Ints


def holders(population: Population, slots: Ints, at_ms: Ints) -> Holders:
    """Whoever holds each slot's account at each time (epoch ms)."""
    number = population.account_number(slots, at_ms)
    opened = number * population.life_ms[slots] + population.life_phase_ms[slots]
    return Holders(population, slots, at_ms, number, opened)


def ispbs(population: Population, slots: Ints) -> Bytes:
    """ISPB of the PSP that each slot banks with, (n, 8)."""
    return _ISPBS[population.bank[slots]]


def accounts(who: Holders) -> Bytes:
    """ISPB-branch-number, (n, 26); no two accounts of a population are alike."""
    population, slots, n = who.population, who.slots, len(who.slots)
    branches = scrambled(population.seed, chance.BRANCH, slots) % np.uint64(9_000) + np.uint64(1)
    branches = np.where(np.isin(population.bank[slots], _DIGITAL), np.uint64(1), branches)
    checks = scrambled(population.seed, chance.ACCOUNT, slots, who.number) % np.uint64(100)
    dash = constant("-", n)
    number = digits(_serial(who), 10)
    return beside(ispbs(population, slots), dash, digits(branches, 4), dash, number, digits(checks, 2))


def tax_ids(who: Holders) -> tuple[Bytes, Ints]:
    """CPF or CNPJ of each holder, (n, 14), and how much of it counts: 11 or 14."""
    # The multiplier is coprime to 10**9, so different customers get different ids.
    bases = (_serial(who) * 387_420_489 + who.population.seed * 7_919) % 1_000_000_000
    company = who.population.company[who.slots]
    written = np.full((len(bases), 14), ord("0"), dtype=np.uint8)
    written[~company, :11] = _cpf(bases[~company])
    written[company] = _cnpj(bases[company], who.opened_ms[company] >= _ALPHANUMERIC_CNPJ_FROM_MS)
    return written, np.where(company, 14, 11)


def keys(who: Holders) -> tuple[Bytes, Ints, Ints]:
    """Pix key of each account, (n, 36), how much of it counts, and its type's place in ``KEY_TYPES``."""
    population, slots = who.population, who.slots
    created = population.key_created_ms(slots, who.at_ms, who.opened_ms)
    kinds = population.key_type[slots]
    tax_id, lengths = tax_ids(who)
    written = np.zeros((len(slots), 36), dtype=np.uint8)
    written[:, :14] = tax_id
    for kind, write in (
        (KEY_TYPES.index("PHONE"), _phones),
        (KEY_TYPES.index("EMAIL"), _mails),
        (KEY_TYPES.index("EVP"), _evps),
    ):
        rows = np.flatnonzero(kinds == kind)
        letters = write(population.seed, slots[rows], created[rows])
        written[rows, : letters.shape[1]] = letters
        lengths[rows] = letters.shape[1]
    return written, lengths, kinds


def devices(population: Population, numbers: Ints, registered_ms: Ints | None = None) -> Bytes:
    """Device ids, (n, 16): a holder's own (slot and time of registration), or somebody else's (its number)."""
    parts = (numbers,) if registered_ms is None else (numbers, registered_ms)
    return hexadecimal(scrambled(population.seed, chance.DEVICE, *parts))


def networks(population: Population, places: Ints) -> NDArray[np.uint64]:
    """The network of a household: hashes, equal for equal slots."""
    return scrambled(population.seed, chance.NETWORK, places)


def _serial(who: Holders) -> Ints:
    # The first account of a slot may have number -1: it was opened before the epoch.
    serial: Ints = (who.number + 1) * who.population.size + who.slots + 10_000
    return serial


def _cpf(bases: Ints) -> Bytes:
    written = digits(bases, 9)
    repeated = (written == written[:, :1]).all(axis=1)
    written[repeated] = np.frombuffer(b"123456789", dtype=np.uint8)
    return _checked(written, _CPF_WEIGHTS)


def _cnpj(bases: Ints, alphanumeric: Bools) -> Bytes:
    numeric = digits(bases, 8)
    places = [_ALPHABET[bases // 36**place % 36] for place in range(7, -1, -1)]
    root = np.where(alphanumeric[:, None], np.stack(places, axis=1) if len(bases) else numeric, numeric)
    return _checked(beside(root, constant("0001", len(bases))), _CNPJ_WEIGHTS)


def _checked(letters: Bytes, weights: tuple[Ints, Ints]) -> Bytes:
    """With its two check digits (rule: see ``pix.identifiers``)."""
    for of_place in weights:
        remainder = ((letters.astype(np.int64) - 48) @ of_place) % 11
        digit = np.where(remainder < 2, 0, 11 - remainder) + 48  # noqa: PLR2004
        letters = beside(letters, digit.astype(np.uint8)[:, None])
    return letters


def _phones(seed: int, slots: Ints, created: Ints) -> Bytes:
    drawn = scrambled(seed, chance.PHONE, slots, created)
    area = _AREA_CODES[(drawn % np.uint64(len(_AREA_CODES))).astype(np.int64)]
    n = len(slots)
    return beside(constant("+55", n), digits(area, 2), constant("9", n), digits(drawn // np.uint64(16), 8))


def _mails(seed: int, slots: Ints, created: Ints) -> Bytes:
    n = len(slots)
    drawn = scrambled(seed, chance.MAIL, slots, created)
    return beside(constant("cliente.", n), hexadecimal(drawn), constant("@example.com", n))


def _evps(seed: int, slots: Ints, created: Ints) -> Bytes:
    """Random UUIDs, version 4."""
    head = hexadecimal(scrambled(seed, chance.EVP, slots, created))
    tail = hexadecimal(scrambled(seed, chance.EVP_TAIL, slots, created))
    n = len(slots)
    dash = constant("-", n)
    return beside(
        head[:, :8], dash, head[:, 8:12], dash, constant("4", n), head[:, 13:], dash, constant("a", n),
        tail[:, 1:4], dash, tail[:, 4:],
    )  # fmt: skip
