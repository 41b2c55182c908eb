"""The store's base: folded history, from the Delta table features/base_states."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pix.tokens import key_version

if TYPE_CHECKING:
    from deltalake import DeltaTable

TABLE = "features/base_states"


class BaseRefused(Exception):
    """The table cannot be a base for this service; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Base:
    """A version of the table, checked.

    Attributes:
        version: Its Delta version; None where there is no table.
        imports: How many imports of history it holds.
        keys: How many keys it has.
    """

    version: int | None
    imports: int
    keys: int
    _table: "DeltaTable | None"

    def states(self) -> Iterator[tuple[str, int, bytes]]:
        """Key, number and blob of every key."""
        if self._table is None:
            return
        for batch in _batches(self._table, "key", "number", "blob"):
            yield from zip(*(batch.column(name).to_pylist() for name in ("key", "number", "blob")), strict=True)


def read_base(lake_root: str, layout: str, token_key_version: int, version: int | None = None) -> Base:
    """The base as it is in the lake.

    Args:
        lake_root: Root of the Delta tables.
        layout: Layout of the blobs that this service reads.
        token_key_version: Key version of the tokens that this service makes.
        version: Delta version; the newest if None.

    Raises:
        BaseRefused: Its blobs are of another layout, or its keys of another token key.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from deltalake import DeltaTable

    path = f"{lake_root.replace('s3a://', 's3://', 1)}/{TABLE}"
    if not DeltaTable.is_deltatable(path):
        return Base(None, 0, 0, None)
    table = DeltaTable(path, version=version)
    found = pa.Table.from_batches(_batches(table, "import_number"), pa.schema([("import_number", pa.int32())]))
    base = Base(table.version(), pc.max(found["import_number"]).as_py() or 0, found.num_rows, table)
    if base.keys:
        _require_layout(table, base, layout)
        _require_token_key(table, base, token_key_version)
    return base


def _require_layout(table: "DeltaTable", base: Base, layout: str) -> None:
    layouts: set[object] = {"unknown"}
    if any(field.name == "layout" for field in table.schema().fields):
        layouts = {value for batch in _batches(table, "layout") for value in batch.column("layout").to_pylist()}
    if layouts != {layout}:
        found = ", ".join(sorted(str(each) for each in layouts))
        raise BaseRefused(
            f"version {base.version} of {TABLE} has states of layout {found}, this service reads {layout}; materialise "
            f"{TABLE} (in Dagster, with the build that runs here), then `sentinela store rebuild`"
        )


def _require_token_key(table: "DeltaTable", base: Base, wanted: int) -> None:
    versions = {
        key_version(key.split("|", 2)[2].partition(">")[0])
        for batch in _batches(table, "key")
        for key in batch.column("key").to_pylist()
        if key.split("|", 2)[1] != "payment"
    }
    # Keys under older ones, from imports before the new key, are in nobody's way.
    if wanted not in versions:
        raise BaseRefused(
            f"version {base.version} of {TABLE} has keys under token key {sorted(versions)}, this service makes tokens "
            f"under {wanted}. Old tokens cannot become new ones: import the history's files again under the new key, "
            f"materialise {TABLE}, then `sentinela store rebuild`; what was live under the old key is not carried over"
        )


def _batches(table: "DeltaTable", *names: str) -> Iterator[Any]:
    import pyarrow as pa

    yield from pa.RecordBatchReader.from_stream(table.scan(columns=list(names)))
