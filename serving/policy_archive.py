"""Every policy that ever decided, by its hash, in the lake: ``silver/policies``.

A version is there before the first decision by it is made, and Delta itself refuses to take one away. Whoever
re-runs a decision finds the text under the version that stands on it.
"""

from hashlib import sha256
from typing import TYPE_CHECKING

import stamina

if TYPE_CHECKING:
    from deltalake import DeltaTable

TABLE = "silver/policies"
VERSION_DIGITS = 16


class NotKept(Exception):
    """The lake does not take or give a policy now."""


def version_of(text: str) -> str:
    """A policy's version: first 16 hex digits of the SHA-256 of its bytes."""
    return sha256(text.encode()).hexdigest()[:VERSION_DIGITS]


def keep(lake_root: str, text: str, now_ms: int) -> None:
    """Write a policy into the lake, unless it is there.

    Args:
        lake_root: Root of the Delta tables.
        text: The policy file as it is.
        now_ms: When it was loaded, epoch milliseconds.

    Raises:
        NotKept: The lake does not take it.
    """
    import pyarrow as pa
    from deltalake import write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    columns = {"version": pa.array([version_of(text)]), "text": pa.array([text])}
    row = pa.table({**columns, "first_loaded_at_ms": pa.array([now_ms], pa.int64())})
    try:
        # Workers that start at once make the table at once.
        for attempt in stamina.retry_context(
            (CommitFailedError, DeltaError), attempts=4, wait_initial=0.05, wait_max=0.2
        ):
            with attempt:
                if find(lake_root, version_of(text)) is None:
                    properties = {"delta.appendOnly": "true"}
                    write_deltalake(_path(lake_root), row, mode="append", configuration=properties)
    except (DeltaError, OSError) as away:
        raise NotKept(f"policy {version_of(text)} cannot be kept in {_path(lake_root)}: {away}") from away


def find(lake_root: str, version: str) -> str | None:
    """The text of a version, None if the lake does not have it.

    Raises:
        NotKept: The lake does not answer, or holds other bytes under this version.
    """
    import pyarrow as pa
    from deltalake.exceptions import DeltaError

    if not (version.isalnum() and len(version) == VERSION_DIGITS):
        return None
    try:
        table = _table(lake_root)
        if table is None:
            return None
        rows = pa.table(table.scan(columns=["text"], predicate=f"version = '{version}'"))["text"].to_pylist()
    except (DeltaError, OSError) as away:
        raise NotKept(f"policy {version} cannot be read from {_path(lake_root)}: {away}") from away
    if rows and not any(version_of(text) == version for text in rows):
        raise NotKept(f"{_path(lake_root)} holds other bytes than policy {version}; restore it from a backup")
    return next((str(text) for text in rows if version_of(text) == version), None)


def _table(lake_root: str) -> "DeltaTable | None":
    from deltalake import DeltaTable

    return DeltaTable(_path(lake_root)) if DeltaTable.is_deltatable(_path(lake_root)) else None


def _path(lake_root: str) -> str:
    # delta-rs calls S3 by its own name.
    return f"{lake_root.replace('s3a://', 's3://', 1)}/{TABLE}"
