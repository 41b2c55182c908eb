"""Take the pictures of the README from a running instance, in a real headless Chromium.

``.venv/bin/python scripts/screenshots.py`` after `make demo`; needs Debian's package ``chromium``.
"""

import shutil
import sys
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
    """Take every picture."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed; type: apt-get install chromium")
    dagster = Settings().dagster
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport=SIZE)
        asset_graph(page, dagster)
        asset_page(page, dagster)
        browser.close()


def asset_graph(page: Page, dagster: str) -> None:
    """The lineage of every asset, groups opened."""
    page.goto(f"{dagster}/asset-groups")
    page.wait_for_timeout(SETTLE_MS)
    newsletter = page.get_by_role("button", name="Skip")
    if newsletter.count():
        newsletter.click()
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=IMAGES / "asset-groups.png")
    page.locator("body").click(position={"x": 1_000, "y": 1_000})
    page.keyboard.press("Alt+e")
    page.wait_for_timeout(SETTLE_MS)
    # Opened groups are remembered; a fresh page that is tall enough shows them whole.
    page.set_viewport_size(TALL)
    page.reload()
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=IMAGES / "asset-graph.png")
    page.set_viewport_size(SIZE)


def asset_page(page: Page, dagster: str) -> None:
    """The page of gold decisions."""
    page.goto(f"{dagster}/assets/gold/decisions?view=overview")
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=IMAGES / "asset-page.png")


if __name__ == "__main__":
    main()
