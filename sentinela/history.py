"""The inbox of past payments: what `import` puts there, the import asset takes in."""

import re
import shutil
from pathlib import Path

from sentinela.errors import BadUse

IMPORT_JOB = "import_history_job"
INBOX = "inbox"
FILES = ("payments.jsonl", "labels.jsonl")


def deposit(home: Path, folder: Path, history: str) -> Path:
    """Copy a history's files into the home's inbox.

    Raises:
        BadUse: The name or the folder cannot be used.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", history):
        raise BadUse(f"--history {history!r} must be 1 to 32 of a-z, 0-9, - and _, such as 'simulated'")
    if not (folder / FILES[0]).is_file():
        raise BadUse(f"{folder} holds no {FILES[0]}; `sentinela simulate --out DIR` writes such a folder")
    target = home / INBOX / history
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (folder / name).is_file() and (folder / name).resolve() != (target / name).resolve():
            shutil.copyfile(folder / name, target / name)
    return target
