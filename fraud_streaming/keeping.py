"""How a stream is kept alive, as others see it: its keeper's note, and the metrics of whoever watches over all parts.

The keeper is a sensor that the code server evaluates when the daemon ticks. It leaves a note each time, so that what it
waits for can be read while both are dead, and the note's age says that they are.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pix.metrics import counter, gauge

# A run that lived this long was healthy: failures before it do not count for the back-off.
HEALTHY_SECONDS = 60
LONGEST_BACK_OFF_SECONDS = 300
# So many runs in a row that ended soon after their start are no accident.
FLAPPING = 3
# The keeper looks every five seconds; a busy machine may make it late.
SILENT_SECONDS = 60.0

PART_DOWN = gauge(
    "sentinela_part_down_seconds", "How long a part, as `sentinela status` lists it, has not been healthy.", "part"
)
PART_RESTARTS = counter("sentinela_part_restarts_total", "Dead parts that the supervisor started again.", "part")
STREAM_DOWN = gauge("sentinela_stream_down_seconds", "How long no process has held the stream's lock.", "stream")
STREAM_FAILURES = gauge(
    "sentinela_stream_failures_in_a_row",
    "Runs of the stream that ended in failure soon after their start, since one that did not.",
    "stream",
)

CATALOGUE = (PART_DOWN, PART_RESTARTS, STREAM_DOWN, STREAM_FAILURES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a stream's keeper saw.

    Attributes:
        at: When it looked, seconds since the epoch.
        says: What it found or waits for.
        failures: Runs in a row that failed before they counted as healthy.
        why: Why the last of them failed; empty without one.
    """

    at: float
    says: str
    failures: int = 0
    why: str = ""


def write(folder: Path, stream: str, note: Note) -> None:
    """Leave the keeper's note; no reader sees half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / f".{stream}.json"
    written.write_text(json.dumps(asdict(note)) + "\n")
    written.replace(folder / f"{stream}.json")


def read(folder: Path, stream: str) -> Note | None:
    """The keeper's newest note; None when there is none that can be read."""
    try:
        return Note(**json.loads((folder / f"{stream}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def problem(note: Note | None, *, alive: bool, now: float) -> str | None:
    """Why a stream is not kept alive; None when it is.

    Args:
        note: The keeper's.
        alive: Whether a process holds the stream's lock.
        now: Seconds since the epoch.
    """
    if alive and (note is None or note.failures < FLAPPING):
        return None
    if alive and note is not None:
        return f"{note.failures} runs in a row ended soon after their start, the last one with: {note.why}"
    if note is None:
        return "its lock is free, and its keeper has never looked: see dagster-daemon"
    if now - note.at > SILENT_SECONDS:
        return f"its lock is free, and its keeper has not looked for {now - note.at:.0f} s: see dagster-daemon"
    last = f"; the last failure was: {note.why}" if note.why else ""
    return f"its lock is free; its keeper says: {note.says}{last}"
