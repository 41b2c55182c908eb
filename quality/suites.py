"""The suite of every silver and gold table: generated from its declaration and the contracts, completed by hand.

A column's rule comes from the JSON Schema that the contracts publish, else from its name and type; what neither says
stands in ``quality.promises``.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from pix.contracts import TOKEN_KINDS, DeadLetterRecord, DecisionRecord, LabelMessage, ShadowScore
from pix.offline.declaration import Column, Table
from pix.offline.tables import TABLES
from quality.conditions import Condition, Promise, Severity
from quality.errors import UnknownSuite
from quality.promises import (
    BY_HAND,
    DECIDING,
    DURATIONS,
    KEY_MAY_MISS,
    KEYS,
    NAMING,
    REQUIRED,
    SHAPES,
    SHARES,
    STATED,
    WORDS,
)

LAYERS = ("silver", "gold")
MS_2000 = 946_684_800_000
MS_2100 = 4_102_444_800_000
NUMBERS = frozenset({"bigint", "int", "tinyint", "smallint", "double", "float"})
WHY: Mapping[str, str] = MappingProxyType(
    {
        "rows_are_unique": "A row that comes twice is counted, folded and learnt from twice.",
        "required_columns_are_filled": "What is made of the table relies on these columns.",
        "ids_are_end_to_end_ids": "Rows of other tables are found by the id.",
        "identifiers_are_tokens": "A clear identifier in the lake is a leak, and names another account than its token.",
        "deciding_words_are_known": "An unknown word takes a wrong branch further down.",
        "other_words_are_known": "The door refuses them; the reader of a report would not know what they mean.",
        "texts_have_their_shape": "The contracts say how they look.",
        "times_are_milliseconds": "Seconds or microseconds would fall out of every window: years 2000 to 2100.",
        "stated_times_are_milliseconds": "A sender's fact outside the years 2000 to 2100.",
        "amounts_are_possible": "Whole centavos, in the range of the contract.",
        "stated_amounts_are_possible": "Whole centavos, in the range of the contract; a sender's fact.",
        "shares_lie_in_0_1": "Probabilities and rates.",
        "counts_are_possible": "A count is never negative.",
        "stated_counts_are_possible": "In the range of the contract; a sender's fact.",
        "days_are_those_of_their_times": "A row in another day's partition is not found, and counted on a wrong day.",
    }
)
"""The generated promises, in the order in which a suite has them, and why each is made."""


@cache
def covered() -> Mapping[str, Table]:
    """Every declared table of silver and gold, by name."""
    return MappingProxyType({name: table for name, table in TABLES.items() if name.partition("/")[0] in LAYERS})


def suite_of(table: str) -> tuple[Promise, ...]:
    """The promises of a table such as ``silver/payments``.

    Raises:
        UnknownSuite: No such table of silver or gold is declared.
    """
    if table not in covered():
        raise UnknownSuite(f"no promises for table {table!r}; there are some for {sorted(covered())}")
    return suite(covered()[table])


def suite(table: Table) -> tuple[Promise, ...]:
    """The promises of a declared table, generated ones first."""
    found: dict[tuple[str, Severity], list[Condition]] = {}
    for name, severity, condition in _conditions(table):
        found.setdefault((name, severity), []).append(condition)
    generated = [
        Promise(name=name, severity=severity, conditions=tuple(found[name, severity]), why=WHY[name])
        for name, severity in sorted(found, key=lambda each: list(WHY).index(each[0]))
    ]
    return (*generated, *BY_HAND.get(table.name, ()))


def key_columns(table: Table) -> tuple[str, ...]:
    """What names one row of a table."""
    return KEYS.get(table.name) or tuple(name for name in NAMING if name in table.names)


def _conditions(table: Table) -> Iterator[tuple[str, Severity, Condition]]:
    key = key_columns(table)
    if key:
        yield "rows_are_unique", "critical", Condition(kind="unique", columns=key)
    named = () if table.name in KEY_MAY_MISS else key
    required = dict.fromkeys((*named, *table.partitions, *REQUIRED.get(table.name, ())))
    for name in required:
        yield "required_columns_are_filled", "critical", Condition(kind="present", columns=(name,))
    for column in table.columns:
        yield from _of_column(table, column)
    if {"event_day", "event_time_ms"} <= set(table.names):
        condition = Condition(kind="day_of", columns=("event_day", "event_time_ms"))
        yield "days_are_those_of_their_times", "critical", condition


def _of_column(table: Table, column: Column) -> Iterator[tuple[str, Severity, Condition]]:
    if column.type == "string":
        yield from _of_text(table, column.name)
    elif column.type in NUMBERS:
        yield from _of_number(table, column)


def _of_text(table: Table, name: str) -> Iterator[tuple[str, Severity, Condition]]:
    schema = _schema_of(table, name)
    words = WORDS.get((table.name, name)) or WORDS.get(("*", name)) or tuple(schema.get("enum", ()))
    if words:
        known = Condition(kind="one_of", columns=(name,), values=words)
        if name in DECIDING:
            yield "deciding_words_are_known", "critical", known
        else:
            yield "other_words_are_known", "warning", known
        return
    pattern = SHAPES.get(name) or schema.get("pattern") or (SHAPES["sha256"] if name.endswith("_sha256") else "")
    if not pattern:
        return
    shaped = Condition(kind="matches", columns=(name,), pattern=pattern)
    if name == "end_to_end_id":
        yield "ids_are_end_to_end_ids", "critical", shaped
    elif name in TOKEN_KINDS or name == "body_token":
        yield "identifiers_are_tokens", "critical", shaped
    elif name in DECIDING:
        yield "deciding_words_are_known", "critical", shaped
    else:
        yield "texts_have_their_shape", "warning", shaped


def _of_number(table: Table, column: Column) -> Iterator[tuple[str, Severity, Condition]]:
    name, schema = column.name, _schema_of(table, column.name)
    is_stated = name in STATED or (name in _payment_schema() and name not in REQUIRED["silver/payments"])
    severity: Severity = "warning" if is_stated else "critical"
    prefix = "stated_" if is_stated else ""
    if name.endswith("_ms") and name not in DURATIONS:
        yield f"{prefix}times_are_milliseconds", severity, _range(name, MS_2000, MS_2100)
    elif name.endswith(SHARES):
        yield "shares_lie_in_0_1", "critical", _range(name, 0, 1)
    elif name.endswith("_cents"):
        low, high = _limits(schema) if schema else (0, None)
        yield f"{prefix}amounts_are_possible", severity, _range(name, low, high)
        if column.type in ("double", "float"):
            yield f"{prefix}amounts_are_possible", severity, Condition(kind="whole", columns=(name,))
    elif any(limit is not None for limit in _limits(schema)):
        yield f"{prefix}counts_are_possible", severity, _range(name, *_limits(schema))
    elif _counts(table) and column.type == "bigint":
        yield "counts_are_possible", "critical", _range(name, 0, None)


def _range(name: str, low: float | None, high: float | None) -> Condition:
    return Condition(kind="between", columns=(name,), low=low, high=high)


def _limits(schema: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Least and greatest value by a JSON Schema; what must be greater than a whole number begins at the next one."""
    low = schema.get("minimum")
    return (schema["exclusiveMinimum"] + 1 if "exclusiveMinimum" in schema else low), schema.get("maximum")


def _counts(table: Table) -> bool:
    """Whether a row stands for many payments, so that a payment's range is not the range of its columns."""
    return "end_to_end_id" not in table.names


@cache
def _schemas() -> Mapping[str, Mapping[str, Any]]:
    """Table, or ``*``, -> what the contract of its messages says of each field."""
    by_table: dict[str, type[BaseModel]] = {
        "silver/history_labels": LabelMessage,
        "silver/labels": LabelMessage,
        "silver/shadow_scores": ShadowScore,
        "silver/quarantine": DeadLetterRecord,
        "silver/history_refused": DeadLetterRecord,
    }
    found = {name: model.model_json_schema()["properties"] for name, model in by_table.items()}
    decision = DecisionRecord.model_json_schema()["properties"]
    return {**found, "*": {**decision, **decision["payment"]["properties"]}}


def _payment_schema() -> Mapping[str, Any]:
    schema: Mapping[str, Any] = _schemas()["*"]["payment"]["properties"]
    return schema


def _schema_of(table: Table, name: str) -> Mapping[str, Any]:
    """What the contract says of a column's values beside null; nothing where it says nothing."""
    by_field = _schemas().get(table.name, _schemas()["*"])
    schema: Mapping[str, Any] = by_field.get(name, {})
    branches = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    only: Mapping[str, Any] = branches[0] if len(branches) == 1 else {}
    # A sum of payments has not the range of one of them.
    return {} if _counts(table) and only.get("type") in ("integer", "number") else only


def payment_facts() -> frozenset[str]:
    """Names of a payment's facts behind the door, which senders may leave out."""
    return frozenset(_payment_schema())
