"""The native walk against CatBoost itself: the same bits, and the same SHAP values."""

import json
from pathlib import Path

import numpy as np
import pytest
from catboost import CatBoostClassifier
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.checks import EXTREMES, ROWS, catboost_answers, catboost_checks, refuse_unequal
from learning.errors import ArtefactRefused
from learning.trees import CatBoostTrees
from pix.features import FEATURE_NAMES

INPUTS = 12
PLACES = tuple(range(len(FEATURE_NAMES) - 1, len(FEATURE_NAMES) - 1 - INPUTS, -1))


class Both:
    """A CatBoost model and its native twin."""

    def __init__(self, folder: Path, nan_mode: str, depth: int) -> None:
        draw = np.random.default_rng(depth)
        rows = draw.normal(size=(1_500, INPUTS))
        rows[:, ::3] = np.round(rows[:, ::3] * 2)
        if nan_mode != "Forbidden":
            rows[draw.random(rows.shape) < 0.15] = np.nan
            rows[:, 4] = np.nan
        rows[:, 5] = np.nan_to_num(rows[:, 5])
        target = np.nan_to_num(rows[:, 0]) + np.isnan(rows[:, 1]) + draw.normal(size=len(rows)) > 1
        self.theirs = CatBoostClassifier(
            iterations=40, depth=depth, nan_mode=nan_mode, border_count=1024, learning_rate=0.2, random_seed=1,
            thread_count=1, allow_writing_files=False, logging_level="Silent",
        ).fit(rows, target)  # fmt: skip
        self.theirs.save_model(str(folder / "model.json"), format="json")
        self.exported = (folder / "model.json").read_bytes()
        self.ours = CatBoostTrees(self.exported, PLACES)
        floats = json.loads(self.exported)["features_info"]["float_features"]
        self.borders = [one["borders"] for one in floats]

    def vector(self, row) -> np.ndarray:
        vector = np.full(len(FEATURE_NAMES), np.nan)
        vector[list(PLACES)] = row
        return vector


@pytest.fixture(scope="module", params=[("Min", 6), ("Max", 4), ("Forbidden", 8)], ids=lambda pair: pair[0])
def both(request, tmp_path_factory):
    return Both(tmp_path_factory.mktemp("trees"), *request.param)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_row_scores_as_catboost_does(both, data):
    def value(place: int) -> st.SearchStrategy[float]:
        borders = st.sampled_from(both.borders[place] or [0.0])
        beside = borders.map(lambda border: float(np.nextafter(border, np.inf)))
        return st.one_of(st.floats(), st.sampled_from(EXTREMES), borders, beside)

    row = np.array(data.draw(st.tuples(*map(value, range(INPUTS)))))
    theirs = float(both.theirs.predict(row.tolist(), prediction_type="RawFormulaVal", thread_count=1))
    assert both.ours.log_odds(both.vector(row)).hex() == theirs.hex()


def test_contributions_are_catboosts_and_sum_to_the_score(both):
    checks = catboost_checks(both.theirs, both.borders, np.random.default_rng(3))
    for row, values in zip(checks.rows, checks.contributions, strict=True):
        ours = both.ours.contributions(both.vector(row))
        assert np.abs(ours - values).max() < 1e-9
        assert abs(ours.sum() + both.ours.expected - both.ours.log_odds(both.vector(row))) < 1e-9
    assert both.ours.expected == pytest.approx(checks.expected, abs=1e-9)


def test_rows_asked_alone_and_together_have_one_answer(both):
    """Training judges in batches, the service scores single rows."""
    rows = np.random.default_rng(4).normal(size=(300, INPUTS))
    alone, _, _ = catboost_answers(both.theirs, rows)
    assert (both.theirs.predict(rows, prediction_type="RawFormulaVal") == alone).all()


def test_a_leaf_that_is_off_by_a_trillionth_is_found(both):
    checks = catboost_checks(both.theirs, both.borders, np.random.default_rng(5))
    assert len(checks.rows) == ROWS
    refuse_unequal("catboost", both.ours, checks, PLACES)
    content = json.loads(both.exported)
    fullest = max(content["oblivious_trees"], key=lambda tree: max(tree["leaf_weights"]))
    leaf = int(np.argmax(fullest["leaf_weights"]))
    fullest["leaf_values"][leaf] += 1e-12
    changed = CatBoostTrees(json.dumps(content).encode(), PLACES)
    with pytest.raises(ArtefactRefused, match="of its checks") as refused:
        refuse_unequal("catboost", changed, checks, PLACES)
    assert refused.value.reason == "unequal"


def drop(*path):
    def change(content):
        for step in path[:-1]:
            content = content[step]
        del content[path[-1]]

    return change


def put(value, *path):
    def change(content):
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return change


TREE = ("oblivious_trees", 0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop("oblivious_trees"), "grow_policy"),
        (drop("features_info", "float_features"), "features_info"),
        (put([{}], "features_info", "categorical_features"), "categorical_features"),
        (put("Sometimes", "features_info", "float_features", 0, "nan_value_treatment"), "Sometimes"),
        (drop("features_info", "float_features", 0), "11 inputs, 12 are declared"),
        (put([1, [0, 0]], "scale_and_bias"), "scale_and_bias"),
        (put("OneHotFeature", *TREE, "splits", 0, "split_type"), "tree 0 asks"),
        (put(99, *TREE, "splits", 0, "float_feature_index"), "tree 0 asks"),
        (put(-1, *TREE, "splits", 0, "float_feature_index"), "tree 0 asks"),
        (put(0.1, *TREE, "splits", 0, "border"), "tree 0 asks"),
        (drop(*TREE, "leaf_values", 0), "finite leaves"),
        (put("many", *TREE, "leaf_weights"), "tree 0 lacks"),
        (
            put([{"split_type": "FloatFeature", "float_feature_index": 0, "border": 0.5}] * 11, *TREE, "splits"),
            "11 deep",
        ),
    ],
)
def test_what_is_no_such_model_is_refused(both, change, says):
    content = json.loads(both.exported)
    change(content)
    with pytest.raises(ArtefactRefused, match=says) as refused:
        CatBoostTrees(json.dumps(content).encode(), PLACES)
    assert refused.value.reason == "malformed"
