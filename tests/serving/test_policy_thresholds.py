from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serving.policy import DEFAULT, InvalidPolicy, load_policy, parse_policy
from serving.policy_diff import differences
from serving.policy_thresholds import NotReplaced, thresholds_of, with_thresholds
from serving.rules_only import segments

POLICY = Path(__file__).resolve().parents[2] / "config" / "policy.yaml"
LARGE = "large_amount_to_a_person"
NEW = {LARGE: (0.02, 0.3, 0.9), DEFAULT: (0.015, 0.5, 1.0)}


def test_only_the_numbers_change():
    text = POLICY.read_text()
    changed = with_thresholds(text, NEW, "policy.yaml")
    assert thresholds_of(parse_policy(changed, "changed")) == NEW
    was, now = text.splitlines(), changed.splitlines()
    lines = [(old, new) for old, new in zip(was, now, strict=True) if old != new]
    assert [new.strip() for _, new in lines] == [
        "thresholds: {REVIEW: 0.02, BLOCK_AND_REVIEW: 0.3, BLOCK: 0.9}",
        "thresholds: {REVIEW: 0.015, BLOCK_AND_REVIEW: 0.5, BLOCK: 1}",
    ]
    told = differences(load_policy(POLICY), parse_policy(changed, "changed"))
    assert {change.what.rsplit(".", 1)[0] for change in told} == {f"segments.{LARGE}", f"segments.{DEFAULT}"}


def test_the_same_thresholds_change_nothing_that_counts():
    text = POLICY.read_text()
    same = with_thresholds(text, thresholds_of(load_policy(POLICY)), "policy.yaml")
    assert differences(load_policy(POLICY), parse_policy(same, "same")) == []


def test_a_policy_without_segments_has_thresholds_too():
    base = POLICY.read_text()
    text = "priority: [block_list, rules, watch_list, allow_list, thresholds]\n"
    text += "thresholds:\n  REVIEW: 0.1\n  BLOCK_AND_REVIEW: 0.2\n  BLOCK: 0.3  # so it is\n"
    text += base[base.index("\nholds:") :]
    changed = with_thresholds(text, {DEFAULT: (0.2, 0.3, 0.4)}, "small.yaml")
    assert "  BLOCK: 0.4  # so it is\n" in changed


def test_thresholds_that_fall_are_refused():
    with pytest.raises(NotReplaced, match="must rise with severity"):
        with_thresholds(POLICY.read_text(), {DEFAULT: (0.5, 0.4, 0.9)}, "policy.yaml")


def test_a_file_that_is_no_policy_is_refused():
    with pytest.raises(InvalidPolicy):
        with_thresholds("thresholds: {}", NEW, "broken.yaml")


def test_rows_fall_into_the_first_segment_that_fits():
    rows = pd.DataFrame({"raw_amount_cents": [1_000_000, 999_999, 2_000_000, 5_000_000]})
    rows["raw_payee_person_type"] = ["PF", "PF", "PJ", None]
    assert segments(load_policy(POLICY), rows).tolist() == [0, 1, 1, 1]
    assert segments(load_policy(POLICY), rows.iloc[:0]).tolist() == np.zeros(0).tolist()
