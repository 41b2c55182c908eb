"""Take the pictures of the docs from a running instance, in a real headless Chromium.

``.venv/bin/python scripts/screenshots.py [NAME…]`` after `make demo`; without names all but ``red-check``, which
shows whatever is red then. Needs Debian's package ``chromium``.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

from pix.clock import epoch_ms
from pix.offline.days import day_at
from pix.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGES = REPOSITORY / "docs" / "images"
SIZE: ViewportSize = {"width": 1800, "height": 1150}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run"]
SETTLE_MS = 4_000
Take = Callable[[Page, Settings, Path], None]


def main() -> None:
    """Take every picture that was asked for."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed; type: apt-get install chromium")
    names = sys.argv[1:] or [name for name in PICTURES if name != RED]
    if unknown := set(names) - PICTURES.keys():
        sys.exit(f"no picture {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    settings = Settings()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport=SIZE)
        opened(page, f"{settings.dagster}/asset-groups")
        for name in names:
            PICTURES[name](page, settings, IMAGES / f"{name}.png")
        browser.close()


def opened(page: Page, url: str) -> None:
    """Go to a page, without the newsletter that Dagster offers at first."""
    page.goto(url)
    page.wait_for_timeout(SETTLE_MS)
    newsletter = page.get_by_role("button", name="Skip")
    if newsletter.count():
        newsletter.click()
        page.wait_for_timeout(SETTLE_MS)


def groups(page: Page, settings: Settings, path: Path) -> None:
    """The lineage of every group."""
    opened(page, f"{settings.dagster}/asset-groups")
    page.screenshot(path=path)


def of_asset(asset: str, view: str) -> Take:
    """One tab of an asset's page."""

    def take(page: Page, settings: Settings, path: Path) -> None:
        opened(page, f"{settings.dagster}/assets/{asset}?view={view}")
        page.screenshot(path=path)

    return take


def day_of(asset: str) -> Take:
    """The newest day of an asset's partitions."""

    def take(page: Page, settings: Settings, path: Path) -> None:
        today = day_at(epoch_ms())
        opened(page, f"{settings.dagster}/assets/{asset}?view=partitions&partition={today}")
        page.screenshot(path=path)

    return take


def red_check(page: Page, settings: Settings, path: Path) -> None:
    """A check that failed, with the rows that broke it."""
    opened(page, f"{settings.dagster}/assets/silver/decisions?view=checks&checkDetail=rows_are_unique")
    page.screenshot(path=path)


def written(asset: str) -> Take:
    """What an asset's newest materialisation says in Markdown."""

    def take(page: Page, settings: Settings, path: Path) -> None:
        opened(page, f"{settings.dagster}/assets/{asset}?view=events")
        page.get_by_text("[Show Markdown]").first.click()
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=path)

    return take


def model_version(page: Page, settings: Settings, path: Path) -> None:
    """The champion in MLflow: its tags and its card."""
    from learning.registry import champion

    found = champion(settings.mlflow, settings.model_name)
    if found is None:
        sys.exit("no champion serves; `make demo` trains one")
    opened_in_mlflow(page, settings, f"models/{settings.model_name}/versions/{found.version}")
    page.screenshot(path=path)


def runs(page: Page, settings: Settings, path: Path) -> None:
    """Every training in MLflow."""
    from learning.registry import EXPERIMENT, client_of

    experiment = client_of(settings.mlflow).get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        sys.exit("nothing was trained; `make demo` does")
    opened_in_mlflow(page, settings, f"experiments/{experiment.experiment_id}/runs")
    page.screenshot(path=path)


def opened_in_mlflow(page: Page, settings: Settings, place: str) -> None:
    """Go to a page of MLflow's, without the assistant that it offers."""
    opened(page, f"{settings.mlflow}/#/{place}")
    assistant = page.get_by_role("button", name="Close", exact=True)
    if assistant.count():
        assistant.first.click()
        page.wait_for_timeout(SETTLE_MS)


def reports(page: Page, settings: Settings, path: Path) -> None:
    """The list of drift reports, newest first."""
    opened(page, (settings.root / "reports" / "index.html").as_uri())
    page.screenshot(path=path)


def report(page: Page, settings: Settings, path: Path) -> None:
    """Evidently's page of the newest drift report."""
    pages = sorted((settings.root / "reports").glob("drift-*.html"), key=lambda one: one.stat().st_mtime)
    if not pages:
        sys.exit("there is no drift report; materialise monitoring/drift_report")
    opened(page, pages[-1].as_uri())
    page.screenshot(path=path)


RED = "red-check"
PICTURES: dict[str, Take] = {
    "asset-groups": groups,
    "lineage": of_asset("gold/decisions", "lineage&lineageScope=upstream&lineageDepth=6"),
    "asset-page": of_asset("gold/decisions", "overview"),
    "partitions": day_of("silver/payments"),
    RED: red_check,
    "scorecard": written("quality/scorecard"),
    "model-lineage": of_asset("model/champion", "lineage&lineageScope=neighborhood&lineageDepth=3"),
    "champion": of_asset("model/champion", "events"),
    "model-card": written("model/card"),
    "mlflow-version": model_version,
    "mlflow-runs": runs,
    "drift-reports": reports,
    "drift-report": report,
}

if __name__ == "__main__":
    main()
