"""Record batches on their way through a shuffle: a few large values instead of many rows.

Spark moves rows cell by cell, from Arrow to its own form and back, which costs several times what the passes between
two shuffles do. So a pass's batches are cut by the part that each row belongs to, and what goes to one part travels as
an Arrow stream in one binary value. Which part a row belongs to says a *place*: a function from a batch to the part of
each of its rows. Compiled with an explicit signature and cached, as in ``pix.offline.packing``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit, types, uint64
from numpy.typing import NDArray

from pix.contracts import DAY_MS
from pix.offline import packing
from pix.offline.columns import Integers, integers
from pix.offline.shapes import READ, Shape, shape

CHUNK = shape("part int, content binary")
"""What goes to one part, as an Arrow stream without the columns that are null throughout."""

BYTES_AT_ONCE = 16 << 20
"""So much is gathered before it is cut: each value costs about 0.2 ms, however few rows are in it."""

Place = Callable[[pa.RecordBatch], Integers]
"""The part of each row of a batch; parts count from 0 and are below 32,768."""

_bytes = types.Array(types.uint8, 1, "C", readonly=True)
_offsets = types.Array(types.int32, 1, "C", readonly=True)
_hashes = types.Array(types.uint64, 1, "C")


@njit(types.void(_bytes, _offsets, _hashes), nogil=True, cache=True)
def _hash(content, offsets, out):
    """FNV-1a of each text, its upper half folded into the lower: that one alone decides small moduli."""
    for n in range(out.shape[0]):
        value = uint64(14695981039346656037)
        for at in range(offsets[n], offsets[n + 1]):
            value = (value ^ uint64(content[at])) * uint64(1099511628211)
        out[n] = value ^ (value >> uint64(32))


def hashes(texts: pa.StringArray) -> NDArray[np.uint64]:
    """One hash per text, the same in every process; null is as the empty text."""
    found = np.zeros(len(texts), np.uint64)
    if len(texts) == 0:
        return found
    filled = pc.fill_null(texts, "") if texts.null_count else texts
    _, offsets, content = filled.buffers()
    ends = np.frombuffer(offsets, np.int32)[filled.offset : filled.offset + len(filled) + 1]
    _hash(np.frombuffer(content or b"", np.uint8), ends, found)
    return found


@dataclass(frozen=True, slots=True)
class ByKey:
    """Rows of one key to one of ``parts`` parts."""

    parts: int

    def __call__(self, batch: pa.RecordBatch) -> Integers:
        """The part of each row of ``EVENTS``."""
        part: Integers = (hashes(batch["key"]) % np.uint64(self.parts)).astype(np.int64)
        return part


@dataclass(frozen=True, slots=True)
class InLine:
    """Reads of one payment to one of ``parts`` parts, everything else to one more behind them.

    Payments stand in a line, day after day, within a day by their hash, and the line is cut into equal parts. So a
    part holds few days and a day is in few parts, however payments are spread over the days; each of both is a file.

    Attributes:
        days: Days since 1970 that have payments, ascending.
        before: Payments of earlier days, for each of them, and of all at the end.
        parts: Number of parts for reads.
    """

    days: Integers
    before: Integers
    parts: int

    @classmethod
    def of(cls, payments_by_day: Mapping[int, int], parts: int) -> Self:
        """From the number of payments of each day."""
        days = sorted(payments_by_day)
        counts = np.array([payments_by_day[day] for day in days], np.int64)
        return cls(np.array(days, np.int64), np.append(0, np.cumsum(counts)), parts)

    @property
    def rest(self) -> int:
        """The part of what is not a read."""
        return self.parts

    def __call__(self, batch: pa.RecordBatch) -> Integers:
        """The part of each row of ``STAGE``."""
        is_read = integers(batch["what"]) == READ
        if not is_read.any():
            return np.full(len(is_read), self.rest)
        # A day that was not counted goes with the one before it.
        day = np.clip(np.searchsorted(self.days, integers(batch["at_ms"]) // DAY_MS, "right") - 1, 0, None)
        before = self.before[day]
        within = hashes(batch["identity"]) % (self.before[day + 1] - before).astype(np.uint64)
        part: Integers = (before + within.astype(np.int64)) * self.parts // self.before[-1]
        return np.where(is_read, part, self.rest)


def scattered(batches: Iterable[pa.RecordBatch], place: Place) -> Iterator[pa.RecordBatch]:
    """Rows of ``CHUNK`` from batches of one schema, every row of them once.

    Args:
        batches: Any number of any size; neither lists nor structs.
        place: Says where each row goes.
    """
    for batch in _large(batches):
        part = place(batch).astype(np.int16)
        order = np.argsort(part, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(part[order])) + 1, len(order))
        sink, written = pa.BufferOutputStream(), []
        ordered = _without_nulls(batch).take(pa.array(order))
        for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            with pa.ipc.new_stream(sink, ordered.schema) as stream:
                stream.write_batch(ordered.slice(start, end - start))
            written.append(sink.tell())
        content = packing.binary(np.array(written, np.int64), np.frombuffer(sink.getvalue(), np.uint8))
        yield CHUNK.batch(len(ends), part=part[order[ends - 1]], content=content)


def gathered(chunks: Iterable[pa.RecordBatch], whole: Shape) -> Iterator[pa.RecordBatch]:
    """The batches that ``scattered`` cut.

    Args:
        chunks: Rows of ``CHUNK``.
        whole: The shape of what was scattered.
    """
    for chunk in chunks:
        for content in chunk["content"]:
            with pa.ipc.open_stream(content.as_buffer()) as stream:
                for batch in stream:
                    yield whole.batch(batch.num_rows, **dict(zip(batch.schema.names, batch.columns, strict=True)))


def _large(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches put together, none without rows."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows:
            held.append(batch)
        if sum(one.nbytes for one in held) >= BYTES_AT_ONCE:
            yield pa.concat_batches(held)
            held = []
    if held:
        yield pa.concat_batches(held)


def _without_nulls(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The columns that say something."""
    return batch.select([n for n, column in enumerate(batch.columns) if column.null_count < batch.num_rows])
