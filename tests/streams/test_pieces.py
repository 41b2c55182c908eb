"""The pieces of the scoring and the label job that need no broker."""

import json
import os
import signal

import pytest

from fraud_streaming.deciding import Valid, request_body, split
from fraud_streaming.kafka import finished_offsets, held_back
from fraud_streaming.lifetime import LIFETIME, Cadence, Stop
from fraud_streaming.refusals import problem_errors
from pix.contracts import FieldError
from pix.deadletter import MAX_PAYLOAD_BYTES, Origin, dead_letter
from pix.tokens import Keyring, body_sha256
from tests.streams.support import MALFORMED, Clock, at, payment


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
    payments = [Valid(at(number, value), "E") for number, value in enumerate(raw)]
    body = request_body(payments, [1, 0])
    assert raw[0] in body
    content = json.loads(body)
    assert [origin["offset"] for origin in content["origins"]] == [1, 0]
    assert [origin["body_sha256"] for origin in content["origins"]] == [
        body_sha256(raw[1]),
        body_sha256(raw[0]),
    ]


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
