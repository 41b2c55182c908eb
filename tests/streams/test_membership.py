"""A member that Kafka has excluded says so: a job that polls on without partitions would look alive for ever."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError

from fraud_streaming.kafka import Group, MemberLost, is_fatal
from pix import topics as names
from tests.streams.support import wait_until

GROUP = "membership"


def member(bootstrap: str) -> tuple[Group, list[int]]:
    group = Group({"bootstrap.servers": bootstrap}, group_id=GROUP, topic=names.TRANSACTIONS)
    got: list[int] = []
    group.join(got=got.extend)
    return group, got


def holds(group: Group, got: list[int]) -> bool:
    group.take(10, 0.1)
    return bool(got)


def polled(group: Group, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        group.take(10, 0.1)


@pytest.fixture
def excluded(topics: str) -> Iterator[Group]:
    """A member whose name another one has taken."""
    first, had = member(topics)
    wait_until(lambda: holds(first, had), seconds=30)
    second, got = member(topics)
    try:
        wait_until(lambda: holds(second, got), seconds=30)
        yield first
    finally:
        first.close()
        second.close()


def test_who_loses_its_name_to_another_one_stops(excluded: Group) -> None:
    with pytest.raises(MemberLost, match=r"excluded this member of the group that reads pix\.transactions"):
        polled(excluded, seconds=30)
    # And it stays so: who asks again is told again.
    with pytest.raises(MemberLost):
        excluded.take(10, 0.1)


def test_a_commit_that_is_refused_for_good_ends_the_member_at_its_next_take(excluded: Group) -> None:
    assert not excluded.commit({0: 0})
    assert "offsets not committed" in str(excluded.problem)
    with pytest.raises(MemberLost):
        excluded.take(10, 0.0)


def test_an_end_is_told_by_its_code_where_no_flag_says_so() -> None:
    ends = (KafkaError._FATAL, KafkaError._FENCED, KafkaError.FENCED_INSTANCE_ID)
    assert [is_fatal(KafkaError(code)) for code in ends] == [True] * 3
    assert not is_fatal(KafkaError(KafkaError._TRANSPORT))
    assert is_fatal(KafkaError(KafkaError._TRANSPORT, "flagged", True))
