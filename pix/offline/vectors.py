"""Reading ``features/payment_features``: its vectors as columns for analysts, as a matrix for programs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pix.features import FEATURE_NAMES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def as_columns(frame: "DataFrame", keep: Sequence[str]) -> "DataFrame":
    """Some columns of the frame, then one per feature; a missing value is null.

    Args:
        frame: Rows of ``features/payment_features`` whose fingerprint is that of this build.
        keep: Columns to keep beside the features.
    """
    kept = frame.select(*keep)
    shape = ", ".join([*(f"`{name}` {kind}" for name, kind in kept.dtypes), *(f"`{n}` double" for n in FEATURE_NAMES)])
    return frame.select(*keep, "features").mapInArrow(_columns, shape)


def _columns(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        values = np.ascontiguousarray(matrix(batch["features"]).T)
        columns = [pa.array(row, mask=np.isnan(row)) for row in values]
        yield pa.RecordBatch.from_arrays(
            [*batch.columns[:-1], *columns], names=[*batch.schema.names[:-1], *FEATURE_NAMES]
        )


def matrix(packed: pa.Array | pa.ChunkedArray) -> NDArray[np.float64]:
    """Vectors (rows x features) from their bytes; none may be null.

    Raises:
        ValueError: They have another length than this build's features, so they follow other declarations.
    """
    whole = packed.combine_chunks() if isinstance(packed, pa.ChunkedArray) else packed
    lengths = whole.buffers()[1]
    offsets = np.frombuffer(lengths, np.int32)[whole.offset : whole.offset + len(whole) + 1] if len(whole) else [0]
    width = 8 * len(FEATURE_NAMES)
    if len(whole) and (whole.null_count or (np.diff(offsets) != width).any()):
        raise ValueError(
            f"a vector has not the {width} bytes of {len(FEATURE_NAMES)} features; read rows of its fingerprint"
        )
    if not len(whole):
        return np.empty((0, len(FEATURE_NAMES)))
    content = np.frombuffer(whole.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    return content.view("<f8").reshape(len(whole), len(FEATURE_NAMES))
