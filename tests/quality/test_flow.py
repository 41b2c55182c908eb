"""Rows that move between stages with a reason net to zero; a row that is taken away anywhere is found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality import flow
from quality.flow import COPY, DEAD_LETTER, EXPIRED, NOT_YET, UNDECIDED, UNREAD, Delta, Evidence, Hour, Stage, Tally

HOUR_MS = flow.HOUR_MS
WHYS = (COPY, DEAD_LETTER, UNDECIDED, NOT_YET)
amounts = st.integers(1, 10**12)
ways = st.lists(st.tuples(amounts, st.sampled_from(("unread", "expired", *WHYS, "new in silver", "gold"))), max_size=30)


def an_hour(messages) -> Hour:
    """An hour whose messages came as far as they say."""

    def those(*ends) -> Tally:
        return sum((Tally(1, cents) for cents, end in messages if end in ends), Tally())

    def how_many(end) -> Tally:
        return Tally(those(end).rows)

    in_bronze = those("expired", *WHYS, "new in silver", "gold")
    return Hour(
        "pix.decisions",
        0,
        (
            Stage("topic", Tally(len(messages) - how_many("expired").rows, None)),
            Stage("bronze", in_bronze, {UNREAD: how_many("unread"), EXPIRED: Tally(-how_many("expired").rows)}),
            Stage("silver", those("new in silver", "gold"), {why: those(why) for why in (*WHYS, "expired")}),
            Stage("gold", those("gold"), {NOT_YET: those("new in silver")}),
        ),
    )


@given(ways)
def test_what_moves_with_its_reason_nets_to_zero(messages):
    hour = an_hour(messages)
    assert hour.is_explained
    assert not any(hour.unexplained.values())


@given(ways.filter(len), st.data())
def test_a_row_that_is_taken_away_is_found(messages, data):
    hour = an_hour(messages)
    at = data.draw(st.sampled_from([number for number, stage in enumerate(hour.stages) if stage.held.rows]))
    stage = hour.stages[at]
    lost = Tally(1, None if stage.held.cents is None else data.draw(amounts))
    taken = Stage(stage.name, stage.held - lost, stage.explained)
    found = Hour(hour.topic, 0, (*hour.stages[:at], taken, *hour.stages[at + 1 :]))
    assert not found.is_explained
    if at:
        assert found.unexplained[stage.name].rows == 1


@given(ways.filter(lambda messages: any(end == "gold" for _, end in messages)), amounts)
def test_an_amount_that_changed_is_found(messages, cents):
    *stages, gold = an_hour(messages).stages
    changed = Stage(gold.name, gold.held + Tally(0, cents), gold.explained)
    assert Hour("t", 0, (*stages, changed)).unexplained["gold"] == Tally(0, -cents)


def test_two_faults_do_not_make_up_for_each_other():
    stages = (Stage("topic", Tally(2, None)), Stage("bronze", Tally(2, 5), nowhere=((0, 1), (0, 9))))
    assert not any(Hour("t", 0, stages).unexplained.values())
    assert not Hour("t", 0, stages).is_explained


@given(
    st.dictionaries(st.integers(0, 40), st.integers(0, 6 * HOUR_MS), max_size=40),
    st.integers(0, 40),
    st.sets(st.integers(0, 40)),
)
def test_every_offset_is_in_one_hour_whoever_asks(times, low, lost):
    """By Kafka for what it still has and by bronze for the rest, which may have lost some."""
    began = flow.hours_until(6 * HOUR_MS, 1)

    def firsts(there):
        return [min((o for o in there if times[o] >= at), default=10**6) for at in began]

    in_kafka, in_bronze = [o for o in times if o >= low], [o for o in times if o not in lost]
    whole = flow.Hours(began, {0: np.minimum(flow.earliest([firsts(in_kafka), firsts(times)]), 41)})
    hours = flow.Hours(began, {0: np.minimum(flow.earliest([firsts(in_kafka), firsts(in_bronze)]), 41)})
    assert hours.counts({}, {0: 41}).sum() == 41 - hours.firsts[0][0]
    kept = np.array(sorted(in_kafka), np.int64)
    if not lost:
        assert hours.of(0, kept).tolist() == whole.of(0, kept).tolist()
    # A record is never counted before its own hour.
    assert all(began[hours.of(0, np.array([o]))[0]] >= times[o] // HOUR_MS * HOUR_MS for o in in_kafka)
    assert hours.counts({0: 20}, {0: 30}).sum() == max(0, 30 - max(20, hours.firsts[0][0]))


@pytest.mark.parametrize(
    ("place", "why"),
    [((0, 1), DEAD_LETTER), ((0, 2), COPY), ((0, 3), NOT_YET), ((0, 9), NOT_YET), ((1, 0), NOT_YET), ((0, 4), None)],
)
def test_a_row_that_did_not_come_on_has_one_reason(place, why):
    known = Evidence({(0, 1): DEAD_LETTER}, {(0, 1), (0, 2)}, {(0, 3)}, made_to={0: 8})
    assert known.why(Delta(place, 0, Tally(1, 5), Tally())) == why


@pytest.mark.parametrize(
    "delta",
    [
        Delta((0, 1), 0, Tally(1, 5), Tally(1, 6)),
        Delta((0, 1), 0, Tally(), Tally(1, 5)),
        Delta((0, 1), 0, Tally(2, 10), Tally()),
    ],
    ids=["another amount", "came from nowhere", "twice"],
)
def test_what_differs_is_not_explained_by_where_it_may_be(delta):
    reasons, nowhere = flow.explained([delta], Evidence({(0, 1): DEAD_LETTER}).why)
    assert (reasons, nowhere) == ({}, {0: [(0, 1)]})
