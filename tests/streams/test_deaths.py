"""Two workers on one store and a real broker: they die between commit and answer, and the broker goes away."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from pix import topics as names
from pix.engines.layout import STATE_LAYOUT
from pix.store.lmdb import LmdbStore
from pix.store.memory import MemoryStore
from serving.replay import Replay
from tests.conftest import free_ports
from tests.serving import offline_passes
from tests.streams.nursery import GAPS, Order
from tests.streams.replayed import Logs
from tests.streams.support import create_topics, delete_topics, epoch_ms, payment, read_all, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
CLIENTS = 6
PAYMENTS_A_LIFE = 24
TIMEOUT_SECONDS = 10.0
DEADLINE_SECONDS = 0.5
Figures = Callable[[str, object], None]


class Workers:
    """Two workers over one broker and one store, each of which may be killed and born again."""

    def __init__(self, bootstrap: str, home: Path) -> None:
        self.bootstrap, self.home = bootstrap, home
        self.ports = free_ports(2)
        self.pids: dict[int, int] = {}
        self.sent: list[bytes] = []
        self.answers: dict[str, set[bytes]] = {}
        self.deferred = 0
        self._lock = threading.Lock()
        self._http = httpx.Client(headers={"Authorization": "Bearer key"}, timeout=TIMEOUT_SECONDS, trust_env=False)
        command = [sys.executable, "-m", "tests.streams.nursery", bootstrap, str(home)]
        with (home / "nursery.log").open("wb") as log:
            self._nursery = subprocess.Popen(
                command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def bear(self, place: int, gap: str = "", after: int = 0) -> None:
        """Start a worker, and return when it answers."""
        order = Order(self.ports[place], gap, after, DEADLINE_SECONDS)
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps(asdict(order)) + "\n")
        self._nursery.stdin.flush()
        self.pids[place] = int(self._nursery.stdout.readline())
        wait_until(lambda: self._answers(place), seconds=30)

    def _answers(self, place: int) -> bool:
        try:
            return self._http.get(f"http://127.0.0.1:{self.ports[place]}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def bury(self, place: int) -> None:
        """Kill a worker if it lives."""
        if place in self.pids:
            with suppress(ProcessLookupError):
                os.kill(self.pids[place], signal.SIGKILL)
            wait_until(lambda: not self.is_alive(place), seconds=5)

    def is_alive(self, place: int) -> bool:
        return psutil.pid_exists(self.pids[place])

    def pay(self, content: bytes, place: int) -> None:
        """Ask one worker, then the other, until one of them has decided."""
        name, headers = json.loads(content)["end_to_end_id"], {"Content-Type": "application/json"}
        for attempt in range(200):
            url = f"http://127.0.0.1:{self.ports[(place + attempt) % 2]}/v1/decisions"
            try:
                answer = self._http.post(url, content=content, headers=headers)
            except httpx.HTTPError:
                time.sleep(0.02)
                continue
            if answer.status_code == 200:
                with self._lock:
                    self.answers.setdefault(name, set()).add(answer.content)
                    self.deferred += "sentinela-delivery" in answer.headers
                return
            assert answer.status_code == 503, answer.text
            time.sleep(0.02)
        pytest.fail(f"{name} was never decided")

    def pay_all(self, payments: Sequence[bytes], *, copies: int = 1, clients: int = CLIENTS) -> None:
        """Many clients at once, half of them to each worker first."""
        self.sent += payments
        with ThreadPoolExecutor(clients) as pool:
            for _ in pool.map(self.pay, list(payments) * copies, [n % 2 for n in range(len(payments) * copies)]):
                pass

    def unpublished(self) -> int:
        headers = {"Authorization": "Bearer key"}
        found = self._http.get(f"http://127.0.0.1:{self.ports[1]}/v1/store", headers=headers).json()
        return int(found["unpublished"])

    def deaths(self) -> list[dict[str, Any]]:
        log = self.home / "deaths.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def check(self) -> str:
        """Nothing lost, nothing decided twice, answers as logged, states and vectors as the logs say."""
        wait_until(lambda: self.unpublished() == 0, seconds=60)
        decided = [value for _, value in read_all(self.bootstrap, names.DECISIONS)]
        logs = Logs(decided, [])
        sent = {json.loads(one)["end_to_end_id"] for one in self.sent}
        assert logs.decisions.keys() == sent == self.answers.keys()
        assert all(len(answers) == 1 for answers in self.answers.values())
        shown = {name: json.loads(next(iter(answers))) for name, answers in self.answers.items()}
        assert all(logs.decisions[name].items() >= answer.items() for name, answer in shown.items())
        assert logs.gaps() == []
        # The offline engine, not the oracle: that one takes the square of a long run's length.
        parity = offline_passes.parity(offline_passes.of_log(list(dict.fromkeys(decided)), []))
        assert (parity.compared, parity.mismatches) == (len(sent), 0)
        replay, rebuilt = Replay(states := MemoryStore(STATE_LAYOUT), 0), states
        replay.take((names.DECISIONS, value) for value in decided)
        replay.fold()
        store = LmdbStore(str(self.home / "store"), STATE_LAYOUT)
        assert rebuilt.states() == store.states()
        store.close()
        return (
            f"{len(sent)} payments, {len(decided) - len(sent)} identical records more, {self.deferred} answers "
            "deferred; lost 0, duplicated 0, mismatched 0, parity 0"
        )

    def end(self) -> None:
        for pid in self.pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._nursery.kill()
        self._nursery.wait()
        self._http.close()


@pytest.fixture(scope="module")
def shared(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    create_topics(broker)
    made = Workers(broker, tmp_path_factory.mktemp("workers"))
    yield made
    made.end()
    delete_topics(broker)


@pytest.fixture
def workers(shared: Workers) -> Workers:
    """Both workers alive, whoever used them before."""
    for place in range(2):
        shared.bury(place)
        shared.bear(place)
    return shared


def lives(workers: Workers, seed: int, count: int) -> str:
    """One life after the other ends in a gap, while both workers are under load."""
    draw, before = random.Random(seed), len(workers.deaths())
    for life in range(count):
        gap = GAPS[life % len(GAPS)]
        workers.bury(0)
        workers.bear(0, gap, draw.randrange(PAYMENTS_A_LIFE // 4))
        # Few accounts, so that the two workers race for them.
        payers = [f"12345678-0001-{draw.randint(1, 5)}" for _ in range(PAYMENTS_A_LIFE)]
        first = seed * 1_000_000 + life * 1_000
        payments = [payment(first + n, payer_account=payer) for n, payer in enumerate(payers)]
        workers.pay_all(payments)
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
