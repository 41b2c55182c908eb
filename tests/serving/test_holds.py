"""How long a decision waits: by day, at night, on weekends and holidays; until when stands on the decision."""

import json
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from traffic import NOW_MS, POLICY, Clock, StubbornModel, arrival, message, pipeline

from serving.degraded import decide_by_rules
from serving.holds import hold_of
from serving.outcomes import Arrival, Done
from serving.policy import ACTIONS, InvalidPolicy, load_policy

NORMAL = "thresholds: {REVIEW: 0.1, BLOCK_AND_REVIEW: 0.4, BLOCK: 0.85}\n"


def in_brasilia(text: str) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("America/Sao_Paulo"))
    return int(moment.astimezone(UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("decided", "minutes"),
    [
        ("2026-11-23 12:00:00.000", 30),  # a Monday
        ("2026-11-23 05:59:59.999", 60),
        ("2026-11-23 06:00:00.000", 30),
        ("2026-11-23 19:59:59.999", 30),
        ("2026-11-23 20:00:00.000", 60),
        ("2026-11-24 00:00:00.000", 60),
        ("2026-11-21 12:00:00.000", 60),  # Saturday
        ("2026-11-22 12:00:00.000", 60),  # Sunday
        ("2026-11-20 12:00:00.000", 60),  # Consciência Negra, a Friday
        ("2023-11-20 12:00:00.000", 30),  # a Monday, before the law of that holiday
        ("2027-02-08 12:00:00.000", 60),  # Monday of carnival
        ("2027-02-10 12:00:00.000", 30),  # Ash Wednesday: banks open at noon
        ("2027-05-27 12:00:00.000", 60),  # Corpus Christi
        ("2026-12-24 12:00:00.000", 30),  # Christmas Eve
        ("2018-12-03 06:00:00.000", 30),  # a Monday in daylight saving time
        ("2018-12-03 05:59:59.999", 60),
    ],
)
def test_how_long_a_payment_is_held(decided: str, minutes: int) -> None:
    at_ms = in_brasilia(decided)
    hold = hold_of("BLOCK_AND_REVIEW", at_ms, POLICY)
    assert hold is not None
    assert (hold.expires_at_ms - at_ms, hold.outcome) == (minutes * 60_000, "BLOCK")


def test_which_actions_wait() -> None:
    held = {action: hold_of(action, NOW_MS, POLICY) for action in ACTIONS}
    assert {action for action, hold in held.items() if hold} == {"REVIEW", "BLOCK_AND_REVIEW"}
    assert held["REVIEW"] is not None
    assert held["REVIEW"].outcome == "ALLOW"


@pytest.mark.parametrize("forced", ACTIONS)
def test_it_stands_on_the_decision(forced: str) -> None:
    clock = Clock()
    service = pipeline(clock=clock, model=StubbornModel())
    came = arrival(NOW_MS)
    asked = Arrival(came.received_at_ms, came.body_sha256, came.origin, came.trace_id, forced)
    done = service.decide(message(1), asked)
    assert isinstance(done, Done)
    expected = hold_of(forced, NOW_MS, POLICY)
    without_store = decide_by_rules(service, service.seen(message(2), asked))
    for record in (done.record, without_store):
        assert json.loads(record)["hold"] == (expected.described() if expected else None)


@pytest.mark.parametrize(
    ("holds", "told"),
    [
        ("", "holds must have BLOCK_AND_REVIEW"),
        ("holds: {REVIEW: {minutes_by_day: 9, minutes_otherwise: 9, outcome: ALLOW}}", "must have BLOCK_AND_REVIEW"),
        ("holds: {BLOCK_AND_REVIEW: {minutes_by_day: 31, minutes_otherwise: 60, outcome: BLOCK}}", "from 1 to 30"),
        ("holds: {BLOCK_AND_REVIEW: {minutes_by_day: 30, minutes_otherwise: 61, outcome: BLOCK}}", "from 1 to 60"),
        ("holds: {BLOCK_AND_REVIEW: {minutes_by_day: true, minutes_otherwise: 60, outcome: BLOCK}}", "whole number"),
        ("holds: {BLOCK_AND_REVIEW: {minutes_by_day: 30, minutes_otherwise: 60, outcome: REVIEW}}", "ALLOW or BLOCK"),
        ("holds: {BLOCK_AND_REVIEW: {minutes_by_day: 30, outcome: BLOCK}}", "exactly"),
    ],
)
def test_terms_that_the_rules_of_pix_forbid_are_refused(tmp_path: Path, holds: str, told: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(NORMAL + holds)
    with pytest.raises(InvalidPolicy, match=told):
        load_policy(path)
