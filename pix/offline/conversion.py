"""Rows of somebody's table to payments, by a mapping: compiled once, then a function per row.

A converter takes the column's value (a text of a CSV, or a typed one of Parquet) and gives what the payment
contract wants, or a ValueError whose text names the reason and never the value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

from pix.contracts import FieldError, InvalidFields
from pix.identifiers import make_end_to_end_id
from pix.offline.mapping import FieldSource, LabelTable, Mapping, PaymentTable, TableSource
from pix.offline.mapping_checks import END_TO_END_ID, STEPS_MS, MappingProblem, Mistake, kinds, start_ms

Converter = Callable[[Any], Any]
MINUTE_MS = 60_000
MAX_EPOCH_MS = 253_402_300_799_999
SEPARATOR = "\x1f"
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PAIRS = tuple(first + second for first in DIGITS for second in DIGITS)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
FLAGS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
WHOLE_CENTS = 1e-4
MAX_DIGITS = 30
NOT_MAPPED = "is not among the mapping's values"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the payment: its place in the row (None for a constant) and how to convert it."""

    name: str
    place: int | None
    convert: Converter


class RowToPayment:
    """One row's values to the content of a payment message.

    Args:
        mapping: What to take from where.
        columns: The table's columns, in order.
        history: Name of the history; it enters derived ids.

    Raises:
        MappingProblem: A column is not there, or a constant cannot be what it should.
    """

    def __init__(self, mapping: Mapping, columns: Sequence[str], history: str) -> None:
        absent = missing_columns(mapping.columns(), columns)
        if absent:
            raise MappingProblem(*absent)
        self.width, self._history = len(columns), history
        self._missing = frozenset(mapping.payments.missing)
        known, sources = kinds(), mapping.payments.fields
        self._ispb = sources[END_TO_END_ID].ispb if sources[END_TO_END_ID].derived else None
        self._constants: dict[str, Any] = {}
        self._fields: list[Field] = []
        for name, source in sources.items():
            convert = converter(source, known[name], mapping.payments)
            if source.constant is not None:
                self._constants[name] = _constant(name, source.constant, convert)
            elif not source.derived:
                self._fields.append(Field(name, columns.index(str(source.column)), convert))
        self._instants = tuple(name for name in sources if known[name] == "instant")

    def __call__(self, number: int, row: Sequence[Any]) -> dict[str, Any]:
        """The content of the row's payment; ``payment_from`` takes it.

        Raises:
            InvalidFields: Values that cannot be converted.
        """
        if len(row) != self.width:
            raise InvalidFields(FieldError("", f"has {len(row)} columns, the header {self.width}"))
        content, errors, missing = dict(self._constants), [], self._missing
        for field in self._fields:
            raw = row[field.place]  # type: ignore[index]
            # pandas stores a missing number as NaN, which differs from itself.
            if raw is None or raw != raw or raw in missing:
                continue
            try:
                content[field.name] = field.convert(raw)
            except (ValueError, OverflowError, InvalidOperation) as error:
                errors.append(FieldError(field.name, str(error)))
        if errors:
            raise InvalidFields(*errors)
        at_ms = content.get("initiated_at")
        if self._ispb is not None and at_ms is not None:
            content[END_TO_END_ID] = derived_id(self._ispb, at_ms, self._history, number, row)
        for name in self._instants:
            if name in content:
                content[name] = instant_text(content[name])
        return content


def missing_columns(wanted: dict[str, str], columns: Sequence[str]) -> list[Mistake]:
    """Columns that a mapping names and a table has not.

    Args:
        wanted: Name of the column to where the mapping names it.
        columns: What the table has.
    """
    there = ", ".join(columns)
    absent = {path: name for name, path in wanted.items() if name not in columns}
    return [Mistake(path, f"the table has no column {name!r}; it has {there}") for path, name in absent.items()]


def _constant(name: str, value: str, convert: Converter) -> Any:
    try:
        return convert(value)
    except (ValueError, InvalidOperation) as error:
        raise MappingProblem(Mistake(f"payments.fields.{name}.constant", f"{value!r} {error}")) from None


def converter(source: FieldSource, kind: str, table: TableSource) -> Converter:
    """The converter of one field."""
    decimal = table.decimal
    if kind == "money":
        return _in_cents if source.unit == "centavos" else _reais(decimal)
    if kind in ("count", "duration"):
        return _seconds(decimal) if source.unit == "seconds" else whole
    if kind == "instant":
        return _instant(source, decimal)
    convert = _text(source)
    return _flag(convert) if kind == "flag" else convert


def plain(value: Any) -> str:
    """A value as the text that a mapping's ``values`` and a second table's key are compared with."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    # pandas stores whole numbers as floats where some are missing.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _text(source: FieldSource) -> Converter:
    before, _, after = (source.template or "{}").partition("{}")
    values = source.values

    def convert(value: Any) -> str:
        text = plain(value)
        if values is not None:
            if text not in values:
                raise ValueError(NOT_MAPPED)
            text = values[text]
        return f"{before}{hashed_account(text) if source.hashed else text}{after}"

    return convert


def _flag(text: Converter) -> Converter:
    def convert(value: Any) -> bool:
        found = FLAGS.get(text(value).lower())
        if found is None:
            raise ValueError("must be true or false (or 1 or 0)")
        return found

    return convert


def whole(value: Any) -> int:
    """A whole number."""
    if isinstance(value, str):
        digits = value[1:] if value[:1] in ("+", "-") else value
        if digits.isascii() and digits.isdigit():
            return int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    elif isinstance(value, float | Decimal) and value == int(value):
        return int(value)
    raise ValueError("must be a whole number")


def _in_cents(value: Any) -> int:
    return whole(value)


def _reais(decimal: str) -> Converter:
    def convert(value: Any) -> int:
        if isinstance(value, float):
            cents = round(value * 100)
            # The nearest double to 163.30 is not 163.30.
            if abs(value * 100 - cents) > WHOLE_CENTS:
                raise ValueError("must be reais with at most two decimals")
            return cents
        text = str(value) if decimal == "." else str(value).replace(".", "?").replace(",", ".")
        units, point, part = text.partition(".")
        if units.removeprefix("-").isdigit() and text.isascii() and len(part) <= 2 and (part.isdigit() or not point):
            cents = int(units) * 100
            return cents + (int(part.ljust(2, "0")) if part else 0) * (-1 if text[0] == "-" else 1)
        exact = _number(text) * 100
        if exact != int(exact):
            raise ValueError("must be reais with at most two decimals")
        return int(exact)

    return convert


def _seconds(decimal: str) -> Converter:
    return lambda value: int(_number(_decimal_text(value, decimal)) * 1000)


def _decimal_text(value: Any, decimal: str) -> str:
    return str(value) if decimal == "." else str(value).replace(".", "?").replace(",", ".")


def _number(text: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation:
        raise ValueError("must be a number") from None
    # Texts such as 1e999999999 are numbers, too, of a gigabyte.
    if not found.is_finite() or found.adjusted() > MAX_DIGITS or "_" in text or not text.isascii():
        raise ValueError("must be a number")
    return found


def _instant(source: FieldSource, decimal: str) -> Converter:
    """To epoch milliseconds; ``instant_text`` writes them for the contract."""
    if source.unit == "iso":
        return _iso(ZoneInfo(source.zone) if source.zone else None)
    start = start_ms(source) or 0
    scale = {"epoch_milliseconds": 1, "epoch_seconds": 1_000, **STEPS_MS}[str(source.unit)]

    def convert(value: Any) -> int:
        steps = value if isinstance(value, int) else _number(_decimal_text(value, decimal))
        found = start + int(steps * scale)
        if not 0 <= found <= MAX_EPOCH_MS:
            raise ValueError("lies outside the years 1970 to 9999; is the unit right?")
        return found

    # Rows come by time: the next one often has the same step.
    return lru_cache(maxsize=4096)(convert)


def _iso(zone: ZoneInfo | None) -> Converter:
    def convert(value: Any) -> int:
        moment = value if isinstance(value, datetime) else _parsed(value)
        if moment.tzinfo is None:
            if zone is None:
                raise ValueError("has no offset; name the mapping's zone, such as America/Sao_Paulo")
            moment = moment.replace(tzinfo=zone)
        found = (moment - EPOCH) // MILLISECOND
        if found < 0:
            raise ValueError("lies before 1970")
        return found

    return convert


def _parsed(value: Any) -> datetime:
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - its zone is the mapping's
    try:
        return datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise ValueError("must be an ISO 8601 time, such as 2026-11-21T09:30:15-03:00") from None


@lru_cache(maxsize=65_536)
def instant_text(at_ms: int) -> str:
    """RFC 3339 text of epoch milliseconds."""
    return (EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds")


@lru_cache(maxsize=65_536)
def _minute_of_id(ispb: str, minute: int) -> str:
    return make_end_to_end_id(ispb, minute * MINUTE_MS, "0" * 11)[:-11]


def derived_id(ispb: str, at_ms: int, history: str, number: int, row: Sequence[Any]) -> str:
    """EndToEndId of a row that has none, in the right UTC minute.

    The row's number keeps equal rows apart, its values keep apart the first rows of two files; a file that only
    grew at its end gives its old rows their old ids.
    """
    seed = SEPARATOR.join((history, str(number), *map(str, row))).encode("utf-8", "surrogateescape")
    rest = int.from_bytes(blake2b(seed, digest_size=8).digest(), "big")
    suffix = _minute_of_id(ispb, at_ms // MINUTE_MS)
    for _ in range(5):
        rest, pair = divmod(rest, len(PAIRS))
        suffix += PAIRS[pair]
    return suffix + DIGITS[rest % len(DIGITS)]


@lru_cache(maxsize=131_072)
def hashed_account(text: str) -> str:
    """Branch and number of an account whose name is no account number; 17 digits, so that two rarely meet."""
    number = int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "big") % 10**17
    return f"{number:017d}"[:4] + "-" + f"{number:017d}"[4:]


class RowToVerdict:
    """What a row says about its payment or account.

    Args:
        labels: What values mean.
        columns: Columns of the table that holds them, in order.
        table: How that table is written.
    """

    def __init__(self, labels: LabelTable, columns: Sequence[str], table: PaymentTable | LabelTable) -> None:
        self._place = columns.index(labels.column)
        self._labels, self._missing = labels, frozenset(table.missing)

    def __call__(self, row: Sequence[Any]) -> str:
        """The verdict.

        Raises:
            InvalidFields: The mapping does not say what the value means.
        """
        raw = row[self._place]
        is_missing = raw is None or raw != raw or raw in self._missing
        verdict: str | None = self._labels.values.get("" if is_missing else plain(raw))
        if verdict is None:
            verdict = self._labels.otherwise
        if verdict == "refused":
            raise InvalidFields(FieldError("labels.column", NOT_MAPPED))
        return verdict
