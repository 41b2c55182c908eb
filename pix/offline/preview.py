"""What an import would make of the first rows of a file, without a lake, a home or Spark.

Pure but for the files it reads. Identifiers are masked: what is shown may end in a terminal's log.
"""

import tempfile
from collections import Counter
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pix.contracts import TOKEN_KINDS, FieldError, InvalidFields, InvalidMessage, payment_from
from pix.offline import mapped
from pix.offline.conversion import RowToPayment, RowToVerdict
from pix.offline.inbox import format_of, opened
from pix.offline.mapping import Mapping, TableSource
from pix.offline.sources import FileIndex, Row, index_table, rows_of

ROWS = 1_000
EXAMPLES = 3
HEAD_BYTES = 8 * 1024 * 1024
SHOWN_CHARACTERS = 2


@dataclass(frozen=True, slots=True)
class Preview:
    """How the first rows would look.

    Attributes:
        rows: Rows looked at.
        payments: Rows that would be taken.
        examples: The first of them, masked.
        refused: (row number, what is wrong with it) of the others.
        verdicts: How often each verdict was given, in the payments' table or the labels'.
    """

    rows: int
    payments: int
    examples: tuple[dict[str, Any], ...]
    refused: tuple[tuple[int, str], ...]
    verdicts: dict[str, int]


def preview(source: Path, history: str, mapping: Mapping, *, now_ms: int) -> Preview:
    """Look at the first rows of a file.

    Raises:
        MappingProblem: The tables have not the columns that the mapping names.
        NothingToImport: A file or member is not there.
        UnreadableFile: One is not of its format.
    """
    labels = mapping.labels
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        payments = _head(source, mapping.payments, "payments", folder)
        apart = None
        if labels is not None and labels.is_apart:
            apart = _head(source.parent / labels.file if labels.file else source, labels, "labels", folder)
        mapped.require_columns(mapping, payments.columns, apart.columns if apart else None)
        verdicts: Counter[str] = Counter()
        if labels is not None:
            table, shown = (labels, apart) if apart else (mapping.payments, payments)
            verdict_of = RowToVerdict(labels, shown.columns, table)
            verdicts.update(_verdict(verdict_of, row) for _, row in _first(shown, table))
        return _payments(payments, history, mapping, now_ms, dict(verdicts))


def _payments(file: FileIndex, history: str, mapping: Mapping, now_ms: int, verdicts: dict[str, int]) -> Preview:
    content_of = RowToPayment(mapping, file.columns, history)
    rows, refused = 0, []
    examples: list[dict[str, Any]] = []
    for number, row in _first(file, mapping.payments):
        rows += 1
        try:
            content = content_of(number, row)
            if payment_from(content).initiated_at > now_ms:
                raise InvalidFields(FieldError("initiated_at", "lies after the import"))
        except InvalidMessage as broken:
            refused.append((number, str(broken)))
            continue
        if len(examples) < EXAMPLES:
            examples.append({name: _masked(name, value) for name, value in content.items()})
    return Preview(rows, rows - len(refused), tuple(examples), tuple(refused), verdicts)


def _verdict(verdict_of: RowToVerdict, row: list[Any]) -> str:
    try:
        return verdict_of(row)
    except (InvalidFields, IndexError):
        return "refused"


def _masked(name: str, value: Any) -> Any:
    return f"…{str(value)[-SHOWN_CHARACTERS:]}" if name in TOKEN_KINDS else value


def _first(file: FileIndex, table: TableSource) -> list[Row]:
    return list(islice(chain.from_iterable(rows_of(file, block, table) for block in file.blocks), ROWS))


def _head(source: Path, table: TableSource, path: str, folder: Path) -> FileIndex:
    """The beginning of a table as a file of its own; all of a Parquet file, whose index is its end."""
    with opened(source, table, path) as (name, stream):
        kind = format_of(name, table, path)
        copy = folder / f"{path}.{kind}"
        with copy.open("wb") as file:
            if kind == "csv":
                head = stream.read(HEAD_BYTES)
                # A last line that was cut is no row.
                file.write(head if len(head) < HEAD_BYTES else head[: head.rfind(b"\n") + 1])
            else:
                while chunk := stream.read(HEAD_BYTES):
                    file.write(chunk)
    return index_table(copy, table)
