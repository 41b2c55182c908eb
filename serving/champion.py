"""The champion in the service: fetched by MLflow alias, verified, warm, swapped in one assignment."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning.registry import MODEL_FILE, ModelCard, champion, download_champion
from pix.features import DECLARATION_HASHES, FEATURE_NAMES, FINGERPRINT

log = logging.getLogger(__name__)

SHOWN = 10


class FeatureMismatch(Exception):
    """A model was trained on other features than this service computes."""


@dataclass(frozen=True, slots=True)
class Champion:
    """A loaded CatBoost model; see ``serving.pipeline.Model``.

    Attributes:
        identity: Name, version and SHA-256, as they stand on a decision.
        trees: The native model.
        inputs: Places of its inputs among this service's features, in its order.
    """

    identity: Mapping[str, str]
    trees: Any
    inputs: tuple[int, ...]

    def raw_score(self, features: tuple[float | None, ...]) -> float:
        """Log-odds of fraud."""
        return float(self.trees.predict(self._row(features), prediction_type="RawFormulaVal", thread_count=1))

    def contributions(self, features: tuple[float | None, ...]) -> list[float]:
        """SHAP value of each feature of this service, log-odds; 0 for those that the model does not know."""
        from catboost import Pool

        pool = Pool([self._row(features)], feature_names=[FEATURE_NAMES[place] for place in self.inputs])
        values = self.trees.get_feature_importance(pool, type="ShapValues", thread_count=1)
        contributions = [0.0] * len(features)
        for place, value in zip(self.inputs, values[0][:-1], strict=True):
            contributions[place] = float(value)
        return contributions

    def _row(self, features: tuple[float | None, ...]) -> list[float]:
        chosen = features if self.inputs == ALL_INPUTS else [features[place] for place in self.inputs]
        return [NAN if value is None else value for value in chosen]


ALL_INPUTS = tuple(range(len(FEATURE_NAMES)))
NAN = float("nan")


def inputs_of(card: ModelCard) -> tuple[int, ...]:
    """Places of a model's inputs among this service's features.

    A model of an older fingerprint is served as long as every input still means what it was trained on.

    Raises:
        FeatureMismatch: Some inputs are not computed here, or mean something else.
    """
    if card.fingerprint == FINGERPRINT and card.feature_names == FEATURE_NAMES:
        return ALL_INPUTS
    changed = [
        name for name in card.feature_names if card.declarations.get(name, "unknown") != DECLARATION_HASHES.get(name)
    ]
    if changed:
        shown = ", ".join(changed[:SHOWN]) + (f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else "")
        raise FeatureMismatch(
            f"champion {card.name} v{card.version} was trained on features {card.fingerprint}, this service "
            f"has {FINGERPRINT}, where other declarations stand behind {shown}; deploy the matching service or retrain"
        )
    places = {name: place for place, name in enumerate(FEATURE_NAMES)}
    return tuple(places[name] for name in card.feature_names)


def load_champion(folder: Path) -> Champion:
    """Load a downloaded version; its SHA-256 was verified when it was downloaded.

    Raises:
        FeatureMismatch: Not all of its inputs are computed here with the same meaning.
    """
    from catboost import CatBoostClassifier

    card = ModelCard.read(folder)
    inputs = inputs_of(card)
    trees = CatBoostClassifier()
    trees.load_model(str(folder / MODEL_FILE))
    loaded = Champion({"name": card.name, "version": card.version, "sha256": card.sha256}, trees, inputs)
    loaded.contributions((0.0,) * len(FEATURE_NAMES))
    loaded.raw_score((None,) * len(FEATURE_NAMES))
    return loaded


class ChampionKeeper:
    """Holds the served champion and looks for a newer one.

    A version that cannot be loaded is reported once and never replaces the one that serves.
    """

    def __init__(self, mlflow_uri: str, model_name: str, folder: Path) -> None:
        self._uri = mlflow_uri
        self._name = model_name
        self._folder = folder
        self._refused: str | None = None
        self.current: Champion | None = None

    def refresh(self) -> bool:
        """Load the alias's version if it is another one than serves; blocking, call it in a thread.

        Returns:
            Whether another champion serves now.

        Raises:
            learning.errors.RegistryError: MLflow is away or its version is unusable.
        """
        found = champion(self._uri, self._name)
        served = self.current.identity["version"] if self.current else None
        if found is None or found.version in (served, self._refused):
            return False
        folder = download_champion(self._uri, self._name, self._folder)
        if folder is None:
            return False
        try:
            self.current = load_champion(folder)
        except Exception:
            self._refused = found.version
            raise
        return True
