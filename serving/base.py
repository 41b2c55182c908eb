"""The store's base: folded history, from a Delta table of the lake."""

from collections.abc import Iterator

from pix.store.interface import Store


def load_base(store: Store, path: str, version: int, generation: int) -> int:
    """Give the store the states of a table version.

    Args:
        store: The online store.
        path: The table features/base_states.
        version: Its Delta version.
        generation: How many history imports it holds.

    Returns:
        How many keys were written.
    """
    import pyarrow as pa
    from deltalake import DeltaTable

    table = DeltaTable(path, version=version)
    columns = ["key", "number", "blob"]

    def rows() -> Iterator[tuple[str, int, bytes]]:
        for batch in pa.table(table.scan(columns=columns).read_all()).to_batches():
            for row in batch.to_pylist():
                yield row["key"], row["number"], row["blob"]

    return store.load_base(generation, rows())
