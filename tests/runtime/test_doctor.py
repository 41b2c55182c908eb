import os
import time
from pathlib import Path

import pytest

from sentinela.runtime import doctor
from sentinela.runtime.home import Home


@pytest.mark.parametrize(
    ("found", "verdict"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 13, 9), "ok"), ((3, 14, 0), "fail")]
)
def test_python_is_judged_by_what_the_packages_support(found: tuple[int, ...], verdict: str) -> None:
    assert doctor.python(found).verdict == verdict


def test_a_clock_behind_the_files_of_the_checkout_fails(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    now = time.time()
    assert doctor.clock(now, tmp_path).verdict != "fail"
    os.utime(tmp_path / "pyproject.toml", (now, now + 86400))
    assert doctor.clock(now, tmp_path).verdict == "fail"


def test_a_package_of_another_version_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("dagster==0.0.1 \\\n    --hash=sha256:00\n")
    finding = doctor.packages(lock)
    assert finding.verdict == "fail"
    assert "instead of 0.0.1" in finding.found


def test_missing_jars_name_the_next_step(tmp_path: Path) -> None:
    assert {finding.next_step for finding in doctor.jars(tmp_path)} == {"run `make setup`"}


@pytest.mark.parametrize(
    ("available", "running", "verdict"),
    [(7 * doctor.GIB, False, "ok"), (doctor.GIB, False, "fail"), (doctor.GIB, True, "ok")],
)
def test_memory_that_this_instance_took_is_not_missing(available: int, running: bool, verdict: str) -> None:
    assert doctor.memory(available, running=running).verdict == verdict


def test_every_bad_finding_has_a_next_step(runtime_home: Home) -> None:
    for finding in [
        doctor.disk(runtime_home),
        doctor.layout(runtime_home),
        *doctor.held_locks(runtime_home),
        *doctor.java(),
    ]:
        assert finding.verdict == "ok" or finding.next_step
