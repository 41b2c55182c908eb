"""How good is each table on each of its days? A row of numbers and a verdict each, a page and a picture. Pure.

The rows are counted anew from the lake each time, so a day that was repaired turns good again.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pix.offline.declaration import Column, Table
from quality.anomalies import Aspect, Judged, judge
from quality.conditions import Promise
from quality.counting import Ask, Counts, arrival_sql, count
from quality.daily import DailyFacts, daily_facts, has_days
from quality.promises import GATES
from quality.suites import suite

if TYPE_CHECKING:
    pass

DAYS_SHOWN = 60
DAYS_DRAWN = 30
WORST_SHOWN = 30
GOOD, WARNED, BROKEN = "good", "warned", "broken"
COLOURS: Mapping[str, str] = {"": "#eeeeee", GOOD: "#4c9f70", WARNED: "#e9b44c", BROKEN: "#c1443c"}
SCORECARD = Table(
    "quality/scorecard",
    "One day of one table: how many rows it has, which promises it breaks, how far from usual it is.",
    (
        Column("day", "date", "Day of the rows in Brasília; null for rows that have none."),
        Column("table_name", "string", "The table."),
        Column("rows", "bigint", "Rows of the day."),
        Column("promises", "bigint", "Promises counted over every row of the day."),
        Column("broken_critical", "bigint", "Of these broken, and downstream would be wrong."),
        Column("broken_warning", "bigint", "Of these broken, and only told."),
        Column("broken", "string", "Their names."),
        Column("null_column", "string", "The column with the greatest share of nulls."),
        Column("null_share", "double", "That share."),
        Column("volume_score", "double", "Modified z-score of the rows; null with too little history."),
        Column("unusual", "string", "What is not as it usually is."),
        Column("newest_ms", "bigint", "Newest time of the day's rows."),
        Column("silence_hours", "double", "From then to the next day's first row, or to the time of the scorecard."),
        Column("verdict", "string", "good, warned, or broken where downstream would be wrong."),
    ),
)


def score(table: Table, ask: Ask, *, columns: Iterable[str], now_ms: int, today: date) -> list[dict[str, Any]]:
    """The newest days of a table, as rows of ``SCORECARD``.

    Args:
        table: The declaration; the table exists.
        ask: Runs SQL over the lake.
        columns: The columns that it really has.
        now_ms: The clock.
        today: Its day in Brasília; a day that is not over is not compared with whole ones.
    """
    there, promises = list(columns), suite(table)
    counts = count(table, promises, ask, columns=there, by=arrival_sql(table))
    facts = daily_facts(table, ask, columns=there) if has_days(table) else []
    place_of = {one.day: place for place, one in enumerate(facts)}
    known = sorted(day for day in counts.rows if day is not None)
    chosen: list[date | None] = [*([None] if None in counts.rows else []), *known[-DAYS_SHOWN:]]
    # What is asked of the whole table, as whether it reaches as far as its source, is told on its newest day.
    newest = chosen[-1] if chosen else None
    rows = []
    for day in chosen:
        place = place_of.get(day) if day is not None else None
        judged = _judged(table, facts[:place], facts[place]) if place is not None and day and day < today else ()
        broken = [one for one in promises if _is_broken(one, counts, day, is_newest=day == newest)]
        rows.append(
            {
                **_counted(table, day, counts, promises, broken),
                **_usual(facts, place, judged, now_ms),
                "verdict": _verdict(table, broken, judged),
            }
        )
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each table's newest day, then the newest days that are not good, as a page to read."""
    newest = {row["table_name"]: row for row in rows}
    bad = [row for row in rows if row["verdict"] != GOOD]
    bad.sort(key=lambda row: (row["day"] or date.min, row["verdict"] == BROKEN), reverse=True)
    head = "| table | day | rows | promises | critical | warning | most nulls | volume score | verdict |"
    lines = [head, "|" + "---|" * 9, *map(_line, newest.values()), "", f"{len(bad)} of {len(rows)} days are not good."]
    if bad:
        lines += ["", "| table | day | verdict | broken promises | unusual |", "|" + "---|" * 5]
        lines += [
            f"| {row['table_name']} | {row['day'] or '-'} | {row['verdict']} | {row['broken']} | {row['unusual']} |"
            for row in bad[:WORST_SHOWN]
        ]
    return "\n".join(lines)


def picture(rows: Sequence[Mapping[str, Any]]) -> str:
    """Tables by days, coloured by verdict, as a Markdown image of some 10 KB."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["table_name"] for row in rows))
    days = sorted({row["day"] for row in rows if row["day"]})[-DAYS_DRAWN:]
    kinds = list(COLOURS)
    verdicts = {(row["table_name"], row["day"]): kinds.index(row["verdict"]) for row in rows}
    grid = [[verdicts.get((name, day), 0) for day in days] for name in names]
    figure = Figure(figsize=(9, 1.2 + 0.28 * len(names)), dpi=80, layout="tight")
    axes = figure.add_subplot()
    if days:
        axes.imshow(grid, cmap=ListedColormap(list(COLOURS.values())), vmin=0, vmax=len(kinds) - 1, aspect="auto")
        axes.set_xticks(range(len(days)), [f"{day:%d/%m}" for day in days], rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_title(f"{WARNED}: amber, {BROKEN}: red", fontsize=8)
    content = BytesIO()
    figure.savefig(content, format="png")
    return f"![tables by days](data:image/png;base64,{base64.b64encode(content.getvalue()).decode()})"


def _judged(table: Table, history: Sequence[DailyFacts], day: DailyFacts) -> tuple[Judged, ...]:
    aspects: tuple[Aspect, ...] = ("volume", "nulls", *(("amount",) if day.amount_cents is not None else ()))
    return tuple(judge(table, aspect, history, day) for aspect in aspects)


def _is_broken(promise: Promise, counts: Counts, day: date | None, *, is_newest: bool) -> bool:
    for condition in promise.conditions:
        found = counts.broken.get(condition, {})
        is_of_table = condition in counts.absent or (None in found and None not in counts.rows and found[None] > 0)
        if found.get(day, 0) > 0 or (is_newest and is_of_table):
            return True
    return False


def _counted(
    table: Table, day: date | None, counts: Counts, promises: Sequence[Promise], broken: Sequence[Promise]
) -> dict[str, Any]:
    return {
        "day": day,
        "table_name": table.name,
        "rows": counts.rows[day],
        "promises": len(promises),
        "broken_critical": sum(one.severity == "critical" for one in broken),
        "broken_warning": sum(one.severity == "warning" for one in broken),
        "broken": ", ".join(one.name for one in broken),
    }


def _usual(facts: Sequence[DailyFacts], place: int | None, judged: Sequence[Judged], now_ms: int) -> dict[str, Any]:
    if place is None:
        return dict.fromkeys(("null_column", "null_share", "volume_score", "newest_ms", "silence_hours")) | {
            "unusual": ""
        }
    day = facts[place]
    column, share = day.worst or (None, None)
    after = facts[place + 1].first_ms if place + 1 < len(facts) else now_ms
    is_timed = day.newest_ms is not None and after is not None
    return {
        "null_column": column,
        "null_share": share,
        "volume_score": next((one.score for one in judged if one.aspect == "volume"), None),
        "unusual": "; ".join(f"{one.aspect}: {one.told}" for one in judged if one.level in ("unusual", "far")),
        "newest_ms": day.newest_ms,
        "silence_hours": ((after or 0) - (day.newest_ms or 0)) / 3_600_000 if is_timed else None,
    }


def _verdict(table: Table, broken: Sequence[Promise], judged: Sequence[Judged]) -> str:
    gate = GATES.get(table.name, ())
    if any(one.severity == "critical" for one in broken) or any(
        one.is_harmful and one.aspect in gate for one in judged
    ):
        return BROKEN
    return WARNED if broken or any(one.level in ("unusual", "far") for one in judged) else GOOD


def _line(row: Mapping[str, Any]) -> str:
    nulls = f"{row['null_column']} {row['null_share']:.0%}" if row["null_share"] else "-"
    score_told = f"{row['volume_score']:.1f}" if row["volume_score"] is not None else "-"
    cells = (
        *(row["table_name"], row["day"] or "-", row["rows"], row["promises"]),
        *(row["broken_critical"], row["broken_warning"], nulls, score_told, row["verdict"]),
    )
    return f"| {' | '.join(map(str, cells))} |"
