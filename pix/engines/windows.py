"""A state in compiled code: reading its windows. Integers only; conventions as in ``pix.engines.tiles``."""

import numpy as np
from numba import njit

from pix.engines.events import ALLOWED, AMOUNT_BITS, FORGET_AFTER_MS, IN, LABEL, OUT
from pix.engines.layout import (
    BANK_CODES,
    BANK_FIELDS,
    BANK_FLOW,
    BANK_HOP,
    BANK_MAX,
    BANK_NARROW,
    BANK_NARROW_AT,
    BANK_NEXT,
    BANK_READ,
    BANK_TILES,
    BANK_WIDE,
    BANK_WIDE_AT,
    BANKS_AT,
    CLOCK,
    COUNT_IN,
    COUNT_OUT,
    DISTINCT_AT,
    DISTINCT_FIELDS,
    DISTINCT_FLOW,
    DISTINCT_HOP,
    DISTINCT_READ,
    DISTINCT_TABLE,
    DISTINCT_WINDOW,
    FIRST_OUT,
    HEADER_WORDS,
    LAST_IMPORTED,
    META,
    N_BANKS,
    N_DISTINCT,
    N_READS,
    RINGS,
    TABLE_AT,
    TABLE_FIELDS,
    TABLES_AT,
)
from pix.engines.tiles import M_MAX, N_MEASURES, increments
from pix.features import DISTINCT_CAP, MISSING

_inner = njit(nogil=True, error_model="numpy")


@_inner
def read_list(plan, state, o, now, reads, r, room):
    """Windows over the listed events: each counts for the shortest window that holds it, then windows add up.

    A flow's banks begin with the longest window, and a shorter one never begins earlier.
    """
    inc, heads, bands, columns = room
    n_banks = plan[N_BANKS]
    bands[: n_banks * N_MEASURES] = 0
    for n in range(state[o + META]):
        e = o + HEADER_WORDS + 3 * n
        time, word = state[e], state[e + 1]
        flags = word >> AMOUNT_BITS
        counted = state[e + 2] if flags & LABEL else time
        increments(time, word, inc)
        b = 0
        while b < n_banks:
            at = plan[BANKS_AT] + b * BANK_FIELDS
            after = plan[at + BANK_NEXT]
            if plan[at + BANK_FLOW] & flags and counted >= heads[b]:
                while b + 1 < after and counted >= heads[b + 1]:
                    b += 1
                join(bands, b, inc, 0)
            b = after
    for b in range(n_banks - 1, -1, -1):
        at = plan[BANKS_AT] + b * BANK_FIELDS
        if b + 1 < plan[at + BANK_NEXT]:
            join(bands, b, bands, b + 1)
        to, codes = r + plan[at + BANK_READ], plan[at + BANK_CODES]
        for k in range(plan[at + BANK_WIDE] + plan[at + BANK_NARROW]):
            reads[to + k] = bands[b * N_MEASURES + plan[codes + k]]
    if plan[N_DISTINCT] > 0:
        in_columns(state, o, columns)
        count_listed(plan, state[o + META], now, reads, r, columns)


@_inner
def join(bands, b, others, c):
    """Add one row of measures to another."""
    to, of = np.uint64(b * N_MEASURES), np.uint64(c * N_MEASURES)
    most = max(bands[to + np.uint64(M_MAX)], others[of + np.uint64(M_MAX)])
    for k in range(np.uint64(N_MEASURES)):
        bands[to + k] += others[of + k]
    bands[to + np.uint64(M_MAX)] = most


@_inner
def in_columns(state, o, columns):
    """The listed payments that were allowed as columns: counterparts, times, flows (0 for anything else)."""
    for n in range(state[o + META]):
        e = o + HEADER_WORDS + 3 * n
        flags = state[e + 1] >> AMOUNT_BITS
        columns[0, n] = state[e + 2]
        columns[1, n] = state[e]
        columns[2, n] = flags & (OUT | IN) if flags & ALLOWED else 0


@_inner
def count_listed(plan, listed, now, reads, r, columns):
    """Distinct counterparts: each counts where its newest payment of a flow does."""
    for n in range(listed):
        time, flows = columns[1, n], columns[2, n]
        newer = -1
        for d in range(plan[N_DISTINCT]):
            at = plan[DISTINCT_AT] + d * DISTINCT_FIELDS
            flow, hop = plan[at + DISTINCT_FLOW], plan[at + DISTINCT_HOP]
            if not flow & flows or time < now // hop * hop - plan[at + DISTINCT_WINDOW]:
                continue
            if newer < 0:
                newer = newer_flows(columns[0], columns[1], columns[2], n, listed)
            if not flow & newer:
                reads[r + plan[at + DISTINCT_READ]] += 1


@_inner
def newer_flows(counterparts, times, flows, n, listed):
    """Flows in which the n-th payment's counterpart has a newer one (or an earlier tie)."""
    counterpart, time, newer = counterparts[n], times[n], np.int64(0)
    for m in range(listed):
        is_newer = counterparts[m] == counterpart and times[m] + (m < n) > time
        newer |= flows[m] if is_newer else 0
    return newer


@_inner
def between(row, start, stop):
    """Sum of neighbours; unsigned indices spare the check for negative ones, so that this is vectorised."""
    total = np.int64(0)
    for n in range(np.uint64(start), np.uint64(stop)):
        total += row[n]
    return total


@_inner
def greatest(row, start, stop):
    """The greatest of neighbours, at least 0."""
    most = np.int64(0)
    for n in range(np.uint64(start), np.uint64(stop)):
        most = max(most, row[n])
    return most


@_inner
def read_rings(plan, state, o, now, reads, r):
    """Windows as sums over tiles."""
    narrow = state.view(np.int32)
    clock = state[o + CLOCK]
    for b in range(plan[N_BANKS]):
        at = plan[BANKS_AT] + b * BANK_FIELDS
        hop, slots = plan[at + BANK_HOP], plan[at + BANK_TILES] + 1
        newest = clock // hop
        gone = now // hop - newest
        if gone >= slots:
            continue
        # The tiles still inside are all of the ring, or what follows the newest one and `gone` more, around the end.
        start, stop, rest = 0, slots, 0
        if gone > 0:
            start = (newest + 1 + gone) % slots
            stop = min(start + slots - gone, slots)
            rest = slots - gone - (stop - start)
        to, wide = r + plan[at + BANK_READ], plan[at + BANK_WIDE]
        w, s = o + plan[at + BANK_WIDE_AT], 2 * o + plan[at + BANK_NARROW_AT]
        sums = wide - plan[at + BANK_MAX]
        for k in range(sums):
            reads[to + k] = between(state, w + start, w + stop) + between(state, w, w + rest)
            w += slots
        if sums < wide:
            reads[to + sums] = max(greatest(state, w + start, w + stop), greatest(state, w, w + rest))
        for k in range(wide, wide + plan[at + BANK_NARROW]):
            reads[to + k] = between(narrow, s + start, s + stop) + between(narrow, s, s + rest)
            s += slots
    for d in range(plan[N_DISTINCT]):
        at = plan[DISTINCT_AT] + d * DISTINCT_FIELDS
        table = o + plan[plan[TABLES_AT] + plan[at + DISTINCT_TABLE] * TABLE_FIELDS + TABLE_AT]
        hop = plan[at + DISTINCT_HOP]
        first = now // hop * hop - plan[at + DISTINCT_WINDOW]
        reads[r + plan[at + DISTINCT_READ]] = since(state, table, table + DISTINCT_CAP, first)


@_inner
def since(row, start, stop, first):
    """How many of the neighbours are at least ``first``."""
    inside = 0
    for n in range(np.uint64(start), np.uint64(stop)):
        inside += row[n] >= first
    return inside


@_inner
def read(plan, state, o, length, time, is_imported, reads, r, room):
    """The integers of one entity for a payment at ``time``, written to ``reads`` from ``r`` on."""
    heads = room[1]
    reads[r : r + plan[N_READS]] = 0
    reads[r : r + 5] = MISSING
    imported = MISSING
    now = time
    is_known = length > 0 and time <= state[o + CLOCK] + FORGET_AFTER_MS
    if is_known:
        now = max(time, state[o + CLOCK])
        imported = state[o + LAST_IMPORTED]
    for b in range(plan[N_BANKS]):
        at = plan[BANKS_AT] + b * BANK_FIELDS
        hop = plan[at + BANK_HOP]
        heads[b] = (now // hop - plan[at + BANK_TILES]) * hop
        to = r + plan[at + BANK_READ] + plan[at + BANK_WIDE] + plan[at + BANK_NARROW]
        reads[to] = 0 if is_imported or imported >= heads[b] else 1
    if not is_known:
        return
    for n in range(5):
        moment = state[o + FIRST_OUT + n]
        reads[r + n] = MISSING if moment == MISSING else now - moment
    reads[r + 5] = state[o + COUNT_OUT]
    reads[r + 6] = state[o + COUNT_IN]
    if state[o + META] == RINGS:
        read_rings(plan, state, o, now, reads, r)
    else:
        read_list(plan, state, o, now, reads, r, room)
