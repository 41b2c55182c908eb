"""`sentinela policy` as a person types it; nothing runs."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pix.tokens import ensure_keys
from sentinela.cli import build
from sentinela.errors import SentinelaError

POLICY = (Path(__file__).parents[2] / "config" / "policy.yaml").read_text()
CLEAR = "12345678-0001-77"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@dataclass(frozen=True)
class Told:
    """What the caller of a command gets."""

    returncode: int
    stdout: str
    stderr: str


def run(environment: dict[str, str], *words: str, given: str = "") -> Told:
    """In this process, which is ten times as quick; tests/runtime/test_cli.py starts real ones."""
    done = CliRunner().invoke(build(), ["policy", *words], input=given, env=environment)
    if isinstance(done.exception, SentinelaError):
        return Told(done.exception.exit_code, done.stdout, f"{done.stderr}{done.exception}")
    return Told(done.exit_code, done.stdout, done.stderr)


def test_a_wrong_file_is_told_by_line_and_exits_2(environment: dict[str, str], file: Path) -> None:
    right = run(environment, "check", str(file))
    assert (right.returncode, right.stderr) == (0, "")
    assert "is right: version" in right.stdout
    lines = POLICY.splitlines()
    place = next(number for number, line in enumerate(lines) if "device_age_days" in line)
    lines[place] = lines[place].replace("device_age_days", "device_age_dais")
    file.write_text("\n".join(lines))
    wrong = run(environment, "check", str(file), "--json")
    assert wrong.returncode == 2
    (mistake,) = json.loads(wrong.stdout)["mistakes"]
    assert (mistake["line"], mistake["place"]) == (place + 1, "rules.large_amount_from_a_new_device.when")
    assert f"line {place + 1}: " in wrong.stderr
    assert run(environment, "check", str(file.parent / "none.yaml")).returncode == 2


def test_a_value_is_put_on_a_list_and_the_difference_is_told(
    environment: dict[str, str], file: Path, tmp_path: Path
) -> None:
    ensure_keys(tmp_path / "home" / "secrets")
    old = tmp_path / "old.yaml"
    old.write_text(POLICY)
    entry = [
        "--kind",
        "account",
        "--until",
        "2099-01-01T00:00:00-03:00",
        "--author",
        "ana",
        "--reason",
        "two MED cases",
    ]
    words = ["list", "add", "block", *entry, "--file", str(file)]
    refused = run(environment, *words, given=CLEAR)
    assert refused.returncode == 2
    assert "--side" in refused.stderr
    done = run(environment, *words, "--side", "payee", given=f"{CLEAR}\n")
    assert done.returncode == 0, done.stderr
    assert CLEAR not in file.read_text() + done.stdout + done.stderr
    (listed,) = json.loads(run(environment, "list", "show", "block", "--file", str(file), "--json").stdout)
    assert (listed["counts"], listed["kind"], listed["side"], listed["author"]) == (True, "account", "payee", "ana")
    told = run(environment, "diff", str(old), str(file))
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"+ lists.block: kind account, side payee, token {listed['token']}")
    assert len(told.stdout.splitlines()) == 1


def test_what_was_never_used_or_decided_is_told(environment: dict[str, str], file: Path) -> None:
    unknown = run(environment, "diff", "0123456789abcdef", str(file))
    assert unknown.returncode == 2
    assert "no policy of this version" in unknown.stderr
    nothing = run(environment, "dry-run", str(file), "--since", "7d")
    assert nothing.returncode == 1
    assert "refresh_lake_job" in nothing.stderr
    assert run(environment, "dry-run", str(file), "--since", "yesterday").returncode == 2
