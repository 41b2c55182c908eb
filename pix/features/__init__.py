"""Every feature, declared once, as data.

Nothing here computes over events: ``pix.engines.kernel`` does, for every engine, from these declarations;
``pix.engines.oracle`` says the same thing naively. ``facts`` turns a payment into the integers that both
start from. Everything others need is importable from here.
"""

from pix.features.catalogue import (
    CATALOGUE_COLUMNS,
    DECLARATION_HASHES,
    FEATURE_NAMES,
    FEATURES,
    FINGERPRINT,
    catalogue,
    declaration_hashes,
    fingerprint,
)
from pix.features.declarations import (
    BRASILIA_OFFSET_MS,
    DISTINCT_CAP,
    FLOW_OF_ROLE,
    ROLES,
    Feature,
    LifetimeFeature,
    RatioFeature,
    RequestFeature,
    ScoreFeature,
    TimeFeature,
    WindowFeature,
)
from pix.features.facts import FACT_NAMES, MISSING, TIMELESS_NAMES, facts, timeless

__all__ = [
    "BRASILIA_OFFSET_MS",
    "CATALOGUE_COLUMNS",
    "DECLARATION_HASHES",
    "DISTINCT_CAP",
    "FACT_NAMES",
    "FEATURES",
    "FEATURE_NAMES",
    "FINGERPRINT",
    "FLOW_OF_ROLE",
    "MISSING",
    "ROLES",
    "Feature",
    "LifetimeFeature",
    "RatioFeature",
    "RequestFeature",
    "TIMELESS_NAMES",
    "ScoreFeature",
    "TimeFeature",
    "WindowFeature",
    "catalogue",
    "declaration_hashes",
    "facts",
    "fingerprint",
    "timeless",
]
