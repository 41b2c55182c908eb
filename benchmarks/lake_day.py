"""A night of the lake: silver, gold and features of one day of payments, with all checks, as the nightly job does it.

``python -m benchmarks lake_day``. Bronze gets a small day, the job runs, bronze gets the day, its small files are put
together, the job runs again in a fresh process and is measured from its start to its end; then the same with a day
twice as large. What putting the files together takes is told apart.
``SENTINELA_BENCH_LAKE_PAYMENTS`` says how many payments, ``SENTINELA_BENCH_LAKE_TRIGGER`` of how many seconds a file of
bronze holds the messages.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.day_bronze import into_bronze
from benchmarks.day_messages import BEFORE_MS, POLICY, Office, cache, decided
from fraud_assets.automation import FEATURES, LAKE
from fraud_assets.lake import LakeResource
from fraud_streaming import bronze_tables
from pix import topics
from pix.offline.tables import DAILY_KPIS, DECISIONS_GOLD, DECISIONS_SILVER, PAYMENT_FEATURES, PAYMENTS_SILVER
from pix.settings import Settings
from serving.policy_archive import keep

PAYMENTS = int(os.environ.get("SENTINELA_BENCH_LAKE_PAYMENTS", "1000000"))
TRIGGER_SECONDS = float(os.environ.get("SENTINELA_BENCH_LAKE_TRIGGER", "2"))
TARGET_SECONDS, TARGET_RATIO = 300.0, 2.1
HOURS_A_DAY = 24
FILE_BYTES = 128 << 20
SHOWN = 12
STEPS = frozenset({*(name.replace("/", "__") for name in (*LAKE, *FEATURES)), "offline_features"})
"""Names of the steps that are assets."""


@dataclass(frozen=True, slots=True)
class Night:
    """What a run of the job took.

    Attributes:
        seconds: From the start of its process to its end.
        told: What ``benchmarks.lake_day_job`` says.
        messages: Messages of the day, by topic.
        files: Files of bronze before they were put together, and seconds that this took.
    """

    seconds: float
    told: dict[str, Any]
    messages: dict[str, int]
    files: tuple[int, float]

    def seconds_of(self, *, checks: bool) -> float:
        """Of all checks, or of all assets."""
        return sum(step["seconds"] for step in self.told["steps"] if is_check(step["step"]) == checks)

    def shown(self) -> str:
        """The longest steps."""
        steps = sorted(self.told["steps"], key=lambda step: -step["seconds"])[:SHOWN]
        return ", ".join(f"{each['step']} {each['seconds']:.1f} ({each['cpu_seconds']:.1f})" for each in steps)


def is_check(step: str) -> bool:
    """Whether a step is a check; the others are assets."""
    return step not in STEPS


def lake_day_rows() -> list[dict[str, object]]:
    """Every measurement of this file."""
    one, two = night(PAYMENTS, 2), night(2 * PAYMENTS, 4)
    row = _row(f"lake: silver, gold and features of a day of {PAYMENTS:,} payments / 5 min", one, TARGET_SECONDS)
    doubled = _row(f"lake: the same with {2 * PAYMENTS:,} / with {PAYMENTS:,}, target {TARGET_RATIO}", two, one.seconds)
    return [row, doubled]


def _row(name: str, found: Night, reference_seconds: float) -> dict[str, object]:
    told, count = found.told, found.messages[topics.DECISIONS]
    checks = told["checks"]
    return {
        "name": name,
        "ours_us": found.seconds / count * 1e6,
        "reference_us": reference_seconds / count * 1e6,
        "ratio": found.seconds / reference_seconds,
        "ours_seconds": found.seconds,
        "reference_seconds": reference_seconds,
        "ours_rows_per_second": count / found.seconds,
        "reference_rows_per_second": count / reference_seconds,
        "steps": told["steps"],
        "messages": found.messages,
        "note": f"{found.seconds:.0f} s, {told['cpu_seconds']:.0f} CPU-s, peak {told['peak_mb']:,.0f} MB; assets "
        f"{found.seconds_of(checks=False):.0f} s, {checks['evaluated']} checks {found.seconds_of(checks=True):.0f} s; "
        f"{checks['compared']:,} vectors equal those logged; before it {found.files[0]:,} files of bronze were put "
        f"together in {found.files[1]:.0f} s; seconds (CPU) of the longest: {found.shown()}",
    }


def night(payments: int, tenants: int) -> Night:
    """One home, one small day, one day of so many payments; nothing is measured if the outputs are not whole."""
    folders = decided(payments, tenants)
    with tempfile.TemporaryDirectory(dir=cache()) as name:
        home, office = Path(name) / "home", Office(cache() / "office")
        shutil.copytree(office.settings.secrets, home / "secrets")
        settings = Settings(home=home)
        bronze_tables.create_tables(settings.lake)
        keep(settings.lake, POLICY.read_text(), BEFORE_MS)
        _bronze(settings.lake, folders, range(HOURS_A_DAY))
        _together(settings.lake)
        _run(home, office)
        counts = _bronze(settings.lake, folders, range(HOURS_A_DAY, 2 * HOURS_A_DAY))
        files = _together(settings.lake)
        start = time.perf_counter()
        told = _run(home, office)
        found = Night(time.perf_counter() - start, told, counts, files)
        _require(settings, found)
        return found


def _bronze(lake: str, folders: list[Path], hours: range) -> dict[str, int]:
    counts: dict[str, int] = dict.fromkeys(topics.ALL, 0)
    for hour in hours:
        files = [file for folder in folders if (file := folder / f"{hour:02}.parquet").exists()]
        for topic, count in (into_bronze(lake, files, TRIGGER_SECONDS) if files else {}).items():
            counts[topic] += count
    return counts


def _together(lake: str) -> tuple[int, float]:
    """Put the small files of bronze together; how many there were, and how long it took, seconds."""
    start, files = time.perf_counter(), 0
    for topic in (topics.DECISIONS, topics.LABELS, topics.FOLDS):
        table = bronze_tables.open_table(bronze_tables.table_path(lake, topic))
        files += len(table.file_uris())
        table.optimize.compact(target_size=FILE_BYTES)
    return files, time.perf_counter() - start


def _run(home: Path, office: Office) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.lake_day_job", str(home), office.settings.mlflow]
    with (home / "job.log").open("w") as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, check=False)  # noqa: S603 - our own words
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    if not told.get("success"):
        raise SystemExit(f"{told.get('errors') or (home / 'job.log').read_text()[-2000:]}; nothing is measured")
    return told


def _require(settings: Settings, found: Night) -> None:
    """Every message is in every table once, with the same amounts, and every vector equals the logged one."""
    lake = LakeResource.of(settings)
    whole = "select count(*) as n, cast(sum(amount_cents) as bigint) as cents from asked"
    sums = [lake.ask(table.name, whole)[0] for table in (DECISIONS_SILVER, PAYMENTS_SILVER, DECISIONS_GOLD)]
    by_day = "select cast(sum(payments) as bigint) as n, cast(sum(amount_cents) as bigint) as cents from asked"
    sums += lake.ask(DAILY_KPIS.name, by_day)
    rows = lake.ask(topics.bronze_table(topics.DECISIONS), "select count(*) as n from asked")[0]["n"]
    vectors = lake.rows(PAYMENT_FEATURES.name)
    if any(each != sums[0] for each in sums) or {sums[0]["n"], vectors, found.told["checks"]["compared"]} != {rows}:
        raise SystemExit(f"{rows} records, {vectors} vectors, {sums}, {found.told['checks']}; nothing is measured")
