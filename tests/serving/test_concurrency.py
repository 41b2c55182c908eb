"""Four processes on the same hot accounts: nothing is lost or counted twice, and the logs explain all of it."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pix import topics
from pix.contracts import Payment
from pix.engines import kernel
from pix.engines.events import kind_of
from pix.engines.layout import STATE_LAYOUT
from pix.features import ROLES
from pix.logged import LoggedFold, ReferenceChange, folds_of_decision, folds_of_record
from pix.store.interface import Stored, open_store
from pix.store.memory import MemoryStore
from serving.pipeline import PAYEE_SIDE
from serving.replay import Replay

CROWD = Path(__file__).with_name("crowd.py")
MOST_RACES = 80
"""So often may a payment lose, well below the pipeline's ``MAX_RACES``, after which it gives up."""

Figures = Callable[[str, object], None]


class Run:
    """What four processes left behind on one store."""

    def __init__(self, folder: Path, place: int, url: str) -> None:
        self.decisions: dict[str, bytes] = {}
        self.folds: dict[str, bytes] = {}
        self.races: dict[str, int] = {}
        self.known_again = 0
        for log in sorted(folder.glob(f"{place}-*.log")):
            for line in log.read_bytes().splitlines():
                self._take(line[:1], line[1:])
            for name, count in json.loads(log.with_suffix(".races").read_text()).items():
                self.races[name] = max(count, self.races.get(name, 0))
        self.records = {name: json.loads(record) for name, record in self.decisions.items()}
        opened = open_store(url, STATE_LAYOUT)
        self.states = opened.states()
        opened.close()

    def _take(self, kind: bytes, record: bytes) -> None:
        kept, name = (self.decisions, "end_to_end_id") if kind == b"d" else (self.folds, "fold_id")
        identity = json.loads(record)[name]
        self.known_again += kind == b"d" and identity in kept
        assert kept.setdefault(identity, record) == record, f"{identity} has two different records"

    def logged(self) -> dict[str, list[LoggedFold]]:
        """Key -> its folds in the order of their numbers."""
        found: dict[str, list[LoggedFold]] = {}
        for record in self.records.values():
            for fold in folds_of_decision(record):
                found.setdefault(fold.key, []).append(fold)
        for raw in self.folds.values():
            for fold in folds_of_record(json.loads(raw)):
                found.setdefault(fold.key, []).append(fold)
        return {key: sorted(folds, key=lambda fold: fold.got) for key, folds in found.items()}

    def replayed(self) -> tuple[dict[str, Stored], int]:
        """States after all folds in number order, and how many keys wait behind a gap."""
        rebuilt = MemoryStore()
        replay = Replay(rebuilt, 0)
        replay.take((topics.DECISIONS, record) for record in self.decisions.values())
        replay.take((topics.FOLDS, record) for record in self.folds.values())
        replay.fold()
        return rebuilt.states(), replay.waiting

    def stale_on_the_payers_side(self) -> list[str]:
        """Decisions that were committed although another fold had passed them on the payer's side."""
        first = {key: folds[0].got for key, folds in self.logged().items()}
        return [
            f"{name} {role}"
            for name, record in self.records.items()
            for role, state in record["states"].items()
            if role not in PAYEE_SIDE and state["got"] != (state["read"] + 1 if state["read"] else first[state["key"]])
        ]

    def mismatches(self) -> list[str]:
        """Decisions whose logged vector is not what the logged folds give at the numbers that they read."""
        asked: dict[str, set[tuple[int, int]]] = {}
        for record in self.records.values():
            for state in record["states"].values():
                asked.setdefault(state["key"], set()).add((state["read"], record["event_time_ms"]))
        steps = {kind: kernel.Steps(kind) for kind in ROLES.values()}
        rows: dict[tuple[str, int, int], int] = {}
        for key, folds in self.logged().items():
            if kind_of(key) == "payment":
                continue
            happened: list[tuple[int, int, Any]] = [(fold.got, 0, fold.what) for fold in folds]
            happened += [(read, 1, at_ms) for read, at_ms in asked[key]]
            for number, is_read, what in sorted(happened, key=lambda each: each[:2]):
                if is_read:
                    rows[key, number, what] = steps[kind_of(key)].add(key, kernel.READ, what)
                else:
                    assert not isinstance(what, ReferenceChange)
                    steps[kind_of(key)].add(key, kernel.FOLD, what[0], what)
        reads = {kind: each.run().reads for kind, each in steps.items()}
        wrong = []
        for name, record in self.records.items():
            at_ms = record["event_time_ms"]
            found = {
                role: reads[ROLES[role]][rows[state["key"], state["read"], at_ms]]
                for role, state in record["states"].items()
            }
            vector = kernel.listed(kernel.vector(Payment(**record["payment"]), at_ms, found))
            if vector != tuple(record["features"]):
                wrong.append(name)
        return wrong


def crowd(folder: Path, valkey: str, seed: int, payments: int, hot_every: int = 3) -> list[Run]:
    """Let four processes loose on an empty LMDB store, then on an empty Valkey; every so many pay one payee."""
    import redis

    redis.Redis.from_url(valkey).flushall()
    urls = [f"lmdb://{folder / 'store'}", valkey]
    words = [sys.executable, str(CROWD), str(folder), *map(str, (seed, payments, hot_every)), *urls]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [Run(folder, place, url) for place, url in enumerate(urls)]


def check(run: Run, payments: int) -> str:
    """Everything that must hold; what it looked like."""
    assert len(run.decisions) == payments
    assert run.known_again
    for key, folds in run.logged().items():
        numbers = [fold.got for fold in folds]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"{key} has a gap or a repeat"
    states, waiting = run.replayed()
    assert waiting == 0
    assert states == run.states
    assert run.mismatches() == []
    assert run.stale_on_the_payers_side() == []
    ((hot, _),) = Counter(record["payment"]["payee_account"] for record in run.records.values()).most_common(1)
    to_hot = {name for name, r in run.records.items() if r["payment"]["payee_account"] == hot}
    most = {True: 0, False: 0}
    for record_id, count in run.races.items():
        is_hot = record_id.rpartition("|")[2] in to_hot
        most[is_hot] = max(most[is_hot], count)
    lost = sum(run.races.values())
    assert lost, "nobody ever met anybody: that was no test"
    assert max(most.values()) < MOST_RACES
    return f"{lost} races lost, at most {most[True]} by a payment to the hot payee and {most[False]} by another"


@pytest.mark.timeout(120)
def test_four_processes_on_hot_accounts(tmp_path: Path, valkey: str, record_property: Figures) -> None:
    for run in crowd(tmp_path, valkey, seed=21, payments=400):
        record_property("figures", check(run, 400))


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_four_processes_on_hot_accounts_for_long(tmp_path: Path, valkey: str, record_property: Figures) -> None:
    record_property("seed", 22)
    record_property("runs", "20,000 payments on LMDB, 20,000 on Valkey")
    for name, run in zip(("LMDB", "Valkey"), crowd(tmp_path, valkey, seed=22, payments=20_000), strict=True):
        record_property("figures", f"{name}: {len(run.folds)} labels, {check(run, 20_000)}")


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_payee_whom_all_pay_at_once_does_not_starve(tmp_path: Path, valkey: str, record_property: Figures) -> None:
    """Every payment of four processes at full speed goes to one account; each is decided within its races."""
    record_property("seed", 23)
    record_property("runs", "4,000 payments on LMDB, 4,000 on Valkey, all to one payee")
    runs = crowd(tmp_path, valkey, seed=23, payments=4_000, hot_every=1)
    for name, run in zip(("LMDB", "Valkey"), runs, strict=True):
        record_property("figures", f"{name}: {check(run, 4_000)}")
