"""Array to probability: the whole ensemble against its members' own single-row ``predict``, equal results."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.pairs import paired
from learning.checks import drawn_rows
from learning.ensemble import Ensemble, load_ensemble, sigmoid
from learning.manifest import Manifest
from learning.members import FITS, FittedMember, FittedTrees
from learning.recipe import MEMBERS, TrainingConfig
from pix.features import FEATURE_NAMES, FINGERPRINT

TREES, DEPTH, TRAINING_ROWS = 300, 6, 6_000
ROWS, EXPLAINED = 256, 20


def ensemble_rows() -> list[dict[str, object]]:
    """The recipe's size of model over all features: trees alone, and all three members."""
    from catboost import Pool

    draw = np.random.default_rng(1)
    data = draw.normal(size=(TRAINING_ROWS, len(FEATURE_NAMES)))
    data[draw.random(data.shape) < 0.2] = np.nan
    target = np.nan_to_num(data[:, 0]) + np.isnan(data[:, 1]) + draw.normal(size=TRAINING_ROWS) > 1.5
    recipe = TrainingConfig(iterations=TREES, depth=DEPTH)
    fitted = [FITS[name](data, target, np.ones(TRAINING_ROWS), recipe) for name in MEMBERS]
    trees = next(member for member in fitted if isinstance(member, FittedTrees))
    alone, together = served([trees], draw), served(fitted, draw)
    rows = drawn_rows([[0.0]] * len(FEATURE_NAMES), ROWS, draw)
    lists = rows.tolist()
    found: dict[str, list[float]] = {}

    def scored_by(ensemble: Ensemble, name: str) -> Callable[[], float]:
        def timed() -> float:
            start = time.perf_counter()
            found[name] = [ensemble.probability(ensemble.raw_score(row)) for row in rows]
            return (time.perf_counter() - start) / ROWS * 1e6

        return timed

    def by_catboost() -> float:
        start = time.perf_counter()
        raw = [trees.model.predict(row, prediction_type="RawFormulaVal", thread_count=1) for row in lists]
        taken = (time.perf_counter() - start) / ROWS * 1e6
        found["theirs"] = [sigmoid(float(one)) for one in raw]
        return taken

    def explained() -> float:
        start = time.perf_counter()
        for row in rows:
            alone.contributions(row)
        return (time.perf_counter() - start) / ROWS * 1e6

    def explained_by_catboost() -> float:
        start = time.perf_counter()
        for row in lists[:EXPLAINED]:
            trees.model.get_feature_importance(Pool([row]), type="ShapValues", thread_count=1)
        return (time.perf_counter() - start) / EXPLAINED * 1e6

    size = f"{TREES} trees of depth {DEPTH}, {len(FEATURE_NAMES)} features"
    title = f"array to probability, {size}: ensemble / CatBoost's predict"
    scored = paired(title, scored_by(alone, "ours"), by_catboost)
    if found["ours"] != found["theirs"]:
        raise SystemExit("the ensemble must score as CatBoost does")
    three = paired(
        f"array to probability, {size}: {', '.join(MEMBERS)} / CatBoost's predict",
        scored_by(together, "three"),
        by_catboost,
    )
    each = sum((member.log_odds(rows) for member in fitted), np.zeros(ROWS))
    if not np.allclose(found["three"], [sigmoid(one) for one in each.tolist()], rtol=1e-9, atol=0):
        raise SystemExit("the ensemble must score as its members do")
    name = "contributions of the same rows: by leaf / CatBoost's ShapValues"
    return [scored, three, paired(name, explained, explained_by_catboost)]


def served(members: Sequence[FittedMember], draw: np.random.Generator, intercept: float = 0.0) -> Ensemble:
    """Members with weight 1 each, as a service reads them."""
    with tempfile.TemporaryDirectory() as folder:
        described = [member.write(Path(folder), FEATURE_NAMES, 1.0, draw) for member in members]
        Manifest(fingerprint=FINGERPRINT, intercept=intercept, members=described, libraries={}).write(Path(folder))
        return load_ensemble(Path(folder))
