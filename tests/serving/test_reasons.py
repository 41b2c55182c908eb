"""Reasons sum to the raw score, say first what rules say, and are the same whenever they are asked for."""

import random

import pytest
import traffic
from published import Publisher, trained

from learning.ensemble import vector_of
from pix.contracts import DecisionRecord
from pix.features import FEATURE_NAMES
from serving.outcomes import Done
from serving.policy import load_policy
from serving.reasons import REASON_OF_FEATURE, by_code, explained, reasons
from serving.records import parse_record


@pytest.fixture(scope="module")
def champion(tracking, tmp_path_factory):
    published = Publisher(tracking, tmp_path_factory.mktemp("reasons"), "pix_fraud-reasons")
    published.publish(trained(1))
    keeper = published.keeper(pytest.fail)
    keeper.refresh()
    return keeper.current


def records(model, count=150):
    deciding, draw = traffic.pipeline(model=model), random.Random(5)
    for number in range(count):
        message = traffic.random_message(draw, number, traffic.NOW_MS + number * 60_000, 6)
        done = deciding.decide(message, traffic.arrival(traffic.NOW_MS + number * 60_000, number))
        assert isinstance(done, Done)
        yield done.record


def test_logged_reasons_come_again_from_the_logged_vector_and_sum_to_the_score(champion):
    seen = set()
    for record in map(parse_record, records(champion)):
        again = explained(champion, record["features"], record["rule_hits"], traffic.POLICY)
        assert record["reasons"] == ([] if record["action"] == "ALLOW" else again)
        total = by_code(champion.contributions(vector_of(record["features"])))
        assert abs(champion.ensemble.expected + sum(total.values()) - record["raw_score"]) < 1e-9
        assert len(again) <= 3
        DecisionRecord.model_validate(record, strict=False)
        seen.add(record["action"])
    assert len(seen) > 1, "the traffic must reach more than one action"


def contributions(**of_features):
    return [of_features.get(name, 0.0) for name in FEATURE_NAMES]


def test_what_a_rule_says_comes_first_whatever_it_adds():
    given = contributions(
        amount_reais=2.0, payer_count_24h=1.0, pair_count_90d=-0.5, payee_frauds_90d=0.25, local_hour=0.75
    )
    plain = [reason["code"] for reason in reasons(given, [])]
    assert plain == ["AMOUNT", "PAYER_HABITS", "TIME_OF_DAY"]
    ruled = reasons(given, {"NEW_RELATIONSHIP", "PAYEE_REPORTS"})
    assert [(reason["code"], reason["contribution"]) for reason in ruled] == [
        ("PAYEE_REPORTS", 0.25),
        ("NEW_RELATIONSHIP", -0.5),
        ("AMOUNT", 2.0),
    ]


def test_rules_give_reasons_without_a_model():
    told = explained(None, [None] * len(FEATURE_NAMES), ["payee_known_for_fraud"], traffic.POLICY)
    assert [(reason["code"], reason["contribution"]) for reason in told] == [
        ("NEW_RELATIONSHIP", 0.0),
        ("PAYEE_REPORTS", 0.0),
    ]


def test_lists_and_facts_of_the_payment_give_reasons_too(tmp_path):
    path = tmp_path / "policy.yaml"
    rule = "rules:\n  - {name: typed, when: initiation == 'MANU' && amount_cents > 5, action: REVIEW}\n"
    path.write_text(traffic.POLICY.text.replace("rules:\n", rule, 1))
    told = explained(None, [None] * len(FEATURE_NAMES), ["block_list", "typed", "allow_list"], load_policy(path))
    assert [reason["code"] for reason in told] == ["AMOUNT", "LISTED", "PAYMENT_DETAILS"]


@pytest.mark.parametrize(
    ("feature", "code"),
    [
        ("payee_person_frauds_90d", "PAYEE_REPORTS"),
        ("payer_flagged_payees_24h", "PAYEE_REPORTS"),
        ("payer_pass_through_1h", "MONEY_FLOW"),
        ("payer_seconds_since_inflow", "MONEY_FLOW"),
        ("payer_distinct_payees_24h", "PAYER_HABITS"),
        ("payee_out_in_ratio_1h", "PAYEE_ACTIVITY"),
        ("device_frauds_90d", "DEVICE_SITUATION"),
        ("is_dynamic_qr", "PAYMENT_DETAILS"),
    ],
)
def test_a_feature_speaks_for_what_a_person_would_say(feature, code):
    assert REASON_OF_FEATURE[feature] == code


def test_equal_contributions_have_one_order():
    given = contributions(local_hour=0.5, amount_reais=0.5, payer_count_24h=0.5)
    assert [reason["code"] for reason in reasons(given, [])] == ["AMOUNT", "PAYER_HABITS", "TIME_OF_DAY"]
