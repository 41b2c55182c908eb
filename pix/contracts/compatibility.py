"""Whether a new JSON Schema still takes every message that the old one took. Pure: two schemas in, breaks out.

Careful where it cannot know: a changed pattern or an unknown keyword counts as a break, because nobody can
say that it became wider. It covers the part of JSON Schema that pydantic writes for our models.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

# Keyword -> whether a larger value takes less.
_LIMITS = {
    "minimum": True,
    "exclusiveMinimum": True,
    "minLength": True,
    "minItems": True,
    "minProperties": True,
    "maximum": False,
    "exclusiveMaximum": False,
    "maxLength": False,
    "maxItems": False,
    "maxProperties": False,
}
_SAID_ONLY = frozenset({"$schema", "$id", "$defs", "title", "description", "examples", "discriminator"})
_LOOKED_AT = frozenset(
    {
        "type",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "required",
        "properties",
        "additionalProperties",
        "propertyNames",
        "items",
        *_LIMITS,
    }
)


@dataclass(frozen=True, slots=True)
class Break:
    """One way in which the new schema takes less.

    Attributes:
        field: Path of the field, such as ``payment.amount_cents``; empty for the message as a whole.
        reason: What became narrower.
    """

    field: str
    reason: str


def breaks(old: Schema, new: Schema) -> list[Break]:
    """Every way in which a message that kept ``old`` may break ``new``; empty if there is none."""
    return list(_Comparison(old.get("$defs", {}), new.get("$defs", {})).of(old, new, ""))


@dataclass(frozen=True, slots=True)
class _Comparison:
    old_defs: Schema
    new_defs: Schema

    def of(self, old: Any, new: Any, field: str) -> Iterator[Break]:
        if new is True or new == {}:
            return
        if new is False or old is True:
            if old is not False:
                yield Break(field, "must no longer be there" if new is False else "was free and is no longer")
            return
        if old is False:
            return
        choices = _choices(new, self.new_defs)
        for choice in _choices(old, self.old_defs):
            yield from self._of_choice(choice, choices, field)

    def _of_choice(self, old: Schema, choices: list[Schema], field: str) -> Iterator[Break]:
        """An old alternative is kept if one new alternative takes all of it."""
        tried = [list(self._of_plain(old, choice, field)) for choice in choices]
        if all(tried):
            yield from min(tried, key=len)

    def _of_plain(self, old: Schema, new: Schema, field: str) -> Iterator[Break]:
        yield from _types(old, new, field)
        yield from _values(old, new, field)
        yield from _limits(old, new, field)
        yield from self._objects(old, new, field)
        if "items" in new:
            yield from self.of(old.get("items", True), new["items"], f"{field}[]")
        if any(rule not in old.get("allOf", []) for rule in new.get("allOf", [])):
            yield Break(field, "a rule between fields was added or changed")
        for keyword in sorted(new.keys() - _SAID_ONLY - _LOOKED_AT):
            if new[keyword] != old.get(keyword):
                yield Break(field, f"{keyword} was added or changed")

    def _objects(self, old: Schema, new: Schema, field: str) -> Iterator[Break]:
        def at(name: str) -> str:
            return f"{field}.{name}" if field else name

        for name in sorted(set(new.get("required", [])) - set(old.get("required", []))):
            yield Break(at(name), "is now required")
        old_fields, new_fields = old.get("properties", {}), new.get("properties", {})
        for name, schema in old_fields.items():
            if name in new_fields:
                yield from self.of(schema, new_fields[name], at(name))
            else:
                yield Break(at(name), "was removed")
        old_rest, new_rest = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if old_rest is not False:
            for name in new_fields.keys() - old_fields.keys():
                yield from self.of(old_rest, new_fields[name], at(name))
        yield from self.of(old_rest, new_rest, at("*"))
        if "propertyNames" in new:
            yield from self.of(old.get("propertyNames", True), new["propertyNames"], at("*"))


def _choices(schema: Any, defs: Schema) -> list[Schema]:
    """The alternatives of a schema, however deep, without references; itself if it has none."""
    if schema is True:
        return [{}]
    while "$ref" in schema:
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        schema = {**defs[schema["$ref"].removeprefix("#/$defs/")], **beside}
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            # What stands beside the alternatives holds for each of them.
            beside = {name: value for name, value in schema.items() if name not in (keyword, *_SAID_ONLY)}
            return [plain | beside for choice in schema[keyword] for plain in _choices(choice, defs)]
    return [schema]


def _types(old: Schema, new: Schema, field: str) -> Iterator[Break]:
    if "type" not in new:
        return
    taken, had = _with_integers(new["type"]), _with_integers(old.get("type", "anything"))
    listed = _allowed(old)
    if listed is not None:
        had = {kind for kind in map(_type_of, listed) if "type" not in old or kind in had}
    if had - taken:
        yield Break(field, f"no longer takes {', '.join(sorted(had - taken))}")


def _with_integers(types: str | list[str]) -> set[str]:
    """A schema's types; every integer is a number."""
    found = {types} if isinstance(types, str) else set(types)
    return found | {"integer"} if "number" in found else found


def _type_of(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _values(old: Schema, new: Schema, field: str) -> Iterator[Break]:
    taken, had = _allowed(new), _allowed(old)
    if taken is None:
        return
    if had is None:
        yield Break(field, "takes only listed values now")
        return
    # As JSON, because Python takes True for 1.
    kept = {json.dumps(value, sort_keys=True) for value in taken}
    lost = [value for value in had if json.dumps(value, sort_keys=True) not in kept]
    if lost:
        yield Break(field, f"no longer takes {', '.join(str(value) for value in lost)}")


def _allowed(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _limits(old: Schema, new: Schema, field: str) -> Iterator[Break]:
    for keyword, larger_takes_less in _LIMITS.items():
        if keyword not in new:
            continue
        before, now = old.get(keyword), new[keyword]
        if before is None or (now > before if larger_takes_less else now < before):
            yield Break(field, f"{keyword} is now {now}, was {'free' if before is None else before}")
