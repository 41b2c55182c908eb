"""A policy is applied as written, or refused with the place of its fault."""

from pathlib import Path

import pytest

from serving.policy import FACTS, InvalidPolicy, Policy, load_policy

HOLDS = "holds: {BLOCK_AND_REVIEW: {minutes_by_day: 30, minutes_otherwise: 60, outcome: BLOCK}}\n"
THRESHOLDS = "thresholds: {REVIEW: 0.1, BLOCK_AND_REVIEW: 0.4, BLOCK: 0.85}\n" + HOLDS
NOTHING_KNOWN = dict.fromkeys(FACTS)


def policy(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return load_policy(path)


@pytest.mark.parametrize(
    ("probability", "action"),
    [(None, "ALLOW"), (0.0999, "ALLOW"), (0.1, "REVIEW"), (0.4, "BLOCK_AND_REVIEW"), (0.85, "BLOCK"), (1.0, "BLOCK")],
)
def test_thresholds(tmp_path: Path, probability: float | None, action: str) -> None:
    assert policy(tmp_path, THRESHOLDS).judge(probability, NOTHING_KNOWN).action == action


def test_the_most_severe_wins(tmp_path: Path) -> None:
    rules = "rules: [{name: large, when: amount_reais > 100.0, action: BLOCK_AND_REVIEW}]"
    facts = {**NOTHING_KNOWN, "amount_reais": 101.0}
    assert policy(tmp_path, THRESHOLDS + rules).judge(0.1, facts) == policy(tmp_path, THRESHOLDS + rules).judge(
        0.0, facts
    )
    verdict = policy(tmp_path, THRESHOLDS + rules).judge(0.9, facts)
    assert (verdict.action, verdict.rule_hits) == ("BLOCK", ("large",))


def test_a_rule_without_its_facts_does_not_hit(tmp_path: Path) -> None:
    rules = "rules: [{name: old, when: device_age_days < 1.0, action: BLOCK}]"
    loaded = policy(tmp_path, THRESHOLDS + rules)
    assert loaded.judge(None, NOTHING_KNOWN).rule_hits == ()
    assert loaded.judge(None, {**NOTHING_KNOWN, "device_age_days": 0.5}).action == "BLOCK"


def test_the_version_is_the_content(tmp_path: Path) -> None:
    first = policy(tmp_path, THRESHOLDS)
    assert policy(tmp_path, THRESHOLDS).version == first.version
    assert policy(tmp_path, THRESHOLDS + "\n").version != first.version


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("thresholds: {REVIEW: 0.1}", "must name each of"),
        ("thresholds: {REVIEW: 0.5, BLOCK_AND_REVIEW: 0.4, BLOCK: 0.85}", "rise with severity"),
        (THRESHOLDS + "extra: 1", "nothing else"),
        (THRESHOLDS + "rules: [{name: a, when: 'x >', action: BLOCK}]", "rule 1"),
        (THRESHOLDS + "rules: [{name: a, when: 'no_such > 1.0', action: BLOCK}]", "no_such"),
        (THRESHOLDS + "rules: [{name: a, when: 'amount_reais', action: BLOCK}]", "true or false"),
        (THRESHOLDS + "rules: [{name: a, when: 'amount_reais > 1.0', action: STOP}]", "STOP"),
        ("thresholds: [", "cannot be read"),
    ],
)
def test_a_bad_policy_is_refused_and_says_where(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidPolicy, match=told):
        policy(tmp_path, text)
