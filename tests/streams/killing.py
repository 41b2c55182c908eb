"""Kill -9 of an instance's parts while they have work in hand; what they had in hand, and how long it took to recover.

A victim is stopped first, so that what it had in hand can be counted, and killed only if that was something; where it
was nothing it goes on, and the kill is tried again.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pix import streams as names
from pix.settings import Settings
from tests.streams.load import Load
from tests.streams.support import wait_until
from tests.streams.victims import Caught, Instance, Victim

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = str(Path(sys.executable).with_name("sentinela"))
MOST_MISSES = 40
RECOVER_SECONDS = 300.0
LOST_AFTER_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill.

    Attributes:
        victim: Which part, and which of its processes.
        point: What it was in the middle of.
        in_flight: How much of that.
        missed: Attempts before, at which it had nothing in hand.
        back_seconds: From the kill until a successor was at work.
        recovered_seconds: Until everything that was sent before the successor was back was finished.
    """

    victim: str
    point: str
    in_flight: int
    missed: int
    pid: int
    at: str
    back_seconds: float
    recovered_seconds: float


class Killer:
    """Kills, waits until everything is as it was, and looks at what came out."""

    def __init__(self, settings: Settings, load: Load, seed: int, log: Path) -> None:
        self.instance, self.load, self.settings = Instance(settings, load), load, settings
        self.draw, self.log = random.Random(seed), log
        self.kills: list[Kill] = []

    def kill(self, victim: Victim) -> Kill:
        """One kill that lands, and the recovery after it."""
        pid, caught, missed = self._caught(victim)
        os.kill(pid, signal.SIGKILL)
        at = time.monotonic()
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        back = self._seconds(at, lambda: victim.is_back(pid), f"{victim.name} does not come back")
        wanted = self.load.acknowledged()
        done = self._seconds(at, lambda: victim.is_done(wanted), f"{victim.name} does not finish what was sent")
        kill = Kill(
            victim=victim.name, point=caught.point, in_flight=caught.in_flight, missed=missed, pid=pid,
            at=stamp, back_seconds=round(back, 1), recovered_seconds=round(done, 1),
        )  # fmt: skip
        self.kills.append(kill)
        with self.log.open("a") as log:
            log.write(json.dumps(asdict(kill)) + "\n")
        self._look()
        return kill

    def _caught(self, victim: Victim) -> tuple[int, Caught, int]:
        """The victim, stopped in the middle of something; how often it was stopped in vain."""
        for missed in range(MOST_MISSES):
            victim.provoke()
            time.sleep(self.draw.uniform(0, victim.most_delay))
            pid, victim.before = victim.pid(), self.load.acknowledged()
            if not pid or not stopped(pid):
                continue
            caught = None
            try:
                caught = victim.in_hand()
            finally:
                if caught is None:
                    os.kill(pid, signal.SIGCONT)
            if caught is not None:
                return pid, caught, missed
        raise AssertionError(f"{victim.name} never had anything in hand")

    def _seconds(self, at: float, true: Callable[[], bool], otherwise: str) -> float:
        while not true():
            assert not self.load.errors, self.load.errors
            assert time.monotonic() - at < RECOVER_SECONDS, f"{otherwise} within {RECOVER_SECONDS:.0f} s"
            time.sleep(0.05)
        return time.monotonic() - at

    def _look(self) -> None:
        """Nothing that was taken or answered is missing on the topics, nothing is there twice or other than sent."""
        assert self.load.faults() == {"duplicated": 0, "mismatched": 0}
        finished, deadline = self.load.finished(), time.monotonic() + LOST_AFTER_SECONDS
        while (lost := finished - self.load.outcomes.decided.keys()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not lost, f"{len(lost)} payments were taken or answered and are not on pix.decisions"
        self._one_run_each()

    def _one_run_each(self) -> None:
        """No stream has two runs that are alive, and none that is dead counts as alive."""

        def single() -> bool:
            alive = [name for name, _ in self.instance.runs("STARTED", "STARTING", "QUEUED", "CANCELING")]
            return all(alive.count(name) == 1 and self.instance.holder(name) for name in names.names(1))

        wait_until(single, seconds=RECOVER_SECONDS)

    def verify(self) -> dict[str, Any]:
        """`sentinela verify` of everything that was sent up to now; nothing is sent meanwhile, which is sooner done."""
        with self.load.resting():
            return self.verified(*(word for log in self.load.logs for word in ("--sent", str(log))))

    def verified(self, *words: str) -> dict[str, Any]:
        """What `sentinela verify` counts; nothing is lost, duplicated or mismatched."""
        done = subprocess.run(
            [COMMAND, "verify", "--json", *words], capture_output=True, text=True, cwd=REPOSITORY, timeout=400,
            env={**os.environ, "SENTINELA_HOME": str(self.settings.root)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        counts: dict[str, Any] = json.loads(done.stdout)
        assert (counts["lost"], counts["duplicated"], counts["mismatched"]) == (0, 0, 0)
        return counts


def stopped(pid: int) -> bool:
    """Stop a process, and return when all its threads stand still; False when it is gone."""
    try:
        os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            tasks = [task / "stat" for task in Path(f"/proc/{pid}/task").iterdir()]
            if {path.read_text().rpartition(")")[2].split()[0] for path in tasks} <= {"T", "t"}:
                return True
            time.sleep(0.001)
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True


def told(kills: Sequence[Kill]) -> str:
    """The figures of a run."""
    by_victim: dict[str, list[Kill]] = defaultdict(list)
    for kill in kills:
        by_victim[kill.victim].append(kill)
    lines = []
    for victim, of_it in sorted(by_victim.items()):
        points = Counter(kill.point for kill in of_it)
        back, done = ([getattr(kill, name) for kill in of_it] for name in ("back_seconds", "recovered_seconds"))
        lines.append(
            f"{victim}: {len(of_it)} ({', '.join(f'{count} {point}' for point, count in sorted(points.items()))}), "
            f"{sum(kill.missed for kill in of_it)} missed and repeated, back after median "
            f"{statistics.median(back):.1f} s, longest {max(back):.1f} s, all done after median "
            f"{statistics.median(done):.1f} s, longest {max(done):.1f} s"
        )
    return "; ".join(lines)


def shown(counts: Mapping[str, Any]) -> str:
    """What `sentinela verify` counted."""
    return " ".join(f"{name}={counts[name]}" for name in ("sent", "decided", "lost", "duplicated", "mismatched"))
