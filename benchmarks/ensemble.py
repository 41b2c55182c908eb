"""Array to probability: the whole ensemble against its members' own single-row ``predict``, equal results."""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.pairs import paired
from learning.checks import drawn_rows
from learning.ensemble import load_ensemble, sigmoid
from learning.manifest import Manifest
from learning.members import FittedTrees
from pix.features import FEATURE_NAMES, FINGERPRINT

TREES, DEPTH, TRAINING_ROWS = 300, 6, 6_000
ROWS, EXPLAINED = 256, 20


def ensemble_rows() -> list[dict[str, object]]:
    """The recipe's size of model over all features."""
    from catboost import CatBoostClassifier, Pool

    draw = np.random.default_rng(1)
    data = draw.normal(size=(TRAINING_ROWS, len(FEATURE_NAMES)))
    data[draw.random(data.shape) < 0.2] = np.nan
    target = np.nan_to_num(data[:, 0]) + np.isnan(data[:, 1]) + draw.normal(size=TRAINING_ROWS) > 1.5
    model = CatBoostClassifier(
        iterations=TREES, depth=DEPTH, border_count=254, logging_level="Silent", allow_writing_files=False
    ).fit(data, target)
    with tempfile.TemporaryDirectory() as folder:
        member = FittedTrees(model).write(Path(folder), FEATURE_NAMES, 1.0, draw)
        Manifest(fingerprint=FINGERPRINT, members=[member], libraries={}).write(Path(folder))
        ensemble = load_ensemble(Path(folder))
    rows = drawn_rows([[0.0]] * len(FEATURE_NAMES), ROWS, draw)
    lists = rows.tolist()
    found: dict[str, list[float]] = {}

    def ours() -> float:
        start = time.perf_counter()
        found["ours"] = [ensemble.probability(ensemble.raw_score(row)) for row in rows]
        return (time.perf_counter() - start) / ROWS * 1e6

    def theirs() -> float:
        start = time.perf_counter()
        raw = [model.predict(row, prediction_type="RawFormulaVal", thread_count=1) for row in lists]
        taken = (time.perf_counter() - start) / ROWS * 1e6
        found["theirs"] = [sigmoid(float(one)) for one in raw]
        return taken

    def explained() -> float:
        start = time.perf_counter()
        for row in rows:
            ensemble.contributions(row)
        return (time.perf_counter() - start) / ROWS * 1e6

    def explained_by_catboost() -> float:
        start = time.perf_counter()
        for row in lists[:EXPLAINED]:
            model.get_feature_importance(Pool([row]), type="ShapValues", thread_count=1)
        return (time.perf_counter() - start) / EXPLAINED * 1e6

    size = f"{TREES} trees of depth {DEPTH}, {len(FEATURE_NAMES)} features"
    scored = paired(f"array to probability, {size}: ensemble / CatBoost's predict", ours, theirs)
    if found["ours"] != found["theirs"]:
        raise SystemExit("the ensemble must score as CatBoost does")
    name = "contributions of the same rows: by leaf / CatBoost's ShapValues"
    return [scored, paired(name, explained, explained_by_catboost)]
