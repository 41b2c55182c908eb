"""Thresholds proposed for the shared home's champion: a file that nobody applies."""

from pathlib import Path

import pytest

from serving.policy import load_policy
from serving.policy_diff import differences
from serving.policy_thresholds import thresholds_of

POLICY = Path(__file__).resolve().parents[2] / "config" / "policy.yaml"


def proposed(trained, **asked):
    config = {"ops": {"model__threshold_proposal": {"config": asked}}} if asked else None
    result = trained.run("model/threshold_proposal", job="retrain_job", config=config)
    assert result.success, trained.told(result)
    return trained.newest("model/threshold_proposal")


def test_the_proposal_is_a_policy_with_other_thresholds_and_the_policy_in_use_stays(trained):
    before = POLICY.read_bytes()
    told = proposed(trained)
    assert POLICY.read_bytes() == before
    found = load_policy(Path(told["file"]))
    assert found.version == told["policy_proposed"] != told["policy_in_use"]
    parts = {change.what.rpartition(".")[0] for change in differences(load_policy(POLICY), found)}
    assert parts <= {f"segments.{name}" for name in thresholds_of(found)}
    assert "| payments to look at |" in told["beside_each_other"]
    assert told["gain_reais_a_day_low"] <= told["gain_reais_a_day"] <= told["gain_reais_a_day_high"]


def test_analysts_without_time_are_asked_nothing_by_thresholds(trained):
    told = proposed(trained, reviews_a_day=0.0)
    thresholds = thresholds_of(load_policy(Path(told["file"]))).values()
    assert all(triple[0] == triple[1] == triple[2] for triple in thresholds)
    assert told["review_price_reais"] > 0


@pytest.mark.parametrize("asked", [{"refused_reais": -1.0}, {"recovered_share": 2.0}])
def test_costs_that_cannot_be_are_refused_by_name(trained, asked):
    config = {"ops": {"model__threshold_proposal": {"config": asked}}}
    result = trained.run("model/threshold_proposal", job="retrain_job", config=config)
    assert next(iter(asked)).removesuffix("_reais") in str(trained.told(result))
