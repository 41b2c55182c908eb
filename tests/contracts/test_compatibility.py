"""A narrower schema is found and its field named; a wider one passes."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pix.contracts.compatibility import Break, breaks

BASE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "amount"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]{1,3}$"},
        "amount": {"type": "integer", "minimum": 1, "maximum": 100},
        "kind": {"enum": ["a", "b"]},
        "note": {"anyOf": [{"type": "string", "maxLength": 10}, {"type": "null"}], "default": None},
        "place": {"$ref": "#/$defs/Place"},
        "list": {"type": "array", "maxItems": 3, "items": {"type": "number"}},
        "by_name": {
            "type": "object",
            "additionalProperties": {"type": "integer"},
            "propertyNames": {"enum": ["x", "y"]},
        },
        "share": {"type": "number", "exclusiveMinimum": 0},
        "at": {"type": "string", "format": "date-time"},
    },
    "allOf": [{"if": {"required": ["kind"]}, "then": {"required": ["note"]}}],
    "$defs": {"Place": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}},
}
Change = Callable[[dict[str, Any]], Any]


def changed(change: Change) -> dict[str, Any]:
    schema = copy.deepcopy(BASE)
    change(schema)
    return schema


def fields(schema: dict[str, Any]) -> Any:
    return schema["properties"]


NARROWER: list[tuple[str, str, Change]] = [
    ("note", "is now required", lambda s: s["required"].append("note")),
    ("extra", "is now required", lambda s: (fields(s).update(extra={}), s["required"].append("extra"))),
    ("kind", "was removed", lambda s: fields(s).pop("kind")),
    ("id", "pattern was added or changed", lambda s: fields(s)["id"].update(pattern="^[0-9]{1,2}$")),
    ("kind", "pattern was added or changed", lambda s: fields(s)["kind"].update(pattern="^a")),
    ("amount", "maximum is now 99, was 100", lambda s: fields(s)["amount"].update(maximum=99)),
    ("amount", "minimum is now 2, was 1", lambda s: fields(s)["amount"].update(minimum=2)),
    ("share", "maximum is now 1, was free", lambda s: fields(s)["share"].update(maximum=1)),
    ("share", "no longer takes number", lambda s: fields(s)["share"].update(type="integer")),
    ("amount", "no longer takes integer", lambda s: fields(s)["amount"].update(type="string")),
    ("kind", "no longer takes b", lambda s: fields(s)["kind"].update(enum=["a", "c"])),
    ("kind", "no longer takes b", lambda s: fields(s).update(kind={"const": "a"})),
    ("kind", "no longer takes string", lambda s: fields(s).update(kind={"type": "integer"})),
    ("id", "takes only listed values now", lambda s: fields(s)["id"].update(enum=["1"])),
    ("note", "no longer takes null", lambda s: fields(s).update(note={"type": "string", "maxLength": 10})),
    ("note", "maxLength is now 9, was 10", lambda s: fields(s)["note"]["anyOf"][0].update(maxLength=9)),
    ("note", "default was added or changed", lambda s: fields(s)["note"].update(default="x")),
    ("place.city", "no longer takes string", lambda s: s["$defs"]["Place"]["properties"]["city"].update(type="null")),
    ("place.street", "is now required", lambda s: s["$defs"]["Place"]["required"].append("street")),
    ("place.*", "must no longer be there", lambda s: s["$defs"]["Place"].update(additionalProperties=False)),
    ("list", "maxItems is now 2, was 3", lambda s: fields(s)["list"].update(maxItems=2)),
    ("list[]", "no longer takes integer, number", lambda s: fields(s)["list"].update(items={"type": "string"})),
    ("list", "uniqueItems was added or changed", lambda s: fields(s)["list"].update(uniqueItems=True)),
    ("by_name.*", "no longer takes y", lambda s: fields(s)["by_name"].update(propertyNames={"enum": ["x"]})),
    (
        "by_name.*",
        "minimum is now 0, was free",
        lambda s: fields(s)["by_name"]["additionalProperties"].update(minimum=0),
    ),
    ("at", "format was added or changed", lambda s: fields(s)["at"].update(format="date")),
    ("", "a rule between fields was added or changed", lambda s: s["allOf"].append({"required": ["at"]})),
]  # fmt: skip


@pytest.mark.parametrize(("field", "reason", "change"), NARROWER)
def test_a_narrower_schema_is_found_and_its_field_named(field: str, reason: str, change: Change) -> None:
    assert Break(field, reason) in breaks(BASE, changed(change))


WIDER: list[Change] = [
    lambda _: None,
    lambda s: fields(s).update(extra={"type": "string"}),
    lambda s: s["required"].remove("amount"),
    lambda s: fields(s)["id"].pop("pattern"),
    lambda s: fields(s)["amount"].update(minimum=0, maximum=101),
    lambda s: fields(s)["amount"].update(type="number"),
    lambda s: fields(s)["amount"].update(type=["integer", "null"]),
    lambda s: fields(s)["kind"].update(enum=["c", "b", "a"]),
    lambda s: fields(s).update(kind={"type": "string"}),
    lambda s: fields(s).update(id={"anyOf": [fields(s)["id"], {"type": "null"}]}),
    lambda s: fields(s)["note"]["anyOf"].reverse(),
    lambda s: fields(s).update(place=s["$defs"].pop("Place")),
    lambda s: fields(s)["id"].update(description="Other words."),
    lambda s: s.update(additionalProperties=True),
    lambda s: s.pop("allOf"),
]


@pytest.mark.parametrize("change", WIDER)
def test_a_wider_schema_passes(change: Change) -> None:
    assert breaks(BASE, changed(change)) == []


values = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, "", "a", "bb"])
instances = values | st.dictionaries(st.sampled_from("xyz"), values, max_size=2) | st.lists(values, max_size=2)
types = st.sampled_from(["null", "boolean", "integer", "number", "string", "object", "array"])
plain = st.fixed_dictionaries(
    {},
    optional={
        "type": types,
        "enum": st.lists(values, min_size=1, max_size=2),
        "minimum": st.integers(-2, 2),
        "exclusiveMaximum": st.integers(-2, 2),
        "maxLength": st.integers(0, 2),
        "minItems": st.integers(0, 2),
        "required": st.lists(st.sampled_from("xyz"), unique=True, max_size=2),
    },
)
schemas = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from("xyz"), inner, max_size=2)},
                              optional={"additionalProperties": st.booleans() | inner}),
        st.fixed_dictionaries({"items": inner}),
    ),
    max_leaves=4,
)  # fmt: skip


@given(schemas)
def test_a_schema_does_not_break_itself(schema: dict[str, Any]) -> None:
    assert breaks(schema, schema) == []


@given(schemas, schemas, st.lists(instances, max_size=8))
def test_what_the_old_schema_took_the_new_one_takes(old: Any, new: Any, messages: list[Any]) -> None:
    if not breaks(old, new):
        for message in messages:
            if Draft202012Validator(old).is_valid(message):
                assert Draft202012Validator(new).is_valid(message)
