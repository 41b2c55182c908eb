"""Past payments enter here: what waits in the inbox becomes silver history, each file once per history."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets.declared import table_spec
from fraud_assets.failures import told
from fraud_assets.lake import LakeError, LakeResource, TableBusy, Written
from fraud_assets.resources import HomeResource
from pix import locks
from pix.clock import epoch_ms
from pix.offline.tables import HISTORY_IMPORTS, HISTORY_LABELS, HISTORY_PAYMENTS, HISTORY_REFUSED

if TYPE_CHECKING:
    from pix.offline.history import Files
    from pix.offline.inbox import Deposit

Result = dg.MaterializeResult[Any]

# Payments last: an import that should have payments and has none did not happen, and the next one replaces it.
IN_ORDER_OF_COMMIT = (HISTORY_REFUSED, HISTORY_LABELS, HISTORY_IMPORTS, HISTORY_PAYMENTS)


BOTH_OR_NEITHER = "an import needs both file and history; leave both out to import what waits in the inbox"


class ImportIncomplete(LakeError):
    """What to import is only half said."""


class ImportConfig(dg.Config):
    """A file to import beside what waits in the inbox; none by default.

    ``file`` is a path on the machine that runs this: a folder as `simulate` writes it, or with a ``mapping`` a CSV,
    Parquet, .tgz or .zip. ``mapping`` holds the same options as the YAML files (docs/import.md).
    """

    file: str = ""
    history: str = ""
    mapping: dict[str, Any] = {}


@dg.multi_asset(
    name="imported_history",
    specs=[
        table_spec(HISTORY_PAYMENTS),
        table_spec(HISTORY_LABELS),
        table_spec(HISTORY_REFUSED),
        table_spec(HISTORY_IMPORTS),
    ],
    pool="silver_history",
)
@told
def imported_history(
    context: dg.AssetExecutionContext, config: ImportConfig, lake: LakeResource, home: HomeResource
) -> tuple[Result, Result, Result, Result]:
    """Past payments and their labels, as they were imported; an empty inbox imports nothing."""
    from pix.offline import inbox

    deposit_configured(home, config)
    now_ms = epoch_ms()
    with only_import(lake):
        waiting = inbox.waiting(home.inbox)
        names = [name for each in waiting if (name := import_waiting(context, lake, home, each, now_ms))]
    tables = (HISTORY_PAYMENTS, HISTORY_LABELS, HISTORY_REFUSED, HISTORY_IMPORTS)
    payments, labels, refused, imports = (lake.unchanged(table).result(imported_now=names) for table in tables)
    return payments, labels, refused, imports


@contextmanager
def only_import(lake: LakeResource) -> Iterator[None]:
    """Be the only import of this home: two at once would take the same number, and one replace the other.

    Raises:
        TableBusy: Another process is still importing when the patience is over.
    """
    try:
        with locks.held(Path(lake.locks) / "history-import", patience_seconds=10 * lake.patience_seconds):
            yield
    except locks.LockHeld as held:
        raise TableBusy(f"process {held.pid} is importing a history; try again when it is done") from held


def deposit_configured(home: HomeResource, config: ImportConfig) -> None:
    """Put the configured file into the inbox; nothing happens where none is configured.

    Raises:
        ImportIncomplete: A file without a history, or the reverse.
    """
    from pix.offline import inbox, mapping

    if bool(config.file) != bool(config.history):
        raise ImportIncomplete(BOTH_OR_NEITHER)
    if config.file:
        chosen = mapping.from_content(config.mapping) if config.mapping else None
        inbox.deposit(home.inbox, Path(config.file), config.history, chosen)


def import_waiting(
    context: dg.AssetExecutionContext, lake: LakeResource, home: HomeResource, deposit: "Deposit", now_ms: int
) -> str | None:
    """Import one deposit and delete it; the name of its history, or None if the history had the file already."""
    from pix.offline import history
    from pix.offline.mapping_checks import MappingProblem
    from pix.offline.sources import UnreadableFile

    try:
        files = history.files_of(deposit)
    except (MappingProblem, UnreadableFile):
        # It would be refused for ever, and every later import with it.
        deposit.discard()
        raise
    if (deposit.history, files.payments.sha256) in committed(lake)[1]:
        context.log.info("history %s has %s already", deposit.history, deposit.payments.name)
        deposit.discard()
        return None
    context.log.info("importing history %s: %s", deposit.history, deposit.payments.name)
    written = import_one(lake, home, deposit, files, now_ms=now_ms)
    context.log.info("%s", ", ".join(f"{each.table.name}: {each.rows} rows" for each in written))
    # Its clear identifiers must not stay here; the sender has the original.
    deposit.discard()
    return deposit.history


def import_one(
    lake: LakeResource, home: HomeResource, deposit: "Deposit", files: "Files", *, now_ms: int
) -> list[Written]:
    """Import one deposit under the next number; whole, or not at all."""
    from pix.offline import history

    number = committed(lake)[0] + 1
    before = lake.read_or_empty(HISTORY_PAYMENTS).where(f"import_number < {number}")
    imported = history.read(lake.spark, deposit, files, number, before=before, keyring=home.keyring(), now_ms=now_ms)
    frames = (imported.refused, imported.labels, imported.imports, imported.payments)
    try:
        return [
            lake.replace(table, frame, where=f"import_number >= {number}")
            for table, frame in zip(IN_ORDER_OF_COMMIT, frames, strict=True)
        ]
    finally:
        imported.release()


def committed(lake: LakeResource) -> tuple[int, set[tuple[str, str]]]:
    """The newest import that happened, and (history, SHA-256 of the file) of all.

    An import has happened if its payments are there, or if it has none; or if there was another one after it, also when
    all its payments are past their term.
    """
    columns = ("import_number", "history", "file_sha256")
    with_payments = lake.distinct(HISTORY_PAYMENTS.name, *columns)
    without = lake.distinct(HISTORY_IMPORTS.name, *columns, where="payments = 0")
    listed = lake.distinct(HISTORY_IMPORTS.name, *columns)
    newest = max((number for number, _, _ in listed), default=0)
    imports = with_payments | without | {each for each in listed if each[0] < newest}
    return max((number for number, _, _ in imports), default=0), {(history, sha256) for _, history, sha256 in imports}
