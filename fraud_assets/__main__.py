"""``python -m fraud_assets``: write the data dictionary and the page of the promises anew from what declares them."""

import tempfile
from pathlib import Path
from typing import Any

from fraud_assets.declared import key_of
from fraud_assets.external import policies_table
from fraud_assets.table_checks import USUAL, blocks, usual_of
from pix.offline.care import CARE_TABLES
from pix.offline.declaration import Table
from pix.offline.dictionary import tables
from pix.offline.dictionary_page import page as dictionary_page
from quality.conditions import Condition, Promise
from quality.promises import LIVE
from quality.scorecard import SCORECARD
from quality.suites import covered, key_columns, suite_of
from quality.unexpected import UNEXPECTED

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "data-dictionary.md"
QUALITY_PAGE = DOCS / "quality.md"
_HEAD = """\
# Quality

Written by `make contracts` from `quality/promises.py`, the declared tables and the contracts; do not edit.

Every table of silver and gold has a suite. Each promise is one asset check, named as a true sentence.

| | A red check | Why |
|---|---|---|
| **blocks** | stops every asset made of the table, in the same run | what is made of it would be wrong |
| **blocks if far** | the same, where a day lost rows or values beyond twice the threshold | a little unusual is told |
| told | stops nothing | a sender's fact, a clock, a shape: whoever may send could else stop the lake |

**How it is judged.** Every row is counted, by SQL over the Delta table without Spark; Great Expectations judges those
counts, and a sample of at most {sample} rows one by one. Both must hold; the check says how many rows were counted and
sampled. What breaks a promise is kept in `quality/unexpected`: at most {most} rows a check and day, {kept} days, tokens
only.

**What is usual** is learned from the table's own days: median and MAD of the newest {days}, weekdays apart from four
weeks on; more than {unusual} robust standard deviations are unusual, more than {far} are far (modified z-score,
Iglewicz and Hoaglin 1993). With fewer than {least} days nothing is judged, and the check says so. Only whole days are
judged, and of mixed tables only live rows.

**At a glance**: `quality/scorecard` has one row per table and day, with a picture of the days in its metadata.
It is made in a run of its own: in a run with its tables a red check would stop it on the day it is needed most.
"""


def lake_tables() -> tuple[Table, ...]:
    """Every table of the lake."""
    return (*tables(), policies_table(), SCORECARD, UNEXPECTED, *CARE_TABLES)


def quality_page() -> str:
    """The text of the page of promises."""
    from fraud_assets import definitions
    from pix.settings import Settings
    from quality.anomalies import FAR, LEAST_DAYS, MOST_DAYS, UNUSUAL
    from quality.expectations import SAMPLE_ROWS
    from quality.unexpected import DAYS_KEPT, MOST

    with tempfile.TemporaryDirectory() as folder:
        graph = definitions.build(Settings(home=Path(folder))).resolve_asset_graph()
    head = _HEAD.format(
        sample=f"{SAMPLE_ROWS:,}",
        most=MOST,
        kept=DAYS_KEPT,
        days=MOST_DAYS,
        unusual=UNUSUAL,
        far=FAR,
        least=LEAST_DAYS,
    )
    return head + "".join(_section(table, _made_of(graph, table)) for table in covered().values())


def _made_of(graph: Any, table: Table) -> list[str]:
    """Assets that are made of a table directly, in the same run."""
    names = {key.to_user_string() for key in graph.get(key_of(table.name)).child_keys}
    return sorted(names - {SCORECARD.name})


def _section(table: Table, stopped: list[str]) -> str:
    key = ", ".join(f"`{name}`" for name in key_columns(table))
    lines = [f"\n## {table.name}\n", f"{table.row} One row per {key}."]
    names = ", ".join(f"`{name}`" for name in stopped)
    lines.append(f"A blocking check stops {names} and what follows.\n" if stopped else "Nothing is made of it.\n")
    lines += ["| Check | Severity | Of | Why |", "|---|---|---|---|"]
    lines += [_row(promise) for promise in suite_of(table.name)]
    live = f" of the rows where `{LIVE[table.name]}`" if table.name in LIVE else ""
    lines += [
        f"| `{name}` | {_severity_of_habit(table, name)} | days{live} | {USUAL[name][1]} |" for name in usual_of(table)
    ]
    return "\n".join(lines) + "\n"


def _row(promise: Promise) -> str:
    severity = "**blocks**" if promise.severity == "critical" else "told"
    said = "; ".join(dict.fromkeys(_said(one) for one in promise.conditions))
    return f"| `{promise.name}` | {severity} | {said} | {promise.why} |"


def _severity_of_habit(table: Table, name: str) -> str:
    return "**blocks if far**" if blocks(table, name) else "told"


def _said(condition: Condition) -> str:
    """A condition in a few words."""
    first, *others = (f"`{name}`" for name in condition.columns)
    where = f" where `{condition.where[0]}` is {' or '.join(condition.where[1])}" if condition.where else ""
    there = f"`{condition.source.table}`" if condition.source else ""
    limits = [f"{limit:,}" if limit is not None else "" for limit in (condition.low, condition.high)]
    words = {
        "unique": ", ".join((first, *others)),
        "present": first,
        "absent": f"no {first}",
        "one_of": f"{first}: {', '.join(condition.values)}",
        "between": f"{first}: {limits[0]} to {limits[1]}" if limits[1] else f"{first}: at least {limits[0]}",
        "matches": first,
        "whole": f"{first} is whole",
        "differ": f"{first} is not {', '.join(others)}",
        "at_least": f"{first} at or after {', '.join(others)}",
        "adds_up": f"{first} = {' + '.join(others)}",
        "ratio": f"{first} = ({' + '.join(others[1:])}) ÷ {others[0] if others else ''}",
        "day_of": f"{first} is the day of {', '.join(others)} in Brasília",
        "same_as": f"{', '.join((first, *others))} as in {there}",
        "sums_of": f"{', '.join((first, *others))} summed from {there}",
        "reaches": f"{first} as far as in {there}, less {condition.slack // 60_000} min",
    }
    return words[condition.kind] + where


if __name__ == "__main__":
    PAGE.write_text(dictionary_page(lake_tables()), encoding="utf-8")
    QUALITY_PAGE.write_text(quality_page(), encoding="utf-8")
