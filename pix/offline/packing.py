"""Rows of integers as few bytes, for the way between two shuffles: most of what is read of a state is zero.

Each integer becomes 1 + its zigzag form, modulo 2**64, in groups of seven bits (LEB128); so zero takes one byte,
and so does ``MISSING``, whose form wraps around to 0. Compiled with explicit signatures and cached, so that a Spark
worker compiles nothing.
"""

import numpy as np
import pyarrow as pa
from numba import int64, njit, types, uint64
from numpy.typing import NDArray

MOST_BYTES = 10
"""Of one integer."""

_grid = types.Array(types.int64, 2, "C")
_words = types.Array(types.int64, 1, "C")
_bytes = types.Array(types.uint8, 1, "C")
_frozen_bytes = types.Array(types.uint8, 1, "C", readonly=True)
_frozen_offsets = types.Array(types.int32, 1, "C", readonly=True)


@njit(types.int64(_grid, _bytes, _words), nogil=True, cache=True)
def _pack(rows, out, ends):
    """Write every row; return how many bytes were written."""
    at = 0
    for n in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            value = rows[n, k]
            rest = uint64((value << 1) ^ (value >> 63)) + uint64(1)
            while rest >= uint64(128):
                out[at] = (rest & uint64(127)) | uint64(128)
                rest >>= uint64(7)
                at += 1
            out[at] = rest
            at += 1
        ends[n] = at
    return at


@njit(types.void(_frozen_bytes, _frozen_offsets, _words, types.int64, types.int64, _grid), nogil=True, cache=True)
def _unpack(content, offsets, rows, place, width, grid):
    """Read packed row ``n`` into ``grid[rows[n], place : place + width]``."""
    for n in range(rows.shape[0]):
        at = offsets[n]
        for k in range(width):
            rest, shift = uint64(0), uint64(0)
            while content[at] >= 128:
                rest |= (uint64(content[at]) & uint64(127)) << shift
                shift += uint64(7)
                at += 1
            rest |= uint64(content[at]) << shift
            at += 1
            rest -= uint64(1)
            grid[rows[n], place + k] = int64(rest >> uint64(1)) ^ -int64(rest & uint64(1))


def pack(rows: NDArray[np.int64]) -> pa.BinaryArray:
    """One binary value per row."""
    out = np.empty(rows.size * MOST_BYTES, np.uint8)
    ends = np.empty(len(rows), np.int64)
    written = _pack(np.ascontiguousarray(rows), out, ends)
    return binary(ends, out[:written].copy())


def unpack(packed: pa.BinaryArray, rows: NDArray[np.int64], place: int, width: int, grid: NDArray[np.int64]) -> None:
    """Write packed rows into a grid.

    Args:
        packed: What ``pack`` made of rows of ``width`` integers.
        rows: The grid's row for each of them.
        place: First column to fill.
        width: Columns to fill.
        grid: Gets the integers.
    """
    if len(packed) == 0:
        return
    _, offsets, content = packed.buffers()
    start = packed.offset
    _unpack(
        np.frombuffer(content, np.uint8),
        np.frombuffer(offsets, np.int32)[start : start + len(packed) + 1],
        np.ascontiguousarray(rows),
        place,
        width,
        grid,
    )


def binary(ends: NDArray[np.int64], content: NDArray[np.uint8]) -> pa.BinaryArray:
    """Values from where each one ends in ``content``, without copying them."""
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(content))]
    )
