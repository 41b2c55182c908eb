"""`sentinela dlq` on a real broker: letters are looked at, sent again once, and linked."""

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from fraud_streaming import ranges, scoring
from fraud_streaming.lifetime import Cadence, Stop
from fraud_streaming.ranges import Topics
from fraud_streaming.redrive import read_mailbox
from pix import topics as names
from pix.clock import epoch_ms
from pix.deadletter import MAX_PAYLOAD_BYTES, REDRIVEN_FROM, Origin, dead_letter
from pix.streams import SCORING_GROUP
from pix.tokens import Keyring, body_sha256, ensure_keys, load_keyring
from quality.reconciliation import SentLine, reconcile
from tests.conftest import free_ports
from tests.streams.support import FakeService, committed, payment, produce_by_payer, read_all, wait_until
from tests.streams.typed import Told, run

DAY_MS = 86_400_000
CLEAR = (b"52998224725", b"12345678-0001-")


class Desk:
    """A home over a broker, and a scoring job whose door may be mended between two runs."""

    def __init__(self, bootstrap: str, home: Path) -> None:
        ensure_keys(home / "secrets")
        self.bootstrap, self.home = bootstrap, home
        self.keyring: Keyring = load_keyring(home / "secrets")
        self.environment = {"SENTINELA_HOME": str(home), "SENTINELA_KAFKA_BOOTSTRAP": bootstrap}
        self.service = FakeService()

    def dlq(self, *words: str) -> Told:
        return run(self.environment, "dlq", *words)

    def json(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.dlq(*words, "--json").stdout)
        return found

    def score(self) -> None:
        """Until everything in the topic is decided or put away."""
        stop = Stop()
        job = threading.Thread(
            target=lambda: scoring.run(
                kafka={"bootstrap.servers": self.bootstrap},
                service_url=self.service.url,
                api_key="key",
                keyring=self.keyring,
                stop=stop,
                report=lambda _: None,
                randomness=random.Random(1),
                cadence=Cadence(),
            )
        )
        job.start()
        try:
            total = len(read_all(self.bootstrap, names.TRANSACTIONS))
            group = (self.bootstrap, SCORING_GROUP, names.TRANSACTIONS)
            wait_until(lambda: sum(max(0, each) for each in committed(*group).values()) == total, seconds=40)
        finally:
            stop.ask("TEST")
            job.join(20)

    def put_away(self, raw: bytes | None, offset: int, reason: str = "invalid_fields", ago_ms: int = 0) -> str:
        """A letter that the job did not write, such as one of a message that Kafka has deleted."""
        letter = dead_letter(
            reason=reason,
            errors=[],
            origin=Origin(names.TRANSACTIONS, 0, offset),
            received_at_ms=epoch_ms() - ago_ms,
            end_to_end_id=None,
            raw=raw,
            keyring=self.keyring,
        )
        producer = Producer({"bootstrap.servers": self.bootstrap})
        producer.produce(names.DLQ, key=letter.key, value=letter.value)
        assert producer.flush(10) == 0
        return letter.key.decode()

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Gold and quarantine as the lake makes them of these topics."""
        decided = [(name, None, self.keyring.body_token(sha)) for name, sha in self.service.bodies.items()]
        with Topics({"bootstrap.servers": self.bootstrap}) as source:
            letters = read_mailbox(source).letters.values()
        put_away = [
            (
                each.end_to_end_id,
                each.body_token,
                each.reason,
                each.origin.topic,
                each.origin.partition,
                each.origin.offset,
                each.redrivings[-1].at_ms if each.redrivings else None,
            )
            for each in letters
        ]
        columns = ["end_to_end_id", "body_token", "reason", "topic", "partition", "offset", "redriven_at_ms"]
        gold = pd.DataFrame(decided, columns=["end_to_end_id", "amount_cents", "body_token"])
        return gold, pd.DataFrame(put_away, columns=columns)


@pytest.fixture
def desk(topics: str, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(topics, tmp_path / "home")
    yield made
    made.service.close()


class Stricter(FakeService):
    """A door with a defect: it refuses some amounts that are right."""

    broken = True

    def _decide(self, one: dict[str, Any], origin: dict[str, Any]) -> dict[str, object]:
        if self.broken and one["amount_cents"] % 10 == 3:
            errors = [{"field": "amount_cents", "reason": "is not liked"}]
            return {"status": 422, "problem": {"title": "invalid", "errors": errors}}
        return super()._decide(one, origin)


def headers(bootstrap: str, topic: str) -> dict[str, tuple[bytes, dict[str, bytes]]]:
    """Place -> key and headers, of every message of a topic."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test-headers"})
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(2)])
    found = {}
    for _ in range(len(read_all(bootstrap, topic))):
        message = consumer.poll(10)
        assert message is not None
        place = f"{topic}/{message.partition()}/{message.offset()}"
        found[place] = (message.key(), dict(message.headers() or []))
    consumer.close()
    return found


@pytest.mark.timeout(180)
def test_after_a_fix_every_letter_is_sent_once_and_what_is_refused_again_is_linked(desk: Desk) -> None:
    desk.service.close()
    desk.service = service = Stricter()
    sent = [payment(number) for number in range(40)]
    poison = json.dumps({**json.loads(payment(90)), "amount_cents": -1}).encode()
    produce_by_payer(desk.bootstrap, [*sent, poison])
    lines = [SentLine(end_to_end_id=json.loads(raw)["end_to_end_id"], amount_cents=None, body_sha256=body_sha256(raw),
                      sent_at="") for raw in [*sent, poison]]  # fmt: skip
    desk.score()
    before = desk.json("list")
    assert (before["total"], before["reasons"]) == (5, {"invalid_fields": 5})
    assert reconcile(lines, *desk.tables(), desk.keyring.body_tokens).quarantined == 5

    service.broken = False
    assert desk.json("redrive", "--all", "--dry-run")["to_redrive"] == [
        each["origin"] for each in before["letters"][::-1]
    ]
    assert len(read_all(desk.bootstrap, names.TRANSACTIONS)) == 41
    first = desk.dlq("redrive", "--reason", "invalid_fields", "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["counts"]["redriven"] == 5
    # Until the door has spoken, none of them rests anywhere.
    assert reconcile(lines, *desk.tables(), desk.keyring.body_tokens).lost == 5
    desk.score()
    assert service.decided == {line.end_to_end_id: 1 for line in lines[:40]}
    found = reconcile(lines, *desk.tables(), desk.keyring.body_tokens)
    assert found.line() == "sent=41 decided=40 quarantined=1 lost=0 duplicated=0 mismatched=0"

    after = desk.json("list")
    assert (after["total"], after["redriven"]) == (6, 5)
    (linked,) = [each for each in after["letters"] if each["redriven_from"]]
    (cause,) = [each for each in after["letters"] if each["refused_again"]]
    assert (linked["redriven_from"], cause["refused_again"]) == (cause["origin"], [linked["origin"]])
    assert linked["origin"] == cause["redrivings"][0]["to"]
    messages = headers(desk.bootstrap, names.TRANSACTIONS)
    for each in after["letters"]:
        for redriving in each["redrivings"]:
            key, header = messages[redriving["to"]]
            assert header == {REDRIVEN_FROM: each["origin"].encode()}
            assert key == messages[each["origin"]][0]
            assert redriving["to"].split("/")[1] == each["origin"].split("/")[1]

    # A second time nothing is left but the new letter; with --again all of it, and nothing is decided twice.
    assert desk.json("redrive", "--all")["counts"]["redriven"] == 1
    assert len(messages) == 46
    assert len(read_all(desk.bootstrap, names.TRANSACTIONS)) == 47
    assert desk.json("redrive", cause["origin"], "--again")["counts"]["redriven"] == 1
    assert len(read_all(desk.bootstrap, names.TRANSACTIONS)) == 48
    assert reconcile(lines[:40], *desk.tables(), desk.keyring.body_tokens).ok


def test_a_letter_is_shown_masked_and_revealed_only_when_asked_and_its_opening_is_written_down(desk: Desk) -> None:
    raw = json.dumps({**json.loads(payment(7)), "pix_key": "+5511987654321", "remark 52998224725": "x"}).encode()
    origin = desk.put_away(raw, 11)
    shown = desk.dlq("show", origin)
    assert shown.returncode == 0, shown.stderr
    assert not any(clear.decode() in shown.stdout for clear in (b"52998224725", b"11987654321"))
    document = desk.json("show", origin)
    assert document["payload"]["payer_tax_id"] == "***.982.247-**"
    assert document["payload"]["payee_account"] == "87654321-0001-***"
    assert document["payload"]["amount_cents"] == 107
    assert document["payload"]["unknown fields"] == 1
    assert desk.json("show", origin, "--reveal")["payload"] == raw.decode()
    log = (desk.home / "logs" / "dlq-opened.jsonl").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert [(line["origin"], line["purpose"]) for line in lines] == [
        (origin, "masked"),
        (origin, "masked"),
        (origin, "reveal"),
    ]
    assert not any(clear.decode() in log for clear in CLEAR)


def test_what_cannot_be_sent_again_is_told_letter_by_letter_and_the_rest_is_sent(desk: Desk) -> None:
    cut = desk.put_away(b"x" * (MAX_PAYLOAD_BYTES + 1), 1, "too_large")
    old = desk.put_away(payment(2, now_ms=epoch_ms() - 7 * DAY_MS), 2)
    tombstone = desk.put_away(None, 3, "tombstone")
    good = desk.put_away(payment(4), 4)
    other = Keyring(1, {1: b"0" * 32})
    strange = dead_letter(
        reason="not_json",
        errors=[],
        origin=Origin(names.TRANSACTIONS, 0, 5),
        received_at_ms=epoch_ms(),
        end_to_end_id=None,
        raw=b"{",
        keyring=other,
    )
    producer = Producer({"bootstrap.servers": desk.bootstrap})
    producer.produce(names.DLQ, key=strange.key, value=strange.value)
    producer.produce(names.DLQ, key=b"?", value=b"no letter")
    assert producer.flush(10) == 0
    told = desk.dlq("redrive", "--all", "--json")
    assert told.returncode == 1
    outcomes = {each["origin"]: each["outcome"] for each in json.loads(told.stdout)["outcomes"]}
    assert outcomes == {
        cut: "cut",
        old: "too_old",
        tombstone: "redriven",
        good: "redriven",
        strange.key.decode(): "not_opened",
    }
    assert sorted(value for _, value in read_all(desk.bootstrap, names.TRANSACTIONS)) == [b"", payment_of(desk, good)]
    listed = desk.json("list", "--reason", "too_large")
    assert [(each["origin"], each["is_cut"], each["redrivings"]) for each in listed["letters"]] == [(cut, True, [])]
    assert listed["unreadable"] == 1


def payment_of(desk: Desk, origin: str) -> bytes:
    payload: str = desk.json("show", origin, "--reveal")["payload"]
    return payload.encode()


def test_letters_are_chosen_by_reason_time_and_place(desk: Desk) -> None:
    old = desk.put_away(b"{", 1, "not_json", ago_ms=2 * DAY_MS)
    new = desk.put_away(b"[", 2, "not_json")
    copy = desk.put_away(b"[", 3, "conflict")
    assert [each["origin"] for each in desk.json("list", "--since", "1d")["letters"]] == [copy, new]
    one = desk.json("list", "--limit", "1")
    assert (len(one["letters"]), one["total"], one["reasons"]) == (1, 3, {"not_json": 2, "conflict": 1})
    assert desk.json("redrive", "--reason", "not_json", "--since", "1d", "--dry-run")["to_redrive"] == [new]
    named = desk.dlq("redrive", new)
    assert named.returncode == 0
    assert f"{copy} holds the same message" in named.stderr
    refused = desk.dlq("redrive", new)
    assert refused.returncode == 2
    assert "--again" in refused.stderr
    assert desk.json("redrive", "--all", "--dry-run")["to_redrive"] == [old, copy]


BAD_USES = (
    (["redrive"], "say which letters"),
    (["redrive", "--all", "--reason", "x"], "say which letters"),
    (["redrive", "pix.transactions/0/1", "--since", "1d"], "--since goes with"),
    (["redrive", "pix.transactions/0/999"], "has no dead letter"),
    (["redrive", "pix.transactions-0-1"], "topic/partition/offset"),
    (["redrive", "--reason", "nonsense"], "no letter has the reason nonsense"),
    (["show", "pix.transactions/0/999"], "has no dead letter"),
    (["list", "--since", "yesterday"], "--since yesterday"),
)


def test_bad_use_is_told_and_exits_2(desk: Desk) -> None:
    for words, said in BAD_USES:
        told = desk.dlq(*words)
        assert told.returncode == 2, words
        assert said in told.stderr


def test_without_a_broker_the_exit_code_is_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "ASK_SECONDS", 1.0)
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    told = run({"SENTINELA_HOME": str(tmp_path / "home"), "SENTINELA_KAFKA_BOOTSTRAP": nobody}, "dlq", "list")
    assert told.returncode == 3
    assert nobody in told.stderr
