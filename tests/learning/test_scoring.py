"""Many rows at once, and from packed vectors: each the same 64 bits as a decision on it alone."""

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from learning.additive import ROWS_AT_ONCE, AdditiveTable, Bins, Table
from learning.ensemble import Ensemble
from learning.manifest import Input, Manifest, Member, Point
from learning.scoring import scored
from learning.trees import CatBoostTrees
from pix.features import DECLARATION_HASHES, FEATURE_NAMES, FINGERPRINT
from pix.offline.vectors import matrix

WIDTH = len(FEATURE_NAMES)
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1e300, -1e300, 0.1, float(np.float32(0.1))]
SIZES = [0, 1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 3 * ROWS_AT_ONCE + 7]
CALIBRATION = [(-3.0, -9.1), (-1.1, -4.0), (-0.3, -4.0), (0.7, 0.1), (2.9, 6.3)]


def trees(draw: np.random.Generator, depths: list[int]) -> CatBoostTrees:
    """Trees as CatBoost exports them, of values that round when they are added in another order."""

    def tree(depth: int) -> dict[str, object]:
        borders = [float(np.float32(one)) for one in draw.choice([*draw.normal(size=3), *SPECIAL[3:5], 0.1], depth)]
        asked = draw.integers(0, WIDTH, depth).tolist()
        return {
            "splits": [
                {"split_type": "FloatFeature", "float_feature_index": place, "border": border}
                for place, border in zip(asked, borders, strict=True)
            ],
            "leaf_values": draw.normal(size=2**depth).tolist(),
            "leaf_weights": [1.0] * 2**depth,
        }

    inputs = [
        {"feature_index": n, "flat_feature_index": n, "nan_value_treatment": ("AsFalse", "AsTrue")[n % 2]}
        for n in range(WIDTH)
    ]
    model = {
        "features_info": {"float_features": inputs},
        "oblivious_trees": [tree(depth) for depth in depths],
        "scale_and_bias": [0.7, [0.3]],
    }
    return CatBoostTrees(json.dumps(model).encode(), range(WIDTH))


def table(draw: np.random.Generator) -> AdditiveTable:
    """A table per input, with none to twenty borders."""

    def bins() -> Bins:
        borders = np.unique(draw.choice([*draw.normal(size=20), 0.0, 0.1], draw.integers(0, 20)))
        values = draw.normal(size=len(borders) + 2).tolist()
        return Bins(borders=borders.tolist(), values=values[1:], missing=values[0], expected=0.1)

    return AdditiveTable(Table(intercept=-2.3, inputs=[bins() for _ in range(WIDTH)]).content(), range(WIDTH))


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    draw = np.random.default_rng(11)
    inputs = [Input(name=name, declaration=DECLARATION_HASHES[name]) for name in FEATURE_NAMES]
    members = [
        Member(kind=kind, name=kind, file=f"{kind}.json", checks=f"{kind}.npz", weight=weight, inputs=inputs)
        for kind, weight in (("catboost", 0.61), ("scorecard", 0.27), ("histogram", 0.013))
    ]
    points = [Point(raw=raw, log_odds=to) for raw, to in CALIBRATION]
    manifest = Manifest(fingerprint=FINGERPRINT, intercept=-0.4, members=members, calibration=points, libraries={})
    return Ensemble(manifest, [trees(draw, [6, 0, 3, 6, 1] * 8), table(draw), table(draw)])


def rows(count: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    found = np.where(
        draw.random((count, WIDTH)) < 0.3, draw.choice(SPECIAL, (count, WIDTH)), draw.normal(size=(count, WIDTH))
    )
    found.setflags(write=False)
    return found


def packed(vectors: np.ndarray, kind: pa.DataType = pa.binary_view()) -> pa.RecordBatch:  # noqa: B008 - a constant
    names = [f"p{number}" for number in range(len(vectors))]
    return pa.record_batch({"name": names, "features": pa.array([row.tobytes() for row in vectors], kind)})


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


@pytest.mark.parametrize("kind", [pa.binary(), pa.binary_view()])
def test_batches_come_out_in_order_with_the_scores_of_their_vectors(ensemble, kind):
    asked = [rows(count, seed) for seed, count in enumerate([300, 1, 0, 5, 200, 17])]
    found = list(scored(ensemble, (packed(part, kind).slice(0) for part in asked)))
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
    for kind in (pa.binary(), pa.binary_view()):
        found = matrix(packed(asked, kind).slice(2, 5)["features"])
        assert found.tobytes() == asked[2:7].tobytes()
