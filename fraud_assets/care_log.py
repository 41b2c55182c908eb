"""A Delta table as its files: the log's commits and checkpoints, the data beside it. Clears a log, and nothing else.

Delta's own clean-up goes by age alone. Here what is still needed decides (``fraud_assets.care_needs``): notes stand in
commits, and a version is read from a checkpoint at or before it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote

import pyarrow as pa

from pix.offline.care import cut_at

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyarrow.fs import FileSystem

FOLDER = "_delta_log"
LAST_CHECKPOINT_SUM = f"{FOLDER}/._last_checkpoint.crc"


@dataclass(frozen=True, slots=True)
class Log:
    """A table's files.

    Attributes:
        files: Its folder.
        commits: Version -> when its commit was written, epoch milliseconds.
        checkpoints: Versions that have a checkpoint.
        data: Data file -> bytes.
    """

    files: "FileSystem"
    commits: Mapping[int, int]
    checkpoints: frozenset[int]
    data: Mapping[str, int]

    @classmethod
    def of(cls, address: str) -> Self:
        """Look at a table's folder."""
        from pyarrow.fs import FileSelector, FileType

        from fraud_streaming.bronze_tables import files_of

        files = files_of(address)
        commits, checkpoints = {}, set()
        for found in files.get_file_info(FileSelector(FOLDER)):
            version = found.base_name.split(".")[0]
            if not version.isdigit():
                continue
            if found.base_name == f"{version}.json":
                commits[int(version)] = found.mtime_ns // 1_000_000
            elif ".checkpoint" in found.base_name and found.base_name.endswith(".parquet"):
                checkpoints.add(int(version))
        there = files.get_file_info(FileSelector("", recursive=True))
        data = {
            found.path: found.size
            for found in there
            if found.type == FileType.File and found.path.endswith(".parquet") and not found.path.startswith(FOLDER)
        }
        return cls(files, commits, frozenset(checkpoints), data)

    @staticmethod
    def paths(table: "DeltaTable") -> list[str]:
        """Data files of a version, as ``data`` names them."""
        return [unquote(path) for path in pa.table(table.get_add_actions(flatten=True))["path"].to_pylist()]

    @property
    def bytes(self) -> int:
        """Of all data files."""
        return sum(self.data.values())

    def as_of(self, at_ms: int) -> int:
        """The version that a table had then, or the oldest one known."""
        then = [version for version, written_ms in self.commits.items() if written_ms <= at_ms]
        return max(then, default=min(self.commits, default=0))

    def oldest(self, newest: int) -> int:
        """The oldest version that the log still tells of, whether its files are there or not."""
        return 0 if 0 in self.commits else min(self.checkpoints, default=newest)

    def oldest_readable(self, newest: int) -> int:
        """The oldest version from which on every one has all its files, and is in the log."""
        first, version = self.oldest(newest), newest
        while version > first and version in self.commits and self._removed(version) <= self.data.keys():
            version -= 1
        return version

    def _removed(self, version: int) -> set[str]:
        with self.files.open_input_stream(f"{FOLDER}/{version:020}.json") as stream:
            actions = [json.loads(line) for line in stream.read().splitlines() if line.startswith(b'{"remove"')]
        return {unquote(action["remove"]["path"]) for action in actions}

    def cut(self, needed: int) -> int:
        """Delete commits and checkpoints that no version from ``needed`` on is read from; how many files went.

        What is newer is never touched, so writers and readers go on meanwhile.
        """
        from pyarrow.fs import FileSelector, FileType

        first = cut_at(self.checkpoints, needed)
        if first is None:
            return 0
        gone = 0
        # From the oldest on: a log that lacks something in the middle could not be read.
        listed = self.files.get_file_info(FileSelector(FOLDER))
        for found in sorted(listed, key=lambda found: found.base_name.lstrip(".")):
            # Hadoop keeps a hidden sum beside each file.
            version = found.base_name.lstrip(".").split(".")[0]
            if found.type == FileType.File and version.isdigit() and int(version) < first:
                self.files.delete_file(found.path)
                gone += 1
        return gone


def checkpoint(table: "DeltaTable", log: Log) -> bool:
    """Write a checkpoint of a table's newest version, unless it has one; whether one was written."""
    from pyarrow.fs import FileType

    if table.version() in log.checkpoints:
        return False
    table.create_checkpoint()
    # Spark would find that the file it wrote before differs from its sum.
    if log.files.get_file_info(LAST_CHECKPOINT_SUM).type == FileType.File:
        log.files.delete_file(LAST_CHECKPOINT_SUM)
    return True
