"""The scoring and the label job on a real broker, as processes that are killed."""

import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fraud_streaming import labels
from pix import topics as names
from pix.streams import SCORING_GROUP
from pix.tokens import Keyring, ensure_keys, load_keyring
from tests.streams.support import (
    MALFORMED,
    PARTITIONS,
    FakeService,
    committed,
    label,
    payment,
    produce,
    produce_by_payer,
    read_all,
    wait_until,
)

REPOSITORY = Path(__file__).resolve().parents[2]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def service() -> Iterator[FakeService]:
    fake = FakeService(failures=0.2)
    yield fake
    fake.close()


@pytest.fixture
def start(topics: str, service: FakeService, tmp_path: Path) -> Iterator[Start]:
    ensure_keys(tmp_path / "keys")
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str, member: int = 1) -> "subprocess.Popen[bytes]":
        command = [
            sys.executable,
            "-m",
            "tests.streams.job",
            name,
            topics,
            service.url,
            str(tmp_path / "keys"),
            "3",
            str(member),
        ]
        with (tmp_path / f"{name}{member}-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def ends(topics: str, topic: str, group: str, count: int) -> Callable[[], bool]:
    return lambda: sum(max(offset, 0) for offset in committed(topics, group, topic).values()) == count


@pytest.mark.timeout(120)
def test_every_payment_is_answered_or_put_away_under_kill_9(
    topics: str, service: FakeService, start: Start, tmp_path: Path
) -> None:
    good = [payment(number) for number in range(1200)]
    messages: list[bytes | None] = [
        *good,
        *(value for value, _ in MALFORMED * 4),
        payment(3, amount_cents=999_999),
    ]
    random.Random(5).shuffle(messages)
    messages.append(payment(3, amount_cents=999_998))
    chance = random.Random(7)
    job = start("scoring")
    for begin in range(0, len(messages), 450):
        before = service.requests
        produce(topics, names.TRANSACTIONS, messages[begin : begin + 450])
        wait_until(lambda before=before: service.requests > before, seconds=20)
        time.sleep(chance.uniform(0.0, 0.2))
        job.kill()
        job.wait()
        job = start("scoring")
    total = len(messages)
    wait_until(ends(topics, names.TRANSACTIONS, SCORING_GROUP, total), seconds=60)
    job.terminate()
    assert job.wait(20) == 0

    keyring: Keyring = load_keyring(tmp_path / "keys")
    letters = {key: json.loads(value) for key, value in read_all(topics, names.DLQ)}
    put_away = [keyring.open(letter["payload"]) for letter in letters.values()]
    decided = set(service.decided)
    assert {json.loads(raw)["end_to_end_id"] for raw in good} == decided
    reasons = sorted(letter["reason"] for letter in letters.values())
    assert reasons.count("conflict") == 2
    assert len(reasons) == 2 + 4 * len(MALFORMED)
    assert len(decided) + len(letters) == total
    assert sum(raw == b"not json" for raw in put_away) == 4


def partitions_of(tmp_path: Path, member: int) -> list[int]:
    """What the newest job of this number said of its share."""
    logs = sorted(tmp_path.glob(f"scoring{member}-*.log"), key=lambda path: path.stat().st_mtime)
    told = [line for line in logs[-1].read_text().splitlines() if line.startswith("{")] if logs else []
    found: list[int] = json.loads(told[-1])["partitions"] if told else []
    return found


@pytest.mark.timeout(180)
def test_partitions_move_between_jobs_without_loss_and_payers_stay_in_order(
    topics: str, service: FakeService, start: Start, tmp_path: Path
) -> None:
    service.failures = 0.1
    numbers = iter(range(10**6))
    sent: list[bytes] = []

    def send(count: int) -> None:
        # Few payers, so that an order can be lost.
        made = [
            payment(number, payer_account=f"12345678-0001-{number % 7 + 1}")
            for number in itertools.islice(numbers, count)
        ]
        sent.extend(made)
        produce_by_payer(topics, made)

    first = start("scoring", 1)
    wait_until(lambda: partitions_of(tmp_path, 1) == [0, 1], seconds=20)
    send(400)
    second = start("scoring", 2)
    while not (partitions_of(tmp_path, 1) and partitions_of(tmp_path, 2)):
        send(50)
        time.sleep(0.1)
    assert sorted(partitions_of(tmp_path, 1) + partitions_of(tmp_path, 2)) == [0, 1]
    # A killed one's successor goes on at once; one that stays away is replaced after its session.
    send(400)
    second.kill()
    second.wait()
    second = start("scoring", 2)
    send(400)
    time.sleep(1)
    first.kill()
    first.wait()
    send(400)
    wait_until(lambda: partitions_of(tmp_path, 2) == [0, 1], seconds=60)
    wait_until(ends(topics, names.TRANSACTIONS, SCORING_GROUP, len(sent)), seconds=60)
    second.terminate()
    assert second.wait(20) == 0
    orders: dict[str, list[str]] = {}
    for one in map(json.loads, sent):
        orders.setdefault(one["payer_account"], []).append(one["end_to_end_id"])
    assert service.orders == orders
    assert read_all(topics, names.DLQ) == []


@pytest.mark.timeout(120)
def test_labels_fold_once_their_payment_is_known(topics: str, service: FakeService, start: Start) -> None:
    early, never = "E12345678202611211230abcdefghijk", "E12345678202611211230abcdefghij0"
    others = [f"E12345678202611211230abcdefgh{number:03}" for number in range(100)]
    service.known = set(others)
    produce(topics, names.LABELS, [label(early), label(never), b"broken", *(label(name) for name in others)])
    job = start("labels")
    wait_until(lambda: len(service.folded) == len(others), seconds=30)
    assert not ends(topics, names.LABELS, labels.GROUP, 103)()
    job.kill()
    job.wait()
    service.known = {*others, early}
    job = start("labels")
    wait_until(ends(topics, names.LABELS, labels.GROUP, 103), seconds=30)
    job.terminate()
    assert job.wait(20) == 0
    assert len(service.folded) == len(others) + 1
    letters = {key: json.loads(value) for key, value in read_all(topics, names.DLQ)}
    assert sorted(letter["reason"] for letter in letters.values()) == ["not_json", "payment_unknown"]
    assert committed(topics, labels.GROUP, names.LABELS) == dict.fromkeys(range(PARTITIONS), 0) | {
        0: 52,
        1: 51,
    }
