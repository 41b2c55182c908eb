"""The catalogue as a page for people: ``docs/features.md``, made from the declarations and nothing else."""

from itertools import groupby

from pix.features.catalogue import FEATURES, FINGERPRINT
from pix.features.declarations import SPANS, WINDOWS, Feature

HEAD = """# Features

{count} features, fingerprint `{fingerprint}`. Written by `make features` from the declarations in
`pix/features`; do not edit.

**How to read it.** *Now* is the later of the payment's event time and the newest event time folded for the
entity. A window of length *w* and hop *h* covers the entity's earlier events with time at or after
⌊now / h⌋·h − w; a payment never sees itself. Hours and days of the calendar are those of Brasília (UTC-3).
Without the entity (no device, no tax id) a feature is missing, which models see as NaN; an entity without
events has counts and sums of 0. What was held or blocked counts only where the population says *attempted*
or *all*; over imported history attempts are unknown, so *attempted* is missing while such a payment is in
the window. More than 120 days without an event, and an entity starts anew.

| Window | Hop |
|---|---|
{windows}
"""


def page() -> str:
    """The whole page."""
    windows = "\n".join(f"| {SPANS[name]} | {_time(hop)} |" for name, (_, hop) in WINDOWS.items())
    parts = [HEAD.format(count=len(FEATURES), fingerprint=FINGERPRINT, windows=windows)]
    for group, features in groupby(FEATURES, key=lambda feature: feature.group):
        rows = [_row(feature) for feature in features]
        parts.append(f"## {group.capitalize()} ({len(rows)})\n")
        parts.append("| Feature | Entity | Population | Unit | Meaning |\n|---|---|---|---|---|")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _row(feature: Feature) -> str:
    return f"| `{feature.name}` | {feature.entity} | {feature.population} | {feature.unit} | {feature.description} |"


def _time(milliseconds: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms"
