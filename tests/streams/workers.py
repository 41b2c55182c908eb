"""Two workers of the decision service over one broker and one store, under load from many clients."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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
from tests.streams.nursery import Order
from tests.streams.replayed import Logs
from tests.streams.support import read_all, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
CLIENTS = 6
TIMEOUT_SECONDS = 10.0
DEADLINE_SECONDS = 0.5


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
