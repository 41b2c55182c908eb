"""Rows of a training set to a judged ensemble: read from the lake, fitted on folds, judged, fitted on all.

``python -m benchmarks training`` takes it; the target is of SENTINELA_BENCH_TRAINING_ROWS=2000000. The rows are drawn
with replacement from the features of a small simulated past, so their values are distributed as real ones are; what the
models are worth on them says nothing. Reading and fitting are a process of their own, whose peak memory is told. With
SENTINELA_BENCH_TRAINING_HOME the rows are kept there and not made again.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pix.contracts import DAY_MS
from pix.features import FEATURE_NAMES
from pix.offline.tables import RAW_PREFIX, TRAINING_SET, raw_columns
from pix.settings import Settings
from pix.simulator.simulation import SimulationPlan

if TYPE_CHECKING:
    import pandas as pd

ROWS = int(os.environ.get("SENTINELA_BENCH_TRAINING_ROWS", "100000"))
KEPT = os.environ.get("SENTINELA_BENCH_TRAINING_HOME", "")
TARGET_SECONDS, TARGET_GB = 15 * 60, 8.0
START_MS = 1_780_282_800_000
PAST = SimulationPlan(seed=5, start_ms=START_MS, days=30, accounts=4_000, payments=40_000, fraud_per_100k=600)
DAYS, KNOWN_AFTER_MS, FRAUD_SHARE = 90, 3 * DAY_MS, 0.002
AT_ONCE = 100_000
HISTORY = "bench"


def training_rows() -> list[dict[str, object]]:
    """Seconds and peak memory, against the target of two million rows."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(KEPT or name)
        _made(home, ROWS)
        command = [sys.executable, "-m", "benchmarks.training", str(home)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
    found = json.loads(told.stdout.splitlines()[-1])
    seconds = found["read_seconds"] + found["fit_seconds"]
    return [
        {
            "name": f"training: {ROWS:,} rows x {len(FEATURE_NAMES)} features to a judged ensemble / 15 minutes",
            "ours_us": seconds * 1e6,
            "reference_us": TARGET_SECONDS * 1e6,
            "ratio": seconds / TARGET_SECONDS,
            **found,
            "note": f"read {found['read_seconds']:.0f} s, fitted and judged {found['fit_seconds']:.0f} s, "
            f"{found['cpu_seconds']:.0f} CPU-s, peak {found['peak_gb']:.2f} GB (targets of 2,000,000 rows: "
            f"{TARGET_SECONDS} s, {TARGET_GB:.0f} GB)",
        }
    ]


def _made(home: Path, rows: int) -> None:
    """A training set of drawn rows, unless one of that size is there."""
    from deltalake import CommitProperties, write_deltalake

    from fraud_assets.lake import LakeResource
    from learning.learnability import simulated_frame

    lake = LakeResource.of(Settings(home=home, lake_root=""))
    if lake.exists(TRAINING_SET.name) and lake.rows(TRAINING_SET.name) == rows:
        return
    raw = [column.name.removeprefix(RAW_PREFIX) for column in raw_columns() if column.name != f"{RAW_PREFIX}hour"]
    past, _ = simulated_frame(PAST, raw)
    lake.unchanged(TRAINING_SET)
    recipe = {"history": HISTORY, "as_of_ms": 0, "maturity_ms": 0, "honest_rows": rows, "seed": 0, "made_from": {}}
    note = CommitProperties(custom_metadata={"userMetadata": json.dumps({"history": HISTORY, "recipe": recipe})})
    schema, draw = pa.schema(lake.log(TRAINING_SET.name).schema()), np.random.default_rng(1)
    for first in range(0, rows, AT_ONCE):
        part = _drawn(past, np.arange(first, min(first + AT_ONCE, rows)), draw)
        table = pa.Table.from_pandas(part, schema, preserve_index=False)
        write_deltalake(lake.address(TRAINING_SET.name), table, mode="append", commit_properties=note)


def _drawn(past: "pd.DataFrame", numbers: "np.typing.NDArray[np.int64]", draw: np.random.Generator) -> "pd.DataFrame":
    """Rows of a training set with these numbers."""
    is_fraud = draw.random(len(numbers)) < FRAUD_SHARE
    frauds, others = (np.flatnonzero(past["is_fraud"].to_numpy(np.bool_) == kind) for kind in (True, False))
    places = np.where(is_fraud, draw.choice(frauds, len(numbers)), draw.choice(others, len(numbers)))
    # In no order: as files of a lake are read.
    times = START_MS + draw.integers(0, DAYS * DAY_MS, len(numbers))
    return (
        past.iloc[places]
        .reset_index(drop=True)
        .assign(
            history=HISTORY,
            end_to_end_id=[f"E{number:031d}" for number in numbers],
            event_time_ms=times,
            label_class=np.where(is_fraud, "fraud", "honest"),
            fraud_known_at_ms=np.where(is_fraud, times + KNOWN_AFTER_MS, np.nan),
            cleared_at_ms=None,
            fraud_type=np.where(is_fraud, "SCAM", None),
            payee_account=[f"a{number}" for number in draw.integers(0, 50_000, len(numbers))],
            weight=1.0,
        )
    )


def main(home: Path) -> None:
    """Read, fit, and print what it took."""
    from fraud_assets import learning_rows
    from fraud_assets.lake import LakeResource
    from learning import training
    from learning.recipe import TrainingConfig
    from serving.policy import load_policy
    from serving.rules_only import severities

    settings = Settings(home=home, lake_root="")
    begun = time.perf_counter()
    frame = learning_rows.read(LakeResource.of(settings), HISTORY).frame
    read = time.perf_counter()
    _say(f"read {len(frame):,} rows")
    rules = partial(severities, load_policy(settings.policy_file))
    # Rows drawn again and again are easy: two members would be left out of the last fit and cost nothing there.
    training.fit(frame, FEATURE_NAMES, TrainingConfig(leave_out=False), rules=rules, say=_say)
    done = time.perf_counter()
    found = {"read_seconds": read - begun, "fit_seconds": done - read, "cpu_seconds": time.process_time()}
    sys.stdout.write(json.dumps({**found, "peak_gb": _peak_gb()}) + "\n")


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _say(line: str) -> None:
    sys.stderr.write(f"{time.process_time():.0f} CPU-s, peak {_peak_gb():.2f} GB: {line}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
