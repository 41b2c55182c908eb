"""Files of an import: read once for what they are, then block by block, so that memory does not depend on size.

JSON lines and CSV are cut at ends of lines, Parquet at rows; each block is read by itself, in any process. Rows
carry the number by which their sender finds them: the line of the file from 1, of Parquet the row from 1.

UnreadableFile      a file is not of its format
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pix.offline.mapping import TableSource

BLOCK_BYTES = 2 * 1024 * 1024
# A block starts anew at the beginning of its row group: few of them, read in small batches.
BLOCK_ROWS = 250_000
BATCH_ROWS = 20_000
# A value that never ends is an unclosed quote, not a value.
MAX_BLOCK_BYTES = 16 * BLOCK_BYTES
BOM = b"\xef\xbb\xbf"


class UnreadableFile(Exception):
    """A file is not of its format; the message says where it stops being one."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole rows of a file: where they are, and the number of the first one.

    Attributes:
        offset: Bytes before it; of Parquet rows before it.
        length: Bytes in it; of Parquet rows.
        first_row: Number of its first line or row.
    """

    offset: int
    length: int
    first_row: int


@dataclass(frozen=True, slots=True)
class FileIndex:
    """A file, read once.

    Attributes:
        path: The file.
        sha256: Of its bytes, hex.
        blocks: Its rows; empty for a file without any.
        columns: Names of its columns, in order; none for JSON lines.
    """

    path: Path
    sha256: str
    blocks: tuple[Block, ...]
    columns: tuple[str, ...] = ()


Row = tuple[int, list[Any]]
"""Number and values of a row; values are texts in a CSV, typed in Parquet."""


def index(path: Path) -> FileIndex:
    """JSON lines: SHA-256 and blocks of whole lines."""
    return _cut(path, quote=b"", header_bytes=0, columns=())


def index_table(path: Path, table: TableSource) -> FileIndex:
    """CSV or Parquet: SHA-256, blocks and columns.

    Raises:
        UnreadableFile: It is not of its format.
    """
    return _parquet(path) if path.suffix == ".parquet" else _csv(path, table)


def _csv(path: Path, table: TableSource) -> FileIndex:
    with path.open("rb") as file:
        header = file.readline()
    names = next(csv.reader([header.removeprefix(BOM).decode(table.encoding, "replace")], **_dialect(table)), [])
    columns = tuple(name.strip() for name in names)
    if not any(columns):
        raise UnreadableFile(f"{path.name} has no header: its first line must name the columns")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UnreadableFile(
            f"{path.name} names the column {twice[0]!r} more than once; rename it in the file's header"
        )
    return _cut(path, quote=table.quote.encode(), header_bytes=len(header), columns=columns)


def _cut(path: Path, *, quote: bytes, header_bytes: int, columns: tuple[str, ...]) -> FileIndex:
    digest, blocks = sha256(), []
    offset, row = header_bytes, 2 if header_bytes else 1
    with path.open("rb") as file:
        digest.update(file.read(header_bytes))
        while chunk := file.read(BLOCK_BYTES):
            chunk += file.readline()
            # A line end between quotes belongs to a value; inside one, the quotes so far are odd in number.
            while quote and chunk.count(quote) % 2 and (line := file.readline()):
                chunk += line
                if len(chunk) > MAX_BLOCK_BYTES:
                    raise UnreadableFile(
                        f"{path.name}: a quote opened after line {row} is not closed within {MAX_BLOCK_BYTES} bytes; "
                        "close it, or say `quote: ''` if quotes are ordinary characters there"
                    )
            digest.update(chunk)
            blocks.append(Block(offset, len(chunk), row))
            offset += len(chunk)
            row += chunk.count(b"\n")
    return FileIndex(path, digest.hexdigest(), tuple(blocks), columns)


def _parquet(path: Path) -> FileIndex:
    try:
        with pq.ParquetFile(path) as file:
            rows, columns = file.metadata.num_rows, tuple(file.schema_arrow.names)
    except (pa.ArrowInvalid, OSError) as error:
        raise UnreadableFile(f"{path.name} is no Parquet file: {error}") from None
    digest = sha256()
    with path.open("rb") as raw:
        while chunk := raw.read(BLOCK_BYTES):
            digest.update(chunk)
    blocks = tuple(Block(at, min(BLOCK_ROWS, rows - at), at + 1) for at in range(0, rows, BLOCK_ROWS))
    return FileIndex(path, digest.hexdigest(), blocks, columns)


def lines_of(path: Path, block: Block) -> Iterator[tuple[int, bytes]]:
    """Lines of a block with their numbers; blank ones are no messages."""
    for number, raw in enumerate(_bytes_of(path, block).split(b"\n"), start=block.first_row):
        if raw.strip():
            yield number, raw.rstrip(b"\r")


def rows_of(file: FileIndex, block: Block, table: TableSource) -> Iterator[Row]:
    """Rows of a block, with the number of the line or row where each begins; blank lines are no rows."""
    if file.path.suffix == ".parquet":
        yield from _parquet_rows(file, block)
        return
    # Bytes that are no text become surrogates, which the contract refuses in the row that has them.
    text = _bytes_of(file.path, block).decode(table.encoding, "surrogateescape")
    # A value as long as this is refused by the contract, in its row, instead of ending the whole import.
    csv.field_size_limit(MAX_BLOCK_BYTES)
    reader = csv.reader(io.StringIO(text, newline=""), **_dialect(table))
    begin = block.first_row
    for values in reader:
        if values:
            yield begin, values
        begin = block.first_row + reader.line_num


def _parquet_rows(file: FileIndex, block: Block) -> Iterator[Row]:
    number = block.first_row
    with pq.ParquetFile(file.path) as source:
        skip, want = block.offset, block.length
        for group in range(source.num_row_groups):
            rows = source.metadata.row_group(group).num_rows
            if skip >= rows:
                skip -= rows
                continue
            for batch in source.iter_batches(batch_size=BATCH_ROWS, row_groups=[group]):
                part = batch.slice(skip, want) if skip < batch.num_rows else batch.slice(0, 0)
                skip = max(0, skip - batch.num_rows)
                want -= part.num_rows
                for values in zip(*(column.to_pylist() for column in part.columns), strict=True):
                    yield number, list(values)
                    number += 1
                if not want:
                    return


def _bytes_of(path: Path, block: Block) -> bytes:
    with path.open("rb") as file:
        file.seek(block.offset)
        return file.read(block.length)


def _dialect(table: TableSource) -> dict[str, Any]:
    if not table.quote:
        return {"delimiter": table.delimiter, "quoting": csv.QUOTE_NONE}
    return {"delimiter": table.delimiter, "quotechar": table.quote}
