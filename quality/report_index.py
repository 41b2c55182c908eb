"""The page that lists drift reports, newest first, with what they found: one static file, made of the reports' numbers.

Evidently has a server of its own for this: 9 s to start and some hundred MB for a list of links.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

BRASILIA = timedelta(hours=-3)
_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sentinela: drift reports</title><style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.4rem;text-align:left}
td{vertical-align:top}
.found{color:#a03020}</style></head><body><h1>Drift reports</h1>
<p>Newest first. A report links to Evidently's page while that is kept, and to its numbers.
What asks for retraining, and when: docs/models.md, Monitoring.</p>
<table><tr><th>Made (Brasília)</th><th>Champion</th><th>Features drifted</th><th>Found</th><th>Report</th></tr>
"""


def index(reports: Iterable[tuple[str, Mapping[str, Any], bool]]) -> str:
    """The page.

    Args:
        reports: Name of the files without their ending, the report's numbers, and whether its page is still kept.
    """
    ordered = sorted(reports, key=lambda each: -int(each[1]["made_at_ms"]))
    return f"{_HEAD}{''.join(_row(*one) for one in ordered)}</table></body></html>\n"


def _row(name: str, report: Mapping[str, Any], has_page: bool) -> str:
    made = (datetime.fromtimestamp(report["made_at_ms"] / 1000, UTC) + BRASILIA).strftime("%Y-%m-%d %H:%M")
    found = "<br>".join(escape(f"{one['kind']}: {one['told']}") for one in report["findings"])
    features = report["features"]
    links = [f'<a href="{escape(name)}.html">page</a>'] if has_page else []
    links.append(f'<a href="{escape(name)}.json">numbers</a>')
    champion = f"v{report['champion']}" if report["champion"] else "none"
    cells = (
        *(made, escape(champion), f"{len(features['drifted'])} ({features['drifted_share']:.0%})"),
        *(f'<span class="found">{found}</span>' if found else "nothing", ", ".join(links)),
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n"
