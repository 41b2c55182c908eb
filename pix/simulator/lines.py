"""Arrow tables as lines of canonical JSON: names sorted, missing values left out, UTF-8."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pix.simulator.letters import timestamps


def lines(table: pa.Table) -> bytes:
    """One JSON object a row, each ended by a newline.

    Times become RFC 3339 in Brasília time. Texts are the simulator's own: none needs escaping.

    Args:
        table: Columns of texts, integers, booleans and UTC timestamps in ms.
    """
    table = table.combine_chunks()
    if not table.num_rows:
        return b""
    fragments = [_fragments(name, table.column(name).combine_chunks()) for name in sorted(table.column_names)]
    rows = pc.binary_join_element_wise(*fragments, pa.scalar(",", pa.large_string()), null_handling="skip")
    whole = pc.binary_join_element_wise(
        pa.scalar("{", pa.large_string()), rows, pa.scalar("}\n", pa.large_string()), pa.scalar("", pa.large_string())
    )
    edges = np.frombuffer(whole.buffers()[1], dtype=np.int64, count=len(whole) + 1)
    return bytes(memoryview(whole.buffers()[2])[edges[0] : edges[-1]])


def _fragments(name: str, column: pa.Array) -> pa.Array:
    """``"name":value`` for each row; null where the value is."""
    if pa.types.is_timestamp(column.type):
        known = column.is_valid().to_numpy(zero_copy_only=False)
        values = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        text, quote = timestamps(values, known), '"'
    elif pa.types.is_string(column.type):
        text, quote = column, '"'
    else:
        # Booleans become true and false, integers their digits.
        text, quote = column.cast(pa.string()), ""
    head, tail, empty = (pa.scalar(part, pa.large_string()) for part in (f'"{name}":{quote}', quote, ""))
    return pc.binary_join_element_wise(head, text.cast(pa.large_string()), tail, empty)
