"""The pieces of the scoring and the label job that need no broker."""

import json
import os
import random
import signal
from collections.abc import Iterator

import pytest

from fraud_streaming import scoring
from fraud_streaming.kafka import finished_offsets, held_back
from fraud_streaming.lifetime import LIFETIME, Cadence, Stop
from fraud_streaming.refusals import problem_errors
from fraud_streaming.scoring import Scoring, in_batches, split
from fraud_streaming.service import ServiceClient, ServiceRefuses
from pix.contracts import FieldError
from pix.deadletter import MAX_PAYLOAD_BYTES, Origin, dead_letter
from pix.tokens import Keyring, body_sha256
from tests.streams.support import MALFORMED, Clock, FakeService, MemoryGroup, MemoryLetters, at, client, payment


@pytest.fixture
def service() -> Iterator[FakeService]:
    fake = FakeService()
    yield fake
    fake.close()


def scoring_job(fake: FakeService, group: MemoryGroup, letters: MemoryLetters, keyring: Keyring, stop: Stop) -> Scoring:
    return Scoring(group, client(fake), letters, keyring, stop, lambda _: None, Cadence())  # type: ignore[arg-type]


def test_offsets_stop_at_the_first_unfinished_message_of_each_partition() -> None:
    taken = [at(5).origin, at(6).origin, at(7).origin, at(3, partition=1).origin]
    assert finished_offsets(taken, []) == {0: 8, 1: 4}
    assert finished_offsets(taken, [at(6).origin, at(7).origin]) == {0: 6, 1: 4}
    assert held_back({0: 8, 1: 4}, [at(2, partition=1).origin, at(0, partition=2).origin]) == {
        0: 8,
        1: 2,
        2: 0,
    }


def test_split_keeps_order_and_names_reasons() -> None:
    good = [payment(1), payment(2)]
    batch = [
        at(0, good[0]),
        *(at(1 + number, value) for number, (value, _) in enumerate(MALFORMED)),
        at(9, good[1]),
    ]
    payments, refusals = split(batch)
    assert [one.taken.value for one in payments] == good
    assert [refusal.word for refusal in refusals] == [word for _, word in MALFORMED]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount_cents": -1}, "amount_cents"),
        ({"amount_cents": True}, "amount_cents"),
        ({"amount_cents": 10.5}, "amount_cents"),
        ({"unknown": 1}, "unknown"),
        ({"payer_account": None}, "payer_account"),
    ],
)
def test_broken_fields_are_named(changes: dict[str, object], field: str) -> None:
    _, (refusal,) = split([at(0, payment(1, **changes))])
    assert refusal.word == "invalid_fields"
    assert [error.field for error in refusal.errors] == [field]
    assert refusal.end_to_end_id is not None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_only_plain_utf8_may_be_spliced(encoding: str) -> None:
    payments, refusals = split([at(0, payment(1).decode().encode(encoding))])
    assert payments == []
    assert refusals[0].word == "not_json"


def test_a_request_holds_the_messages_as_they_were_sent() -> None:
    raw = [b' {"amount_cents" : 100 ,' + payment(1)[1:], payment(2)]
    payments = [scoring.Valid(at(number, value), "E") for number, value in enumerate(raw)]
    body = scoring.request_body(payments, [1, 0])
    assert raw[0] in body
    content = json.loads(body)
    assert [origin["offset"] for origin in content["origins"]] == [1, 0]
    assert [origin["body_sha256"] for origin in content["origins"]] == [
        body_sha256(raw[1]),
        body_sha256(raw[0]),
    ]


def test_large_messages_are_asked_for_in_more_requests() -> None:
    batches = in_batches([at(0, b"x" * 60), at(1, b"x" * 50), at(2, None), at(3, b"x" * 200)], 100)
    assert [[taken.origin.offset for taken in batch] for batch in batches] == [[0], [1, 2], [3]]


def test_a_dead_letter_opens_again_and_shows_nothing(keyring: Keyring) -> None:
    raw = payment(1)
    letter = dead_letter(
        reason="conflict", errors=[FieldError("", "other body")], origin=Origin("pix.transactions", 1, 42),
        received_at_ms=7, end_to_end_id="E1", raw=raw, keyring=keyring,
    )  # fmt: skip
    content = json.loads(letter.value)
    assert letter.key == b"pix.transactions/1/42"
    assert b"52998224725" not in letter.value
    assert keyring.open(content["payload"]) == raw
    assert content["body_token"] == keyring.body_token(body_sha256(raw))
    assert content["origin"] == {"topic": "pix.transactions", "partition": 1, "offset": 42}


def test_a_dead_letter_fits_the_broker_however_large_the_message(keyring: Keyring) -> None:
    letter = dead_letter(
        reason="not_json", errors=[FieldError("", "x")] * 5000, origin=Origin("t", 0, 0), received_at_ms=0,
        end_to_end_id=None, raw=b"x" * 1_000_000, keyring=keyring,
    )  # fmt: skip
    assert len(letter.value) < 500_000
    assert json.loads(letter.value)["payload_bytes"] == 1_000_000
    assert len(keyring.open(json.loads(letter.value)["payload"])) == MAX_PAYLOAD_BYTES


def test_a_flaky_service_answers_everything_in_the_end(service: FakeService, keyring: Keyring) -> None:
    service.failures = 0.5
    stop, group, letters = Stop(), MemoryGroup(), MemoryLetters()
    job = scoring_job(service, group, letters, keyring, stop)
    job.one([at(number, payment(number)) for number in range(50)])
    assert len(service.decided) == 50
    assert group.committed == {0: 50}
    assert job.stats.retries > 0
    assert letters.letters == []


def test_a_conflict_is_a_dead_letter(service: FakeService, keyring: Keyring) -> None:
    same_time = 1_795_000_000_000
    batch = [at(0, payment(1, now_ms=same_time)), at(1, payment(1, now_ms=same_time, amount_cents=5))]
    letters = MemoryLetters()
    scoring_job(service, MemoryGroup(), letters, keyring, Stop()).one(batch)
    assert letters.reasons == ["conflict"]


def test_one_message_the_service_cannot_read_does_not_stop_the_others(keyring: Keyring) -> None:
    class Picky(FakeService):
        def answer(self, path: str, authorization: str, body: bytes) -> tuple[int, object]:
            if any(one["amount_cents"] == 113 for one in json.loads(body)["payments"]):
                return 400, {"title": "cannot read this"}
            return super().answer(path, authorization, body)

    service, group, letters = Picky(), MemoryGroup(), MemoryLetters()
    try:
        scoring_job(service, group, letters, keyring, Stop()).one([at(number, payment(number)) for number in range(20)])
    finally:
        service.close()
    assert len(service.decided) == 19
    assert letters.reasons == ["not_json"]
    assert group.committed == {0: 20}


def test_nothing_is_committed_past_an_unconfirmed_dead_letter(service: FakeService, keyring: Keyring) -> None:
    group = MemoryGroup()
    batch = [at(0, payment(0)), at(1, b"broken"), at(2, payment(2))]
    scoring_job(service, group, MemoryLetters(confirms=False), keyring, Stop()).one(batch)
    assert group.committed == {0: 1}


def test_nothing_is_committed_past_an_unanswered_payment(service: FakeService, keyring: Keyring) -> None:
    service.failures = 1.0
    stop, group = Stop(lifetime_seconds=0.5), MemoryGroup()
    scoring_job(service, group, MemoryLetters(), keyring, stop).one([at(7, payment(0))])
    assert stop.why == LIFETIME
    assert group.committed == {0: 7}


def test_a_wrong_key_ends_the_job_with_a_sentence(service: FakeService, keyring: Keyring) -> None:
    service.key = "another"
    job = Scoring(
        MemoryGroup(), ServiceClient(service.url, "old", randomness=random.Random(1)), MemoryLetters(),  # type: ignore[arg-type]
        keyring, Stop(), lambda _: None, Cadence(),
    )  # fmt: skip
    with pytest.raises(ServiceRefuses, match=r"answers 401.*secrets/api-key"):
        job.one([at(0, payment(0))])


def test_problem_documents_become_field_errors() -> None:
    errors = [{"field": "amount_cents", "reason": "must be positive"}]
    assert problem_errors({"problem": {"errors": errors}}) == (FieldError("amount_cents", "must be positive"),)
    assert problem_errors({"problem": {"title": "t", "detail": "d"}}) == (FieldError("", "d"),)
    assert problem_errors({}) == (FieldError("", "the service gave no reason"),)


def test_stop_remembers_the_first_reason() -> None:
    stop = Stop()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop.arm()
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        stop.ask("LATER")
        assert stop.why == "SIGTERM"
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_a_stream_grows_old() -> None:
    clock = Clock()
    stop = Stop(lifetime_seconds=10, clock=clock)
    assert not stop
    clock.now += 10
    assert stop
    assert stop.why == LIFETIME


def test_reports_come_soon_and_then_once_a_period() -> None:
    clock = Clock()
    cadence = Cadence(every_seconds=60, first_seconds=5, clock=clock)
    due = []
    for second in range(200):
        clock.now = 100.0 + second
        if cadence.due():
            due.append(second)
    assert due == [5, 65, 125, 185]
