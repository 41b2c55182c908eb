"""Take the pictures of the docs from a running instance, in a real headless Chromium.

``.venv/bin/python scripts/screenshots.py [NAME…]`` after `make demo`; without names all but ``red-check``, which
shows whatever is red then. Needs Debian's package ``chromium``.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

from pix.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGES = REPOSITORY / "docs" / "images"
SIZE: ViewportSize = {"width": 1800, "height": 1150}
TALL: ViewportSize = {"width": 1800, "height": 1900}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run"]
SETTLE_MS = 4_000


def main() -> None:
    """Take every picture that was asked for."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed; type: apt-get install chromium")
    names = sys.argv[1:] or [name for name in PICTURES if name != RED]
    if unknown := set(names) - PICTURES.keys():
        sys.exit(f"no picture {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    dagster = Settings().dagster
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport=SIZE)
        opened(page, f"{dagster}/asset-groups")
        for name in names:
            PICTURES[name](page, dagster, IMAGES / f"{name}.png")
        browser.close()


def opened(page: Page, url: str) -> None:
    """Go to a page, without the newsletter that Dagster offers at first."""
    page.goto(url)
    page.wait_for_timeout(SETTLE_MS)
    newsletter = page.get_by_role("button", name="Skip")
    if newsletter.count():
        newsletter.click()
        page.wait_for_timeout(SETTLE_MS)


def groups(page: Page, dagster: str, path: Path) -> None:
    """The lineage of every group."""
    opened(page, f"{dagster}/asset-groups")
    page.screenshot(path=path)


def graph(page: Page, dagster: str, path: Path) -> None:
    """The lineage of every asset, groups opened."""
    opened(page, f"{dagster}/asset-groups")
    page.locator("body").click(position={"x": 1_000, "y": 1_000})
    page.keyboard.press("Alt+e")
    page.wait_for_timeout(SETTLE_MS)
    # Opened groups are remembered; a fresh page that is tall enough shows them whole.
    page.set_viewport_size(TALL)
    page.reload()
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=path)
    page.set_viewport_size(SIZE)


def of_asset(asset: str, view: str) -> Callable[[Page, str, Path], None]:
    """One tab of an asset's page."""

    def take(page: Page, dagster: str, path: Path) -> None:
        opened(page, f"{dagster}/assets/{asset}?view={view}")
        page.screenshot(path=path)

    return take


RED = "red-check"
PICTURES: dict[str, Callable[[Page, str, Path], None]] = {
    "asset-groups": groups,
    "asset-graph": graph,
    "asset-page": of_asset("gold/decisions", "overview"),
    "partitions": of_asset("silver/payments", "partitions"),
    RED: of_asset("silver/decisions", "checks"),
    "scorecard": of_asset("quality/scorecard", "overview"),
}

if __name__ == "__main__":
    main()
