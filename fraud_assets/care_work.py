"""What is done to one table to keep it in order, under the lock of its one writer, by delta-rs alone.

Each function says what it did (``Done``); a table that somebody is writing is left out, and said to be.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from fraud_assets import notes
from fraud_assets.care_log import Log, checkpoint
from fraud_assets.care_needs import BRONZE, Needs, log_from, readable
from fraud_assets.lake import LakeResource, TableBusy
from pix.contracts import DAY_MS
from pix.offline.care import EXPIRED, Care, Due, Small, due, properties, worth_compacting
from pix.offline.declaration import Table
from pix.offline.tables import HISTORY_IMPORTS

if TYPE_CHECKING:
    from deltalake import DeltaTable

DONE, NOTHING, LEFT_OUT, FAILED = "done", "nothing", "left_out", "failed"
PATIENCE_SECONDS = 5.0
ATTEMPTS = 3
END = 'select "partition" as part, max("offset") as last from asked group by 1'


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of one table; see ``pix.offline.care.RETENTION_DONE`` for what the fields mean."""

    table_name: str
    did: str = NOTHING
    why: str = ""
    files_before: int | None = None
    files_after: int | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None
    rows_deleted: int = 0
    rows_emptied: int = 0
    version_before: int | None = None
    version_after: int | None = None
    oldest_version: int | None = None
    kept_versions: Mapping[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    def row(self, *, at_ms: int, is_dry_run: bool) -> dict[str, Any]:
        """As its table has it."""
        said = {name: getattr(self, name) for name in self.__slots__ if name != "kept_versions"}
        kept = json.dumps({str(version): who for version, who in sorted(self.kept_versions.items())})
        return {**said, "at_ms": at_ms, "kept_versions": kept, "is_dry_run": is_dry_run}


Work = Callable[[], Done]


def done_to(lake: LakeResource, table: Table, work: Work, *, patience_seconds: float = PATIENCE_SECONDS) -> Done:
    """Do some work on a table alone; what stops it is said, and stops no other table's."""
    started = time.monotonic()
    try:
        with lake.only_writer(table.name, patience_seconds=patience_seconds):
            found = _again(work)
    except TableBusy as busy:
        found = Done(table_name=table.name, did=LEFT_OUT, why=str(busy))
    except Exception as error:
        # delta-rs and DataFusion have no error in common; whatever it is, the check is red and says it.
        found = Done(table_name=table.name, did=FAILED, why=f"{type(error).__name__}: {error}"[:500])
    return replace(found, seconds=round(time.monotonic() - started, 3))


def _again(work: Work) -> Done:
    """Once more where somebody else's commit came between: a stream appends all the time, and asks nobody."""
    from deltalake.exceptions import CommitFailedError

    for _ in range(ATTEMPTS - 1):
        try:
            return work()
        except CommitFailedError:
            continue
    return work()


def imported_ms(lake: LakeResource) -> dict[int, int]:
    """Import's number -> when it was, epoch milliseconds."""
    rows = lake.ask(
        HISTORY_IMPORTS.name, "select import_number as n, max(imported_at_ms) as at_ms from asked group by 1"
    )
    return {row["n"]: row["at_ms"] for row in rows}


def expire(lake: LakeResource, table: Table, *, now_ms: int, imports: Mapping[int, int], dry_run: bool) -> Done:
    """Have rows and contents go whose time is over; their bytes go when the table is cleared."""
    log, deleted, emptied = lake.log(table.name), 0, 0
    before = _live(table, log)
    for each in due(table, now_ms, imports):
        wanted = _without_ends(lake, table, each, dry_run=dry_run)
        (found,) = lake.ask(table.name, f"select count(*) as n from asked where {wanted.where}")  # noqa: S608
        if each.emptied:
            emptied += found["n"]
        else:
            deleted += found["n"]
        if found["n"] and not dry_run:
            _apply(lake, table, wanted)
    after = _live(table, lake.log(table.name))
    return replace(
        _between(before, after), did=DONE if deleted or emptied else NOTHING, rows_deleted=deleted, rows_emptied=emptied
    )


def _apply(lake: LakeResource, table: Table, wanted: Due) -> None:
    log = lake.log(table.name)
    options = {**_quiet(), **({} if table.name.startswith(BRONZE) else _as_before(log))}
    if wanted.emptied:
        log.update(updates=dict(wanted.emptied), predicate=wanted.where, **options)
    else:
        log.delete(wanted.where, **options)


def _without_ends(lake: LakeResource, table: Table, wanted: Due, *, dry_run: bool) -> Due:
    """Of bronze the newest row of each partition stays, as a place: everybody reads there where the table ends."""
    if not table.name.startswith(BRONZE) or wanted.emptied:
        return wanted
    rows = lake.ask(table.name, END)
    ends = " or ".join(f'("partition" = {row["part"]} and "offset" = {row["last"]})' for row in rows) or "false"
    full = f"{wanted.where} and ({ends}) and (reason is null or reason <> '{EXPIRED}')"
    (found,) = lake.ask(table.name, f"select count(*) as n from asked where {full}")  # noqa: S608
    if found["n"] and not dry_run:
        nulls = dict.fromkeys(("key", "value", "body_token"), "null")
        _apply(lake, table, Due(full, {**nulls, "reason": f"'{EXPIRED}'"}))
    return Due(f"{wanted.where} and not ({ends})")


def compact(lake: LakeResource, table: Table, care: Care, *, dry_run: bool) -> Done:
    """Put small files together; the rows stay as they are."""
    log = lake.log(table.name)
    before = _live(table, log)
    worth = worth_compacting(small_files(log, table, care), care)
    if not worth or dry_run:
        return replace(before, did=DONE if worth else NOTHING, **_same(before))
    for each in worth:
        filters = [(column, "=", value) for column, value in each.values] or None
        log.optimize.compact(partition_filters=filters, target_size=care.target_bytes, **_quiet())
    found = _between(before, _live(table, lake.log(table.name)))
    return replace(found, did=DONE if found.files_after != found.files_before else NOTHING)


def small_files(log: "DeltaTable", table: Table, care: Care) -> list[Small]:
    """How many files below the target each partition has; one without a value is left alone."""
    import pyarrow as pa

    adds = pa.table(log.get_add_actions(flatten=True))
    values = [adds[f"partition.{column}"].to_pylist() for column in table.partitions]
    found: dict[tuple[str | None, ...], int] = {}
    for place, size in enumerate(adds["size_bytes"].to_pylist()):
        partition = tuple(None if of[place] is None else str(of[place]) for of in values)
        if size < care.target_bytes and None not in partition:
            found[partition] = found.get(partition, 0) + 1
    return [Small(tuple(zip(table.partitions, key, strict=True)), files) for key, files in sorted(found.items())]


def clear(
    lake: LakeResource,
    table: Table,
    care: Care,
    needs: Needs,
    *,
    now_ms: int,
    imports: Mapping[int, int],
    dry_run: bool,
) -> Done:
    """Delete files and commits that no version is read from that is young enough, or needed."""
    log, files = lake.log(table.name), Log.of(lake.address(table.name))
    before = replace(_live(table, log), files_before=len(files.data), bytes_before=files.bytes)
    if table.name in needs.unknown:
        return replace(before, did=LEFT_OUT, why=needs.unknown[table.name], **_same(before))
    kept, lost = readable(lake, table.name, needs.versions.get(table.name, {}), due(table, now_ms, imports))
    # delta-rs names files, too, that went before.
    gone = {unquote(path) for path in _vacuum(log, care, kept, dry_run=True)} & files.data.keys()
    if not dry_run:
        if gone:
            _vacuum(log, care, kept, dry_run=False)
        _keep_log(lake, table, care, kept, now_ms)
    after, newest = Log.of(lake.address(table.name)), lake.version(table.name)
    return replace(
        before,
        did=DONE if gone else NOTHING,
        why="; ".join(f"version {version} {said}" for version, said in lost.items()),
        files_after=len(after.data),
        bytes_after=after.bytes,
        version_after=newest,
        oldest_version=after.oldest_readable(newest),
        kept_versions=kept,
    )


def _vacuum(log: "DeltaTable", care: Care, kept: Mapping[int, str], *, dry_run: bool) -> list[str]:
    """Data files that no young or needed version has."""
    return log.vacuum(
        24 * care.travel_days,
        dry_run=dry_run,
        enforce_retention_duration=False,
        # What an undone write left behind, too.
        full=True,
        keep_versions=sorted(kept) or None,
        **_quiet(),
    )


def _keep_log(lake: LakeResource, table: Table, care: Care, kept: Mapping[int, str], now_ms: int) -> None:
    """Tell Delta how long things are kept; write a checkpoint, and forget the commits that nobody needs."""
    log = lake.log(table.name)
    if not table.name.startswith(BRONZE):
        # Of bronze its stream does both: whoever changes properties stops an append that is under way.
        wanted = {"delta.enableExpiredLogCleanup": "false", **properties(care)}
        known = log.metadata().configuration
        lacking = {name: value for name, value in wanted.items() if known.get(name) != value}
        if lacking:
            log.alter.set_table_properties(lacking, raise_if_not_exists=False, **_quiet())
    files = Log.of(lake.address(table.name))
    if checkpoint(log, files):
        files = Log.of(lake.address(table.name))
    young = files.as_of(now_ms - care.travel_days * DAY_MS)
    files.cut(min(young, log_from(log, dict(kept)) if not table.name.startswith(BRONZE) else young))


def _live(table: Table, log: "DeltaTable") -> Done:
    """A table's newest files."""
    import pyarrow as pa

    sizes = pa.table(log.get_add_actions(flatten=True))["size_bytes"].to_pylist()
    return Done(table_name=table.name, files_before=len(sizes), bytes_before=sum(sizes), version_before=log.version())


def _between(before: Done, after: Done) -> Done:
    return replace(
        before,
        files_after=after.files_before,
        bytes_after=after.bytes_before,
        version_after=after.version_before,
    )


def _same(before: Done) -> dict[str, Any]:
    return {
        "files_after": before.files_before,
        "bytes_after": before.bytes_before,
        "version_after": before.version_before,
    }


def _quiet() -> dict[str, Any]:
    """Commits only: when a checkpoint is written, and what of a log goes, is decided here."""
    from deltalake import PostCommitHookProperties

    return {"post_commithook_properties": PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)}


def _as_before(log: "DeltaTable") -> dict[str, Any]:
    """Downstream nothing is to be made again: the table was made from the same, and no day's rows are news."""
    from deltalake import CommitProperties

    note = notes.newest(log)
    if note is None:
        return {}
    return {"commit_properties": CommitProperties(custom_metadata={"userMetadata": json.dumps(notes.kept(note))})}
