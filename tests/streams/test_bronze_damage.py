"""Torn files under bronze: each is refused by name, and the runbook's commands restore every row."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from fraud_streaming import bronze_checkpoint, bronze_tables
from fraud_streaming.bronze_errors import CheckpointDamaged, TableDamaged
from fraud_streaming.bronze_rows import ARROW_SCHEMA
from pix import topics as names
from pix.tokens import Keyring
from tests.conftest import REPOSITORY
from tests.streams.running_bronze import Running, newest_file, offsets
from tests.streams.support import produce

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

COMMITS = 30
Damage = Callable[[Path], Path]


def cut(path: Path, share: float = 0.5) -> Path:
    os.truncate(path, int(path.stat().st_size * share))
    return path


def newest(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda path: path.name)


def cut_commit(table: Path) -> Path:
    return cut(newest(table, "_delta_log/*.json"))


def empty_commit(table: Path) -> Path:
    return cut(newest(table, "_delta_log/*.json"), 0)


def commit_without_its_last_lines(table: Path) -> Path:
    commit = newest(table, "_delta_log/*.json")
    commit.write_text(commit.read_text().splitlines(keepends=True)[0])
    return commit


def lost_commit(table: Path) -> Path:
    commit = table / "_delta_log" / f"{COMMITS - 2:020}.json"
    commit.unlink()
    return commit


def cut_delta_checkpoint(table: Path) -> Path:
    return cut(newest(table, "_delta_log/*.checkpoint.parquet"))


def cut_last_checkpoint(table: Path) -> Path:
    return cut(table / "_delta_log" / "_last_checkpoint")


def some_data(table: Path) -> Path:
    """A file of the table: one that no commit names, as an undone commit leaves it, nobody would miss."""
    return table / max(DeltaTable(str(table)).file_uris()).rpartition("/")[2]


def lost_data(table: Path) -> Path:
    data = some_data(table)
    data.unlink()
    return data


def cut_data(table: Path) -> Path:
    return cut(some_data(table))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of some commits, with a checkpoint of Delta."""
    bronze_tables.create_tables(str(tmp_path))
    path = bronze_tables.table_path(str(tmp_path), names.FOLDS)
    for number in range(COMMITS):
        row = dict.fromkeys(ARROW_SCHEMA.names) | {"topic": names.FOLDS, "partition": 0, "offset": number}
        rows = pa.Table.from_pylist([{**row, "timestamp_ms": number, "ingested_at_ms": 5}], schema=ARROW_SCHEMA)
        bronze_tables.append(bronze_tables.open_table(path), rows, "test", number)
    assert list((Path(path) / "_delta_log").glob("*.checkpoint.parquet"))
    bronze_tables.check_table(path)
    return Path(path)


@pytest.mark.parametrize(
    "damage",
    [
        cut_commit,
        empty_commit,
        commit_without_its_last_lines,
        lost_commit,
        cut_delta_checkpoint,
        cut_last_checkpoint,
        lost_data,
        cut_data,
    ],
)
def test_a_damaged_file_is_refused_by_its_name(table: Path, damage: Damage) -> None:
    name = damage(table).name
    with pytest.raises(TableDamaged, match=re.escape(name)):
        bronze_tables.check_table(str(table))


@pytest.mark.parametrize("folder", ["offsets", "commits"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_cut_file_of_the_checkpoint_is_refused_by_its_name(tmp_path: Path, folder: str, share: float) -> None:
    (tmp_path / "metadata").write_text('{"id":"1"}')
    for name, content in (("offsets", 'v1\n{"conf":{}}\n{"pix.folds":{"0":1}}'), ("commits", 'v1\n{"nextBatch":0}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "7").write_text(content)
    bronze_checkpoint.check(tmp_path)
    cut(tmp_path / folder / "7", share)
    with pytest.raises(CheckpointDamaged, match=f"{folder}/7 is"):
        bronze_checkpoint.check(tmp_path)


def commands() -> list[str]:
    """The runbook's blocks: a commit, a data file, Delta's checkpoint, the query's checkpoint."""
    section = (
        (REPOSITORY / "docs" / "runbook.md").read_text().partition("## Bronze is damaged")[2].partition("\n## ")[0]
    )
    return re.findall(r"```bash\n(.*?)```", section, re.DOTALL)


@pytest.mark.timeout(180)
def test_the_runbook_restores_every_row(spark: "SparkSession", topics: str, tmp_path: Path, keyring: Keyring) -> None:
    lake, checkpoint = tmp_path / "lake", tmp_path / "streams" / "bronze"
    table = Path(bronze_tables.table_path(str(lake), names.FOLDS))

    def cut_new_delta_checkpoint(table: Path) -> Path:
        DeltaTable(str(table)).create_checkpoint()
        return cut_delta_checkpoint(table)

    def damaged_checkpoint(_: Path) -> Path:
        return cut(newest_file(checkpoint / "offsets"))

    sent = 0
    damages = [lambda _: None, cut_commit, lost_data, cut_new_delta_checkpoint, damaged_checkpoint]
    blocks = ["", *commands()]
    assert len(blocks) == len(damages)
    for number, (damage, block) in enumerate(zip(damages, blocks, strict=True)):
        damaged = damage(table)
        if damaged is not None:
            refused = Running(spark, topics, tmp_path, keyring)
            with pytest.raises((TableDamaged, CheckpointDamaged), match=re.escape(damaged.name)):
                refused.until(lambda: False)
            refused.end()
            given = {"TABLE": table, "FILE": damaged.name, "CHECKPOINT": checkpoint, "ASIDE": tmp_path / f"{number}"}
            environment = os.environ | {name: str(value) for name, value in given.items()}
            subprocess.run(["bash", "-euc", block], check=True, env=environment, cwd=REPOSITORY)
        restored = Running(spark, topics, tmp_path, keyring)
        for _ in range(2):
            produce(topics, names.FOLDS, [b"fold", b"fold"])
            sent += 2
            restored.until(lambda sent=sent: len(offsets(lake, names.FOLDS)) >= sent)  # type: ignore[misc]
        restored.end()
        assert offsets(lake, names.FOLDS) == [(part, offset) for part in (0, 1) for offset in range(sent // 2)]
