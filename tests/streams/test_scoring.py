"""The scoring job's lanes, in order and bounded, over a service that fails and a group in memory."""

import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import pytest

from fraud_streaming import lanes, scoring
from fraud_streaming.deciding import Deciding
from fraud_streaming.kafka import Taken
from fraud_streaming.lanes import Done, Lane, first_batch
from fraud_streaming.lifetime import LIFETIME, Cadence, Stop
from fraud_streaming.meters import Meters
from fraud_streaming.scoring import Scoring
from fraud_streaming.service import ServiceClient, ServiceRefuses
from pix.tokens import Keyring
from tests.streams.support import FakeService, MemoryGroup, MemoryLetters, at, client, payment, wait_until


@pytest.fixture
def service() -> Iterator[FakeService]:
    fake = FakeService()
    yield fake
    fake.close()


def deciding(fake: FakeService, letters: MemoryLetters, keyring: Keyring, retries: list[str] | None = None) -> Deciding:
    return Deciding(client(fake), letters, keyring, (retries if retries is not None else []).append)


def test_a_flaky_service_answers_everything_in_the_end(service: FakeService, keyring: Keyring) -> None:
    service.failures = 0.5
    letters, retries = MemoryLetters(), list[str]()
    done = deciding(service, letters, keyring, retries)([at(number, payment(number)) for number in range(50)], Stop())
    assert done == Done(reached=50, messages=50, decided=50, refused=0)
    assert len(service.decided) == 50
    assert retries
    assert letters.letters == []


def test_a_conflict_is_a_dead_letter(service: FakeService, keyring: Keyring) -> None:
    same_time = 1_795_000_000_000
    batch = [at(0, payment(1, now_ms=same_time)), at(1, payment(1, now_ms=same_time, amount_cents=5))]
    letters = MemoryLetters()
    assert deciding(service, letters, keyring)(batch, Stop()) == Done(2, 2, decided=1, refused=1)
    assert letters.reasons == ["conflict"]


def test_one_message_the_service_cannot_read_does_not_stop_the_others(keyring: Keyring) -> None:
    class Picky(FakeService):
        def answer(self, path: str, authorization: str, body: bytes) -> tuple[int, object]:
            if any(one["amount_cents"] == 113 for one in json.loads(body)["payments"]):
                return 400, {"title": "cannot read this"}
            return super().answer(path, authorization, body)

    service, letters = Picky(), MemoryLetters()
    try:
        done = deciding(service, letters, keyring)([at(number, payment(number)) for number in range(20)], Stop())
    finally:
        service.close()
    assert done == Done(20, 20, decided=19, refused=1)
    assert len(service.decided) == 19
    assert letters.reasons == ["not_json"]


def test_nothing_is_reached_past_an_unconfirmed_dead_letter(service: FakeService, keyring: Keyring) -> None:
    batch = [at(0, payment(0)), at(1, b"broken"), at(2, payment(2))]
    done = deciding(service, MemoryLetters(confirms=False), keyring)(batch, Stop())
    assert done == Done(reached=1, messages=2, decided=2, refused=0)


def test_nothing_is_reached_past_an_unanswered_payment(service: FakeService, keyring: Keyring) -> None:
    service.failures = 1.0
    stop = Stop(lifetime_seconds=0.5)
    assert deciding(service, MemoryLetters(), keyring)([at(7, payment(0))], stop).reached == 7
    assert stop.why == LIFETIME


def test_a_request_has_an_end() -> None:
    many = [at(number, b"x") for number in range(lanes.BATCH + 1)]
    assert len(first_batch(many)) == lanes.BATCH
    large = [at(0, b"x" * lanes.BATCH_BYTES), at(1, b"x"), at(2, None), at(3, b"x" * (lanes.BATCH_BYTES + 1))]
    assert [taken.origin.offset for taken in first_batch(large)] == [0]
    assert [taken.origin.offset for taken in first_batch(large[1:])] == [1, 2]
    assert [taken.origin.offset for taken in first_batch(large[3:])] == [3]


def test_a_lane_works_in_order_and_holds_what_is_not_finished() -> None:
    seen: list[int] = []

    def work(batch: Sequence[Taken], stop: Stop) -> Done:  # noqa: ARG001
        seen.extend(taken.origin.offset for taken in batch)
        return Done(batch[-1].origin.offset + 1, len(batch), len(batch), 0)

    lane = Lane("test", work, Stop(), nullcontext())
    for number in range(1_000):
        lane.put(at(number, b"1234"))
    wait_until(lambda: lane.oldest_ms is None, seconds=10)
    assert seen == list(range(1_000))
    assert lane.held_bytes == 0
    assert [finished.done.reached for finished in lane.finished()][-1] == 1_000
    assert lane.finished() == []
    lane.ask_to_end()
    assert lane.has_ended(5)


def test_a_lane_that_is_let_go_begins_nothing_more() -> None:
    begun, may_end, seen = threading.Event(), threading.Event(), list[int]()

    def work(batch: Sequence[Taken], stop: Stop) -> Done:
        seen.append(len(batch))
        begun.set()
        may_end.wait(10)
        return Done(batch[0].origin.offset if stop else batch[-1].origin.offset + 1, 0, 0, 0)

    stop = Stop()
    lane = Lane("test", work, stop, nullcontext())
    lane.put(at(0))
    assert begun.wait(5)
    lane.put(at(1, None))
    assert lane.held_bytes > lanes.MESSAGE_BYTES * 2
    lane.ask_to_end()
    assert not lane.has_ended(0.01)
    may_end.set()
    assert lane.has_ended(5)
    assert seen == [1]
    assert [finished.done.reached for finished in lane.finished()] == [0]
    assert lane.oldest_ms is not None
    assert not stop


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "LOOK_SECONDS", 0.1)


class Job:
    """A scoring job in a thread over a group in memory."""

    def __init__(self, service: FakeService, keyring: Keyring, group: MemoryGroup, key: str = "key") -> None:
        self.stop, self.told, self.group, self.letters = Stop(), list[dict[str, object]](), group, MemoryLetters()
        self.error: BaseException | None = None
        self.meters = Meters()
        asked = ServiceClient(service.url, key, randomness=random.Random(1))
        cadence = Cadence(every_seconds=0.1, first_seconds=0)
        self.job = Scoring(group, asked, self.letters, keyring, self.stop, self.told.append, cadence, self.meters)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.job.run()
        except Exception as error:  # noqa: BLE001 - handed to the test's own thread
            self.error = error

    def end(self) -> None:
        self.stop.ask("TEST")
        self._thread.join(20)
        assert not self._thread.is_alive()


def spread(count: int) -> list[Taken]:
    return [at(number // 3, payment(number), partition=number % 3) for number in range(count)]


def test_each_partition_is_committed_up_to_what_is_finished(service: FakeService, keyring: Keyring) -> None:
    service.failures = 0.3
    messages = spread(300)
    group = MemoryGroup(messages[:100], messages[100:])
    job = Job(service, keyring, group)
    wait_until(lambda: group.committed == dict.fromkeys(range(3), 100), seconds=30)
    job.end()
    assert len(service.decided) == 300
    final = job.told[-1]
    assert final["final"]
    assert (final["decided"], final["partitions"], final["oldest_unscored_ms"]) == (300, [], 0)
    assert final["retries"]
    told = job.meters.registry.get_sample_value
    assert told("sentinela_stream_messages_total", {"outcome": "decided"}) == 300
    assert told("sentinela_stream_retries_total") == final["retries"]
    assert (
        told("sentinela_stream_wait_seconds_count") == told("sentinela_stream_batch_seconds_count") == final["batches"]
    )
    assert told("sentinela_stream_lag_messages") == 0


def test_while_the_service_is_away_nothing_is_committed_and_partitions_are_paused(
    service: FakeService, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "MOST_HELD_BYTES", 2_000)
    monkeypatch.setattr(scoring, "FEW_HELD_BYTES", 100)
    service.failures = 1.0
    group = MemoryGroup(spread(90))
    job = Job(service, keyring, group)
    wait_until(lambda: len(group.paused) == 3, seconds=10)
    asked = service.requests
    time.sleep(1.0)
    # Three lanes that ask again after 0.2 s, 0.4 s, ...: patience, no spinning.
    assert service.requests - asked < 15
    assert group.committed == {}
    wait_until(lambda: bool(job.told) and int(str(job.told[-1]["oldest_unscored_ms"])) > 0, seconds=5)
    assert job.told[-1]["problem"]
    assert job.meters.registry.get_sample_value("sentinela_stream_partitions_paused") == 3
    assert (job.meters.registry.get_sample_value("sentinela_stream_oldest_seconds") or 0) > 0
    service.failures = 0.0
    wait_until(lambda: group.committed == dict.fromkeys(range(3), 30), seconds=30)
    wait_until(lambda: group.paused == set(), seconds=5)
    job.end()


def test_a_partition_that_goes_is_committed_and_one_that_is_lost_is_not(service: FakeService, keyring: Keyring) -> None:
    messages = spread(30)
    group = MemoryGroup(messages)
    job = Job(service, keyring, group)
    wait_until(lambda: group.committed == dict.fromkeys(range(3), 10), seconds=20)
    service.failures = 1.0
    late = [at(10 + number, payment(100 + number), partition=partition) for number in range(5) for partition in (0, 1)]
    group.batches.append(late)
    wait_until(lambda: job.job.stats.retries > 0, seconds=10)
    group.next_call = lambda: (group.giving_up([0]), group.lost([1]))
    wait_until(lambda: job.told[-1]["partitions"] == [2], seconds=20)
    # What comes of a partition that is another's is not taken on.
    before = service.requests
    group.batches.append([at(20, payment(500), partition=0)])
    time.sleep(0.5)
    assert service.requests == before
    job.end()
    assert group.committed == dict.fromkeys(range(3), 10)


def test_a_wrong_key_ends_the_job_with_a_sentence(service: FakeService, keyring: Keyring) -> None:
    job = Job(service, keyring, MemoryGroup([at(0, payment(0))]), key="old")
    wait_until(lambda: job.error is not None, seconds=10)
    job.end()
    assert isinstance(job.error, ServiceRefuses)
    assert "answers 401" in str(job.error)
    assert "secrets/api-key" in str(job.error)
    assert job.told[-1]["final"]
    assert job.group.committed == {0: 0} or job.group.committed == {}
