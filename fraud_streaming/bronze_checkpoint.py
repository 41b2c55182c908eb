"""The bronze query's checkpoint: the name its batches go by in the tables, and whether its files are whole."""

import json
from collections.abc import Callable
from pathlib import Path

from fraud_streaming.bronze_errors import CheckpointDamaged


def application_id(checkpoint: Path, new_id: Callable[[], str]) -> str:
    """Name under which Delta remembers batch numbers; a new one whenever they start from 0 again.

    With the old name the first batches of a new checkpoint would be taken for repetitions and skipped
    without a word.
    """
    beside = checkpoint.with_name(f"{checkpoint.name}.application-id")
    has_batches = any(path.name.isdigit() for path in (checkpoint / "offsets").glob("*"))
    if has_batches and beside.exists():
        return beside.read_text().strip()
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    fresh = new_id()
    written = beside.with_name(f"{beside.name}.new")
    written.write_text(fresh)
    written.replace(beside)
    return fresh


def check(checkpoint: Path) -> None:
    """Refuse a checkpoint whose newest files are not what Spark writes.

    Raises:
        CheckpointDamaged: A file is cut off or not readable; the message names it.
    """
    newest = [numbers[-1:] for folder in ("offsets", "commits") if (numbers := _numbered(checkpoint / folder))]
    files = [checkpoint / "metadata"] if newest else []
    for path in files + [path for paths in newest for path in paths]:
        problem = _problem(path)
        if problem:
            raise CheckpointDamaged(
                f"{path} {problem}; move {checkpoint} away as a whole, the tables stay as they are: what Kafka still "
                "has is compared with them (docs/runbook.md, Bronze is damaged)"
            )


def _numbered(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*") if path.name.isdigit()), key=lambda path: int(path.name))


def _problem(path: Path) -> str | None:
    """What is wrong with a file: a version's line, then JSON a line, or JSON alone; None if nothing is."""
    if not path.exists():
        return "is missing"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        lines = lines[1:] if lines[:1] == ["v1"] else lines
        objects = [json.loads(line) for line in lines if line != "-"]
    except ValueError:
        return "is not readable"
    return None if objects and all(isinstance(each, dict) for each in objects) else "is cut off"
