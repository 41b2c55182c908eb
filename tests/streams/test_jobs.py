"""The scoring and the label job on a real broker, as processes that are killed."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fraud_streaming import labels, scoring
from pix import topics as names
from pix.tokens import Keyring, ensure_keys, load_keyring
from tests.streams.support import (
    MALFORMED,
    PARTITIONS,
    FakeService,
    committed,
    label,
    payment,
    produce,
    read_all,
    wait_until,
)

REPOSITORY = Path(__file__).resolve().parents[2]
Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def service() -> Iterator[FakeService]:
    fake = FakeService(failures=0.2)
    yield fake
    fake.close()


@pytest.fixture
def start(topics: str, service: FakeService, tmp_path: Path) -> Iterator[Start]:
    ensure_keys(tmp_path / "keys")
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str) -> "subprocess.Popen[bytes]":
        command = [
            sys.executable,
            "-m",
            "tests.streams.job",
            name,
            topics,
            service.url,
            str(tmp_path / "keys"),
        ]
        with (tmp_path / f"{name}{len(started)}.log").open("wb") as log:
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
    wait_until(ends(topics, names.TRANSACTIONS, scoring.GROUP, total), seconds=60)
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
