"""Chunks lose nothing on their way through a shuffle, and keep together what belongs together."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix.contracts import DAY_MS
from pix.offline.chunks import CHUNK, ByKey, InLine, gathered, hashes, scattered
from pix.offline.shapes import EVENTS, READ, STAGE, STATE, Shape

VALUES = {
    "string": st.text(max_size=5),
    "byte": st.integers(-128, 127),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "binary": st.binary(max_size=9),
}
KEYS = st.none() | st.sampled_from(["", "k", "default|account|a", "default|pair|a>b", "ção"])


def rows_of(shape: Shape, **given: st.SearchStrategy) -> st.SearchStrategy:
    """Rows of a shape; whole columns are null now and then."""
    columns = {name: given.get(name, st.none() | VALUES[kind]) for name, kind in shape.columns}

    def without(names: set[str]) -> st.SearchStrategy:
        return st.lists(st.fixed_dictionaries(columns | dict.fromkeys(names, st.none())), max_size=25)

    return st.sets(st.sampled_from(sorted(columns.keys() - given.keys()))).flatmap(without)


def batches_of(shape: Shape, rows: list[dict], cuts: list[int]) -> list[pa.RecordBatch]:
    """Rows as batches; some of them are slices, some have no rows."""
    whole = pa.RecordBatch.from_pylist(rows, schema=shape.arrow)
    ends = sorted(min(cut, len(rows)) for cut in cuts)
    return [whole.slice(a, b - a) for a, b in zip([0, *ends], [*ends, len(rows)], strict=True)]


def by_part(chunks: list[pa.RecordBatch], shape: Shape) -> dict[int, list[dict]]:
    found: dict[int, list[dict]] = {}
    for chunk in chunks:
        assert chunk.schema == CHUNK.arrow
        for n, part in enumerate(chunk["part"].to_pylist()):
            for batch in gathered([chunk.slice(n, 1)], shape):
                assert batch.schema == shape.arrow
                found.setdefault(part, []).extend(batch.to_pylist())
    return found


def counted(rows: list[dict]) -> Counter:
    return Counter(tuple(sorted(row.items())) for row in rows)


@settings(deadline=None, max_examples=60)
@given(
    of_shape=st.one_of(
        st.tuples(st.just(EVENTS), rows_of(EVENTS, key=KEYS)), st.tuples(st.just(STAGE), rows_of(STAGE, key=KEYS))
    ),
    cuts=st.lists(st.integers(0, 25), max_size=4),
    parts=st.integers(1, 7),
    at_once=st.sampled_from([1, 400, 16 << 20]),
)
def test_every_row_comes_out_once_and_rows_of_a_key_together(of_shape, cuts, parts, at_once) -> None:
    shape, rows = of_shape
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pix.offline.chunks.BYTES_AT_ONCE", at_once)
        found = by_part(list(scattered(batches_of(shape, rows, cuts), ByKey(parts))), shape)
    assert sum(map(counted, found.values()), Counter()) == counted(rows)
    assert set(found) <= set(range(parts))
    places: dict[str | None, set[int]] = {}
    for part, those in found.items():
        for row in those:
            places.setdefault(row["key"], set()).add(part)
    assert all(len(of_key) == 1 for of_key in places.values())


def test_a_hash_is_that_of_fnv_1a_and_null_is_as_empty() -> None:
    """So it is the same in every process, on every machine, of a slice, and whatever lies beneath a null."""
    beneath = pa.array(["x", "", "beneath", "default|account|ção"])
    texts = pa.Array.from_buffers(pa.string(), 4, [pa.py_buffer(bytes([0b1011])), *beneath.buffers()[1:]])
    assert texts.to_pylist() == ["x", "", None, "default|account|ção"]
    of_empty = 0xCBF29CE484222325
    of_text = of_empty
    for byte in "default|account|ção".encode():
        of_text = (of_text ^ byte) * 0x100000001B3 % 2**64
    expected = [value ^ value >> 32 for value in (of_empty, of_empty, of_text)]
    assert hashes(texts.slice(1)).tolist() == expected
    assert hashes(texts.slice(3)).tolist() == expected[2:]


def test_rows_without_any_value_are_rows_too() -> None:
    nothing = STAGE.batch(5)
    chunks = list(scattered([nothing], ByKey(3)))
    assert [batch.num_rows for batch in gathered(chunks, STAGE)] == [5]


def test_keys_spread_evenly() -> None:
    keys = pa.array([f"default|account|{n:08d}" for n in range(20_000)])
    counts = np.bincount(ByKey(16)(pa.record_batch({"key": keys})), minlength=16)
    assert counts.min() > 1_000
    assert counts.max() < 1_500


@settings(deadline=None, max_examples=100)
@given(
    by_day=st.dictionaries(st.integers(20_000, 20_030), st.integers(1, 400), min_size=1, max_size=12),
    parts=st.integers(1, 9),
)
def test_a_part_is_few_days_and_a_day_few_parts(by_day: dict[int, int], parts: int) -> None:
    """The roles of a payment meet, parts are about equal however days differ, and what is no read lies behind them."""
    payments = [(f"default|E{day}-{n}", day * DAY_MS + n) for day, count in by_day.items() for n in range(count)]
    identity, at_ms = (pa.array(column * 2) for column in zip(*payments, strict=True))
    what = pa.array([READ] * (2 * len(payments)), pa.int8())
    place = InLine.of(by_day, parts)
    part = place(STAGE.batch(len(what), what=what, identity=identity, at_ms=at_ms))
    first, second = np.split(part, 2)
    assert (first == second).all()
    pairs = {(day, int(p)) for (_, ms), p in zip(payments, first, strict=True) for day in [ms // DAY_MS]}
    assert len(pairs) <= len(by_day) + parts - 1
    expected = len(payments) / parts
    assert np.bincount(first, minlength=parts).max() <= expected + 6 * np.sqrt(expected) + 1
    states = place(STAGE.batch(2, what=pa.array([STATE, READ], pa.int8()), identity=identity[:2], at_ms=at_ms[:2]))
    assert states.tolist() == [place.rest, part[1]]


def test_a_day_that_was_not_counted_has_a_place() -> None:
    place = InLine.of({20_000: 3, 20_002: 3}, 2)
    at_ms = pa.array([19_999 * DAY_MS, 20_001 * DAY_MS, 20_009 * DAY_MS])
    assert place(STAGE.batch(3, what=READ, identity="default|E", at_ms=at_ms)).tolist() == [0, 0, 1]
