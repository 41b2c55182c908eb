"""`sentinela import` on a home where nothing ever ran: no service, one process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CLI = [sys.executable, "-c", "from sentinela.cli import main; main()"]
MAPPING = """
payments:
  fields:
    end_to_end_id: {derived: true, ispb: "99999999"}
    initiated_at: {column: when, unit: iso}
    amount_cents: {column: value, unit: reais}
    payer_account: {column: from, template: "99999999-{}", hashed: true}
    payee_account: {column: to, template: "99999999-{}", hashed: true}
labels: {per: payment, column: bad, values: {"1": fraud, "0": legitimate}, reporting_delay_days: 7}
"""
PERSON = "Ana Quirina"
"""Long enough that no token holds it by chance."""
ROWS = f"""when,from,to,value,bad
2026-01-01T10:00:00Z,{PERSON},Bob,10.00,0
2026-01-01T11:00:00Z,{PERSON},{PERSON},10.00,0
2026-01-01T12:00:00Z,Bob,{PERSON},12.50,1
"""


@pytest.fixture
def command(tmp_path):
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("SENTINELA_", "DAGSTER_"))}
    environment = {**plain, "SENTINELA_HOME": str(tmp_path / "home")}
    (tmp_path / "bank.csv").write_text(ROWS)
    (tmp_path / "bank.yaml").write_text(MAPPING)

    def run(*words: str, mapping: str = "bank.yaml") -> "subprocess.CompletedProcess[str]":
        everything = [*CLI, "import", str(tmp_path / "bank.csv"), "--mapping", str(tmp_path / mapping), *words]
        return subprocess.run(
            everything, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=250
        )

    return run


def test_a_file_is_imported_once_without_a_runtime(command, tmp_path):
    done = command("--history", "bank", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["is_new"], told["counts"]) == (True, {"payments": 2, "labels": 1, "refused": 1, "repeated": 0})
    assert told["reasons"] == [["invalid_fields (payee_account: must differ from payer_account)", 1, 3]]
    assert not [path for path in (tmp_path / "home" / "inbox").rglob("*") if path.is_file()]
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and PERSON.encode() in path.read_bytes()]
    assert left == []
    versions = sorted(str(path) for path in (tmp_path / "home" / "lake").rglob("*.json"))
    again = command("--history", "bank")
    assert (again.returncode, "imported before, nothing changed" in again.stdout) == (0, True), again.stderr
    assert sorted(str(path) for path in (tmp_path / "home" / "lake").rglob("*.json")) == versions
    (tmp_path / "other.yaml").write_text(MAPPING.replace("days: 7", "days: 8"))
    other = command("--history", "bank", mapping="other.yaml")
    assert (other.returncode, "by another mapping" in other.stderr) == (2, True)


def test_mistakes_are_told_and_nothing_is_made(command, tmp_path):
    (tmp_path / "wrong.yaml").write_text(MAPPING.replace("unit: reais", "unit: euros").replace("bad,", "worse,"))
    done = command("--history", "bank", mapping="wrong.yaml")
    assert done.returncode == 2
    assert "payments.fields.amount_cents.unit: 'euros' is not one of reais, centavos" in done.stderr
    (tmp_path / "wrong.yaml").write_text(MAPPING.replace("column: bad", "column: worse"))
    done = command("--history", "bank", mapping="wrong.yaml")
    assert (done.returncode, "labels.column: the table has no column 'worse'" in done.stderr) == (2, True)
    done = command("--history", "Bank 1")
    assert (done.returncode, "'Bank 1' cannot name a history" in done.stderr) == (2, True)
    assert not (tmp_path / "home" / "lake").exists()
    assert not list((tmp_path / "home" / "inbox").rglob("*"))


def test_a_dry_run_shows_rows_and_makes_no_home(command, tmp_path):
    done = command("--history", "bank", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "of the first 3 rows 2 would be taken, 1 refused" in done.stdout
    assert "row 3: payee_account: must differ from payer_account" in done.stdout
    assert "labels there: fraud 1, legitimate 2" in done.stdout
    assert PERSON not in done.stdout
    assert not (tmp_path / "home").exists()
