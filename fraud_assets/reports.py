"""Reports as files in ``<home>/reports``: kept, listed, and cleared away when they are many."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEPT_NUMBERS = 60
KEPT_PAGES = 20
"""A page has 5 MB, its numbers 200 KB."""
INDEX = "index.html"


def keep(folder: Path, name: str, page: bytes, numbers: Mapping[str, Any]) -> Path:
    """Write a report, clear away the oldest, and list what is left; where the page is.

    Args:
        folder: The home's reports.
        name: Of the files, without their ending; a report of the same name is replaced.
        page: HTML.
        numbers: As ``quality.report_index`` reads them.
    """
    from quality.report_index import index

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.html"
    _replace(path, page)
    _replace(folder / f"{name}.json", json.dumps(dict(numbers)).encode())
    reports = {one.stem: json.loads(one.read_text()) for one in folder.glob("drift-*.json")}
    newest = sorted(reports, key=lambda stem: (reports[stem]["made_at_ms"], stem), reverse=True)
    for stem in newest[KEPT_NUMBERS:]:
        (folder / f"{stem}.json").unlink()
    pages = {one.stem for one in folder.glob("drift-*.html")}
    for stem in pages - set(newest[:KEPT_PAGES]):
        (folder / f"{stem}.html").unlink()
    listed = [(stem, reports[stem], (folder / f"{stem}.html").exists()) for stem in newest[:KEPT_NUMBERS]]
    _replace(folder / INDEX, index(listed).encode())
    return path


def _replace(path: Path, content: bytes) -> None:
    """Whoever reads meanwhile sees the old file or the new one."""
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(content)
    beside.replace(path)
