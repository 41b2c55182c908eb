"""The home: one folder with everything an instance keeps, and the layout it is kept in.

Nothing of an instance lives elsewhere, so two homes never meet. ``runtime.json`` holds the layout
version and what the last ``up`` was told and chose; ``pix.settings.Settings`` reads it back.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pix.settings import RUNTIME_FILE
from sentinela.errors import BadUse

LAYOUT_VERSION = 1
# From each older layout to the next one: a function that changes the folder in place.
MIGRATIONS: Mapping[int, Callable[[Path], None]] = {}


@dataclass(frozen=True, slots=True)
class Home:
    """Paths inside one ``SENTINELA_HOME``."""

    root: Path

    def __post_init__(self) -> None:
        if not self.root.is_absolute():
            raise BadUse(f"the home must be an absolute path, got {self.root}")

    @property
    def runtime_file(self) -> Path:
        """Layout version and recorded settings."""
        return self.root / RUNTIME_FILE

    @property
    def logs(self) -> Path:
        """Output of the supervised processes, one file each."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Who was started: one record per process."""
        return self.root / "run"

    @property
    def tmp(self) -> Path:
        """Scratch space of Java and Spark, emptied by ``down``."""
        return self.root / "tmp"

    @property
    def locks(self) -> Path:
        """Locks of the operating system."""
        return self.root / "locks"

    @property
    def secrets(self) -> Path:
        """Local keys."""
        return self.root / "secrets"

    def folder(self, name: str) -> Path:
        """The folder that one part keeps its state in."""
        return self.root / name

    def log(self, name: str) -> Path:
        """Where the output of process ``name`` goes."""
        return self.logs / f"{name}.log"


def prepare(home: Home) -> None:
    """Create what is missing and bring an older layout up to date.

    Raises:
        BadUse: the home has a layout that this version cannot use, or cannot be written.
    """
    try:
        home.root.mkdir(parents=True, exist_ok=True)
        migrate(home)
        for folder in (home.logs, home.run, home.tmp, home.locks):
            folder.mkdir(exist_ok=True)
        home.secrets.mkdir(mode=0o700, exist_ok=True)
        home.secrets.chmod(0o700)
        _ensure_local_key(home)
    except OSError as error:
        raise BadUse(f"cannot write the home {home.root}: {error}; set SENTINELA_HOME to another folder") from error


def _ensure_local_key(home: Home) -> None:
    from serving.keys import KeyFile, KeyFileError

    try:
        KeyFile(home.secrets).ensure_local(datetime.now(UTC))
    except KeyFileError as error:
        raise BadUse(str(error)) from error


def migrate(home: Home) -> None:
    """Refuse a layout this version cannot use; bring an older one up to date."""
    layout = read_layout(home)
    while layout < LAYOUT_VERSION:
        step = MIGRATIONS.get(layout)
        if step is None:
            raise BadUse(
                f"the home {home.root} has layout {layout}, this version has {LAYOUT_VERSION} and no way from "
                f"{layout}; move that folder away, or set SENTINELA_HOME to another one"
            )
        step(home.root)
        layout += 1
        write_runtime(home, settings=read_runtime(home).get("settings", {}), layout=layout)


def read_layout(home: Home) -> int:
    """Layout version of the home; a home never started has the newest.

    Raises:
        BadUse: ``runtime.json`` is unreadable, or of a newer version.
    """
    layout = read_runtime(home).get("layout_version", LAYOUT_VERSION if not home.runtime_file.exists() else 0)
    if not isinstance(layout, int) or isinstance(layout, bool):
        raise BadUse(f"layout_version is {layout!r} in {home.runtime_file}, not a number; move that folder away")
    if layout > LAYOUT_VERSION:
        raise BadUse(
            f"the home {home.root} has layout {layout} of a newer version; this one knows up to "
            f"{LAYOUT_VERSION}: renew the checkout, or set SENTINELA_HOME to another folder"
        )
    return layout


def read_runtime(home: Home) -> dict[str, Any]:
    """Content of ``runtime.json``; empty on a home never started."""
    try:
        content = json.loads(home.runtime_file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadUse(f"cannot read {home.runtime_file}: {error}; delete that file and run `sentinela up`") from error
    if not isinstance(content, dict):
        raise BadUse(f"{home.runtime_file} holds {content!r}, not an object; delete it and run `sentinela up`")
    return content


def write_runtime(home: Home, *, settings: Mapping[str, Any], layout: int = LAYOUT_VERSION) -> None:
    """Record what ``up`` was told and chose, for every later command on this home."""
    content = json.dumps({"layout_version": layout, "settings": dict(settings)}, indent=2, sort_keys=True)
    write_whole(home.runtime_file, content + "\n")


def write_whole(path: Path, content: str) -> None:
    """Replace a file so that no reader ever sees half of it; only the owner may read it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    beside.replace(path)
