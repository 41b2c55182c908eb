"""The compiled kernel's entry points, and the arithmetic of features.

Floating point begins in ``evaluate_row``, with + - x / and square root, never fastmath. Signatures are explicit, so
that all is compiled (or loaded from numba's cache on disk) when this module is imported, never during a payment.

numba's cache looks at this file only. So the entry points close over a stamp of every source that they are made
of, which is part of the cache's key; and declarations come as arguments, never as constants.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import boolean, float64, int64, njit, types

from pix.engines import events, layout, tiles
from pix.engines.layout import (
    MEASURES,
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
)
from pix.engines.tiles import fold, read
from pix.features import MISSING, declarations, facts

N_MEASURES = len(MEASURES)
MOST_BANKS = 64
SOURCES = (
    events.__file__,
    layout.__file__,
    tiles.__file__,
    declarations.__file__,
    facts.__code__.co_filename,
    __file__,
)
STAMP = int.from_bytes(sha256(b"".join(Path(source).read_bytes() for source in SOURCES)).digest()[:7], "little")

_words = types.Array(int64, 1, "C")
_frozen = types.Array(int64, 1, "C", readonly=True)
_grid = types.Array(int64, 2, "C")
_floats = types.Array(float64, 1, "C")
_float_grid = types.Array(float64, 2, "C")

_inner = njit(nogil=True)


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


class EntryPoints(NamedTuple):
    """The compiled functions; see ``entry_points``."""

    read_entities: Any
    fold_entities: Any
    replay: Any
    evaluate: Any


def entry_points(stamp: int) -> EntryPoints:
    """Compile the entry points, or load them from the cache of this stamp."""

    @njit(types.void(_words, _words, _frozen, _grid, int64, boolean, _grid, _words, _floats), nogil=True, cache=True)
    def read_entities(plans, bounds, source, entities, time, is_imported, program, integers, out):
        """Read every entity of one payment and compute all its features.

        Args:
            plans: The kinds' plans, one after the other.
            bounds: Where each kind's plan begins and the last one ends.
            source: The entities' blobs, one after the other.
            entities: Per entity: kind, first word in ``source``, words (0 without a state), place in ``integers``.
            time: The payment's event time, epoch milliseconds.
            is_imported: Whether the payment comes from imported history, where attempts are unknown.
            program: See ``pix.engines.layout.PROGRAM``.
            integers: The payment's facts at the front, ``MISSING`` behind; what is read is written here.
            out: Gets the vector.
        """
        _ = stamp
        inc, starts = np.empty(N_MEASURES, np.int64), np.empty(MOST_BANKS, np.int64)
        for e in range(entities.shape[0]):
            kind = entities[e, 0]
            plan = plans[bounds[kind] : bounds[kind + 1]]
            read(plan, source, entities[e, 1], entities[e, 2], time, is_imported, integers, entities[e, 3], inc, starts)
        evaluate_row(program, integers, out)

    @njit(types.void(_words, _words, _frozen, _grid, _words, int64, _words), nogil=True, cache=True)
    def fold_entities(plans, bounds, source, entities, target, stride, lengths):
        """Fold one event into each entity.

        Args:
            plans: The kinds' plans, one after the other.
            bounds: Where each kind's plan begins and the last one ends.
            source: The entities' blobs, one after the other.
            entities: Per entity: kind, first word in ``source``, words, and the event's three words.
            target: Gets the new blobs, one per ``stride`` words.
            stride: At least the words of the largest blob.
            lengths: Gets their lengths in words.
        """
        _ = stamp
        inc = np.empty(N_MEASURES, np.int64)
        for e in range(entities.shape[0]):
            kind, at, words = entities[e, 0], entities[e, 1], entities[e, 2]
            plan = plans[bounds[kind] : bounds[kind + 1]]
            o = e * stride
            for n in range(words):
                target[o + n] = source[at + n]
            lengths[e] = fold(plan, target, o, words, entities[e, 3], entities[e, 4], entities[e, 5], inc)

    @njit(types.void(_words, _grid, _words, _words, _words, _grid), nogil=True, cache=True)
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
        inc, edges, row = np.empty(N_MEASURES, np.int64), np.empty(MOST_BANKS, np.int64), 0
        flat = reads.reshape(reads.size)
        for n in range(steps.shape[0]):
            key, action, time = steps[n, 0], steps[n, 1], steps[n, 2]
            o = starts[key]
            if action & 2:
                read(plan, states, o, lengths[key], time, steps[n, 5] != 0, flat, row * plan[N_READS], inc, edges)
                row += 1
            if action & 1:
                lengths[key] = fold(plan, states, o, lengths[key], time, steps[n, 3], steps[n, 4], inc)

    @njit(types.void(_grid, _grid, _float_grid), nogil=True, cache=True)
    def evaluate(program, integers, out):
        """Every feature of many payments from their integers, row by row."""
        _ = stamp
        for n in range(integers.shape[0]):
            evaluate_row(program, integers[n], out[n])

    return EntryPoints(read_entities, fold_entities, replay, evaluate)


read_entities, fold_entities, replay, evaluate = entry_points(STAMP)
