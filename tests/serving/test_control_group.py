"""Payments that chance lets go on although the score would stop them: few, small, random, the same on every re-run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policies import case, policy, token

from serving.control_group import draw

CONTROL = "control_group: {share: 0.05, up_to_cents: 50000}\n"
HELD_RULE = "rules:\n  - {name: small, when: amount_cents > 0, action: BLOCK_AND_REVIEW}\n"
ROUNDS = 4_000


def numbered(number, *, probability=0.9, amount_cents=10_000, **facts):
    return case(probability, amount_cents=amount_cents, end_to_end_id=f"E{number:031d}", **facts)


def decided(more="", *, count=ROUNDS, **changed):
    judge = policy(CONTROL + more).judge
    return [judge(numbered(number, **changed)) for number in range(count)]


def test_about_its_share_goes_on_to_be_reviewed_and_all_say_what_chance_they_had():
    verdicts = decided()
    drawn = [verdict for verdict in verdicts if verdict.control.drawn]
    assert {verdict.control.propensity for verdict in verdicts} == {0.05}
    assert {verdict.control.instead_of for verdict in verdicts} == {"BLOCK"}
    assert {verdict.action for verdict in drawn} == {"REVIEW"}
    assert {verdict.action for verdict in verdicts if not verdict.control.drawn} == {"BLOCK"}
    # Five standard deviations of so many draws.
    assert len(drawn) == pytest.approx(0.05 * ROUNDS, abs=5 * (ROUNDS * 0.05 * 0.95) ** 0.5)


@pytest.mark.parametrize(
    ("changed", "action"),
    [
        ({"probability": 0.2}, "REVIEW"),
        ({"probability": 0.05}, "ALLOW"),
        ({"amount_cents": 50_001}, "BLOCK"),
        ({"more": HELD_RULE}, "BLOCK"),
    ],
    ids=["reviewed anyway", "allowed anyway", "too large", "a rule stops it, too"],
)
def test_nobody_else_is_drawn(changed, action):
    verdicts = decided(**changed, count=300)
    assert {verdict.control for verdict in verdicts} == {None}
    assert {verdict.action for verdict in verdicts} == {action}


def test_a_policy_without_a_control_group_draws_nobody():
    verdicts = [policy().judge(numbered(number)) for number in range(300)]
    assert {(verdict.control, verdict.action) for verdict in verdicts} == {(None, "BLOCK")}


@given(number=st.integers(0, 10**9))
def test_the_same_payment_draws_the_same(number):
    one, again = (draw(numbered(number).payment) for _ in range(2))
    assert one == again
    assert 0 <= one < 1


def test_who_knows_only_the_id_cannot_tell_who_is_drawn():
    """The token of the payer's account goes in, which needs the key."""
    numbers = {draw(numbered(7, payer_account=token(f"payer {one}")).payment) for one in range(20)}
    assert len(numbers) == 20
