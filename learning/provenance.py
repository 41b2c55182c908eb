"""What code made a model: the commit, and the locked versions of what it stands on."""

import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from learning.signing import file_sha256

UNKNOWN = "unknown"
LOCK_FILE = "requirements.lock"
COMMIT = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Tags of a version.

    Attributes:
        git_commit: The commit, with ``-dirty`` behind it where files were changed since; or ``unknown``.
        lock_sha256: SHA-256 of the lock file; or ``unknown``.
    """

    git_commit: str
    lock_sha256: str

    def tags(self) -> dict[str, str]:
        """As they stand on the version."""
        return asdict(self)


def provenance(root: Path) -> Provenance:
    """Of the code in a folder.

    Args:
        root: The project. Installed as a package it has neither history nor lock.
    """
    lock = root / LOCK_FILE
    return Provenance(_commit(root), file_sha256(lock) if lock.is_file() else UNKNOWN)


def _commit(root: Path) -> str:
    git = shutil.which("git")
    # Without this a package in somebody's own checkout would be given that one's commit.
    if git is None or not (root / ".git").exists():
        return UNKNOWN
    done = subprocess.run([git, *COMMIT], cwd=root, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() or UNKNOWN
