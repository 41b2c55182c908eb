"""Loading the code location, which every process of a run does first, beside importing Dagster alone."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 7
TARGET_SECONDS = 3.0
ALONE = "import dagster"
OURS = "import fraud_assets.definitions as location; location.defs().get_repository_def()"
TOLD = "import json, sys, time; {code}; print(json.dumps([time.process_time(), len(sys.modules)]))"


def code_location_rows() -> list[dict[str, object]]:
    """Processor time of a fresh process, in turns."""
    pairs = [(_seconds(OURS), _seconds(ALONE)) for _ in range(ROUNDS + 1)][1:]
    ours, theirs = (statistics.median(side[0] for side in sides) for sides in zip(*pairs, strict=True))
    modules = pairs[0][0][1] - pairs[0][1][1]
    return [
        {
            "name": "load the code location / import dagster alone, processor time",
            "ours_us": ours * 1e6,
            "reference_us": theirs * 1e6,
            "ratio": statistics.median(our[0] / their[0] for our, their in pairs),
            "note": f"{ours:.1f} s of {TARGET_SECONDS:.0f}, Dagster {theirs:.1f} of them; {modules} more modules",
        }
    ]


def _seconds(code: str) -> tuple[float, int]:
    root = Path(__file__).resolve().parents[1]
    told = [sys.executable, "-c", TOLD.format(code=code)]
    done = subprocess.run(told, check=True, capture_output=True, text=True, cwd=root)  # noqa: S603 - our own words
    seconds, modules = json.loads(done.stdout.splitlines()[-1])
    return seconds, modules
