"""Many rows at once, and from packed vectors: each the same 64 bits as a decision on it alone."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from learning.additive import ROWS_AT_ONCE
from learning.scoring import scored
from pix.offline.vectors import matrix
from tests.learning.by_hand import CALIBRATION, WIDTH, ensemble_by_hand, rows

SIZES = [0, 1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 3 * ROWS_AT_ONCE + 7]


@pytest.fixture(scope="module")
def ensemble():
    return ensemble_by_hand()


def packed(vectors: np.ndarray) -> pa.RecordBatch:
    names = [f"p{number}" for number in range(len(vectors))]
    return pa.record_batch({"name": names, "features": pa.array([row.tobytes() for row in vectors], pa.binary())})


@settings(max_examples=25, deadline=None)
@example(count=SIZES[-1], seed=0)
@given(count=st.sampled_from(SIZES), seed=st.integers(0, 10_000))
def test_many_rows_have_the_bits_that_each_has_alone(ensemble, count, seed):
    asked = rows(count, seed)
    alone = [ensemble.raw_score(row.copy()) for row in asked]
    together = ensemble.raw_scores(asked)
    assert [one.hex() for one in together.tolist()] == [one.hex() for one in alone]
    said = [ensemble.probability(one).hex() for one in alone]
    assert [one.hex() for one in ensemble.probabilities(together).tolist()] == said


points = st.floats(-40, 40, allow_nan=False) | st.sampled_from([at for at, _ in CALIBRATION])


@given(raw=st.lists(points | points.map(lambda at: float(np.nextafter(at, np.inf))), max_size=30))
def test_many_probabilities_have_the_bits_that_each_has_alone(ensemble, raw):
    together = ensemble.probabilities(np.array(raw, np.float64)).tolist()
    assert [one.hex() for one in together] == [ensemble.probability(one).hex() for one in raw]


def test_batches_come_out_in_order_with_the_scores_of_their_vectors(ensemble):
    asked = [rows(count, seed) for seed, count in enumerate([300, 1, 0, 5, 200, 17])]
    found = list(scored(ensemble, (packed(part) for part in asked)))
    assert [one.batch.num_rows for one in found] == [len(part) for part in asked]
    for one, part in zip(found, asked, strict=True):
        alone = [ensemble.raw_score(row.copy()) for row in part]
        assert one.raw_scores.tolist() == alone
        assert one.probabilities.tolist() == [ensemble.probability(raw) for raw in alone]


def test_only_a_few_batches_are_read_ahead(ensemble):
    """A day of a bank does not fit into memory."""
    read = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal read
        for _ in range(20):
            read += 1
            yield packed(rows(3, 1))

    for taken, _ in enumerate(scored(ensemble, batches(), workers=2), 1):
        assert read <= taken + 2


def test_vectors_of_another_length_are_refused(ensemble):
    short = packed(rows(4, 1)[:, :-1])
    with pytest.raises(ValueError, match=f"the {8 * WIDTH} bytes of {WIDTH} features"):
        list(scored(ensemble, [short]))


def test_a_part_of_a_batch_keeps_its_vectors():
    asked = rows(9, 3)
    assert matrix(packed(asked).slice(2, 5)["features"]).tobytes() == asked[2:7].tobytes()
