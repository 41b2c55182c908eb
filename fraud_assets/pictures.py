"""Pictures in an asset's metadata."""

import base64

import dagster as dg


def picture(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    """A picture small enough for Dagster's database (20 to 40 KB)."""
    said = name.replace("_", " ")
    return dg.MetadataValue.md(f"![{said}](data:image/png;base64,{base64.b64encode(png).decode()})")
