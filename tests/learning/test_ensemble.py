"""An ensemble from its files: strictly read, added up, calibrated; a further kind of member is one class."""

import json
import math
from importlib.metadata import version

import numpy as np
import pytest
from catboost import CatBoostClassifier
from hypothesis import given
from hypothesis import strategies as st

from learning.ensemble import KINDS, FeatureMismatch, load_ensemble, sigmoid, vector_of
from learning.errors import ArtefactRefused
from learning.manifest import MANIFEST_FILE, Input, Manifest, Member, Point
from learning.members import FittedTrees
from pix.features import DECLARATION_HASHES, FEATURE_NAMES, FINGERPRINT

INPUTS = tuple(reversed(FEATURE_NAMES[5:60]))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with one CatBoost member over some of the features, in an order of its own, and the model."""
    folder = tmp_path_factory.mktemp("ensemble")
    draw = np.random.default_rng(1)
    rows = draw.normal(size=(500, len(INPUTS)))
    model = CatBoostClassifier(iterations=10, depth=4, logging_level="Silent", allow_writing_files=False)
    model.fit(rows, rows[:, 0] + rows[:, -1] > 0)
    member = FittedTrees(model).write(folder, INPUTS, 1.0, draw)
    libraries = {"catboost": version("catboost")}
    manifest = Manifest(fingerprint=FINGERPRINT, members=[member], libraries=libraries)
    manifest.write(folder)
    return folder, model, manifest


@pytest.fixture
def folder(made, tmp_path):
    """A copy that a test may spoil."""
    for path in made[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def vectors(count, seed=2):
    draw = np.random.default_rng(seed)
    for _ in range(count):
        yield vector_of([float(value) if value > -1 else None for value in draw.normal(size=len(FEATURE_NAMES))])


def test_an_ensemble_of_one_is_its_member(made):
    ensemble = load_ensemble(made[0])
    places = [FEATURE_NAMES.index(name) for name in INPUTS]
    for vector in vectors(50):
        theirs = float(made[1].predict(vector[places].tolist(), prediction_type="RawFormulaVal"))
        assert ensemble.raw_score(vector) == theirs
        assert ensemble.member_scores(vector) == {"catboost": theirs}
        assert ensemble.probability(theirs) == pytest.approx(1 / (1 + math.exp(-theirs)), abs=1e-15)
        contributions = ensemble.contributions(vector)
        assert {name for name, value in zip(FEATURE_NAMES, contributions, strict=True) if value} <= set(INPUTS)
        assert abs(ensemble.expected + sum(contributions) - theirs) < 1e-9


class Line:
    """A linear member: a further kind."""

    tolerance = 0.0

    def __init__(self, content, places):
        self._weights = json.loads(content)
        self._places = list(places)
        self.expected = 0.25

    def contributions(self, vector):
        return np.nan_to_num(vector[self._places]) * self._weights

    def log_odds(self, vector):
        return self.expected + float(self.contributions(vector).sum())

    def log_odds_of(self, rows):
        return np.array([self.log_odds(row) for row in rows])


def line(folder, weight=-0.5):
    from learning.checks import Checks

    names, slopes = FEATURE_NAMES[58:61], [0.5, -2.0, 0.125]
    (folder / "line.json").write_text(json.dumps(slopes))
    rows = np.array([[1.0, 2.0, np.nan]])
    Checks(rows, np.array([0.25 + 0.5 - 4.0]), np.array([[0.5, -4.0, 0.0]]), 0.25).write(folder / "line-checks.npz")
    inputs = [Input(name=name, declaration=DECLARATION_HASHES[name]) for name in names]
    return Member(
        kind="line", name="line", file="line.json", checks="line-checks.npz", weight=weight, inputs=inputs
    )  # fmt: skip


def test_a_further_kind_is_added_up_with_its_weight_and_its_contributions(made, folder, monkeypatch):
    both = made[2].model_copy(update={"members": [*made[2].members, line(folder)], "intercept": 0.75})
    both.write(folder)
    with pytest.raises(ArtefactRefused, match="kind 'line'"):
        load_ensemble(folder)
    monkeypatch.setitem(KINDS, "line", Line)
    ensemble, alone = load_ensemble(folder), load_ensemble(made[0])
    for vector in vectors(20):
        scores = ensemble.member_scores(vector)
        assert scores["catboost"] == alone.raw_score(vector)
        assert ensemble.raw_score(vector) == 0.75 + scores["catboost"] + -0.5 * scores["line"]
        assert abs(ensemble.expected + sum(ensemble.contributions(vector)) - ensemble.raw_score(vector)) < 1e-9


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=2))
def test_a_calibration_keeps_the_order_of_scores(made, scores):
    points = [Point(raw=-4.0, log_odds=-6.0), Point(raw=0.0, log_odds=-5.0), Point(raw=3.0, log_odds=2.0)]
    manifest = made[2].model_copy(update={"calibration": points})
    ensemble = load_ensemble(made[0])
    calibrated = type(ensemble)(manifest, [part.member for part in ensemble._parts])
    low, high = sorted(scores)
    assert calibrated.probability(low) <= calibrated.probability(high)
    assert calibrated.probability(1.5) == sigmoid(-1.5)
    assert calibrated.probability(-5.0) == sigmoid(-7.0)
    assert calibrated.probability(4.0) == sigmoid(3.0)


def test_a_probability_of_any_score_is_one():
    assert (sigmoid(-1e9), sigmoid(0.0), sigmoid(1e9)) == (0.0, 0.5, 1.0)


def test_a_changed_or_vanished_feature_is_named(made, folder):
    def spoilt(**fields):
        inputs = [one.model_copy(update=fields if n == 3 else {}) for n, one in enumerate(made[2].members[0].inputs)]
        member = made[2].members[0].model_copy(update={"inputs": inputs})
        made[2].model_copy(update={"members": [member]}).write(folder)

    spoilt(declaration="f" * 16)
    with pytest.raises(FeatureMismatch, match=f"other declarations stand behind {INPUTS[3]};"):
        load_ensemble(folder)
    spoilt(name="payer_gone")
    with pytest.raises(FeatureMismatch, match="payer_gone"):
        load_ensemble(folder)


def test_trees_that_answer_otherwise_than_catboost_are_refused(folder):
    content = json.loads((folder / "catboost.json").read_bytes())
    content["scale_and_bias"] = [1, [1e-12]]
    (folder / "catboost.json").write_text(json.dumps(content))
    with pytest.raises(ArtefactRefused, match="where it was trained") as refused:
        load_ensemble(folder)
    assert refused.value.reason == "unequal"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "format"),
        ({"fingerprint": "f"}, "fingerprint"),
        ({"intercept": "0"}, "intercept"),
        ({"members": []}, "members"),
        ({"surprise": 1}, "surprise"),
        ({"calibration": [{"raw": 0, "log_odds": 1}, {"raw": 1, "log_odds": 0}]}, "must rise"),
        ({"calibration": [{"raw": 0, "log_odds": 0}, {"raw": 0, "log_odds": 1}]}, "must rise"),
        (("file", "../evaluation.cbm"), r"members.0.file"),
        (("file", "gone.json"), "cannot be read"),
        (("weight", True), r"members.0.weight"),
        (("kind", "forest"), "kind 'forest'"),
        (("checks", "catboost.json"), "share a name or a file"),
        (("checks", "manifest.json"), "holds no checks"),
        (("inputs", []), r"members.0.inputs"),
    ],
)
def test_a_manifest_is_read_strictly(folder, change, says):
    content = json.loads((folder / MANIFEST_FILE).read_bytes())
    if isinstance(change, tuple):
        content["members"][0][change[0]] = change[1]
    else:
        content |= change
    (folder / MANIFEST_FILE).write_text(json.dumps(content))
    with pytest.raises(ArtefactRefused, match=says) as refused:
        load_ensemble(folder)
    assert refused.value.reason == "malformed"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format": 1, "format": 1}', b'{"format": NaN}', b"\x80\x04N."])
def test_a_manifest_that_is_no_json_object_is_refused(folder, content):
    (folder / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(ArtefactRefused, match="no manifest"):
        load_ensemble(folder)
