"""Simulating payments: speed into Arrow on one core, peak memory of ten million, and lines against row by row.

``python -m benchmarks.simulator`` runs these alone. Speed and memory are taken in processes of their own: one is
pinned to a core, and a peak belongs to a whole process.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pix.contracts import canonical_json
from pix.simulator.lines import lines
from pix.simulator.simulation import SimulationPlan, world

if TYPE_CHECKING:
    import pyarrow as pa

START_MS = 1_780_282_800_000
SPEED = SimulationPlan(seed=3, start_ms=START_MS, days=30, accounts=20_000, payments=1_000_000)
MEMORY = SimulationPlan(seed=3, start_ms=START_MS, days=30, accounts=1_000_000, payments=10_000_000)
LINES = SimulationPlan(seed=3, start_ms=START_MS, days=2, accounts=5_000, payments=40_000)
ROUNDS = 5
SPEED_TARGET, MEMORY_TARGET_GB = 100_000, 4.0
BRASILIA = timezone(timedelta(hours=-3))


def lines_over_row_by_row() -> dict[str, object]:
    """Lines of JSON from one day's Arrow table: by column / by row; with what a child process simulates."""
    # Days are cut at 6h: the second is a whole one.
    table = world(LINES).part(1).payments
    if lines(table) != _by_row(table):
        raise SystemExit("lines and rows differ; nothing is measured")
    pairs = [(_seconds(lines, table), _seconds(_by_row, table)) for _ in range(ROUNDS)][1:]
    ours, theirs = (statistics.median(side) / table.num_rows * 1e6 for side in zip(*pairs, strict=True))
    speed, memory = _child("speed"), _child("memory")
    return {
        "name": "write simulated payments as lines: lines.lines / to_pylist and json.dumps",
        "ours_us": ours,
        "reference_us": theirs,
        "ratio": statistics.median(a / b for a, b in pairs),
        "payments_per_second_on_one_core": speed["payments"] / speed["seconds"],
        "ten_million_seconds": memory["seconds"],
        "ten_million_peak_gb": memory["peak_gb"],
        "note": (
            f"simulate into Arrow, one core: {speed['payments'] / speed['seconds']:,.0f} payments/s "
            f"(target {SPEED_TARGET:,}); {memory['payments']:,.0f} payments of {MEMORY.accounts:,} accounts: "
            f"{memory['seconds']:.0f} s, peak {memory['peak_gb']:.2f} GB (target {MEMORY_TARGET_GB})"
        ),
    }


def _by_row(table: "pa.Table") -> bytes:
    """What anybody would write first."""
    found = []
    for row in table.to_pylist():
        known = {name: value for name, value in row.items() if value is not None}
        for name, value in known.items():
            if isinstance(value, datetime):
                known[name] = value.astimezone(BRASILIA).isoformat(timespec="milliseconds")
        found.append(canonical_json(known) + b"\n")
    return b"".join(found)


def _seconds(write: "Callable[[pa.Table], bytes]", table: "pa.Table") -> float:
    start = time.perf_counter()
    write(table)
    return time.perf_counter() - start


def _child(task: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.simulator", task]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _measure(plan: SimulationPlan) -> dict[str, float]:
    """Every day of a plan as Arrow, one after the other, with the making of its world."""
    start = time.perf_counter()
    everything = world(plan)
    payments = sum(everything.part(number).payments.num_rows for number in range(len(everything.windows)))
    seconds = time.perf_counter() - start
    return {"payments": payments, "seconds": seconds, "peak_gb": _peak_gb()}


def _peak_gb() -> float:
    """Peak resident memory of this program; getrusage would count its parent's, too."""
    status = Path("/proc/self/status").read_text()
    kilobytes = int(status.split("VmHWM:")[1].split()[0])
    return kilobytes * 1024 / 1e9


def main() -> None:
    """Without an argument measure everything; with ``speed`` or ``memory`` be the child that measures one."""
    task = sys.argv[1] if len(sys.argv) > 1 else ""
    if task == "speed":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = _measure({"speed": SPEED, "memory": MEMORY}[task]) if task else lines_over_row_by_row()
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
