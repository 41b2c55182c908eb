"""Chance that belongs to somebody: hashes of numbers instead of draws, so that it is the same in every run."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from pix.simulator.rhythm import Floats, Ints

(
    ACCOUNT, BRANCH, PHONE, MAIL, EVP, EVP_TAIL, DEVICE, NETWORK, MARKER, PAIR, PURSE, REGISTERED, SETTLEMENTS,
    CREDENTIALS, LIMIT, FUNDS,
) = range(16)  # fmt: skip
"""What a hash is for: the same numbers give unrelated hashes for different purposes."""


def scrambled(seed: int, purpose: int, *numbers: Ints) -> NDArray[np.uint64]:
    """Evenly spread 64-bit hashes of (seed, purpose, numbers); not for secrets.

    The mixing step is splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    """
    start = (seed * 1_000_003 + purpose * 7_919 + 1) & 0xFFFF_FFFF_FFFF_FFFF
    state = np.full(len(numbers[0]), start, dtype=np.uint64)
    for number in numbers:
        state = _mixed(state ^ number.astype(np.uint64))
    return _mixed(state)


def uniform(seed: int, purpose: int, *numbers: Ints) -> Floats:
    """Numbers strictly between 0 and 1."""
    return ((scrambled(seed, purpose, *numbers) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def normal(seed: int, purpose: int, *numbers: Ints) -> Floats:
    """Standard normal numbers."""
    drawn: Floats = ndtri(uniform(seed, purpose, *numbers))
    return drawn


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # Wrapping around is meant.
    state = state + np.uint64(0x9E37_79B9_7F4A_7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return state ^ (state >> np.uint64(31))
