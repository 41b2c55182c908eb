"""JSON text of a column as a struct beside it, read by Arrow in the workers: 16 us of processor for a record of 5 KB.

A text that is not one JSON object whose fields have their types gives null, whatever else is in it: what is wrong in
one place is not trusted in another. Fields that are not asked for are not looked at, absent ones are null.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ROW, PARSED = "row", "parsed"


def with_parsed(frame: "DataFrame", text: str, shape: str, *, keeps_text: bool = True) -> "DataFrame":
    """The frame with a column ``parsed`` more.

    Args:
        frame: Any; only columns that are needed, because all of them go through the workers.
        text: Column of JSON texts.
        shape: Names and types of the fields wanted, as Spark takes a schema.
        keeps_text: Whether the texts are wanted, too; moving them costs as much as reading them.
    """
    from pyspark.sql.pandas.types import to_arrow_type
    from pyspark.sql.types import StructField, StructType

    struct = StructType.fromDDL(shape)
    kept = [column for column in frame.schema.fields if keeps_text or column.name != text]
    read = partial(_with_structs, text=text, kept=[column.name for column in kept], shape=to_arrow_type(struct))
    return frame.mapInArrow(read, StructType([*kept, StructField(PARSED, struct)]))


def _with_structs(
    batches: Iterable[pa.RecordBatch], *, text: str, kept: list[str], shape: pa.StructType
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        found = structs(batch.column(text), shape)
        yield pa.RecordBatch.from_arrays([*(batch.column(name) for name in kept), found], names=[*kept, PARSED])


def structs(texts: pa.StringArray, shape: pa.StructType) -> pa.StructArray:
    """One struct a text; null for a text that is none.

    Args:
        texts: JSON, with nulls.
        shape: Names and types of the fields wanted.
    """
    if len(texts) == 0:
        return pa.array([], shape)
    found = _read(texts, shape)
    if found is not None:
        return found
    # Some text is none; which one is found by halves.
    if len(texts) == 1:
        return pa.nulls(1, shape)
    half = len(texts) // 2
    return pa.concat_arrays([structs(texts.slice(0, half), shape), structs(texts.slice(half), shape)])


def _read(texts: pa.StringArray, shape: pa.StructType) -> pa.StructArray | None:
    """All of them, or None if there is one that is no such object."""
    # Each in a list in an object of its own: a text that holds two objects, or none, or goes on behind its object, is
    # no list of one, and no row gets another's place.
    closed = pc.binary_join_element_wise(pa.scalar(f'{{"{ROW}":['), texts, pa.scalar("]}"), pa.scalar(""))
    whole = pc.fill_null(closed, f'{{"{ROW}":[null]}}')
    content = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), whole), "\n")[
        0
    ].as_buffer()
    try:
        table = pj.read_json(
            pa.BufferReader(content),
            # One block: rows must not be split, and their order is needed.
            read_options=pj.ReadOptions(use_threads=False, block_size=content.size + 2),
            parse_options=pj.ParseOptions(
                explicit_schema=pa.schema([(ROW, pa.list_(shape))]),
                newlines_in_values=True,
                unexpected_field_behavior="ignore",
            ),
        )
    except pa.ArrowInvalid:
        return None
    rows = table[ROW].combine_chunks()
    if len(rows) != len(texts) or not pc.all(pc.equal(pc.list_value_length(rows), 1), skip_nulls=False).as_py():
        return None
    return rows.flatten()
