"""The declarations are sound data."""

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

from pix.contracts import MAX_AMOUNT_CENTS
from pix.engines import layout
from pix.features import (
    CATALOGUE_COLUMNS,
    FEATURE_NAMES,
    FEATURES,
    FINGERPRINT,
    ROLES,
    RatioFeature,
    ScoreFeature,
    WindowFeature,
    catalogue,
    fingerprint,
)
from pix.features.__main__ import PAGE
from pix.features.declarations import REAIS_CAP
from pix.features.page import page
from serving.reasons import LINES, REASON_OF_FEATURE, REASON_OF_LIST, TEXTS
from serving.reasons import page as reasons_page

GROUPS = {"request", "temporal", "payer", "payee", "pair", "device", "person", "network", "label"}


def test_there_are_two_hundred_and_ten_in_each_group() -> None:
    assert len(FEATURES) >= 200
    found = Counter(feature.group for feature in FEATURES)
    assert set(found) == GROUPS
    assert min(found.values()) >= 10


def test_names_and_meanings_are_unique() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    assert len({feature.description for feature in FEATURES}) == len(FEATURES)
    assert len({replace(feature, name="", description="", group="") for feature in FEATURES}) == len(FEATURES)


def test_windows_are_whole_hops() -> None:
    windows = [feature for feature in FEATURES if isinstance(feature, WindowFeature)]
    assert windows
    for feature in windows:
        assert feature.window_ms is not None
        assert feature.hop_ms is not None
        assert feature.window_ms % feature.hop_ms == 0, feature.name
        assert 12 <= feature.window_ms // feature.hop_ms <= 24, feature.name


def test_a_shorter_window_of_a_flow_never_begins_earlier() -> None:
    """The kernel reads a list of events by that."""
    for plan in layout.LAYOUTS.values():
        banks = list(plan.banks)
        pairs = [(a, b) for a, b in pairwise(banks) if a.flow == b.flow]
        assert pairs
        assert all(-longer.minus_window_ms >= -b.minus_window_ms + b.hop_ms for longer, b in pairs)


def test_ratios_are_of_features_that_come_directly_from_events() -> None:
    direct = {f.name for f in FEATURES if not isinstance(f, RatioFeature | ScoreFeature)} | {"amount_cents"}
    for feature in FEATURES:
        if isinstance(feature, RatioFeature):
            assert {feature.numerator, feature.denominator} <= direct, feature.name
        if isinstance(feature, ScoreFeature):
            assert {feature.mean, feature.deviation} <= direct, feature.name


def test_any_change_of_a_declaration_changes_the_fingerprint() -> None:
    assert fingerprint(FEATURES) == FINGERPRINT
    assert fingerprint(FEATURES[1:]) != FINGERPRINT
    assert fingerprint((replace(FEATURES[0], description="other"), *FEATURES[1:])) != FINGERPRINT


def test_every_feature_is_computed_once_and_every_kind_has_a_plan() -> None:
    assert sorted(layout.PROGRAM[:, 0]) == list(range(len(FEATURES)))
    assert set(layout.PLANS) == set(ROLES.values())


def test_blobs_fit_and_sums_cannot_overflow() -> None:
    """The bound that pix.engines.compiled states: nine million payments of the greatest amount on one key."""
    for plan in layout.PLANS.values():
        assert 8 * plan[layout.RING_WORDS] <= 8 * 1024
        assert plan[layout.N_BANKS] <= 64
    assert 8 * (layout.HEADER_WORDS + 3 * layout.LIST_CAP) <= 1024
    assert 9_000_000 * max(MAX_AMOUNT_CENTS, REAIS_CAP**2) < 2**63


def test_the_catalogue_has_a_row_per_feature() -> None:
    rows = catalogue()
    assert [row["name"] for row in rows] == list(FEATURE_NAMES)
    assert all(tuple(row) == CATALOGUE_COLUMNS and row["description"] for row in rows)


def test_every_feature_has_a_reason_in_both_languages() -> None:
    assert set(REASON_OF_FEATURE) == set(FEATURE_NAMES)
    assert {*REASON_OF_FEATURE.values(), *REASON_OF_LIST.values()} == set(TEXTS)
    assert all(set(text) == {"pt-BR", "en"} for text in TEXTS.values())


def test_every_line_of_reasons_is_needed_and_texts_teach_no_evasion() -> None:
    deciding = {next(line for line in LINES if line.fits(feature)) for feature in FEATURES}
    assert deciding == set(LINES)
    for text in TEXTS.values():
        for words in text.values():
            assert not re.search(r"\d|_|feature|model|regra|rule|limite|threshold", words), words


def test_the_page_of_reasons_is_current() -> None:
    page_of_reasons = PAGE.with_name("reasons.md").read_text(encoding="utf-8")
    assert page_of_reasons == reasons_page(), "docs/reasons.md is old: run `make contracts`"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "docs/features.md is old: run `make features`"
