"""The inbox: copies of what waits to be imported, a folder each, gone once the import is committed.

``<inbox>/<history>/<first places of the file's SHA-256>/`` holds the payments, perhaps the labels, perhaps the
mapping, under our own names. A deposit appears whole or not at all. Its files are clear: the folder is its
owner's alone, and ``discard`` deletes what was taken in, because the sender has the original.

NothingToImport     a file, a folder or a member is not there, or is not what it should be
"""

import gzip
import json
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO

from pix.offline.mapping import Mapping, TableSource, from_content
from pix.offline.names import usable

PAYMENTS, LABELS, MAPPING = "payments", "labels", "mapping.json"
FORMATS = (".jsonl", ".csv", ".parquet")
PARTIAL = ".partial-"
PROGRESS = "progress"
CHUNK_BYTES = 1 << 20
TAR, ZIP = (".tgz", ".tar.gz", ".tar"), (".zip",)


class NothingToImport(Exception):
    """A file, a folder or a member is not there, or is not what it should be."""


@dataclass(frozen=True, slots=True)
class Deposit:
    """What waits to be imported.

    Attributes:
        history: Name of the history.
        folder: Its folder in the inbox.
        payments: The payments' file.
        labels: The labels' file, if they have one of their own.
        mapping: How columns become fields; None for JSON lines.
    """

    history: str
    folder: Path
    payments: Path
    labels: Path | None
    mapping: Mapping | None

    @property
    def progress(self) -> Path:
        """Folder for notes of what is done."""
        return self.folder / PROGRESS

    def discard(self) -> None:
        """Delete the copies."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()


def waiting(inbox: Path) -> list[Deposit]:
    """What lies in the inbox, by history and name; the inbox need not exist.

    Raises:
        UnusableName: A folder's name cannot name a history.
        MappingProblem: A mapping in it is wrong.
    """
    folders = sorted(inbox.glob("*/*")) if inbox.is_dir() else []
    return [_opened(folder) for folder in folders if not folder.name.startswith(".") and _file(folder, PAYMENTS)]


def _opened(folder: Path) -> Deposit:
    payments, mapping = _file(folder, PAYMENTS), folder / MAPPING
    if payments is None:
        raise NothingToImport(f"{folder} holds no payments")
    chosen = from_content(json.loads(mapping.read_text())) if mapping.exists() else None
    return Deposit(usable(folder.parent.name), folder, payments, _file(folder, LABELS), chosen)


def _file(folder: Path, stem: str) -> Path | None:
    return next((path for suffix in FORMATS if (path := folder / f"{stem}{suffix}").is_file()), None)


def deposit(inbox: Path, source: Path, history: str, mapping: Mapping | None) -> Deposit:
    """Copy what is to be imported into the inbox.

    Args:
        inbox: The home's inbox.
        source: A folder as ``simulate`` writes it, or with a mapping a file or archive.
        history: Name of the history.
        mapping: How columns become fields.

    Raises:
        UnusableName: The history cannot have that name.
        NothingToImport: Something is not there.
    """
    parent = inbox / usable(history)
    parent.mkdir(parents=True, exist_ok=True)
    inbox.chmod(0o700)
    _sweep(parent)
    partial = parent / f"{PARTIAL}{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        digest = _copy_folder(source, partial) if mapping is None else _copy_tables(source, partial, mapping)
        (partial / PROGRESS).mkdir()
        folder = parent / digest[:16]
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if not any(parent.iterdir()):
            parent.rmdir()
    return _opened(folder)


def _sweep(parent: Path) -> None:
    """Delete what a killed process left half copied."""
    for partial in parent.glob(f"{PARTIAL}*"):
        try:
            os.kill(int(partial.name.removeprefix(PARTIAL)), 0)
        except ProcessLookupError:
            shutil.rmtree(partial, ignore_errors=True)
        except PermissionError:
            continue


def _copy_folder(source: Path, target: Path) -> str:
    if not (source / f"{PAYMENTS}.jsonl").is_file():
        raise NothingToImport(
            f"{source} holds no {PAYMENTS}.jsonl; `sentinela simulate --out DIR` writes such a folder, and any other "
            "file needs a --mapping (see docs/import.md)"
        )
    labels = source / f"{LABELS}.jsonl"
    if labels.is_file():
        with labels.open("rb") as file:
            _copy(file, target / labels.name)
    with (source / f"{PAYMENTS}.jsonl").open("rb") as file:
        return _copy(file, target / f"{PAYMENTS}.jsonl")


def _copy_tables(source: Path, target: Path, mapping: Mapping) -> str:
    (target / MAPPING).write_text(json.dumps(mapping.canonical(), sort_keys=True))
    if mapping.labels is not None and mapping.labels.is_apart:
        beside = source if mapping.labels.file is None else source.parent / mapping.labels.file
        _copy_table(beside, target, LABELS, mapping.labels, "labels")
    return _copy_table(source, target, PAYMENTS, mapping.payments, "payments")


def _copy_table(source: Path, target: Path, stem: str, table: TableSource, path: str) -> str:
    with opened(source, table, path) as (name, file):
        return _copy(file, target / f"{stem}.{format_of(name, table, path)}")


def format_of(name: str, table: TableSource, path: str) -> str:
    """Whether a table is csv or parquet.

    Raises:
        NothingToImport: The name does not tell, and neither does the mapping.
    """
    told = table.format or Path(name).suffix.lower().removeprefix(".")
    if told not in ("csv", "parquet"):
        raise NothingToImport(f"{name} ends neither in .csv nor in .parquet; say which it is in {path}.format")
    return told


@contextmanager
def opened(source: Path, table: TableSource, path: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and bytes of a table: a file, or a member of an archive, which is never extracted by its path.

    Raises:
        NothingToImport: It is not there, or no ordinary file.
    """
    if not source.is_file():
        raise NothingToImport(f"there is no file {source}")
    try:
        with _opened_table(source, table, path) as found:
            yield found
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise NothingToImport(f"{source} cannot be unpacked: {error}") from None


@contextmanager
def _opened_table(source: Path, table: TableSource, path: str) -> Iterator[tuple[str, IO[bytes]]]:
    if source.name.lower().endswith(TAR):
        with tarfile.open(source) as archive:
            found = _member([each.name for each in archive if each.isfile()], source, table, path)
            stream = archive.extractfile(found)
            if stream is None:
                raise NothingToImport(f"{found} in {source} is no ordinary file")
            with stream:
                yield found, stream
    elif source.name.lower().endswith(ZIP):
        with zipfile.ZipFile(source) as archive:
            found = _member([each for each in archive.namelist() if not each.endswith("/")], source, table, path)
            with archive.open(found) as stream:
                yield found, stream
    elif table.member is not None:
        raise NothingToImport(f"{source} is no .tgz, .tar.gz or .zip, but {path}.member names {table.member!r} in one")
    else:
        with source.open("rb") as stream:
            yield source.name, stream


def _member(names: list[str], source: Path, table: TableSource, path: str) -> str:
    shown = ", ".join(sorted(names)[:20])
    if table.member is None:
        raise NothingToImport(f"{source} is an archive: name the member in {path}.member; it holds {shown}")
    found = [name for name in names if name == table.member or name.endswith(f"/{table.member}")]
    if len(found) != 1:
        many = "no member" if not found else f"{len(found)} members"
        raise NothingToImport(f"{source} has {many} {table.member!r} ({path}.member); it holds {shown}")
    return found[0]


def _copy(file: IO[bytes], target: Path) -> str:
    digest = sha256()
    read: Callable[[], bytes] = lambda: file.read(CHUNK_BYTES)  # noqa: E731
    with target.open("wb") as copy:
        for chunk in iter(read, b""):
            digest.update(chunk)
            copy.write(chunk)
    return digest.hexdigest()
