"""What a changed policy changes: said by its parts, and by payments that were decided."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from policies import EMPTY, entry, policy
from traffic import NOW_MS, POLICY, Clock, StubbornModel, arrival, pipeline, random_message

from pix.contracts import Payment
from pix.features import FEATURE_NAMES
from serving.outcomes import Arrival, Done
from serving.policy import Case, Policy, parse_policy
from serving.policy_diff import differences
from serving.policy_dry_run import DECISIONS, LABELLED, NoDecisions, dry_run

SECOND_MS = 1000
COUNT = 240
RULES = """\
segments:
  - {name: calling, when: active_call, thresholds: {REVIEW: 0.01, BLOCK_AND_REVIEW: 0.02, BLOCK: 0.03}}
rules:
  - {name: young_payee, when: payee_account_age_days < 30 && payee_fraud_markers_d90 > 0, action: BLOCK}
  - {name: typed, when: amount_cents > 4000000 && tenant == 'default', action: REVIEW}
  - {name: overflow, when: amount_cents * 10000000000000 > 5, action: REVIEW}
"""


def decided(count: int = COUNT) -> list[dict[str, Any]]:
    """Records of random payments, one a second."""
    clock, draw = Clock(), random.Random(8)
    service = pipeline(clock=clock, model=StubbornModel(shift=-22.0))
    records = []
    for number in range(count):
        came = arrival(clock.now_ms, number)
        forced = "BLOCK" if number % 50 == 7 else None
        asked = Arrival(came.received_at_ms, came.body_sha256, came.origin, came.trace_id, forced)
        done = service.decide(random_message(draw, number, clock.now_ms, 20), asked)
        assert isinstance(done, Done)
        records.append(json.loads(done.record))
        clock.now_ms += SECOND_MS
    return records


def frauds(records: list[dict[str, Any]]) -> dict[str, bool | None]:
    draw = random.Random(2)
    return {record["end_to_end_id"]: draw.choice([True, False, False, None]) for record in records}


def write(lake: Path, records: list[dict[str, Any]], known: dict[str, bool | None]) -> None:
    """Silver and gold as far as they are read."""
    names = (
        "tenant",
        "end_to_end_id",
        "action",
        "fraud_probability",
        "rule_hits",
        "decided_at_ms",
        "feature_fingerprint",
    )
    rows = [
        {name: record[name] for name in names}
        | {"amount_cents": record["payment"]["amount_cents"], "record": json.dumps(record)}
        for record in records
    ]
    write_deltalake(lake / DECISIONS, pa.Table.from_pylist(rows))
    gold = [
        {"tenant": "default", "end_to_end_id": name, "is_fraud": is_fraud, "decided_at_ms": record["decided_at_ms"]}
        for record in records
        for name, is_fraud in [(record["end_to_end_id"], known[record["end_to_end_id"]])]
    ]
    write_deltalake(lake / LABELLED, pa.Table.from_pylist(gold))


def one_by_one(tried: Policy, records: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Any]]:
    """Each record and the verdict on it, the plain way."""
    return [
        (record, tried.judge(Case(record["fraud_probability"], record["features"], Payment(**record["payment"]),
                                  record["decided_at_ms"])))
        for record in records if "test_account" not in record["rule_hits"]
    ]  # fmt: skip


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return decided()


def tried(records: list[dict[str, Any]]) -> Policy:
    """A policy that reads features, facts and tokens."""
    text = entry(token=records[3]["payment"]["payee_account"], since=NOW_MS + 50 * SECOND_MS)
    return policy(RULES.replace("10000000000000", "100000000"), lists={"watch": [text]})


def test_a_dry_run_is_judging_every_decision_again(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    known = frauds(records)
    write(tmp_path, records, known)
    newer = tried(records)
    told: Any = dry_run(newer, str(tmp_path), since_ms=0, until_ms=2**60).told()
    again = one_by_one(newer, records)
    changes = Counter(
        (record["action"], verdict.action) for record, verdict in again if record["action"] != verdict.action
    )
    assert len(changes) > 2, "the policy must change something"
    assert {(each["from"], each["to"]): each["payments"] for each in told["changes"]} == changes
    assert told["changed"]["payments"] == sum(changes.values())
    cents = sum(record["payment"]["amount_cents"] for record, verdict in again if record["action"] != verdict.action)
    assert told["changed"]["amount_cents"] == cents
    hits = Counter(name for _, verdict in again for name in verdict.rule_hits)
    assert {"young_payee", "typed", "watch_list"} <= hits.keys()
    assert {name: each["payments"] for name, each in told["hits"].items() if each["payments"]} == hits
    before = Counter(name for record, _ in again for name in record["rule_hits"])
    assert {
        name: each["hits_when_decided"] for name, each in told["hits"].items() if each["hits_when_decided"]
    } == before
    for name, wanted in (("known_frauds", True), ("known_honest", False)):
        those = [pair for pair in again if known[pair[0]["end_to_end_id"]] is wanted]
        assert told[name]["payments"] == len(those)
        assert told[name]["stopped"]["payments"] == sum(verdict.action != "ALLOW" for _, verdict in those)
        assert told[name]["stopped_when_decided"]["payments"] == sum(record["action"] != "ALLOW" for record, _ in those)
    assert told["without_value"] == {"overflow": sum(verdict.failed == ("overflow",) for _, verdict in again)}
    assert told["without_value"]["overflow"] > 0
    assert told["of_test_accounts"] == len(records) - len(again) > 0
    assert told["segments"]["calling"] == sum(verdict.segment == "calling" for _, verdict in again) > 0
    for each in told["changes"]:
        ids = {
            record["end_to_end_id"]
            for record, verdict in again
            if (record["action"], verdict.action) == (each["from"], each["to"])
        }
        assert set(each["examples"]) <= ids


def test_the_policy_that_decided_changes_nothing(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    write(tmp_path, records, frauds(records))
    assert dry_run(POLICY, str(tmp_path), since_ms=0, until_ms=2**60).told()["changes"] == []


def test_only_decisions_of_that_time_and_of_these_features(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    others = [{**record, "feature_fingerprint": "0" * 16, "features": [1.0]} for record in records[:30]]
    write(tmp_path, [*others, *records[30:]], frauds(records))
    since = NOW_MS + 20 * SECOND_MS
    found = dry_run(POLICY, str(tmp_path), since_ms=since, until_ms=NOW_MS + 60 * SECOND_MS)
    assert (found.foreign, found.forced + found.decisions.payments) == (10, 30)
    assert (found.first_ms, found.last_ms) == (NOW_MS + 30 * SECOND_MS, NOW_MS + 59 * SECOND_MS)
    with pytest.raises(NoDecisions, match="another --since"):
        dry_run(POLICY, str(tmp_path), since_ms=2**59, until_ms=2**60)
    with pytest.raises(NoDecisions, match="refresh_lake_job"):
        dry_run(POLICY, str(tmp_path / "empty"), since_ms=0, until_ms=2**60)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("BLOCK: 0.85", "BLOCK: 0.9"), ["~ segments.default.BLOCK: 0.85 -> 0.9"]),
        (("otherwise: 60", "otherwise: 45"), ["~ holds.BLOCK_AND_REVIEW.minutes_otherwise: 60 -> 45"]),
        (("watch_list, allow_list", "allow_list, watch_list"), [
            "~ priority: block_list, rules, watch_list, allow_list, thresholds -> "
            "block_list, rules, allow_list, watch_list, thresholds"]),
        (("name: typed", "name: large"), [
            "- rules.typed: when amount_cents > 4000000 && tenant == 'default', action REVIEW",
            "+ rules.large: when amount_cents > 4000000 && tenant == 'default', action REVIEW"]),
        (("action: BLOCK}", "action: REVIEW}"), ["~ rules.young_payee.action: BLOCK -> REVIEW"]),
        (("when: active_call", "when: device_rooted"), ["~ segments.calling.when: active_call -> device_rooted"]),
        (("REVIEW: 0.01", "REVIEW: 0.005"), ["~ segments.calling.REVIEW: 0.01 -> 0.005"]),
        (("rules:\n", "# a comment\nrules:\n"), []),
    ],
)  # fmt: skip
def test_a_difference_is_told_by_its_part(changed: tuple[str, str], told: list[str]) -> None:
    text = EMPTY + RULES.replace("10000000000000", "100000000")
    assert changed[0] in text
    old, new = parse_policy(text, "old"), parse_policy(text.replace(*changed, 1), "new")
    assert [str(each) for each in differences(old, new)] == told


def test_entries_and_orders_are_told() -> None:
    one, other, third = (entry(value=value) for value in "abc")
    segments = [
        "{name: a, when: active_call, thresholds: {REVIEW: 1, BLOCK_AND_REVIEW: 1, BLOCK: 1}}",
        "{name: b, when: device_rooted, thresholds: {REVIEW: 1, BLOCK_AND_REVIEW: 1, BLOCK: 1}}",
    ]
    old = policy(f"segments: [{', '.join(segments)}]\n", lists={"block": [one, other]})
    new = policy(f"segments: [{', '.join(reversed(segments))}]\n", lists={"block": [other, third]})
    told = [str(each) for each in differences(old, new)]
    assert told[0] == "~ order of segments: a, b -> b, a"
    assert [line.partition(": kind")[0] for line in told[1:]] == ["- lists.block", "+ lists.block"]
    assert differences(old, old) == []


def test_every_feature_and_field_has_its_place() -> None:
    """Planted: a vector in another order would judge by another feature."""
    rule = policy(f"rules: [{{name: last, when: {FEATURE_NAMES[-1]} > 0.5, action: BLOCK}}]\n")
    hit = [None] * (len(FEATURE_NAMES) - 1) + [1.0]
    case = Case(None, hit, Payment(**decided(1)[0]["payment"]), NOW_MS)
    assert rule.judge(case).action == "BLOCK"
    assert rule.judge(Case(None, hit[::-1], case.payment, NOW_MS)).action == "ALLOW"
