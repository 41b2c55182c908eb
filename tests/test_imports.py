"""Imports point one way, and what must start fast stays light."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
HEAVY = ("pyspark", "mlflow", "evidently", "great_expectations", "catboost")


def run(code: str, folder: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)


def test_the_definitions_import_nothing_heavy_and_quickly() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import fraud_assets.definitions; "
        f"print([n for n in {HEAVY} if n in sys.modules], time.perf_counter() - start)"
    )
    finished = run(code)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("[] "), finished.stdout


@pytest.mark.parametrize(
    "module", ["serving.pipeline", "serving.http", "fraud_streaming.scoring", "fraud_streaming.labels"]
)
def test_the_online_path_loads_neither_spark_nor_dagster(module: str) -> None:
    finished = run(f"import sys, {module}; print([n for n in ('pyspark', 'dagster') if n in sys.modules])")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "[]"


def test_an_import_in_the_wrong_direction_is_found(tmp_path: Path) -> None:
    """The planted fault: pix imports from serving."""
    import shutil

    for package in ("pix", "quality", "learning", "serving", "fraud_streaming", "fraud_assets", "sentinela"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    linter = (
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports; "
        "sys.exit(lint_imports(no_cache=True))"
    )
    clean = run(linter, tmp_path)
    assert clean.returncode == 0, clean.stdout
    (tmp_path / "pix" / "wrong_way.py").write_text("import serving.policy\n")
    planted = run(linter, tmp_path)
    assert planted.returncode == 1
    assert "pix.wrong_way -> serving.policy" in planted.stdout
