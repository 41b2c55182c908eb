"""The declarations are sound data."""

from dataclasses import replace

from pix.engines.kernel import LAYOUTS, READERS
from pix.features import (
    CATALOGUE_COLUMNS,
    FEATURE_NAMES,
    FEATURES,
    FINGERPRINT,
    READ_NAMES,
    ROLES,
    WindowFeature,
    catalogue,
    fingerprint,
)
from serving.reasons import REASON_OF_FEATURE, TEXTS


def test_names_are_unique() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)


def test_windows_are_whole_hops() -> None:
    windows = [feature for feature in FEATURES if isinstance(feature, WindowFeature)]
    assert windows
    for feature in windows:
        assert feature.window_ms % feature.hop_ms == 0, feature.name
        assert 12 <= feature.window_ms // feature.hop_ms <= 24, feature.name


def test_any_change_of_a_declaration_changes_the_fingerprint() -> None:
    assert fingerprint(FEATURES) == FINGERPRINT
    assert fingerprint(FEATURES[1:]) != FINGERPRINT
    assert fingerprint((replace(FEATURES[0], description="other"), *FEATURES[1:])) != FINGERPRINT


def test_every_role_reads_in_the_order_of_its_names() -> None:
    assert {role: len(readers) for role, readers in READERS.items()} == {r: len(READ_NAMES[r]) for r in ROLES}
    assert set(LAYOUTS) == set(ROLES.values())


def test_the_catalogue_has_a_row_per_feature() -> None:
    rows = catalogue()
    assert [row["name"] for row in rows] == list(FEATURE_NAMES)
    assert all(tuple(row) == CATALOGUE_COLUMNS and row["description"] for row in rows)


def test_every_feature_has_a_reason_in_both_languages() -> None:
    assert set(REASON_OF_FEATURE) == set(FEATURE_NAMES)
    assert all(set(TEXTS[code]) == {"pt-BR", "en"} for code in REASON_OF_FEATURE.values())
