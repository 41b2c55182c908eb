"""Two workers on one store and a real broker: they die between commit and answer, and the broker goes away."""

import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pix.clock import epoch_ms
from tests.streams.nursery import GAPS
from tests.streams.support import payment, wait_until
from tests.streams.workers import DEADLINE_SECONDS, Workers

PAYMENTS_A_LIFE = 24
MOST_A_LIFE = 10 * PAYMENTS_A_LIFE
Figures = Callable[[str, object], None]


def lives(workers: Workers, seed: int, count: int) -> str:
    """One life after the other ends in a gap, while both workers are under load."""
    draw, before = random.Random(seed), len(workers.deaths())
    for life in range(count):
        gap = GAPS[life % len(GAPS)]
        workers.bury(0)
        # The outbox is trimmed for many at once, so that gap is not passed often.
        workers.bear(0, gap, 0 if gap == "trimmed" else draw.randrange(PAYMENTS_A_LIFE // 4))
        # Few accounts, so that the two workers race for them.
        payers = [f"12345678-0001-{draw.randint(1, 5)}" for _ in range(PAYMENTS_A_LIFE)]
        first, more = seed * 1_000_000 + life * 1_000, 0
        while more == 0 or (workers.is_alive(0) and more < MOST_A_LIFE):
            workers.pay_all([payment(first + more + n, payer_account=payer) for n, payer in enumerate(payers)])
            more += PAYMENTS_A_LIFE
        wait_until(lambda: not workers.is_alive(0), seconds=5)
    deaths = workers.deaths()[before:]
    assert [death["gap"] for death in deaths] == [GAPS[life % len(GAPS)] for life in range(count)]
    assert all(death["under_way"] for death in deaths)
    workers.bear(0)
    figures = workers.check()
    return f"{count} deaths with {sum(death['under_way'] for death in deaths)} requests under way: {figures}"


@pytest.mark.timeout(120)
def test_a_worker_that_dies_in_a_gap_loses_and_doubles_nothing(workers: Workers, record_property: Figures) -> None:
    record_property("figures", lives(workers, seed=31, count=3))


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_hundred_deaths(workers: Workers, record_property: Figures) -> None:
    record_property("seed", 32)
    record_property("runs", "100 deaths, a third in each gap")
    record_property("figures", lives(workers, seed=32, count=100))


@pytest.mark.timeout(120)
def test_a_hundred_copies_over_two_workers_are_one_decision(workers: Workers) -> None:
    one = payment(1)
    workers.pay_all([one], copies=100, clients=25)
    assert len(workers.answers[json.loads(one)["end_to_end_id"]]) == 1
    workers.check()


@contextmanager
def broker_away() -> Iterator[None]:
    """The test broker, a child of this process, stops answering."""
    (broker,) = filter(_is_broker, psutil.Process().children(recursive=True))
    broker.suspend()
    try:
        # The signal is handled by one thread; until then, the others go on.
        wait_until(lambda: {_state(task) for task in Path(f"/proc/{broker.pid}/task").iterdir()} == {"T"}, seconds=10)
        yield
    finally:
        broker.resume()


def _is_broker(process: psutil.Process) -> bool:
    try:
        return "kafka.Kafka" in process.cmdline()
    except psutil.Error:
        # It ended meanwhile, as workers of other tests do.
        return False


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def away_under_load(workers: Workers, seconds: float, rate: float) -> str:
    """Payments at a rate, while the broker is away for some seconds in the middle."""
    first, before, took = epoch_ms() % 10**9, workers.deferred, []
    workers.pay_all([payment(first + number) for number in range(20)])
    with ThreadPoolExecutor(32) as pool:

        def send(number: int) -> None:
            one = payment(first + number)
            workers.sent.append(one)
            started = time.monotonic()
            workers.pay(one, number % 2)
            took.append(time.monotonic() - started)

        with broker_away():
            begun = time.monotonic()
            done = []
            for number in range(100, 100 + int(seconds * rate)):
                time.sleep(max(0.0, begun + (number - 100) / rate - time.monotonic()))
                done.append(pool.submit(send, number))
            for each in done:
                each.result()
        assert workers.deferred - before == len(done)
        assert sorted(took)[len(took) // 2] < DEADLINE_SECONDS
        for number in range(90_000, 90_020):
            send(number)
    figures = workers.check()
    median_ms = 1000 * sorted(took)[len(took) // 2]
    return (
        f"{len(done)} payments in {seconds:.0f} s without Kafka, p50 {median_ms:.0f} ms, slowest {max(took):.2f} s; "
        f"{figures}"
    )


@pytest.mark.timeout(120)
def test_what_is_decided_without_kafka_is_published_afterwards(workers: Workers, record_property: Figures) -> None:
    record_property("figures", away_under_load(workers, seconds=2, rate=100))


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_a_minute_without_kafka(workers: Workers, record_property: Figures) -> None:
    record_property("seed", "-")
    record_property("runs", "60 s at 200 payments/s")
    record_property("figures", away_under_load(workers, seconds=60, rate=200))
