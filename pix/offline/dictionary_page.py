"""The data dictionary as a page for people: ``docs/data-dictionary.md``, made from declarations and nothing else."""

from collections.abc import Iterable

from pix.features import FEATURES
from pix.offline.declaration import Table
from pix.offline.dictionary import CLASSES, SHEETS, columns, kept, meaning, sheet_name, writer
from pix.offline.retention import Retention

HEAD = """# Data dictionary

Every Delta table of the lake, and what its columns mean. Written by `make contracts` from `pix/offline/tables/`
(names, types, meanings), `pix/offline/dictionary.py` (units, personal data) and `pix/offline/retention.py`; do not
edit.

**How to read it.** The first part of a table's name is its layer: *bronze* is what came over Kafka, *silver* what it
says, each thing once, *gold* what reports read, *features* what models learn from and the store starts with,
*quality* what was compared, *care* what was done to keep tables in order. Types are Spark's. *ms* are whole
milliseconds; times are counted from 1970 in UTC. Money is whole centavos of a real. What is unknown is null, never a
default. Clear tax ids, accounts, keys, devices and texts are in no table: [the doors](architecture.md) put tokens in
their place, and what no door let in is sealed.

## Personal data

| Class | Meaning |
|---|---|
{classes}

Of a column that holds several, the first in this order counts. A tokenised payment is personal data as a whole: the
classes say how it leads to a person, not whether.

## Retention

Periods are counted from the column named. They are this project's proposal, to be confirmed by whoever runs it with
their compliance; `RETENTION` in `pix/offline/retention.py` is the one place that says them.

{retention}

## Tables

| Table | One row | Partitions | Kept | Writer |
|---|---|---|---|---|
{tables}
"""
LAYERS = ("bronze", "silver", "gold", "features", "model", "quality", "care")
COLUMNS_HEAD = "| Column | Type | Meaning | Unit | Personal data |\n|---|---|---|---|---|"


def page(tables: Iterable[Table]) -> str:
    """The whole page.

    Raises:
        NoSheet: A table or a column is not in the dictionary; says which, and where to add it.
    """
    tables = tuple(sorted(tables, key=lambda table: LAYERS.index(table.name.split("/")[0])))
    head = HEAD.format(
        classes="\n".join(f"| `{name}` | {text} |" for name, text in CLASSES.items()),
        retention=_retention(tables),
        tables="\n".join(_line(table) for table in tables),
    )
    # Tables with the same columns, such as those of bronze, share a section.
    sections: dict[str, list[str]] = {}
    for table in tables:
        sections.setdefault(_columns(table), []).append(table.name)
    return "\n".join([head, *(f"## {', '.join(names)}\n\n{text}\n" for text, names in sections.items())])


def _retention(tables: tuple[Table, ...]) -> str:
    rows: dict[str, list[str]] = {}
    for table in tables:
        for rule in kept(table):
            rows.setdefault(f"{_period(rule)} | {_cell(rule.reason)}", []).append(f"`{table.name}`")
    lines = [f"| {', '.join(names)} | {text} |" for text, names in rows.items()]
    return "\n".join(["| Table | Kept | Reason |", "|---|---|---|", *lines])


def _line(table: Table) -> str:
    partitions = ", ".join(f"`{name}`" for name in table.partitions) or "none"
    periods = "; ".join(_period(rule) for rule in kept(table))
    return f"| `{table.name}` | {_cell(table.row)} | {partitions} | {periods} | {writer(table)} |"


def _columns(table: Table) -> str:
    lines = [COLUMNS_HEAD]
    listed = columns(table)
    for column in listed:
        sheet = SHEETS[sheet_name(table, column)]
        cells = (f"`{column.name}`", column.type, _cell(meaning(table, column)), sheet.unit, f"`{sheet.personal}`")
        lines.append(f"| {' | '.join(cells)} |")
    if len(listed) < len(table.columns):
        lines.append(
            f"\nBesides these the {len(FEATURES)} features of [features.md](features.md), which has their units and "
            "meanings; each is a `double` and an `attribute`."
        )
    return "\n".join(lines)


def _period(rule: Retention) -> str:
    if rule.days is None:
        return "no limit of age"
    period = f"{rule.days:,} days from `{rule.since}`"
    return f"{period}, then {', '.join(f'`{name}`' for name in rule.emptied)} emptied" if rule.emptied else period


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
