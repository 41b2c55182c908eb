"""A state in compiled code: folding one event into a blob. Integers only.

What these functions work on is laid out by ``pix.engines.layout``, whose plans come as arguments. They have no
signature and no cache of their own: ``pix.engines.compiled`` compiles them into its entry points. By convention
``o`` is where a state begins among other states, ``r`` where an entity's integers begin among a payment's.

Bounds: an amount is at most 10**12 centavos and a clipped square at most 10**12, so a window's sums hold for
9.2 million payments of the greatest amount on one key in 90 days, that is R$ 92 quadrillion; a tile counts
up to 2**31 - 1 payments. Beyond, integers would wrap silently.
"""

import numpy as np
from numba import njit

from pix.engines.events import (
    ALLOWED,
    AMOUNT_BITS,
    CONTEST,
    FLAGGED,
    FORGET_AFTER_MS,
    IMPORTED,
    IN,
    LABEL,
    MARKED,
    MINUS,
    OUT,
    YOUNG,
)
from pix.engines.layout import (
    BANK_CODES,
    BANK_FIELDS,
    BANK_FLOW,
    BANK_HOP,
    BANK_MAX,
    BANK_NARROW,
    BANK_NARROW_AT,
    BANK_TILES,
    BANK_WIDE,
    BANK_WIDE_AT,
    BANKS_AT,
    CLOCK,
    COUNT_IN,
    COUNT_OUT,
    FIRST_IN,
    FIRST_OUT,
    HEADER_WORDS,
    LAST_ATTEMPT,
    LAST_IMPORTED,
    LAST_IN,
    LAST_OUT,
    LIST_CAP,
    MEASURES,
    META,
    N_BANKS,
    N_TABLES,
    REACH_HOP,
    REACH_WINDOW,
    RING_WORDS,
    RINGS,
    TABLE_AT,
    TABLE_FIELDS,
    TABLE_FLOW,
    TABLES_AT,
)
from pix.features import BRASILIA_OFFSET_MS, DISTINCT_CAP, MISSING
from pix.features.declarations import NIGHT_BEGINS, NIGHT_ENDS, REAIS_CAP, ROUND_AMOUNT_CENTS

HOUR = 3_600_000
AMOUNT_MASK = (1 << AMOUNT_BITS) - 1
N_MEASURES = len(MEASURES)
(
    M_SUM,
    M_REAIS,
    M_SQUARES,
    M_MAX,
    M_COUNT,
    M_ATTEMPTED,
    M_NIGHT,
    M_ROUND,
    M_YOUNG,
    M_MARKED,
    M_FLAGGED,
    M_FRAUDS,
    M_CONTESTS,
) = range(N_MEASURES)

_inner = njit(nogil=True, error_model="numpy")


@_inner
def increments(time, word, inc):
    """What one event adds to each measure of a tile."""
    flags = word >> AMOUNT_BITS
    inc[:] = 0
    if flags & LABEL:
        inc[M_CONTESTS if flags & CONTEST else M_FRAUDS] = -1 if flags & MINUS else 1
        return
    if not flags & ALLOWED:
        inc[M_ATTEMPTED] = 1
        return
    amount = word & AMOUNT_MASK
    reais = min(amount // 100, REAIS_CAP)
    hour = (time + BRASILIA_OFFSET_MS) // HOUR % 24
    inc[M_SUM] = amount
    inc[M_REAIS] = reais
    inc[M_SQUARES] = reais * reais
    inc[M_MAX] = amount
    inc[M_COUNT] = 1
    inc[M_NIGHT] = 1 if hour >= NIGHT_BEGINS or hour < NIGHT_ENDS else 0
    inc[M_ROUND] = 1 if amount % ROUND_AMOUNT_CENTS == 0 else 0
    inc[M_YOUNG] = 1 if flags & YOUNG else 0
    inc[M_MARKED] = 1 if flags & MARKED else 0
    inc[M_FLAGGED] = 1 if flags & FLAGGED else 0


@_inner
def start_empty(state, o, time):
    """A state that has seen nothing yet."""
    state[o + META] = 0
    state[o + CLOCK] = time
    for place in range(FIRST_OUT, COUNT_OUT):
        state[o + place] = MISSING
    state[o + COUNT_OUT] = 0
    state[o + COUNT_IN] = 0


@_inner
def note(state, o, time, flags):
    """Header facts of a payment: first and last moments, counts."""
    for flow, first, last, count in ((OUT, FIRST_OUT, LAST_OUT, COUNT_OUT), (IN, FIRST_IN, LAST_IN, COUNT_IN)):
        if flags & flow:
            if state[o + first] == MISSING or time < state[o + first]:
                state[o + first] = time
            if time > state[o + last]:
                state[o + last] = time
            if flags & ALLOWED:
                state[o + count] += 1
    if not flags & ALLOWED and time > state[o + LAST_ATTEMPT]:
        state[o + LAST_ATTEMPT] = time
    if flags & IMPORTED and time > state[o + LAST_IMPORTED]:
        state[o + LAST_IMPORTED] = time


@_inner
def drop_unreachable(plan, state, o):
    """Forget listed events that no window reaches any more; return how many are left."""
    hop = plan[REACH_HOP]
    first = state[o + CLOCK] // hop * hop - plan[REACH_WINDOW]
    left = 0
    for n in range(state[o + META]):
        at = o + HEADER_WORDS + 3 * n
        word = state[at + 1]
        counted = state[at + 2] if (word >> AMOUNT_BITS) & LABEL else state[at]
        if counted >= first:
            to = o + HEADER_WORDS + 3 * left
            state[to], state[to + 1], state[to + 2] = state[at], word, state[at + 2]
            left += 1
    state[o + META] = left
    return left


@_inner
def to_rings(plan, state, o, inc):
    """Replace the list by rings that hold the same events."""
    listed = state[o + META]
    events = state[o + HEADER_WORDS : o + HEADER_WORDS + 3 * listed].copy()
    state[o + META] = RINGS
    state[o + HEADER_WORDS : o + plan[RING_WORDS]] = 0
    for t in range(plan[N_TABLES]):
        at = o + plan[plan[TABLES_AT] + t * TABLE_FIELDS + TABLE_AT]
        state[at : at + DISTINCT_CAP] = MISSING
    for n in range(listed):
        add(plan, state, o, events[3 * n], events[3 * n + 1], events[3 * n + 2], inc)


@_inner
def advance(plan, state, o, before, after):
    """Clear the tiles that the clock enters."""
    narrow = state.view(np.int32)
    for b in range(plan[N_BANKS]):
        at = plan[BANKS_AT] + b * BANK_FIELDS
        hop, slots = plan[at + BANK_HOP], plan[at + BANK_TILES] + 1
        newest = before // hop
        entered = min(after // hop - newest, slots)
        if entered == 0:
            continue
        wide, small = plan[at + BANK_WIDE], plan[at + BANK_NARROW]
        w, s = o + plan[at + BANK_WIDE_AT], 2 * o + plan[at + BANK_NARROW_AT]
        if entered == slots:
            state[w : w + wide * slots] = 0
            narrow[s : s + small * slots] = 0
            continue
        slot = newest % slots
        for _ in range(entered):
            slot = slot + 1 if slot + 1 < slots else 0
            for k in range(wide):
                state[w + k * slots + slot] = 0
            for k in range(small):
                narrow[s + k * slots + slot] = 0


@_inner
def remember(state, at, counterpart, time):
    """Put a counterpart into a table that keeps the greatest last-seen ones; the hash breaks ties."""
    hashes, found, oldest = at + DISTINCT_CAP, -1, -1
    for n in range(DISTINCT_CAP):
        seen = state[at + n]
        if seen == MISSING:
            found = n
            break
        if state[hashes + n] == counterpart:
            state[at + n] = max(seen, time)
            return
    if found < 0:
        oldest = 0
        for n in range(1, DISTINCT_CAP):
            if (state[at + n], state[hashes + n]) < (state[at + oldest], state[hashes + oldest]):
                oldest = n
        if (time, counterpart) > (state[at + oldest], state[hashes + oldest]):
            found = oldest
    if found >= 0:
        state[at + found] = time
        state[hashes + found] = counterpart


@_inner
def add(plan, state, o, time, word, other, inc):
    """Count one event in every ring that still reaches it."""
    flags = word >> AMOUNT_BITS
    counted = other if flags & LABEL else time
    increments(time, word, inc)
    narrow = state.view(np.int32)
    clock = state[o + CLOCK]
    for b in range(plan[N_BANKS]):
        at = plan[BANKS_AT] + b * BANK_FIELDS
        if not plan[at + BANK_FLOW] & flags:
            continue
        hop, slots = plan[at + BANK_HOP], plan[at + BANK_TILES] + 1
        tile, newest = counted // hop, clock // hop
        if tile <= newest - slots or tile > newest:
            continue
        slot = tile % slots
        wide, small, codes = plan[at + BANK_WIDE], plan[at + BANK_NARROW], plan[at + BANK_CODES]
        w = o + plan[at + BANK_WIDE_AT] + slot
        s = 2 * o + plan[at + BANK_NARROW_AT] + slot
        sums = wide - plan[at + BANK_MAX]
        for k in range(sums):
            state[w + k * slots] += inc[plan[codes + k]]
        if sums < wide:
            state[w + sums * slots] = max(state[w + sums * slots], inc[M_MAX])
        for k in range(small):
            narrow[s + k * slots] += np.int32(inc[plan[codes + wide + k]])
    if flags & LABEL or not flags & ALLOWED:
        return
    for t in range(plan[N_TABLES]):
        at = plan[TABLES_AT] + t * TABLE_FIELDS
        if plan[at + TABLE_FLOW] & flags:
            remember(state, o + plan[at + TABLE_AT], other, time)


@_inner
def fold(plan, state, o, length, time, word, other, inc):
    """Fold one event into the state at ``o``; return its length in words."""
    if length == 0 or time > state[o + CLOCK] + FORGET_AFTER_MS:
        start_empty(state, o, time)
    before = state[o + CLOCK]
    after = max(before, time)
    state[o + CLOCK] = after
    flags = word >> AMOUNT_BITS
    if not flags & LABEL:
        note(state, o, time, flags)
    listed = state[o + META]
    if listed == LIST_CAP:
        listed = drop_unreachable(plan, state, o)
    if 0 <= listed < LIST_CAP:
        at = o + HEADER_WORDS + 3 * listed
        state[at], state[at + 1], state[at + 2] = time, word, other
        state[o + META] = listed + 1
        return HEADER_WORDS + 3 * (listed + 1)
    if listed == RINGS:
        if after > before:
            advance(plan, state, o, before, after)
    else:
        to_rings(plan, state, o, inc)
    add(plan, state, o, time, word, other, inc)
    return plan[RING_WORDS]
