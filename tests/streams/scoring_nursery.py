"""Scoring jobs that start in no time, and die where they are told to.

``scoring_nursery.py BOOTSTRAP URL HOME`` imports once and forks a job per line that it reads: JSON of ``Order``; it
answers with the job's process id. A gap is a place on a batch's way:

    taken -> asking (the service is at it) -> answered -> put-away (dead letters confirmed) -> committing -> committed
"""

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fraud_streaming import deciding, scoring
from fraud_streaming.kafka import DeadLetters, Group, Taken
from fraud_streaming.lanes import Done
from fraud_streaming.lifetime import Cadence, Stop
from fraud_streaming.service import ServiceClient
from pix.deadletter import DeadLetter
from pix.tokens import load_keyring

GAPS = ("taken", "asking", "answered", "put-away", "committing", "committed")
ASKING_SECONDS = 0.004


@dataclass(frozen=True)
class Order:
    """One job.

    Attributes:
        gap: Where it dies; nowhere if empty.
        after: How often it passes there before.
    """

    gap: str = ""
    after: int = 0


class Death:
    """Waits for the gap; says what was under way, then the process is gone as by ``kill -9``."""

    def __init__(self, order: Order, log: Path) -> None:
        self.order, self.log, self.passed = order, log, 0
        self._lock = threading.Lock()

    def at(self, gap: str, under_way: int) -> None:
        if gap != self.order.gap or not under_way:
            return
        with self._lock:
            self.passed += 1
            if self.passed <= self.order.after:
                return
            with self.log.open("a") as log:
                log.write(json.dumps({"gap": gap, "under_way": under_way, "at": time.time()}) + "\n")
            os.kill(os.getpid(), signal.SIGKILL)


def mortal(death: Death) -> None:
    """Make the job's parts pass the gaps."""

    class MortalDeciding(deciding.Deciding):
        def __call__(self, batch: Sequence[Taken], stop: Stop) -> Done:
            death.at("taken", len(batch))
            return super().__call__(batch, stop)

    class MortalClient(ServiceClient):
        def answers(self, path: str, count: int, *rest: Any, **named: Any) -> Any:
            answered = threading.Event()

            def watch() -> None:
                if not answered.wait(ASKING_SECONDS):
                    death.at("asking", count)

            threading.Thread(target=watch, daemon=True).start()
            found = super().answers(path, count, *rest, **named)
            answered.set()
            death.at("answered", count)
            return found

    class MortalLetters(DeadLetters):
        def send(self, letters: Sequence[DeadLetter], stop: Stop) -> bool:
            sent = super().send(letters, stop)
            death.at("put-away", len(letters))
            return sent

    class MortalGroup(Group):
        def commit(self, offsets: Mapping[int, int]) -> bool:
            death.at("committing", len(offsets))
            done = super().commit(offsets)
            death.at("committed", len(offsets))
            return done

    # The job makes its parts by these names; a type checker sees a class that is assigned to.
    scoring.Deciding = MortalDeciding  # type: ignore[misc]
    scoring.ServiceClient = MortalClient  # type: ignore[misc]
    scoring.DeadLetters = MortalLetters  # type: ignore[misc]
    scoring.Group = MortalGroup  # type: ignore[misc]


def score(order: Order, bootstrap: str, url: str, home: Path) -> None:
    """One job until it is killed."""
    mortal(Death(order, home / "deaths.jsonl"))
    stop = Stop()
    stop.arm()
    scoring.run(
        kafka={"bootstrap.servers": bootstrap},
        service_url=url,
        api_key="key",
        keyring=load_keyring(home / "secrets"),
        randomness=random.Random(3),
        stop=stop,
        report=lambda _: None,
        cadence=Cadence(),
    )


def main(bootstrap: str, url: str, folder: str) -> None:
    """Fork a job per order until there are no more."""
    # Nobody waits for the dead.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            score(Order(**json.loads(line)), bootstrap, url, Path(folder))
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
