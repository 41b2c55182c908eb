"""``python -m pix.features``: write ``docs/features.md`` anew from the declarations."""

from pathlib import Path

from pix.features.page import page

PAGE = Path(__file__).parents[2] / "docs" / "features.md"

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
