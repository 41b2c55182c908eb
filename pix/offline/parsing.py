"""The rows of an import, parsed where Spark's workers are: taken behind the door, or refused with reasons.

Functions here make what ``mapInArrow`` runs: numbers of blocks in, counts out. The rows themselves go to Parquet
beside the file, because carrying them through the JVM and keeping them there costs more than parsing. A refused
row is sealed; nothing else that is clear leaves this module.
"""

import gc
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pix.contracts import (
    INSTANT_FIELDS,
    TOKEN_KINDS,
    FieldError,
    InvalidFields,
    InvalidMessage,
    NotJson,
    PaymentMessage,
    behind_the_door,
    canonical_json,
    history_tenant,
    parse_json_object,
    parse_label,
    parse_payment,
    payment_from,
    readable_id,
)
from pix.offline.conversion import RowToPayment, RowToVerdict, plain
from pix.offline.declaration import ARROW_TYPES
from pix.offline.mapping import Mapping
from pix.offline.sources import Block, FileIndex, lines_of, rows_of
from pix.tokens import Keyring, body_sha256

STAGED_ROWS = 10_000
STAGED = "block bigint, rows bigint"
# At about 200 bytes each, a bound of 80 MB per worker.
REMEMBERED_TOKENS = 400_000
REFUSED = "reason string, errors string, body_token string, payload string"
PAYMENTS = (
    "row_number bigint, end_to_end_id string, tenant string, event_time_ms bigint, payment string, "
    f"verdict string, key_1 string, key_2 string, {REFUSED}"
)
LABELS = (
    "row_number bigint, label_id string, end_to_end_id string, tenant string, kind string, fraud_type string, "
    f"effective_at_ms bigint, known_at_ms bigint, source string, {REFUSED}"
)
VERDICTS = f"row_number bigint, key string, verdict string, {REFUSED}"

Parsed = dict[str, Any]
RowParser = Callable[[FileIndex, Block], Iterator[Parsed]]


@lru_cache(maxsize=2)
def _remembered(version: int, key: bytes) -> dict[tuple[str, str, str], str]:  # noqa: ARG001 - they name the cache
    return {}


class RememberingKeyring(Keyring):
    """A keyring that makes the token of a value once: a file names the same accounts again and again."""

    __slots__ = ("_made",)
    _made: dict[tuple[str, str, str], str]

    @classmethod
    def of(cls, keyring: Keyring) -> "RememberingKeyring":
        """The same keys; what they made in this process is remembered from one task to the next."""
        made = cls(keyring.current, keyring.keys)
        object.__setattr__(made, "_made", _remembered(keyring.current, keyring.keys[keyring.current]))
        return made

    def token(self, tenant: str, kind: str, value: str) -> str:
        """Token of one clear value under the current key."""
        known = self._made.get((tenant, kind, value))
        if known is None:
            if len(self._made) >= REMEMBERED_TOKENS:
                self._made.clear()
            known = self._made[tenant, kind, value] = Keyring.token(self, tenant, kind, value)
        return known


@dataclass(frozen=True, slots=True)
class Import:
    """What the parsing of one import needs to know.

    Attributes:
        history: Name of the history.
        keyring: Keys for tokens and sealed rows.
        now_ms: Time of the import; nothing in the past happened later.
        progress: Folder in which each finished block leaves a note; None for nobody to see.
        mapping: How columns become fields; None for JSON lines.
    """

    history: str
    keyring: Keyring
    now_ms: int
    progress: Path | None = None
    mapping: Mapping | None = None


def blocks_parser(
    file: FileIndex, parse: Callable[[], RowParser], ddl: str, staged: Path, progress: Path | None
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What ``mapInArrow`` runs over the numbers of a file's blocks; it tells ``STAGED`` of each.

    Args:
        file: The file.
        parse: Makes the parser of its rows, in the worker.
        ddl: Columns of the parsed rows.
        staged: Folder for a Parquet file per block; a task that is repeated writes the same file again.
        progress: Folder for notes of what is done.
    """
    fields = [part.split() for part in ddl.split(", ")]
    schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in fields])

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows_in = parse()
        for batch in batches:
            for place in batch.column(0).to_pylist():
                target = staged / f"{place:06d}.parquet"
                taken, refused = _staged(target, schema, rows_in(file, file.blocks[place]))
                if progress is not None:
                    (progress / f"{file.path.stem}-{place}").write_text(f"{taken} {refused}")
                yield pa.RecordBatch.from_pydict({"block": [place], "rows": [taken + refused]})

    return run


def _staged(target: Path, schema: pa.Schema, rows: Iterator[Parsed]) -> tuple[int, int]:
    """Write rows to a file; how many of them were taken and refused."""
    taken = refused = 0
    # The collector would go through all waiting rows again and again: a fifth of the time, and they hold no cycles.
    gc.disable()
    try:
        with pq.ParquetWriter(target, schema, compression="lz4") as writer:
            for part in _parts(rows):
                bad = sum("reason" in row for row in part)
                taken, refused = taken + len(part) - bad, refused + bad
                writer.write_batch(_batch(part, schema))
    finally:
        gc.enable()
    return taken, refused


def _parts(rows: Iterator[Parsed]) -> Iterator[list[Parsed]]:
    part: list[Parsed] = []
    for row in rows:
        part.append(row)
        if len(part) == STAGED_ROWS:
            yield part
            part = []
    if part:
        yield part


def _batch(rows: list[Parsed], schema: pa.Schema) -> pa.RecordBatch:
    names = schema.names
    table = [tuple(map(row.get, names)) for row in rows]
    arrays = [pa.array(values, field.type) for values, field in zip(zip(*table, strict=True), schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def json_payments(job: Import) -> RowParser:
    """Payments, one JSON object a line."""
    keyring = RememberingKeyring.of(job.keyring)

    def rows(file: FileIndex, block: Block) -> Iterator[Parsed]:
        for number, raw in lines_of(file.path, block):
            try:
                payment = behind_the_door(parse_payment(raw), keyring, history=job.history)
            except InvalidMessage as broken:
                yield _refused(number, raw, broken, _id_in(raw), keyring)
                continue
            yield {
                "row_number": number,
                "end_to_end_id": payment.end_to_end_id,
                "tenant": payment.tenant,
                "event_time_ms": payment.initiated_at_ms,
                "payment": canonical_json(payment.to_dict()).decode(),
            }

    return rows


def json_labels(job: Import) -> RowParser:
    """Labels, one JSON object a line; sealed, because one without a payment is refused later."""
    keyring = RememberingKeyring.of(job.keyring)

    def rows(file: FileIndex, block: Block) -> Iterator[Parsed]:
        for number, raw in lines_of(file.path, block):
            try:
                label = parse_label(raw)
            except InvalidMessage as broken:
                yield _refused(number, raw, broken, _id_in(raw), keyring)
                continue
            yield {
                **_sealed(raw, keyring),
                "row_number": number,
                "label_id": label.label_id,
                "end_to_end_id": label.end_to_end_id,
                "tenant": history_tenant(label.tenant, job.history),
                "kind": label.kind,
                "fraud_type": label.fraud_type,
                "effective_at_ms": label.effective_at,
                "known_at_ms": label.known_at,
                "source": label.source,
            }

    return rows


class Door:
    """``behind_the_door`` and its canonical JSON for messages that have few of all fields, known beforehand.

    It writes the same bytes (a test holds that for every field) in a fifth of the time: a mapping names perhaps ten
    of fifty fields, and a history repeats its accounts.

    Args:
        names: Fields that a message may have.
        keyring: Keys for the tokens.
        history: Name of the history.
    """

    def __init__(self, names: Iterable[str], keyring: Keyring, history: str) -> None:
        self._keyring, self._history = keyring, history
        stored = {name: INSTANT_FIELDS.get(name, name) for name in {*names, "tenant"}}
        self._fields = [
            (f'"{stored[name]}":', name, TOKEN_KINDS.get(name))
            for name in sorted(stored, key=lambda name: stored[name])
        ]

    def __call__(self, message: PaymentMessage, tenant: str) -> str:
        """Canonical JSON of the tokenised payment.

        Args:
            message: The parsed payment.
            tenant: Its tenant, the history's name in it.
        """
        parts, token = [], self._keyring.token
        for label, name, kind in self._fields:
            value = tenant if name == "tenant" else getattr(message, name)
            if value is None:
                continue
            if kind is not None:
                parts.append(f'{label}"{token(tenant, kind, value)}"')
            elif value is True or value is False:
                parts.append(label + ("true" if value else "false"))
            elif isinstance(value, int):
                parts.append(f"{label}{value}")
            else:
                parts.append(label + encode_basestring(value))
        return "{" + ",".join(parts) + "}"


def mapped_payments(job: Import, mapping: Mapping, columns: tuple[str, ...]) -> RowParser:
    """Payments of a table, by a mapping."""
    keyring, content_of = RememberingKeyring.of(job.keyring), RowToPayment(mapping, columns, job.history)
    door = Door(mapping.payments.fields, keyring, job.history)
    keys = [columns.index(name) for name in mapping.matched()]
    labels = mapping.labels
    verdict_of = RowToVerdict(labels, columns, mapping.payments) if labels and not labels.is_apart else None
    # Without labels nobody would have said that a payment was fraud.
    silent = None if labels else "unknown"

    def rows(file: FileIndex, block: Block) -> Iterator[Parsed]:
        for number, row in rows_of(file, block, mapping.payments):
            try:
                message = payment_from(content_of(number, row))
                if message.initiated_at > job.now_ms:
                    raise InvalidFields(FieldError("initiated_at", "lies after the import"))
                parsed: Parsed = {"verdict": verdict_of(row) if verdict_of else silent}
            except InvalidMessage as broken:
                yield _refused(number, _clear(columns, row), broken, broken.end_to_end_id, keyring)
                continue
            parsed["row_number"] = number
            tenant = history_tenant(message.tenant, job.history)
            parsed["end_to_end_id"] = message.end_to_end_id
            parsed["tenant"] = tenant
            parsed["event_time_ms"] = message.initiated_at
            parsed["payment"] = door(message, tenant)
            for name, place in zip(("key_1", "key_2"), keys, strict=False):
                parsed[name] = _key(keyring, job.history, row[place])
            yield parsed

    return rows


def mapped_verdicts(job: Import, mapping: Mapping, columns: tuple[str, ...]) -> RowParser:
    """Rows of a second table: whom each speaks of, as a token, and what it says."""
    labels = mapping.labels
    if labels is None:
        raise ValueError("a mapping without labels has no second table")
    keyring, verdict_of = RememberingKeyring.of(job.keyring), RowToVerdict(labels, columns, labels)
    place = columns.index(str(labels.key))

    def rows(file: FileIndex, block: Block) -> Iterator[Parsed]:
        for number, row in rows_of(file, block, labels):
            clear = _clear(columns, row)
            try:
                if len(row) != len(columns):
                    raise InvalidFields(FieldError("", f"has {len(row)} columns, the header {len(columns)}"))
                verdict, key = verdict_of(row), _key(keyring, job.history, row[place])
                if key is None:
                    raise InvalidFields(FieldError("labels.key", "is missing"))
            except InvalidMessage as broken:
                yield _refused(number, clear, broken, None, keyring)
                continue
            sealed = _sealed(clear, keyring) if labels.per == "payment" else {}
            yield {**sealed, "row_number": number, "key": key, "verdict": verdict}

    return rows


def _key(keyring: Keyring, history: str, value: Any) -> str | None:
    text = "" if value is None else plain(value)
    # Bytes that are no text have no UTF-8 to make a token from.
    return keyring.token(history, "label_key", text if text.isascii() else ascii(text)) if text else None


def _clear(columns: tuple[str, ...], row: list[Any]) -> bytes:
    named = {name: None if value is None else plain(value) for name, value in zip(columns, row, strict=False)}
    return json.dumps(named, ensure_ascii=True).encode()


def _refused(number: int, raw: bytes, broken: InvalidMessage, end_to_end_id: str | None, keyring: Keyring) -> Parsed:
    return {
        **_sealed(raw, keyring),
        "row_number": number,
        "end_to_end_id": broken.end_to_end_id or end_to_end_id,
        "reason": "not_json" if isinstance(broken, NotJson) else "invalid_fields",
        "errors": json.dumps([asdict(error) for error in broken.errors]),
    }


def _sealed(raw: bytes, keyring: Keyring) -> Parsed:
    return {"body_token": keyring.body_token(body_sha256(raw)), "payload": keyring.seal(raw)}


def _id_in(raw: bytes) -> str | None:
    try:
        return readable_id(parse_json_object(raw))
    except InvalidMessage:
        return None
