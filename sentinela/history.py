"""The inbox of past payments: what `import` puts there, the import asset takes in."""

import shutil
from pathlib import Path

from pix.offline.names import UnusableName, usable
from sentinela.errors import BadUse

IMPORT_JOB = "import_history_job"
INBOX = "inbox"
FILES = ("payments.jsonl", "labels.jsonl")


def deposit(home: Path, folder: Path, history: str) -> Path:
    """Copy a history's files into the home's inbox.

    Raises:
        BadUse: The name or the folder cannot be used.
    """
    try:
        usable(history)
    except UnusableName as error:
        raise BadUse(f"--history {error}") from error
    if not (folder / FILES[0]).is_file():
        raise BadUse(f"{folder} holds no {FILES[0]}; `sentinela simulate --out DIR` writes such a folder")
    target = home / INBOX / history
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (folder / name).is_file() and (folder / name).resolve() != (target / name).resolve():
            shutil.copyfile(folder / name, target / name)
    return target
