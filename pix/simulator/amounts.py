"""How much is paid: published distributions, in which everybody has a place of their own.

A payment's place in its distribution is a normal variate made of what the payer has, what this payee usually
gets, and chance; so people and pairs have habits, while the published margins stay exact.
"""

import numpy as np
from scipy.special import ndtr, ndtri

from pix.simulator import published
from pix.simulator.published import BODY_CUT, BODY_MEDIAN, BODY_SIGMA, TAIL_CAP, TAIL_FROM
from pix.simulator.rhythm import Floats, Ints

OF_PAYER, OF_PAIR = 0.45, 0.5
_OF_CHANCE = (1 - OF_PAYER**2 - OF_PAIR**2) ** 0.5
_TINY = 1e-9
MAX_REAIS = 20_000_000.0


def standing(rng: np.random.Generator, of_payer: Floats, of_pair: Floats) -> Floats:
    """Standard normal place of each payment among those of its kind."""
    drawn: Floats = OF_PAYER * of_payer + OF_PAIR * of_pair + _OF_CHANCE * rng.standard_normal(len(of_payer))
    return drawn


def reais(relation: Ints, initiation: Ints, z: Floats) -> Floats:
    """Amount at a standard normal place of its cell's distribution.

    Persons: a lognormal body cut at R$ 200 and a Pareto tail (alpha 1) from there to R$ 100,000, with as much
    tail as the cell's mean needs. Businesses: lognormal.

    Args:
        relation: Places in ``published.RELATIONS``.
        initiation: Places in ``published.INITIATIONS``.
        z: Standard normal.
    """
    means = published.cell_means()[relation, initiation]
    u = np.clip(ndtr(z), _TINY, 1 - _TINY)
    sigma = np.array([published.BUSINESS_SIGMA.get(name, 0.0) for name in published.RELATIONS])[relation]
    business = means * np.exp(sigma * z - sigma**2 / 2)
    return np.minimum(np.where(sigma > 0, business, _person(means, u)), MAX_REAIS)


def _person(means: Floats, u: Floats) -> Floats:
    """Quantile ``u`` of body and tail; a cell whose mean is out of their reach is scaled to it."""
    tail_mean = TAIL_FROM * np.log(TAIL_CAP / TAIL_FROM) / (1 - TAIL_FROM / TAIL_CAP)
    body_mean = _body_mean()
    share = np.clip((means - body_mean) / (tail_mean - body_mean), 0.01, 0.6)
    scale = means / ((1 - share) * body_mean + share * tail_mean)
    in_body = u < 1 - share
    body_top = ndtr(np.log(BODY_CUT / BODY_MEDIAN) / BODY_SIGMA)
    body = BODY_MEDIAN * np.exp(BODY_SIGMA * ndtri(np.where(in_body, u / (1 - share), 0.5) * body_top))
    rest = np.where(in_body, 0.5, (1 - u) / share)
    # Truncated Pareto with alpha 1: survival (from/x - from/cap) / (1 - from/cap).
    floor = TAIL_FROM / TAIL_CAP
    tail = TAIL_FROM / (rest * (1 - floor) + floor)
    return np.asarray(np.where(in_body, body, tail) * scale, dtype=np.float64)


def _body_mean() -> float:
    """Mean of a lognormal cut at ``BODY_CUT``."""
    top = np.log(BODY_CUT / BODY_MEDIAN) / BODY_SIGMA
    return float(BODY_MEDIAN * np.exp(BODY_SIGMA**2 / 2) * ndtr(top - BODY_SIGMA) / ndtr(top))


def cents(rng: np.random.Generator, amounts: Floats, round_share: Floats | float) -> Ints:
    """Whole centavos, at least one; a share of them as people name sums: multiples of R$ 5, 10, 50 or 100."""
    raw = amounts * 100
    step = np.select([raw < 5_000, raw < 20_000, raw < 100_000], [500.0, 1_000.0, 5_000.0], 10_000.0)
    named = np.maximum(np.round(raw / step), 1) * step
    chosen = np.where(rng.random(len(raw)) < round_share, named, raw)
    return np.maximum(chosen, 1).astype(np.int64)
