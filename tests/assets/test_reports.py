"""Reports stay until there are many, and the page lists what is left."""

import json

import numpy as np
import pandas as pd

from fraud_assets import reports
from fraud_assets.monitoring import of_newest
from quality import drift


def moved(rows=4_000):
    """A report in which everything moved, and scores that did."""
    rng = np.random.default_rng(3)
    then, now = (pd.DataFrame({name: rng.normal(by, 1, rows) for name in "abcd"}) for by in (0, 3))
    summary = drift.compare(then, now, tuple("abcd"), report_id="t", seed=1)
    return summary, [drift.Beside("log-odds", then["a"], now["a"])]


def test_an_imported_past_is_no_drift_of_what_is_learnt_from_it():
    """A fresh home compares a past with itself, whose features still fill their windows: nothing to ask for."""
    assert {one.kind for one in of_newest("live", *moved())} == {"data", "prediction"}
    assert of_newest("history", *moved()) == []


def numbers(made_at_ms, *findings):
    features = {"drifted": ["a"], "drifted_share": 0.01}
    return {"made_at_ms": made_at_ms, "champion": "3", "findings": list(findings), "features": features}


def test_the_page_lists_reports_newest_first_with_what_they_found(tmp_path):
    finding = {"kind": "concept", "what": "residual-up", "told": "90 frauds <where> 40 were expected"}
    reports.keep(tmp_path, "drift-t1", b"<html>one</html>", numbers(1_790_000_000_000))
    path = reports.keep(tmp_path, "drift-t2", b"<html>two</html>", numbers(1_790_000_100_000, finding))
    assert path.read_bytes() == b"<html>two</html>"
    assert json.loads((tmp_path / "drift-t2.json").read_text())["findings"] == [finding]
    page = (tmp_path / "index.html").read_text()
    assert page.index("drift-t2.html") < page.index("drift-t1.html")
    assert "concept: 90 frauds &lt;where&gt; 40 were expected" in page
    assert "nothing" in page
    assert "2026-09-21 11:15" in page


def test_a_report_made_again_replaces_itself(tmp_path):
    for made_at_ms in (1, 2):
        reports.keep(tmp_path, "drift-t1", b"x", numbers(made_at_ms))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drift-t1.html", "drift-t1.json", "index.html"]


def test_old_reports_go_and_their_pages_go_first(tmp_path):
    (tmp_path / "note.txt").write_text("somebody's own")
    for made_at_ms in range(70):
        reports.keep(tmp_path, f"drift-t{made_at_ms:02}", b"x", numbers(made_at_ms))
    kept = sorted(path.stem for path in tmp_path.glob("drift-*.json"))
    assert kept == [f"drift-t{n}" for n in range(10, 70)]
    assert sorted(path.stem for path in tmp_path.glob("drift-*.html")) == kept[-reports.KEPT_PAGES :]
    assert (tmp_path / "note.txt").exists()
    page = (tmp_path / "index.html").read_text()
    assert page.count(".json") == 60
    assert page.count(".html") == reports.KEPT_PAGES
