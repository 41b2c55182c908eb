import struct

import numpy as np
import pytest

from quality.errors import VectorsDiffer
from quality.parity import compare

NAMES = ("amount", "count", "ratio")
OTHER_NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0001))[0]


def test_equal_vectors_match_in_every_container():
    rows = [[1.5, 2.0, None], [0.1, float("nan"), 3.0]]
    report = compare(rows, np.array([[1.5, 2.0, np.nan], [0.1, OTHER_NAN, 3.0]]), NAMES)
    assert (report.compared, report.mismatches, dict(report.by_feature)) == (2, 0, {})
    assert report.ok
    nested = np.array([np.array([1.5, 2.0, np.nan]), np.array([0.1, np.nan, 3.0])], dtype=object)
    assert compare(nested, rows, NAMES).ok
    assert compare([np.array(row, dtype=object) for row in rows], rows, NAMES).ok


@pytest.mark.parametrize(
    ("logged", "recomputed"),
    [
        (0.1 + 0.2, 0.3),
        (0.0, -0.0),
        (None, 0.0),
        (1.0, float("nan")),
        (1.0, np.nextafter(1.0, 2.0)),
        (float("inf"), float("-inf")),
    ],
)
def test_one_bit_is_a_mismatch(logged, recomputed):
    report = compare([[7.0, logged, 1.0]], [[7.0, recomputed, 1.0]], NAMES, ids=["E1"])
    assert (report.compared, report.mismatches, dict(report.by_feature)) == (1, 1, {"count": 1})
    assert (report.examples[0].row, report.examples[0].feature) == ("E1", "count")
    assert not report.ok


def test_a_vector_counts_once_however_many_of_its_values_differ_and_batches_add_up():
    first = compare([[1, 2, 3], [4, 5, 6]], [[9, 9, 3], [4, 5, 6]], NAMES)
    assert (first.mismatches, dict(first.by_feature)) == (1, {"amount": 1, "count": 1})
    both = first + compare([[1, 2, 3]], [[1, 0, 3]], NAMES)
    assert (both.compared, both.mismatches, dict(both.by_feature)) == (3, 2, {"amount": 1, "count": 2})
    assert str(both.examples[-1]) == "0 count: logged 2.0, recomputed 0.0"


def test_no_decisions_compare_to_nothing():
    assert compare([], [], NAMES).compared == 0


@pytest.mark.parametrize(
    ("logged", "recomputed", "message"),
    [
        ([[1, 2, 3]], [], "1 logged vectors, 0 recomputed"),
        ([[1, 2]], [[1, 2, 3]], "logged row 0 has 2 values, the features are 3"),
        ([[1, 2, 3]], [None], "recomputed row 0 has no vector"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(logged, recomputed, message):
    with pytest.raises(VectorsDiffer, match=message):
        compare(logged, recomputed, NAMES)
