"""More load than two workers can take: what they take is answered and kept, the rest is told to come again."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pix import topics as names
from pix.clock import epoch_ms
from tests.streams.support import payment, read_all, wait_until
from tests.streams.workers import REPOSITORY, Workers

Figures = Callable[[str, object], None]
TIMES_CAPACITY = 3
CONNECTIONS = 1_000
GOODPUT = 0.9
TAKEN, TOLD_TO_WAIT = "200", {"429", "503"}


@dataclass(frozen=True)
class Answered:
    """What the senders of both workers got, by the payment's id."""

    statuses: dict[str, str]
    seconds: float
    cpu_seconds: float
    latencies: list[float]

    @property
    def taken(self) -> set[str]:
        return {name for name, status in self.statuses.items() if status == TAKEN}

    @property
    def left_cores(self) -> float:
        """Cores that the senders, which run on the same machine, left to broker and service."""
        return len(os.sched_getaffinity(0)) - self.cpu_seconds / self.seconds


def send(workers: Workers, folder: Path, payments: Sequence[bytes], rate: float, connections: int) -> Answered:
    """Half of the payments to each worker, by a process of its own, open loop where a rate is given."""
    senders, halves = [], [payments[0::2], payments[1::2]]
    (folder / "key").write_text("key")
    for place, half in enumerate(halves):
        bodies = folder / f"bodies{place}"
        bodies.write_bytes(b"\n".join(half))
        words = [str(bodies), "--port", str(workers.ports[place]), "--key-file", str(folder / "key")]
        words += ["--rate", str(rate / 2), "--connections", str(connections // 2), "--log", str(folder / f"log{place}")]
        command = [sys.executable, "-m", "benchmarks.load", *words]
        senders.append(subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True))
    told = [json.loads(sender.communicate(timeout=300)[0]) for sender in senders]
    assert [sender.returncode for sender in senders] == [0, 0]
    statuses: dict[str, str] = {}
    latencies = []
    for place, half in enumerate(halves):
        for line in (folder / f"log{place}").read_text().splitlines():
            number, status, latency = line.split()
            statuses[json.loads(half[int(number)])["end_to_end_id"]] = status
            if status == TAKEN:
                latencies.append(float(latency))
    seconds, cpu_seconds = max(each["seconds"] for each in told), sum(each["cpu_seconds"] for each in told)
    return Answered(statuses, seconds, cpu_seconds, sorted(latencies))


def overload(workers: Workers, folder: Path, seconds: float, calibrating: int) -> tuple[float, str]:
    """Find the capacity, ask for three times as much, and look at what was answered, kept, and how it is afterwards."""
    first = epoch_ms() % 10**9
    warm = [payment(first + number) for number in range(100)]
    send(workers, folder, warm, 0, 16)
    full = [payment(first + 10**6 + number) for number in range(calibrating)]
    at_capacity = send(workers, folder, full, 0, 32)
    assert set(at_capacity.statuses.values()) == {TAKEN}
    capacity = len(full) / at_capacity.seconds
    count = int(TIMES_CAPACITY * capacity * seconds)
    asked = [payment(first + 2 * 10**6 + number) for number in range(count)]
    over = send(workers, folder, asked, TIMES_CAPACITY * capacity, CONNECTIONS)
    found = Counter(over.statuses.values())
    assert set(found) <= {TAKEN, *TOLD_TO_WAIT}, found
    assert sum(found.values()) == count
    after = send(workers, folder, [payment(first + 9 * 10**7 + n) for n in range(200)], capacity / 4, 16)
    assert set(after.statuses.values()) == {TAKEN}
    taken = set().union(*(each.taken for each in (over, at_capacity, after))) | {
        json.loads(one)["end_to_end_id"] for one in warm
    }
    wait_until(lambda: workers.unpublished() == 0, seconds=60)
    decided = Counter(json.loads(value)["end_to_end_id"] for value in dict.fromkeys(
        value for _, value in read_all(workers.bootstrap, names.DECISIONS)
    ))  # fmt: skip
    assert decided.keys() == taken
    assert set(decided.values()) == {1}
    goodput = len(over.taken) / over.seconds
    # A sender of three times as much takes its part of the machine as well, and that is not the service's to give.
    left = over.left_cores / at_capacity.left_cores
    share = goodput / capacity / left
    middle = 1e3 * over.latencies[len(over.latencies) // 2]
    return share, (
        f"capacity {capacity:.0f}/s; {count} payments at {TIMES_CAPACITY * capacity:.0f}/s: {dict(found)}, goodput "
        f"{goodput:.0f}/s = {goodput / capacity:.2f} of capacity, {share:.2f} of it for the {over.left_cores:.2f} "
        f"cores that the senders left ({at_capacity.left_cores:.2f} before), p50 {middle:.0f} ms; "
        f"right after, p50 {1e3 * after.latencies[100]:.1f} ms; lost 0, duplicated 0"
    )


@pytest.mark.timeout(120)
def test_too_much_is_told_to_come_again_and_nothing_is_lost(
    workers: Workers, tmp_path: Path, record_property: Figures
) -> None:
    record_property("figures", overload(workers, tmp_path, seconds=2, calibrating=600)[1])


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_minute_of_three_times_too_much(workers: Workers, tmp_path: Path, record_property: Figures) -> None:
    record_property("seed", "-")
    record_property("runs", "60 s at three times the capacity, open loop")
    share, figures = overload(workers, tmp_path, seconds=60, calibrating=6_000)
    record_property("figures", figures)
    assert share >= GOODPUT, figures
