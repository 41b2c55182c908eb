"""Every gate can refuse alone, all refusals are named, and nothing else keeps a challenger from serving."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.evaluation import Interval
from learning.latency import Latency
from learning.promotion import ALWAYS, OF_CONTENT, SERIES, Evidence, Gates, Parity, Refused, chance_of, decide

RULES = Gates(margin=0.01, calibration_error=0.2, microseconds=500)


def interval(point, low, high):
    return Interval(point=point, low=low, high=high, confidence=0.95)


CHAMPION = Evidence(
    version="3",
    fingerprint="f1",
    rows=900,
    frauds=45,
    average_precision=0.61,
    over_raw=interval(0.2, 0.15, 0.25),
    calibration_error=0.3,
    calibrated_on=100,
    latency=Latency(2_000, 30, 60),
)
CHALLENGER = dataclasses.replace(
    CHAMPION,
    version="4",
    average_precision=0.66,
    over_champion=interval(0.05, -0.005, 0.09),
    calibration_error=0.15,
    parity=Parity(1_000, 0, "2026-11-23 01:00"),
)
FAULTS = {
    "version": {"version": "3"},
    "rolled back": {"rolled_back": "at 2026-11-22T10:00:00+00:00 by ana (false alarms)"},
    "artefact": {"refused": Refused("unsigned", "4 has no model.sig")},
    "features": {"refused": Refused("features", "other declarations stand behind payer_amount_sum_24h")},
    "parity": {"parity": Parity(1_000, 1, "2026-11-23 01:00")},
    "raw fields": {"over_raw": interval(-0.01, -0.05, 0.03)},
    "champion": {"over_champion": interval(0.02, -0.011, 0.05)},
    "calibration": {"calibration_error": 0.9},
    "latency": {"latency": Latency(2_000, 400, 501)},
}
BETTER = {"over_champion": interval(0.05, 0.01, 0.09)}
CONTENT = {name for name, _ in OF_CONTENT}


def judge(champion=CHAMPION, **changes):
    return decide(champion, dataclasses.replace(CHALLENGER, **changes), served_fingerprint="f1", rules=RULES)


def said(decision, gate):
    (found,) = (reason for reason in decision.reasons if reason.startswith(f"{gate}: "))
    return found


def test_a_better_challenger_is_promoted_with_what_every_gate_found():
    decision = judge(**BETTER)
    assert decision.promote
    assert [reason.partition(":")[0] for reason in decision.reasons] == [name for name, _ in (*ALWAYS, *OF_CONTENT)]
    assert said(decision, "champion") == (
        "champion: better: average precision 0.6600 against 0.6100 of v3 on the same 900 later rows "
        "with 45 frauds, difference +0.0500 [+0.0100, +0.0900]"
    )
    assert "p99 60 µs of 2,000 payments" in said(decision, "latency")
    assert "v3: p50 30 µs" in said(decision, "latency")


@given(st.sets(st.sampled_from(sorted(FAULTS))))
def test_it_is_promoted_exactly_if_no_gate_refuses_and_every_refusal_is_named(faults):
    changes = {}
    for name in sorted(faults):
        changes |= FAULTS[name]
    decision = judge(**changes)
    assert decision.promote == (not faults)
    # One refusal of files: the later of the two stands, and what is in them is not asked.
    expected = faults - {"artefact"} if {"artefact", "features"} <= faults else faults
    if faults & {"artefact", "features"}:
        expected = expected - CONTENT
    if faults:
        assert {reason.partition(":")[0] for reason in decision.reasons} == expected


@pytest.mark.parametrize(
    ("gate", "changes", "reason"),
    [
        ("version", {"version": "3"}, "v3 is the champion already"),
        ("rolled back", FAULTS["rolled back"], "by ana (false alarms); only `sentinela rollback --to` returns it"),
        ("artefact", FAULTS["artefact"], "signature refused (unsigned): 4 has no model.sig"),
        ("artefact", {"refused": Refused("tampered", "x")}, "signature refused (tampered)"),
        ("artefact", {"refused": Refused("unequal", "x")}, "content refused (unequal)"),
        ("features", {"fingerprint": "f0"} | FAULTS["features"], "trained on f0, the service computes f1: other decl"),
        ("features", {"refused": Refused("fingerprint", "registered for f0")}, "registered for f0"),
        ("parity", {"parity": None}, "never proved"),
        ("parity", FAULTS["parity"], "1 of 1,000 logged vectors differ"),
        ("raw fields", FAULTS["raw fields"], "does not beat a CatBoost on raw fields"),
        ("raw fields", {"over_raw": interval(0.0, 0.0, 0.0)}, "does not beat a CatBoost on raw fields"),
        ("raw fields", {"over_raw": interval(math.nan, 0.0, 0.0)}, "does not beat a CatBoost on raw fields"),
        ("raw fields", {"over_raw": None}, "was not compared"),
        ("champion", FAULTS["champion"], "may be worse by more than 0.01"),
        ("champion", {"over_champion": interval(0.1, math.nan, 0.2)}, "may be worse"),
        ("champion", {"over_champion": None, "rows": 40, "frauds": 1}, "only 40 later rows with 1 frauds"),
        ("calibration", FAULTS["calibration"], "0.900 of 100 frauds expected where they were not, more than 0.2"),
        ("calibration", {"calibration_error": math.nan}, "nan of 100 frauds"),
        ("calibration", {"calibration_error": None}, "was not measured"),
        ("latency", FAULTS["latency"], "p99 501 µs of 2,000 payments from features to probability and contributions"),
        ("latency", {"latency": Latency(1, 1, math.nan)}, "the budget is 500"),
        ("latency", {"latency": None}, "was not measured"),
    ],
)
def test_each_gate_refuses_and_says_why(gate, changes, reason):
    decision = judge(**changes)
    assert not decision.promote
    assert reason in said(decision, gate)
    assert len(decision.reasons) == 1


def test_the_first_champion_is_promoted_for_beating_raw_fields():
    decision = judge(None, over_champion=None)
    assert decision.promote
    assert "this is the first" in said(decision, "champion")
    assert "+0.2000 [+0.1500, +0.2500]" in said(decision, "raw fields")


def test_not_worse_within_the_margin_is_enough():
    decision = judge(over_champion=interval(0.0, -0.009, 0.01))
    assert decision.promote
    assert "not worse by more than 0.01" in said(decision, "champion")


def test_another_fingerprint_is_served_while_its_inputs_mean_the_same():
    decision = judge(fingerprint="f0")
    assert decision.promote
    assert said(decision, "features") == (
        "features: trained on f0, the service computes f1; each of its inputs still means the same"
    )


def test_a_champion_that_can_no_longer_be_served_is_replaced():
    old = Evidence(version="3", fingerprint="f0", refused=Refused("features", "other declarations"))
    decision = judge(old, over_champion=None)
    assert decision.promote
    assert "v3 cannot be loaded in this build: other declarations" in said(decision, "champion")


def test_without_live_decisions_parity_has_nothing_to_compare_and_says_so():
    decision = judge(parity=Parity(0, 0, "2026-11-23 01:00"))
    assert decision.promote
    assert "nothing was decided live yet" in said(decision, "parity")


def test_calibration_is_held_against_chance_and_the_champion():
    by_chance = 0.2 + chance_of(100)
    assert judge(calibration_error=by_chance).promote
    few = judge(calibration_error=by_chance + 0.01)
    assert not few.promote
    assert "v3 has 0.300" in said(few, "calibration")
    worse = dataclasses.replace(CHAMPION, calibration_error=0.9)
    assert "no worse than 0.900 of v3" in said(judge(worse, calibration_error=0.89), "calibration")
    assert not judge(worse, calibration_error=0.91).promote


def test_where_fraud_has_changed_a_better_challenger_need_not_beat_raw_fields():
    """Days of before and after are judged together there; a champion that finds nothing any more must not stay."""
    found = judge(**BETTER, **FAULTS["raw fields"])
    assert found.promote
    assert "but it is better than the champion" in said(found, "raw fields")
    assert not judge(None, over_champion=None, **FAULTS["raw fields"]).promote
    assert not judge(**BETTER, over_raw=interval(math.nan, 0.0, 0.0)).promote


def test_where_it_is_better_its_probabilities_may_be_as_far_off_as_the_champions_there():
    far = FAULTS["calibration"]
    here = dataclasses.replace(CHAMPION, error_here=1.2)
    found = judge(here, **BETTER, **far, error_here=1.1)
    assert found.promote
    assert "no worse than v3: 1.100 against 1.200" in said(found, "calibration")
    by_chance = chance_of(CHALLENGER.frauds)
    assert judge(here, **BETTER, **far, error_here=1.19 + by_chance).promote
    for refused in (
        judge(here, **BETTER, **far, error_here=1.21 + by_chance),
        judge(here, **far, error_here=1.1),
        judge(**BETTER, **far, error_here=1.1),
        judge(here, **BETTER, **far),
    ):
        assert not refused.promote


def test_chance_is_what_a_perfect_probability_shows_of_frauds_in_series():
    import numpy as np

    from learning.calibration import calibration_error

    draw, found = np.random.default_rng(1), []
    for _ in range(40):
        probabilities = draw.beta(0.3, 3, 2_000)
        is_fraud = draw.random(2_000) < probabilities
        found.append(calibration_error(is_fraud, probabilities) / (chance_of(is_fraud.sum()) / SERIES))
    assert 0.7 < np.mean(found) < 1.1
