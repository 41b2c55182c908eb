"""``python -m serving``: write ``docs/reasons.md`` anew."""

from pathlib import Path

from serving.reasons import page

PAGE = Path(__file__).parents[1] / "docs" / "reasons.md"

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
