"""`sentinela import`: a file into the lake, with or without the local runtime.

While `up` runs, the import is a run of its Dagster; otherwise a run of the home's Dagster instance in a process
of its own. Either way Spark's workers leave a note for each finished block, which is the progress shown.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix.contracts import LIVE_HISTORY
from pix.offline.inbox import Deposit
from pix.offline.mapping import Mapping
from pix.settings import Settings
from sentinela import configuration, dagster_runs, local_runs
from sentinela.errors import BadUse, SentinelaError
from sentinela.history import INBOX, as_bad_use, deposit
from sentinela.progress import Say
from sentinela.runtime import dagster_home, processes, services
from sentinela.runtime.home import Home, prepare

WITH_STORE_JOB, TO_LAKE_JOB = "import_history_job", "import_to_lake_job"
LEDGER, REFUSED, PAYMENTS = "silver/history_imports", "silver/history_refused", "silver/history_payments"
COUNTS = ("payments", "labels", "refused", "repeated")
SHOWN_REASONS = 5
SAY_EVERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an import came to.

    Attributes:
        is_new: False where the history had the file already, and nothing changed.
        counts: Rows taken as payments, labels, rows refused and rows repeated.
        reasons: What was wrong with refused rows: (what, how many rows, the first one's number).
    """

    history: str
    file_sha256: str
    is_new: bool
    counts: dict[str, int]
    reasons: tuple[tuple[str, int, int], ...]
    seconds: float


def run(source: Path, history: str, mapping: Mapping | None, say: Say) -> Outcome:
    """Import a file and tell what became of its rows.

    Raises:
        BadUse: The call or the file cannot be used; nothing was read into the lake.
        NotRunning: Dagster refuses the home.
        SentinelaError: The import failed; what was not imported stays in the inbox for the next run.
    """
    from pix.tokens import ensure_keys

    start = time.monotonic()
    home = configuration.find_home()
    prepare(home)
    ensure_keys(home.secrets)
    settings, home = configuration.current()
    waiting = deposit(home.root, source, history, mapping)
    sha256, blocks = _looked_through(waiting)
    known = imported(settings.lake, history, sha256)
    if known is not None:
        waiting.discard()
        _require_same_mapping(known, history, mapping)
        return _outcome(settings, known, is_new=False, seconds=time.monotonic() - start)
    with _shown(waiting, blocks, say) as look:
        _launch(settings, home, history, say, look)
    done = imported(settings.lake, history, sha256)
    if done is None:
        raise SentinelaError(f"the run succeeded, but {LEDGER} has no import of {source}; see its log")
    return _outcome(settings, done, is_new=True, seconds=time.monotonic() - start)


def _looked_through(waiting: Deposit) -> tuple[str, int]:
    """SHA-256 of the payments and blocks of both files; columns are checked before any row is read."""
    from pix.offline.history import files_of

    try:
        with as_bad_use("--mapping"):
            files = files_of(waiting)
    except BadUse:
        waiting.discard()
        raise
    return files.payments.sha256, len(files.payments.blocks) + (len(files.labels.blocks) if files.labels else 0)


def imported(lake: str, history: str, sha256: str) -> dict[str, Any] | None:
    """The ledger's row of an import that happened; None where it did not."""
    rows = _rows(lake, LEDGER, f"history = '{history}' and file_sha256 = '{sha256}'")
    for row in sorted(rows, key=lambda row: -int(row["import_number"])):
        # Payments are committed last.
        if row["payments"] == 0 or _rows(lake, PAYMENTS, f"import_number = {row['import_number']}", "import_number"):
            return row
    return None


def has_history(settings: Settings, history: str) -> bool:
    """Whether a history was ever imported, or waits for it."""
    waits = any((settings.root / INBOX / history).glob("*/payments.*"))
    return waits or bool(_rows(settings.lake, PAYMENTS, f"history = '{history}'", "import_number"))


def _rows(lake: str, name: str, where: str, *columns: str) -> list[dict[str, Any]]:
    import pyarrow as pa
    from deltalake import DeltaTable

    if not DeltaTable.is_deltatable(f"{lake}/{name}"):
        return []
    table = DeltaTable(f"{lake}/{name}")
    found: list[dict[str, Any]] = pa.table(
        table.scan(columns=list(columns) or None, predicate=where).read_all()
    ).to_pylist()
    return found


def _require_same_mapping(known: dict[str, Any], history: str, mapping: Mapping | None) -> None:
    before = json.loads(known["mapping"]) if known["mapping"] else None
    now = mapping.canonical() if mapping else None
    if {**(before or {}), "description": ""} != {**(now or {}), "description": ""}:
        raise BadUse(
            f"history {history!r} has this file already, imported by another mapping; import it under another --history"
        )


def _launch(settings: Settings, home: Home, history: str, say: Say, look: Callable[[], None]) -> None:
    record = processes.read_record(home, services.WEBSERVER)
    # The address alone may be that of another home's webserver.
    is_up = record is not None and record.alive and dagster_home.webserver_problem(settings.dagster) is None
    is_live = history == LIVE_HISTORY
    if is_up:
        dagster_runs.launch(settings.dagster, WITH_STORE_JOB if is_live else TO_LAKE_JOB, say, while_running=look)
        return
    say("  `sentinela up` does not run: importing in a process of its own")
    local_runs.launch(home, TO_LAKE_JOB, say, code_port=settings.dagster_code_port, while_running=look)
    if is_live:
        say("  the online store has not got it yet: run `sentinela up`, then the job import_history_job in Dagster")


@contextmanager
def _shown(waiting: Deposit, blocks: int, say: Say) -> Iterator[Callable[[], None]]:
    """Show what is done of an import: a bar on a terminal, now and then a line elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines(waiting, blocks, say)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=blocks)

        def look() -> None:
            if waiting.folder.exists():
                done, taken, refused = progress_of(waiting)
                bar.update(task, completed=done, description=f"{taken:,} rows taken, {refused:,} refused")
            else:
                bar.update(task, completed=blocks, description="bringing silver up to date")

        yield look


class _Lines:
    """Progress without a terminal."""

    def __init__(self, waiting: Deposit, blocks: int, say: Say) -> None:
        self._waiting, self._blocks, self._say = waiting, blocks, say
        self._next, self._told = time.monotonic() + SAY_EVERY_SECONDS, ""

    def __call__(self) -> None:
        """Say a line if it is time and there is something new."""
        if time.monotonic() < self._next or not self._waiting.folder.exists():
            return
        done, taken, refused = progress_of(self._waiting)
        line = f"  {done} of {self._blocks} blocks: {taken:,} rows taken, {refused:,} refused"
        if done and line != self._told:
            self._say(line)
            self._told = line
        self._next = time.monotonic() + SAY_EVERY_SECONDS


def progress_of(waiting: Deposit) -> tuple[int, int, int]:
    """Finished blocks, and rows taken and refused in those of payments."""
    done = taken = refused = 0
    for note in waiting.progress.glob("*"):
        try:
            good, bad = (int(part) for part in note.read_text().split())
        except (OSError, ValueError):
            # Deleted or half written this moment.
            continue
        done += 1
        if note.name.startswith("payments-"):
            taken, refused = taken + good, refused + bad
    return done, taken, refused


def _outcome(settings: Settings, row: dict[str, Any], *, is_new: bool, seconds: float) -> Outcome:
    reasons: dict[str, list[int]] = {}
    if row["refused"]:
        where = f"import_number = {row['import_number']} and history = '{row['history']}'"
        for refused in _rows(settings.lake, REFUSED, where, "row_number", "reason", "errors"):
            reasons.setdefault(_reason(refused), []).append(refused["row_number"])
    most = sorted(reasons.items(), key=lambda each: -len(each[1]))
    return Outcome(
        history=row["history"],
        file_sha256=row["file_sha256"],
        is_new=is_new,
        counts={name: row[name] for name in COUNTS},
        reasons=tuple((reason, len(rows), min(rows)) for reason, rows in most),
        seconds=seconds,
    )


def _reason(refused: dict[str, Any]) -> str:
    errors = json.loads(refused["errors"] or "[]")
    told = "; ".join(f"{each['field'] or 'row'}: {each['reason']}" for each in errors)
    return f"{refused['reason']} ({told})" if told else str(refused["reason"])


def told(outcome: Outcome) -> str:
    """The outcome as a person reads it."""
    counts = outcome.counts
    lines = [
        f"history {outcome.history!r}: {counts['payments']:,} payments, {counts['labels']:,} labels, "
        f"{counts['refused']:,} rows refused, {counts['repeated']:,} repeated ({outcome.seconds:.0f} s)"
    ]
    if not outcome.is_new:
        lines = [f"{lines[0]}: imported before, nothing changed"]
    for reason, many, first in outcome.reasons[:SHOWN_REASONS]:
        lines.append(f"  {many:,} × {reason}, first in row {first}")
    if outcome.reasons:
        lines.append("  every refused row is in silver/quarantine, with its number and reason")
    return "\n".join(lines)
