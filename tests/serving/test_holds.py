"""How long a decision waits: by day, at night, on weekends and holidays; until when stands on the decision."""

import json
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from policies import EMPTY
from traffic import NOW_MS, POLICY, Clock, StubbornModel, arrival, message, pipeline

from serving.degraded import decide_by_rules
from serving.holds import hold_of
from serving.outcomes import Arrival, Done
from serving.policy import ACTIONS, InvalidPolicy, parse_policy


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
    for record in (done.record, without_store.record):
        assert json.loads(record)["hold"] == (expected.described() if expected else None)


HELD = "{minutes_by_day: 30, minutes_otherwise: 60, outcome: BLOCK}"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("BLOCK_AND_REVIEW: {m", "REVIEW: {m"), "holds.BLOCK_AND_REVIEW: is missing"),
        (("day: 30", "day: 31"), "holds.BLOCK_AND_REVIEW.minutes_by_day: Input should be less than or equal to 30"),
        (("otherwise: 60", "otherwise: 61"), "minutes_otherwise: Input should be less than or equal to 60"),
        (("day: 30", "day: 0"), "greater than 0"),
        (("day: 30", "day: true"), "valid integer"),
        ((", minutes_otherwise: 60", ""), "minutes_otherwise: is missing"),
        ((HELD, f"{HELD}, REVIEW: {HELD}"), "holds.REVIEW.outcome: Input should be 'ALLOW'"),
        ((HELD, f"{HELD}, BLOCK: {HELD}"), "holds.BLOCK: is not known"),
    ],
)
def test_terms_that_the_rules_of_pix_forbid_are_refused(changed: tuple[str, str], told: str) -> None:
    text = EMPTY.replace(*changed, 1)
    assert text != EMPTY
    with pytest.raises(InvalidPolicy, match=re.escape(told)):
        parse_policy(text, "p.yaml")
