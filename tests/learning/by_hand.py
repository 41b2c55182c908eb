"""An ensemble by hand: trees and tables of numbers that round, so that another order of adding shows in the bits."""

import json

import numpy as np

from learning.additive import AdditiveTable, Bins, Table
from learning.ensemble import Ensemble
from learning.manifest import Input, Manifest, Member, Point
from learning.trees import CatBoostTrees
from pix.features import DECLARATION_HASHES, FEATURE_NAMES, FINGERPRINT

WIDTH = len(FEATURE_NAMES)
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1e300, -1e300, 0.1, float(np.float32(0.1))]
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


def ensemble_by_hand() -> Ensemble:
    """Three members over all features, calibrated."""
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
    """Vectors, many of them of values at which something turns; not to be written to."""
    draw = np.random.default_rng(seed)
    shape = (count, WIDTH)
    found = np.where(draw.random(shape) < 0.3, draw.choice(SPECIAL, shape), draw.normal(size=shape))
    found.setflags(write=False)
    return found
