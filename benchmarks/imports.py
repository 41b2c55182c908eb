"""Importing a large file by a mapping, against a plain Spark CSV → Delta write of the same file in the same run.

Both sides read the same CSV with a warm Spark session on two cores. Ours does what an import does: copy into the
inbox, index, parse by the strict contract, tokenise, look for repetitions, label, quarantine, write four tables.
"""

import os
import random
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fraud_assets.imports import import_one
from fraud_assets.lake import LakeResource
from fraud_assets.resources import HomeResource
from pix.clock import epoch_ms
from pix.offline import history, inbox, mapping
from pix.offline.session import end_session, use_this_python
from pix.offline.tables import HISTORY_LABELS, HISTORY_PAYMENTS, HISTORY_REFUSED
from pix.settings import Settings
from pix.tokens import ensure_keys

ROWS = int(os.environ.get("SENTINELA_BENCH_IMPORT_ROWS", "2000000"))
WARM_ROWS = 20_000
ACCOUNTS = 100_000
BAD_EVERY, FRAUD_EVERY = 1_000, 200
START = datetime(2025, 1, 1, tzinfo=UTC)
CHUNK = 50_000
MAPPING = """
payments:
  fields:
    end_to_end_id: {derived: true, ispb: "99999999"}
    initiated_at: {column: when, unit: iso}
    amount_cents: {column: amount, unit: reais}
    payer_account: {column: from, template: "99999999-{}", hashed: true}
    payee_account: {column: to, template: "99999999-{}", hashed: true}
    initiation: {column: kind, values: {key: DICT, code: QRDN, manual: MANU}}
    device_id: device
labels:
  per: payment
  column: fraud
  values: {"1": fraud, "0": legitimate}
  reporting_delay_days: 14
"""


def write_csv(path: Path, rows: int) -> None:
    """A file of ``rows`` payments; every thousandth pays nothing, every two-hundredth is a fraud."""
    draw = random.Random(7)  # noqa: S311
    step = timedelta(days=90) / rows
    with path.open("w") as file:
        file.write("when,from,to,amount,kind,device,fraud\n")
        for start in range(0, rows, CHUNK):
            lines = []
            for number in range(start, min(start + CHUNK, rows)):
                payer = draw.randrange(ACCOUNTS)
                payee = (payer + draw.randrange(1, ACCOUNTS)) % ACCOUNTS
                cents = 0 if number % BAD_EVERY == 0 else draw.randrange(1, 500_000)
                when = (START + step * number).isoformat(timespec="milliseconds")
                kind = ("key", "code", "manual")[number % 3]
                is_fraud = int(number % FRAUD_EVERY == 1)
                lines.append(
                    f"{when},C{payer},C{payee},{cents // 100}.{cents % 100:02d},{kind},device-{payer},{is_fraud}\n"
                )
            file.writelines(lines)


def import_over_plain_write(rows: int = ROWS) -> dict[str, object]:
    """Seconds and rows a second of both sides, and their ratio."""
    use_this_python()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home", lake_root="", spark_master="local[2]")
        ensure_keys(settings.secrets)
        lake, home = LakeResource.of(settings), HomeResource.of(settings)
        try:
            for name, count in (("warm", WARM_ROWS), ("large", rows)):
                write_csv(Path(folder) / f"{name}.csv", count)
            _ours(lake, home, Path(folder) / "warm.csv", "warm")
            _plain(lake, Path(folder) / "warm.csv", f"{folder}/plain-warm")
            plain = _plain(lake, Path(folder) / "large.csv", f"{folder}/plain")
            ours = _ours(lake, home, Path(folder) / "large.csv", "bench")
            _require_counts(lake, rows, f"{folder}/plain")
        finally:
            end_session(lake.spark)
    return {
        "name": f"import {rows:,} rows of CSV: mapped import / plain Spark CSV to Delta",
        "ours_us": ours / rows * 1e6,
        "reference_us": plain / rows * 1e6,
        "ratio": ours / plain,
        "ours_seconds": ours,
        "reference_seconds": plain,
        "ours_rows_per_second": rows / ours,
        "reference_rows_per_second": rows / plain,
    }


def _ours(lake: LakeResource, home: HomeResource, file: Path, name: str) -> float:
    start = time.perf_counter()
    deposit = inbox.deposit(home.inbox, file, name, mapping.parse(MAPPING))
    import_one(lake, home, deposit, history.files_of(deposit), now_ms=epoch_ms())
    deposit.discard()
    return time.perf_counter() - start


def _plain(lake: LakeResource, file: Path, table: str) -> float:
    start = time.perf_counter()
    lake.spark.read.csv(str(file), header=True).write.format("delta").save(table)
    return time.perf_counter() - start


def _require_counts(lake: LakeResource, rows: int, plain: str) -> None:
    bad = len(range(0, rows, BAD_EVERY))
    expected = {
        HISTORY_PAYMENTS.name: rows - bad,
        HISTORY_REFUSED.name: bad,
        HISTORY_LABELS.name: len(range(1, rows, FRAUD_EVERY)),
    }
    found = {name: lake.read(name).where("history = 'bench'").count() for name in expected}
    written = lake.spark.read.format("delta").load(plain).count()
    if found != expected or written != rows:
        raise SystemExit(f"counts differ, nothing is measured: {found}, plain {written}; expected {expected}")
