"""``make bench``: ratios with both sides in one run, outputs compared; JSON and a table.

Absolute times do not travel between machines. What is asserted here is equality of outputs, never a time.
``python -m benchmarks NAME...`` takes some groups alone and renews only theirs in ``benchmarks/results.json``, where
each group says when, on what, of which commit and beside how much other work it was taken.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.batch_scoring import batch_scoring_rows
from benchmarks.bronze import bronze_rows
from benchmarks.code_location import code_location_rows
from benchmarks.contracts import parse_over_naive
from benchmarks.decisions import decision_over_bare_store, decision_with_model
from benchmarks.ensemble import ensemble_rows
from benchmarks.features import feature_rows
from benchmarks.imports import import_over_plain_write
from benchmarks.kafka_loops import kafka_rows
from benchmarks.lake_day import lake_day_rows
from benchmarks.offline import offline_rows
from benchmarks.scoring import scoring_rows
from benchmarks.service import service_rows
from benchmarks.simulator import lines_over_row_by_row
from benchmarks.stores import store_rows
from benchmarks.training import training_rows
from benchmarks.windows import windows_over_sql

RESULTS = Path(__file__).parent / "results.json"
LIBRARIES = ("catboost", "numba", "numpy", "pyarrow", "pyspark", "deltalake", "duckdb", "lmdb", "redis", "pydantic")
Rows = list[dict[str, object]]
GROUPS: dict[str, Callable[[], Rows]] = {
    "features": feature_rows,
    "stores": store_rows,
    "decisions": lambda: [decision_over_bare_store(), decision_with_model()],
    "ensemble": ensemble_rows,
    "batch_scoring": batch_scoring_rows,
    "service": service_rows,
    "scoring": scoring_rows,
    "code_location": code_location_rows,
    "contracts": lambda: [parse_over_naive()],
    "imports": lambda: [import_over_plain_write()],
    "simulator": lambda: [lines_over_row_by_row()],
    "training": training_rows,
    "windows": windows_over_sql,
    "offline": offline_rows,
    "bronze": bronze_rows,
    "kafka_loops": kafka_rows,
    "lake_day": lake_day_rows,
}


def main(words: Sequence[str]) -> None:
    """Run the groups, print each one's table, write it into ``benchmarks/results.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure; all groups if none is named.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    asked = parser.parse_args(words).groups or list(GROUPS)
    if unknown := [name for name in asked if name not in GROUPS]:
        parser.error(f"no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    for name in asked:
        where = _where()
        rows = GROUPS[name]()
        _print(rows)
        held = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**held, name: {**where, "results": rows}}, indent=2) + "\n")


def _where() -> dict[str, object]:
    """What a reader of figures asks: when, which commit, which machine, what else it did."""
    described = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(described, capture_output=True, text=True, cwd=RESULTS.parent)  # noqa: S603 - our own words
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": found.stdout.strip() or "unknown",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def _print(rows: Rows) -> None:
    for row in rows:
        sys.stdout.write(
            f"{row['name']:76} ours {row['ours_us']:8.1f} us   reference {row['reference_us']:8.1f} us   "
            f"ratio {row['ratio']:.2f}" + (f"   p99 {row['ours_p99_us']:.1f} us" if "ours_p99_us" in row else "") + "\n"
        )
        if "ours_seconds" in row:
            sys.stdout.write(
                f"{'':76} ours {row['ours_seconds']:.1f} s, {row['ours_rows_per_second']:,.0f} rows/s   "
                f"reference {row['reference_seconds']:.1f} s, {row['reference_rows_per_second']:,.0f} rows/s\n"
            )
        if "note" in row:
            sys.stdout.write(f"{'':76} {row['note']}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
