"""docs/quality.md lists every promise, what it stops and why."""

from fraud_assets.__main__ import QUALITY_PAGE, quality_page
from quality.suites import covered, suite_of


def test_the_page_is_current():
    assert QUALITY_PAGE.read_text(encoding="utf-8") == quality_page(), "run `make contracts`"


def test_every_promise_stands_on_it():
    text = QUALITY_PAGE.read_text(encoding="utf-8")
    for name in covered():
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        for promise in suite_of(name):
            row = next(line for line in section.splitlines() if line.startswith(f"| `{promise.name}` |"))
            assert ("**blocks**" in row) == (promise.severity == "critical")
