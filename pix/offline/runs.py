"""What the next run of the offline engine over the live log has to do. Pure: values in, a plan out.

A run folds what the lake got since the run before: records beyond the newest offset of each partition that was
folded, and those that had to wait. It begins from nothing where the states of the run before are no beginning:
another layout, other declarations, or another base.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from pix.engines.layout import STATE_LAYOUT
from pix.features import FINGERPRINT

Offsets = Mapping[int, int]
"""Kafka partition -> newest offset."""

MOST_BATCHES = 14
"""States of so many runs lie beside each other before they are compacted: a daily run does that every fortnight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A row of ``features/runs``, as far as planning needs it.

    Attributes:
        batch: Number of the run, from 1.
        decisions_to: Newest decision folded.
        folds_to: Newest label fold folded.
        base: Newest import in the base of its states.
        layout: Layout of its states.
        fingerprint: Declarations of its vectors.
        states_from: The first run whose states are still needed.
    """

    batch: int
    decisions_to: Offsets
    folds_to: Offsets
    base: int
    layout: str
    fingerprint: str
    states_from: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run does.

    Attributes:
        run: What its row will say.
        since: The run whose states it begins with; None to begin from nothing.
        asks_all: Whether every decision gets a vector, also those that have one of other declarations.
        compacts: Whether it puts the states of all runs together.
    """

    run: Run
    since: Run | None
    asks_all: bool
    compacts: bool


def plan(last: Run | None, *, decisions_to: Offsets, folds_to: Offsets, base: int) -> Plan:
    """The next run.

    Args:
        last: The newest run that was finished.
        decisions_to: Newest decision in the lake.
        folds_to: Newest label fold in the lake.
        base: Newest import in the base of the newest generation that decided anything.
    """
    batch = 1 if last is None else last.batch + 1
    run = Run(
        batch=batch,
        decisions_to=decisions_to,
        folds_to=folds_to,
        base=base,
        layout=STATE_LAYOUT,
        fingerprint=FINGERPRINT,
        states_from=batch,
    )
    asks_all = last is None or last.fingerprint != FINGERPRINT
    if last is None or (last.layout, last.fingerprint, last.base) != (STATE_LAYOUT, FINGERPRINT, base):
        return Plan(run=run, since=None, asks_all=asks_all, compacts=True)
    if batch - last.states_from >= MOST_BATCHES:
        return Plan(run=run, since=last, asks_all=False, compacts=True)
    return Plan(run=replace(run, states_from=last.states_from), since=last, asks_all=False, compacts=False)


def beyond(offsets: Offsets, partition: str, offset: str) -> str:
    """SQL condition for records that these offsets do not cover.

    Comparisons only, because by those Delta skips the files whose least and greatest values do not fit: a ``not in``
    would have every record of the past read again.

    Args:
        offsets: What was folded.
        partition: Column of the Kafka partition.
        offset: Column of the offset.
    """
    if not offsets:
        return "true"
    known = sorted(offsets)
    newer = [f"(`{partition}` = {p} and `{offset}` > {offsets[p]})" for p in known]
    between = [f"(`{partition}` > {p} and `{partition}` < {q})" for p, q in pairwise(known) if q > p + 1]
    others = [f"`{partition}` < {known[0]}", *between, f"`{partition}` > {known[-1]}"]
    return f"({' or '.join([*newer, *others])})"


def written(offsets: Offsets) -> str:
    """Offsets as a column holds them."""
    return json.dumps({str(partition): offset for partition, offset in sorted(offsets.items())})


def read(text: str) -> dict[int, int]:
    """Offsets from a column."""
    return {int(partition): offset for partition, offset in json.loads(text).items()}
