"""The compiled kernel's entry points, and the arithmetic of features.

Floating point begins in ``evaluate_row``, with + - x / and square root, never fastmath. Signatures are explicit, so
that all is compiled (or loaded from numba's cache on disk) when this module is imported, never during a payment.

numba's cache looks at this file only. So the entry points close over a stamp of every source that they are made
of, which is part of the cache's key; and declarations come as arguments, never as constants. What a payment works
on is laid out in ``pix.engines.layout`` and filled by ``pix.engines.online``.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import float64, int64, njit, types

from pix.engines import events, layout, tiles, windows
from pix.engines.events import ALLOWED, FLAGGED, IMPORTED
from pix.engines.layout import (
    ASKED_FLAGS,
    ASKED_FOLDED,
    ASKED_LENGTHS,
    ASKED_PAYEE_FLAGGED,
    ASKED_PAYER_FLAGGED,
    ASKED_TIME,
    AT_FOLDED,
    AT_PLANS,
    AT_ROLES,
    AT_STATES,
    AT_VECTOR,
    HEADER_WORDS,
    INTEGERS_AT,
    LIST_CAP,
    MEASURES,
    META,
    N_READS,
    OP_AMOUNT_RATIO,
    OP_BOTH,
    OP_CODE,
    OP_DEVIATION,
    OP_INTEGER,
    OP_MAX,
    OP_OBSERVED,
    OP_QUOTIENT,
    OP_RATIO,
    OP_SCORE,
    PACKED_AT,
    RING_WORDS,
    RINGS,
    ROLES_AT,
    SLOT_COUNTERPART,
    SLOT_FIELDS,
    SLOT_KIND,
    SLOT_OPENED,
    SLOT_RECEIVING,
    SLOT_WORD,
    SLOTS,
    SLOTS_AT,
)
from pix.engines.tiles import fold
from pix.engines.windows import read
from pix.features import MISSING, ROLES, declarations, facts
from pix.features.facts import CODES, DERIVED, DIRECT, SINCE
from pix.features.facts import calendar as fact_calendar

N_MEASURES = len(MEASURES)
MOST_BANKS = 64
N_ROLES = len(ROLES)
N_DIRECT, N_SINCE, N_CODES, N_DERIVED = len(DIRECT), len(SINCE), len(CODES), len(DERIVED)
SOURCES = (
    events.__file__,
    layout.__file__,
    tiles.__file__,
    windows.__file__,
    declarations.__file__,
    facts.__code__.co_filename,
    __file__,
)
STAMP = int.from_bytes(sha256(b"".join(Path(source).read_bytes() for source in SOURCES)).digest()[:7], "little")

_words = types.Array(int64, 1, "C")
_grid = types.Array(int64, 2, "C")
_floats = types.Array(float64, 1, "C")
_float_grid = types.Array(float64, 2, "C")

_inner = njit(nogil=True, error_model="numpy")
decided_word = _inner(events.decided_word)
calendar = _inner(fact_calendar)


@_inner
def evaluate_row(program, n, out):
    """Every feature from a payment's integers; the one place where they become floating point."""
    for row in range(program.shape[0]):
        place, operation = program[row, 0], program[row, 1]
        a, b, c = program[row, 2], program[row, 3], program[row, 4]
        value = np.nan
        if operation == OP_RATIO:
            if out[b] > 0:
                value = out[a] / out[b]
        elif operation == OP_AMOUNT_RATIO:
            if out[b] > 0:
                value = n[a] / out[b]
        elif operation == OP_SCORE:
            if out[c] > 0:
                value = (n[a] / 100 - out[b]) / out[c]
        elif n[a] != MISSING:
            value = of_integers(operation, n[a], n[b], n[c], b, program[row, 5])
        out[place] = value


@_inner
def of_integers(operation, x, y, z, code, scale):
    """One operation over integers."""
    if operation == OP_INTEGER:
        return x / scale
    if operation == OP_CODE:
        return 1.0 if x == code else 0.0
    if operation == OP_QUOTIENT:
        return x / y if y > 0 else np.nan
    if operation == OP_BOTH:
        return float(x + y)
    if operation == OP_OBSERVED:
        return float(x) if y == 1 else np.nan
    if operation == OP_MAX:
        return float(x) if y > 0 else np.nan
    if operation == OP_DEVIATION and z > 0:
        mean = x / z
        return np.sqrt(max(y / z - mean * mean, 0.0))
    return np.nan


@_inner
def fill_facts(packed, time, integers):
    """The payment's facts at its event time; see ``pix.features.facts``."""
    n = N_DIRECT + N_SINCE + N_CODES
    integers[:n] = packed[:n]
    for place in range(N_DIRECT, N_DIRECT + N_SINCE):
        if packed[place] != MISSING:
            integers[place] = time - packed[place]
    for moment in calendar(time):
        integers[n] = moment
        n += 1
    m = N_DIRECT + N_SINCE + N_CODES
    integers[n : n + N_DERIVED] = packed[m : m + N_DERIVED]


@_inner
def room():
    """What reading writes to on the way: one event's measures, windows' beginnings and measures, columns."""
    inc, heads = np.empty(N_MEASURES, np.int64), np.empty(MOST_BANKS, np.int64)
    return inc, heads, np.empty(MOST_BANKS * N_MEASURES, np.int64), np.empty((3, LIST_CAP), np.int64)


@_inner
def broken_slot(plans, places, work):
    """The first slot whose bytes are no state of its kind, -1 if all are: a wrong length would lead elsewhere."""
    o = places[AT_STATES]
    for slot in range(SLOTS):
        kind, length = work[SLOTS_AT + slot * SLOT_FIELDS + SLOT_KIND], work[ASKED_LENGTHS + slot]
        if kind < 0:
            break
        if length == 0:
            continue
        listed = work[o + META]
        o += length // 8
        words = HEADER_WORDS + 3 * listed if 0 <= listed <= LIST_CAP else -1
        if listed == RINGS:
            words = plans[places[AT_PLANS + kind] + RING_WORDS]
        if length != 8 * words:
            return slot
    return -1


class EntryPoints(NamedTuple):
    """The compiled functions; see ``entry_points``."""

    read_payment: Any
    fold_payment: Any
    replay: Any
    evaluate: Any


def entry_points(stamp: int) -> EntryPoints:
    """Compile the entry points, or load them from the cache of this stamp."""

    @njit(int64(_words, _words, _grid, _words), nogil=True, cache=True, error_model="numpy")
    def read_payment(plans, places, program, work):
        """Read every entity of one payment and compute all its features.

        Args:
            plans: The kinds' plans, one after the other.
            places: See ``pix.engines.layout.PLACES``.
            program: See ``pix.engines.layout.PROGRAM``.
            work: The request, the payment and its states; gets its integers and, as floating point, its vector.

        Returns:
            A slot whose state is none, else -1; then nothing was read.
        """
        _ = stamp
        broken = broken_slot(plans, places, work)
        if broken >= 0:
            return broken
        scratch = room()
        time, is_imported = work[ASKED_TIME], work[ASKED_FLAGS] & IMPORTED != 0
        integers = work[INTEGERS_AT : places[AT_VECTOR]]
        fill_facts(work[PACKED_AT:SLOTS_AT], time, integers)
        for role in range(N_ROLES):
            kind, at, slot = places[AT_ROLES + 2 * role], places[AT_ROLES + 2 * role + 1], work[ROLES_AT + role]
            plan = plans[places[AT_PLANS + kind] : places[AT_PLANS + kind + 1]]
            if slot >= 0:
                o = places[AT_STATES] + work[ASKED_LENGTHS : ASKED_LENGTHS + slot].sum() // 8
                read(plan, work, o, work[ASKED_LENGTHS + slot], time, is_imported, integers, at, scratch)
            else:
                integers[at : at + plan[N_READS]] = MISSING
        evaluate_row(program, integers, work[places[AT_VECTOR] : places[AT_STATES]].view(np.float64))
        return -1

    @njit(int64(_words, _words, _words), nogil=True, cache=True, error_model="numpy")
    def fold_payment(plans, places, work):
        """Copy each state of one decided payment and fold it in; the old ones stay.

        Args:
            plans: The kinds' plans, one after the other.
            places: See ``pix.engines.layout.PLACES``.
            work: The request, the payment and its states; gets the new states and their bytes.

        Returns:
            A slot whose state is none, else -1; then nothing was folded.
        """
        _ = stamp
        broken = broken_slot(plans, places, work)
        if broken >= 0:
            return broken
        inc = np.empty(N_MEASURES, np.int64)
        time, outcome = work[ASKED_TIME], work[ASKED_FLAGS] & (ALLOWED | IMPORTED)
        old, new = places[AT_STATES], places[AT_FOLDED]
        for slot in range(SLOTS):
            at, length = SLOTS_AT + slot * SLOT_FIELDS, work[ASKED_LENGTHS + slot] // 8
            kind = work[at + SLOT_KIND]
            if kind < 0:
                break
            is_flagged = work[ASKED_PAYER_FLAGGED if work[at + SLOT_RECEIVING] else ASKED_PAYEE_FLAGGED]
            flagged = FLAGGED if is_flagged else 0
            word = decided_word(work[at + SLOT_WORD], work[at + SLOT_OPENED], time, outcome, flagged)
            plan = plans[places[AT_PLANS + kind] : places[AT_PLANS + kind + 1]]
            for n in range(np.uint64(length)):
                work[np.uint64(new) + n] = work[np.uint64(old) + n]
            old += length
            length = fold(plan, work, new, length, time, word, work[at + SLOT_COUNTERPART], inc)
            new += length
            work[ASKED_FOLDED + slot] = 8 * length
        return -1

    @njit(types.void(_words, _grid, _words, _words, _words, _grid), nogil=True, cache=True, error_model="numpy")
    def replay(plan, steps, starts, lengths, states, reads):
        """Fold and read many events of many keys of one kind, in the given order.

        Args:
            plan: The kind's plan.
            steps: Per step: key's place, what to do (1 fold, 2 read, 3 read and then fold), the event's three words,
                whether it is read for imported history.
            starts: Per key, its first word in ``states``.
            lengths: Per key, words of its state; updated.
            states: Room for every key's state.
            reads: Gets one row per step that reads.
        """
        _ = stamp
        scratch = room()
        flat, row = reads.reshape(reads.size), 0
        for n in range(steps.shape[0]):
            key, action, time = steps[n, 0], steps[n, 1], steps[n, 2]
            o = starts[key]
            if action & 2:
                r, is_imported = row * plan[N_READS], steps[n, 5] != 0
                read(plan, states, o, lengths[key], time, is_imported, flat, r, scratch)
                row += 1
            if action & 1:
                lengths[key] = fold(plan, states, o, lengths[key], time, steps[n, 3], steps[n, 4], scratch[0])

    @njit(types.void(_grid, _grid, _float_grid), nogil=True, cache=True, error_model="numpy")
    def evaluate(program, integers, out):
        """Every feature of many payments from their integers, row by row."""
        _ = stamp
        for n in range(integers.shape[0]):
            evaluate_row(program, integers[n], out[n])

    return EntryPoints(read_payment, fold_payment, replay, evaluate)


read_payment, fold_payment, replay, evaluate = entry_points(STAMP)
