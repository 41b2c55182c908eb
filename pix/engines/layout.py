"""From declarations to tables of integers: how a kind's blob is laid out, and what the kernel computes.

Everything here follows from ``pix.features``; the compiled kernel takes these tables as arguments, so that
a changed declaration never meets code compiled for another.

A blob is 64-bit little-endian words: a header, then either up to ``LIST_CAP`` events (three words each) or
rings. A *bank* holds the tiles of one flow and window: ``window / hop + 1`` slots, a tile's slot being its
number modulo that; per measure one row of slots, 64-bit measures first, 32-bit ones elsewhere, so that a window
is a sum over neighbours. After the banks come the tables of counterparts per flow: ``DISTINCT_CAP`` last times
and then as many hashes.
"""

from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from pix.contracts import DAY_MS
from pix.engines.events import FLOW_BITS
from pix.features import (
    DISTINCT_CAP,
    FACT_NAMES,
    FEATURES,
    ROLES,
    TIMELESS_NAMES,
    Feature,
    LifetimeFeature,
    RatioFeature,
    RequestFeature,
    ScoreFeature,
    TimeFeature,
    WindowFeature,
)

VERSION = 3
LIST_CAP = 32
HEADER_WORDS = 10
META, CLOCK, FIRST_OUT, LAST_OUT, FIRST_IN, LAST_IN, LAST_ATTEMPT, LAST_IMPORTED, COUNT_OUT, COUNT_IN = range(10)
RINGS = -1
"""In ``META`` instead of the number of listed events."""

WIDE_MEASURES = ("sum", "reais", "squares", "max")
NARROW_MEASURES = ("count", "attempted", "night", "round", "young", "marked", "flagged", "frauds", "contests")
MEASURES = (*WIDE_MEASURES, *NARROW_MEASURES)
"""What a bank may keep per tile: the first in 64 bits, the rest in 32."""

HEADER_READS = ("first_out", "last_out", "first_in", "last_in", "last_attempt", "count_out", "count_in")

NEEDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("amount_cents", "sum"): ("sum",),
    ("amount_cents", "mean"): ("sum", "count"),
    ("amount_cents", "max"): ("max", "count"),
    ("reais", "mean"): ("reais", "count"),
    ("reais", "deviation"): ("reais", "squares", "count"),
    ("night_payments", "share"): ("night", "count"),
    ("round_payments", "share"): ("round", "count"),
    ("young_counterparts", "share"): ("young", "count"),
    ("young_counterparts", "count"): ("young",),
    ("marked_counterparts", "count"): ("marked",),
    ("flagged_counterparts", "count"): ("flagged",),
    ("flagged_counterparts", "share"): ("flagged", "count"),
    ("frauds", "count"): ("frauds",),
    ("contests", "count"): ("contests",),
}
PAYMENT_COUNTS = {"allowed": ("count",), "attempted": ("attempted",), "all": ("count", "attempted")}


def needed(feature: WindowFeature) -> tuple[str, ...]:
    """Measures that a window feature is computed from.

    Raises:
        KeyError: No such aggregate of that measure exists.
    """
    if (feature.measure, feature.aggregate) == ("payments", "count"):
        return PAYMENT_COUNTS[feature.population]
    return NEEDS[feature.measure, feature.aggregate]


@dataclass(frozen=True, slots=True, order=True)
class Bank:
    """Tiles of one flow and window; ordered by flow, longest window first."""

    flow: str
    minus_window_ms: int
    hop_ms: int


@dataclass(slots=True)
class Layout:
    """What a kind of entity keeps and reads.

    Attributes:
        banks: Bank -> measures, in the order of ``MEASURES``.
        distinct: (flow, window, hop) of counterpart counts.
        reads: Names of the integers that a read yields: a header name, or flow, window, measure.
    """

    banks: dict[Bank, list[str]] = field(default_factory=dict)
    distinct: list[tuple[str, int, int]] = field(default_factory=list)
    reads: list[tuple[object, ...]] = field(default_factory=list)

    def position(self, *name: object) -> int:
        """Place of an integer in what is read."""
        return self.reads.index(name)


def _layout(kind: str) -> Layout:
    wanted: dict[Bank, set[str]] = {}
    distinct = set()
    for feature in FEATURES:
        if not isinstance(feature, WindowFeature) or ROLES[feature.entity] != kind:
            continue
        window_ms, hop_ms = feature.window_ms or 0, feature.hop_ms or 0
        if feature.aggregate == "distinct":
            distinct.add((feature.flow, window_ms, hop_ms))
        else:
            wanted.setdefault(Bank(feature.flow, -window_ms, hop_ms), set()).update(needed(feature))
    layout = Layout({bank: sorted(wanted[bank], key=MEASURES.index) for bank in sorted(wanted)}, sorted(distinct))
    layout.reads = [(name,) for name in HEADER_READS]
    for bank, measures in layout.banks.items():
        layout.reads += [(bank.flow, -bank.minus_window_ms, name) for name in (*measures, "observed")]
    layout.reads += [(flow, window_ms, "distinct") for flow, window_ms, _ in layout.distinct]
    return layout


KINDS = tuple(dict.fromkeys(ROLES.values()))
LAYOUTS: dict[str, Layout] = {kind: _layout(kind) for kind in KINDS}

# Columns of the plan, see `_plan`.
N_BANKS, RING_WORDS, N_READS, N_TABLES, N_DISTINCT, REACH_WINDOW, REACH_HOP, BANKS_AT, TABLES_AT, DISTINCT_AT = range(
    10
)
PLAN_HEADER = 10
(
    BANK_FLOW,
    BANK_HOP,
    BANK_TILES,
    BANK_WIDE_AT,
    BANK_WIDE,
    BANK_NARROW_AT,
    BANK_NARROW,
    BANK_READ,
    BANK_CODES,
    BANK_MAX,
    BANK_NEXT,
) = range(11)
BANK_FIELDS = 11
"""``BANK_MAX``: 1 if the last wide measure is a maximum. ``BANK_NEXT``: the first bank of the next flow."""
TABLE_FLOW, TABLE_AT = range(2)
TABLE_FIELDS = 2
DISTINCT_FLOW, DISTINCT_TABLE, DISTINCT_WINDOW, DISTINCT_HOP, DISTINCT_READ = range(5)
DISTINCT_FIELDS = 5


def _plan(layout: Layout) -> list[int]:
    """A layout as integers: header, banks, tables, distinct counts, codes of the banks' measures."""
    flows = sorted({flow for flow, _, _ in layout.distinct})
    banks_at = PLAN_HEADER
    tables_at = banks_at + BANK_FIELDS * len(layout.banks)
    distinct_at = tables_at + TABLE_FIELDS * len(flows)
    codes_at = distinct_at + DISTINCT_FIELDS * len(layout.distinct)
    word, narrow = HEADER_WORDS, 0
    banks: list[list[int]] = []
    codes: list[int] = []
    for bank, measures in layout.banks.items():
        tiles = -bank.minus_window_ms // bank.hop_ms
        wide = sum(name in WIDE_MEASURES for name in measures)
        small = len(measures) - wide
        read_at = layout.position(bank.flow, -bank.minus_window_ms, measures[0])
        next_flow = sum(other.flow <= bank.flow for other in layout.banks)
        banks.append(
            [
                *(FLOW_BITS[bank.flow], bank.hop_ms, tiles, word, wide, narrow, small, read_at, codes_at + len(codes)),
                *("max" in measures, next_flow),
            ]
        )
        codes += [MEASURES.index(name) for name in measures]
        word += (tiles + 1) * wide
        narrow += (tiles + 1) * small
    for row in banks:
        row[BANK_NARROW_AT] += 2 * word
    word += (narrow + 1) // 2
    tables = [[FLOW_BITS[flow], word + place * 2 * DISTINCT_CAP] for place, flow in enumerate(flows)]
    word += len(flows) * 2 * DISTINCT_CAP
    distinct = [
        [FLOW_BITS[flow], flows.index(flow), window_ms, hop_ms, layout.position(flow, window_ms, "distinct")]
        for flow, window_ms, hop_ms in layout.distinct
    ]
    longest = max(layout.banks, key=lambda bank: -bank.minus_window_ms)
    header = [len(banks), word, len(layout.reads), len(tables), len(distinct), -longest.minus_window_ms, longest.hop_ms]
    header += [banks_at, tables_at, distinct_at]
    return [*header, *(n for row in (*banks, *tables, *distinct) for n in row), *codes]


PLANS: dict[str, NDArray[np.int64]] = {kind: np.array(_plan(layout), np.int64) for kind, layout in LAYOUTS.items()}
_STORED = [(kind, layout.banks, sorted({flow for flow, _, _ in layout.distinct})) for kind, layout in LAYOUTS.items()]
STATE_LAYOUT = sha256(repr((VERSION, LIST_CAP, DISTINCT_CAP, MEASURES, _STORED)).encode()).hexdigest()[:16]
"""Version of the blobs; states of another layout are rebuilt, never read. It depends on what is
kept, not on the features read from it: a feature over measures that are there needs no refold."""

READ_AT: dict[str, int] = {}
"""Role -> where its integers begin among a payment's; the payment's facts come first."""
INTEGERS = len(FACT_NAMES)
for _role, _kind in ROLES.items():
    READ_AT[_role] = INTEGERS
    INTEGERS += len(LAYOUTS[_kind].reads)

# What one payment's reading and folding work on, in 64-bit words: a request (event time, outcome's flags, what its
# accounts carry, the bytes of its states by slot, old and new), what is packed of it, its integers, its vector, its
# states one after the other, and room for them with the payment folded in.
SLOTS = len(ROLES)
"""At most so many states belong to a payment: one per role."""
ASKED_TIME, ASKED_FLAGS, ASKED_PAYER_FLAGGED, ASKED_PAYEE_FLAGGED, ASKED_LENGTHS = range(5)
ASKED_FOLDED = ASKED_LENGTHS + SLOTS
SLOT_KIND, SLOT_WORD, SLOT_COUNTERPART, SLOT_OPENED, SLOT_RECEIVING = range(5)
SLOT_FIELDS = 5
PACKED_AT = ASKED_FOLDED + SLOTS
"""Packed of a payment: its timeless facts, per slot ``SLOT_FIELDS`` words, per role its slot (-1 without one)."""
SLOTS_AT = PACKED_AT + len(TIMELESS_NAMES)
ROLES_AT = SLOTS_AT + SLOTS * SLOT_FIELDS
INTEGERS_AT = ROLES_AT + len(ROLES)
VECTOR_AT = INTEGERS_AT + INTEGERS
STATES_AT = VECTOR_AT + len(FEATURES)
LARGEST = max(int(plan[RING_WORDS]) for plan in PLANS.values())
"""Words of the largest blob."""
FOLDED_AT = STATES_AT + SLOTS * LARGEST
WORK_WORDS = FOLDED_AT + SLOTS * LARGEST

# What depends on the declarations is handed to the compiled code, never a constant in it: see `PLACES`.
AT_VECTOR, AT_STATES, AT_FOLDED, AT_PLANS = 0, 1, 2, 3
AT_ROLES = AT_PLANS + len(KINDS) + 1
PLACES = np.array(
    [
        *(VECTOR_AT, STATES_AT, FOLDED_AT),
        *(sum(len(PLANS[kind]) for kind in KINDS[:n]) for n in range(len(KINDS) + 1)),
        *(n for role, kind in ROLES.items() for n in (KINDS.index(kind), READ_AT[role])),
    ],
    np.int64,
)
"""Where vector, states and folded states begin, where each kind's plan begins among all plans (and the
last one ends), per role its kind and where its integers begin."""
ALL_PLANS = np.concatenate([PLANS[kind] for kind in KINDS])

FLAGGED_BY = LAYOUTS["account"].position("in", 90 * DAY_MS, "frauds")
"""Among what is read of an account, the known frauds that it received: what is carried to the other side."""

(OP_INTEGER, OP_CODE, OP_QUOTIENT, OP_BOTH, OP_OBSERVED, OP_MAX, OP_DEVIATION, OP_RATIO, OP_AMOUNT_RATIO, OP_SCORE) = (
    range(10)
)
"""Operations of a feature over integers a, b, c (or, for the last three, over earlier features)."""


def _window_row(feature: WindowFeature) -> tuple[int, ...]:
    layout, at = LAYOUTS[ROLES[feature.entity]], READ_AT[feature.entity]

    def place(measure: str) -> int:
        return at + layout.position(feature.flow, feature.window_ms, measure)

    if feature.aggregate == "distinct":
        return OP_INTEGER, place("distinct"), 0, 0, 1
    places = [place(measure) for measure in needed(feature)]
    if feature.aggregate == "count" and feature.population == "attempted":
        return OP_OBSERVED, places[0], place("observed"), 0, 1
    if len(places) == 1:
        return OP_INTEGER, places[0], 0, 0, 1
    if feature.aggregate == "deviation":
        return OP_DEVIATION, *places, 1
    operation = {"count": OP_BOTH, "max": OP_MAX, "mean": OP_QUOTIENT, "share": OP_QUOTIENT}[feature.aggregate]
    return operation, places[0], places[1], 0, 1


def _row(feature: Feature, earlier: dict[str, int]) -> tuple[int, ...]:
    match feature:
        case RequestFeature(is_code=code) if code is not None:
            return OP_CODE, FACT_NAMES.index(feature.measure), code, 0, 1
        case RequestFeature(over=over) if over is not None:
            return OP_QUOTIENT, FACT_NAMES.index(feature.measure), FACT_NAMES.index(over), 0, 1
        case RequestFeature():
            return OP_INTEGER, FACT_NAMES.index(feature.measure), 0, 0, feature.scale
        case WindowFeature():
            return _window_row(feature)
        case TimeFeature():
            place = READ_AT[feature.entity] + LAYOUTS[ROLES[feature.entity]].position(feature.moment)
            return OP_INTEGER, place, 0, 0, 1000
        case LifetimeFeature():
            place = READ_AT[feature.entity] + LAYOUTS[ROLES[feature.entity]].position(f"count_{feature.flow}")
            return OP_INTEGER, place, 0, 0, 1
        case RatioFeature(numerator="amount_cents"):
            return OP_AMOUNT_RATIO, FACT_NAMES.index("amount_cents"), earlier[feature.denominator], 0, 1
        case RatioFeature():
            return OP_RATIO, earlier[feature.numerator], earlier[feature.denominator], 0, 1
        case ScoreFeature():
            return OP_SCORE, FACT_NAMES.index("amount_cents"), earlier[feature.mean], earlier[feature.deviation], 1
    raise TypeError(f"{feature.name}: no operation for a {type(feature).__name__}")


def _program() -> NDArray[np.int64]:
    """One row per feature: place, operation, a, b, c, scale; a feature comes after those it is made of."""
    places = {feature.name: place for place, feature in enumerate(FEATURES)}
    depth = {"RatioFeature": 1, "ScoreFeature": 1}
    rows = [(depth.get(type(f).__name__, 0), places[f.name], *_row(f, places)) for f in FEATURES]
    # By operation, so that the compiled loop's branches are foreseeable.
    return np.array([row[1:] for row in sorted(rows, key=lambda row: (row[0], row[2], row[1]))], np.int64)


PROGRAM = _program()
