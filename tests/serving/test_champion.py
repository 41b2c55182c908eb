"""Two fingerprints side by side: a model of an older one is served while its inputs mean what they did."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from learning.registry import CARD_FILE, MODEL_FILE, ModelCard
from pix.features import DECLARATION_HASHES, FEATURE_NAMES, FEATURES, FINGERPRINT, declaration_hashes
from serving.champion import Champion, FeatureMismatch, load_champion

OLDER = tuple(name for name in reversed(FEATURE_NAMES[5:60]))


def written(folder: Path, **changes: object) -> Path:
    """A small model over some of the features, in an order of its own."""
    from catboost import CatBoostClassifier

    draw = np.random.default_rng(1)
    rows = draw.normal(size=(200, len(OLDER)))
    trees = CatBoostClassifier(iterations=5, depth=3, verbose=False, allow_writing_files=False)
    trees.fit(rows, rows[:, 0] + rows[:, -1] > 0, verbose=False)
    folder.mkdir()
    trees.save_model(str(folder / MODEL_FILE))
    card = ModelCard(
        name="pix_fraud", version="7", sha256="0" * 64, fingerprint="0" * 16, feature_names=OLDER,
        trained_at="2026-11-20T00:00:00+00:00", seed=1, cut_ms=0, until_ms=0, config={}, metrics={}, over_raw={},
        data_versions={}, declarations={name: DECLARATION_HASHES[name] for name in OLDER},
    )  # fmt: skip
    ModelCard(**{**asdict(card), **changes}).write(folder)  # type: ignore[arg-type]
    assert (folder / CARD_FILE).exists()
    return folder


def test_an_older_model_gets_its_own_inputs_in_its_own_order(tmp_path: Path) -> None:
    champion: Champion = load_champion(written(tmp_path / "7"))
    draw = np.random.default_rng(2)
    for _ in range(20):
        features = tuple(float(value) if value > -1 else None for value in draw.normal(size=len(FEATURE_NAMES)))
        by_name = dict(zip(FEATURE_NAMES, features, strict=True))
        row = [float("nan") if by_name[name] is None else by_name[name] for name in OLDER]
        assert champion.raw_score(features) == champion.trees.predict(row, prediction_type="RawFormulaVal")
        contributions = dict(zip(FEATURE_NAMES, champion.contributions(features), strict=True))
        assert {name for name, value in contributions.items() if value} <= set(OLDER)
        baseline = champion.raw_score(features) - sum(contributions.values())
        assert baseline == pytest.approx(_baseline(champion, row))


def _baseline(champion: Champion, row: list[float]) -> float:
    from catboost import Pool

    return float(champion.trees.get_feature_importance(Pool([row]), type="ShapValues")[0][-1])


def test_a_changed_or_vanished_feature_is_named(tmp_path: Path) -> None:
    declarations = {name: DECLARATION_HASHES[name] for name in OLDER} | {OLDER[3]: "f" * 16}
    with pytest.raises(FeatureMismatch, match=f"other declarations stand behind {OLDER[3]};"):
        load_champion(written(tmp_path / "changed", declarations=declarations))
    names = ("payer_gone", *OLDER[1:])
    with pytest.raises(FeatureMismatch, match="payer_gone"):
        load_champion(written(tmp_path / "gone", feature_names=names))
    with pytest.raises(FeatureMismatch, match=f"{OLDER[0]}.* and 45 more"):
        load_champion(written(tmp_path / "before", declarations={}))


def test_the_hash_of_a_declaration_is_its_meaning() -> None:
    changed = {feature.name: feature for feature in FEATURES}
    ratio = next(feature for feature in FEATURES if type(feature).__name__ == "ScoreFeature")
    inner = changed[ratio.mean]  # type: ignore[attr-defined]
    changed[inner.name] = replace(inner, window_ms=(inner.window_ms or 0) + 1)
    after = declaration_hashes(tuple(changed.values()))
    moved = {name for name in after if after[name] != DECLARATION_HASHES[name]}
    assert {inner.name, ratio.name} <= moved
    assert len(moved) < len(FEATURES) / 4
    words = tuple(replace(feature, description="other words") for feature in FEATURES)
    assert declaration_hashes(words) == DECLARATION_HASHES
    assert len(FINGERPRINT) == 16
