"""What a table's log says of its making: which days each commit wrote, and from what. Without Spark.

A note stands in the same commit as the rows it speaks of, so it is true under the death of any process:

- ``read``: bronze table -> partition -> newest offset that the rows were made from,
- ``made_from``: other table -> its Delta version when it was read,
- ``imported``: number of the newest import that the rows were made from,
- ``days``: the days whose rows the commit wrote; null for all,
- ``aside``: what a reader downstream should know of this commit alone.

Commits that keep every row, such as compaction, carry no note and change nothing that is asked here.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deltalake import DeltaTable

Note = Mapping[str, Any]
Ends = dict[int, int]
"""Partition -> newest offset."""
# Operations of Delta's log after which a table has the rows that it had before.
KEEPS_ROWS = frozenset({"CREATE TABLE", "OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES"})


TRIES = 20


class LogRunsAway(Exception):
    """A table is written faster than its log can be read."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to a table since some version.

    Attributes:
        days: Days whose rows were written; None if all may have been.
        notes: The commits' notes, newest first.
    """

    days: frozenset[date] | None
    notes: tuple[Note, ...]


def newest(table: "DeltaTable") -> Note | None:
    """The note of the newest commit that has one, as of the version at hand; None if no commit ever had.

    What somebody changed by hand has none: such rows are counted as they are, and never silently written anew.
    """
    return next((note for _, note in noted(table)), None)


def newest_at(table: "DeltaTable") -> int | None:
    """Version of the commit with the newest note; a log that forgets it forgets what the table was made from."""
    return next((version for version, _ in noted(table)), None)


def noted(table: "DeltaTable") -> Iterator[tuple[int, Note]]:
    """Version and note of the commits that have one, newest first, as of the version at hand."""
    for commit in _history(table):
        note = _note_of(commit) if _may_change(commit) else None
        if note is not None:
            yield int(commit["version"]), note


def _history(table: "DeltaTable") -> list[dict[str, Any]]:
    """Commits up to the version at hand, newest first.

    delta-rs 1.6 lists those of later versions, too, and numbers all of them downwards from the version at hand. So a
    table at its newest version is asked, and asked again where somebody wrote meanwhile.

    Raises:
        LogRunsAway: Somebody wrote every time.
    """
    from deltalake import DeltaTable

    for _ in range(TRIES):
        newest = DeltaTable(table.table_uri)
        commits: list[dict[str, Any]] = newest.history()
        if DeltaTable(table.table_uri).version() == newest.version():
            return [commit for commit in commits if commit["version"] <= table.version()]
    raise LogRunsAway(f"{table.table_uri} was written {TRIES} times while its log was read; try again")


def kept(note: Note) -> dict[str, Any]:
    """The note of a commit after which a table was made from the same, and downstream nothing is to be made again."""
    return with_days({name: said for name, said in note.items() if name != "aside"}, frozenset())


def changes(table: "DeltaTable", since: int) -> Changes:
    """What happened to a table's rows after a version of it."""
    history = _history(table)
    ours = (commit for commit in history if since < commit["version"])
    later = [_note_of(commit) for commit in ours if _may_change(commit)]
    written = [days_of(note) if note is not None else None for note in later]
    # Commits that the log has forgotten may have written anything.
    is_whole = table.version() <= since or any(commit["version"] == since + 1 for commit in history)
    days = frozenset[date]().union(*(each or () for each in written)) if is_whole and None not in written else None
    return Changes(days, tuple(note or {} for note in later))


def changed_at(table: "DeltaTable", day: date) -> int:
    """Version of the newest commit that wrote rows of a day; 0 if the log knows none."""
    for commit in filter(_may_change, _history(table)):
        note = _note_of(commit)
        written = days_of(note) if note is not None else None
        if written is None or day in written:
            return int(commit["version"])
    return 0


def ends_of(note: Note | None, table: str) -> Ends:
    """Up to where a note says that a bronze table was read; empty where it was not."""
    return {int(partition): offset for partition, offset in (note or {}).get("read", {}).get(table, {}).items()}


def days_of(note: Note) -> frozenset[date] | None:
    """Days whose rows the note's commit wrote; None for all."""
    days = note.get("days")
    return None if days is None else frozenset(date.fromisoformat(day) for day in days)


def with_days(note: Note, days: frozenset[date] | None) -> dict[str, Any]:
    """The same note over other days."""
    return {**note, "days": None if days is None else [str(day) for day in sorted(days)]}


def write(table: "DeltaTable", note: Note) -> None:
    """Commit a note and no rows: what there was to read changed no day."""
    import pyarrow as pa
    from deltalake import CommitProperties, PostCommitHookProperties, write_deltalake

    write_deltalake(
        table,
        pa.schema(table.schema()).empty_table(),
        mode="append",
        commit_properties=CommitProperties(custom_metadata={"userMetadata": json.dumps(with_days(note, frozenset()))}),
        post_commithook_properties=PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False),
    )


def _may_change(commit: Mapping[str, Any]) -> bool:
    return commit.get("operation") not in KEEPS_ROWS


def _note_of(commit: Mapping[str, Any]) -> Note | None:
    said = commit.get("userMetadata")
    return json.loads(said) if said else None
