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


def catalogue(features: Sequence[Feature] = FEATURES) -> list[dict[str, object]]:
    """The declarations as rows for people and tools."""
    return [{column: getattr(feature, column) for column in CATALOGUE_COLUMNS} for feature in features]
