"""All declarations in their order, with the fingerprint that models carry."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256

from pix.features.declarations import Feature
from pix.features.entities import DEVICE, PAIR, PAYEE, PAYER, PERSON
from pix.features.relations import LABEL, NETWORK
from pix.features.request import REQUEST, TEMPORAL

FEATURES: tuple[Feature, ...] = (
    *REQUEST,
    *TEMPORAL,
    *PAYER,
    *PAYEE,
    *PAIR,
    *DEVICE,
    *PERSON,
    *NETWORK,
    *LABEL,
)
FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)

CATALOGUE_COLUMNS = (
    "name",
    "group",
    "entity",
    "measure",
    "aggregate",
    "window_ms",
    "hop_ms",
    "population",
    "unit",
    "description",
)


def fingerprint(features: Sequence[Feature]) -> str:
    """Hash of the ordered declarations; models carry it and serving refuses another."""
    rows = [{"declaration": type(feature).__name__, **asdict(feature)} for feature in features]
    return sha256(json.dumps(rows, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


FINGERPRINT = fingerprint(FEATURES)


def declaration_hashes(features: Sequence[Feature]) -> dict[str, str]:
    """Name -> hash of what the feature means: its declaration, and those of the features it is made of."""
    by_name = {feature.name: feature for feature in features}

    def hashed(feature: Feature) -> str:
        content = {"declaration": type(feature).__name__, **asdict(feature)}
        # Words for people may change without changing a value.
        del content["description"]
        made_of = [hashed(by_name[part]) for part in content.values() if part in by_name and part != feature.name]
        text = json.dumps([content, made_of], sort_keys=True, ensure_ascii=False)
        return sha256(text.encode()).hexdigest()[:16]

    return {feature.name: hashed(feature) for feature in features}


DECLARATION_HASHES = declaration_hashes(FEATURES)


def catalogue(features: Sequence[Feature] = FEATURES) -> list[dict[str, object]]:
    """The declarations as rows for people and tools."""
    return [{column: getattr(feature, column) for column in CATALOGUE_COLUMNS} for feature in features]
