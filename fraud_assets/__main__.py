"""``python -m fraud_assets``: write the data dictionary anew from the declarations of the lake's tables."""

from pathlib import Path

from fraud_assets.external import policies_table
from pix.offline.declaration import Table
from pix.offline.dictionary import tables
from pix.offline.dictionary_page import page

PAGE = Path(__file__).parents[1] / "docs" / "data-dictionary.md"


def lake_tables() -> tuple[Table, ...]:
    """Every table of the lake."""
    return (*tables(), policies_table())


if __name__ == "__main__":
    PAGE.write_text(page(lake_tables()), encoding="utf-8")
