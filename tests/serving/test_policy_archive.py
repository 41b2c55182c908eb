"""Every version of a policy stands in the lake, once, under the hash of its bytes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from serving.policy_archive import TABLE, NotKept, find, keep, version_of


def test_versions_are_kept_once_and_found_by_their_hash(tmp_path: Path) -> None:
    texts = [f"thresholds: {number} # ação\n" for number in range(3)]
    with ThreadPoolExecutor(6) as workers:
        # As several workers do when they start with the same new file.
        list(workers.map(lambda text: keep(str(tmp_path), text, 7), texts * 4))
    assert [find(str(tmp_path), version_of(text)) for text in texts] == texts
    assert find(str(tmp_path), "0" * 16) is None
    for text in texts:
        keep(str(tmp_path), text, 8)
    kept = pa.table(DeltaTable(tmp_path / TABLE).scan())
    assert set(kept["first_loaded_at_ms"].to_pylist()) == {7}


def test_nobody_takes_a_version_away(tmp_path: Path) -> None:
    keep(str(tmp_path), "a", 7)
    with pytest.raises(DeltaError):
        DeltaTable(tmp_path / TABLE).delete()


def test_other_bytes_under_a_version_are_told(tmp_path: Path) -> None:
    keep(str(tmp_path), "a", 7)
    forged = pa.table({"version": ["0" * 16], "text": ["b"], "first_loaded_at_ms": pa.array([7], pa.int64())})
    write_deltalake(tmp_path / TABLE, forged, mode="append")
    with pytest.raises(NotKept, match="other bytes"):
        find(str(tmp_path), "0" * 16)


def test_a_lake_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "silver").write_text("a file where the folder should be")
    with pytest.raises(NotKept, match="cannot be kept"):
        keep(str(tmp_path), "a", 7)
