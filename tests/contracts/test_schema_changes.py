"""Fields that are added, renamed or retyped: what is incompatible is refused, every time, and what is not passes."""

import copy
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mutations import valid_payment

from fraud_assets.lake import LakeResource, WrongSchema
from pix.contracts import InvalidMessage, parse_payment
from pix.contracts.compatibility import breaks
from pix.contracts.schemas import CONTRACTS
from pix.offline.declaration import Table
from quality.suites import covered

pytestmark = pytest.mark.faults

PUBLISHED = Path(__file__).parents[2] / "contracts"
SEED, SCHEMAS, MESSAGES, FRAMES = 17, 400, 3_000, 120
TYPES = ("string", "integer", "boolean", "object", "array", "null", "number")
OTHER_COLUMN = {"string": "bigint", "bigint": "string", "int": "bigint", "double": "string", "date": "string"}
Schema = dict[str, Any]
Change = Callable[[random.Random, Schema, Schema], bool]


def objects(node: Any) -> Iterator[Schema]:
    """Every part of a schema that names fields."""
    if isinstance(node, dict):
        if node.get("properties"):
            yield node
        for name, inner in node.items():
            # Rules between fields are compared as a whole.
            if name not in ("if", "then", "allOf"):
                yield from objects(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from objects(inner)


def types_of(schema: Any, defs: Schema) -> set[str] | None:
    """Every type that a field may have; None where the schema leaves it open."""
    if "$ref" in schema:
        return types_of(defs[schema["$ref"].removeprefix("#/$defs/")], defs)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            found = [types_of(choice, defs) for choice in schema[keyword]]
            return None if None in found else set().union(*filter(None, found))
    if "type" in schema:
        return {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    return None


def optional_added(_: random.Random, place: Schema, __: Schema) -> bool:
    place["properties"]["added_since"] = {"type": "string"}
    return place.get("additionalProperties") is False


def required_dropped(draw: random.Random, place: Schema, _: Schema) -> bool:
    if not place.get("required"):
        return False
    place["required"].remove(draw.choice(place["required"]))
    return True


def required_added(_: random.Random, place: Schema, __: Schema) -> bool:
    place["properties"]["added_since"] = {"type": "string"}
    place["required"] = [*place.get("required", []), "added_since"]
    return True


def renamed(draw: random.Random, place: Schema, _: Schema) -> bool:
    name = draw.choice(sorted(place["properties"]))
    place["properties"][f"{name}_renamed"] = place["properties"].pop(name)
    if name in place.get("required", []):
        place["required"][place["required"].index(name)] = f"{name}_renamed"
    return True


def retyped(draw: random.Random, place: Schema, whole: Schema) -> bool:
    name = draw.choice(sorted(place["properties"]))
    before = types_of(place["properties"][name], whole.get("$defs", {}))
    if before is None:
        return False
    # Every integer is a number.
    others = [kind for kind in TYPES if kind not in before and not (kind == "number" and "integer" in before)]
    place["properties"][name] = {"type": draw.choice(others)}
    return True


COMPATIBLE: tuple[Change, ...] = (optional_added, required_dropped)
INCOMPATIBLE: tuple[Change, ...] = (required_added, renamed, retyped)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_a_published_schema_changes(contract: Any, record_property: Callable[[str, object], None]) -> None:
    published = json.loads((PUBLISHED / contract.file).read_text())
    draw, done = random.Random(SEED), Counter[str]()
    while done.total() < SCHEMAS:
        changed = copy.deepcopy(published)
        change = draw.choice((*COMPATIBLE, *INCOMPATIBLE))
        if not change(draw, draw.choice(list(objects(changed))), changed):
            continue
        found = breaks(published, changed)
        assert bool(found) == (change in INCOMPATIBLE), (change.__name__, found)
        done[change.__name__] += 1
    refused = sum(done[change.__name__] for change in INCOMPATIBLE)
    record_property("seed", SEED)
    record_property("runs", f"{SCHEMAS} changes of one schema")
    told = ", ".join(f"{many} {name}" for name, many in sorted(done.items()))
    record_property("figures", f"{told}: {refused} of {refused} incompatible refused, all others let through")


def bent(draw: random.Random, content: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The kind of bend, the field that has to be named, and the message."""
    name = draw.choice(sorted(set(content) - {"tenant"}))
    kind = draw.choice(("added", "renamed", "retyped"))
    if kind == "added":
        return kind, "added_since", {**content, "added_since": draw.choice(["x", 1, True, None])}
    if kind == "renamed":
        return kind, f"{name}_new", {(f"{name}_new" if field == name else field): v for field, v in content.items()}
    value = content[name]
    other = str(value) if isinstance(value, (bool, int)) else draw.choice([[value], {"is": value}, 7, True])
    return kind, name, {**content, name: other}


def test_messages_of_another_schema_come(record_property: Callable[[str, object], None]) -> None:
    draw, refused = random.Random(SEED), Counter[str]()
    for _ in range(MESSAGES):
        content = valid_payment(draw)
        parse_payment(json.dumps(content).encode())
        kind, field, message = bent(draw, content)
        with pytest.raises(InvalidMessage) as refusal:
            parse_payment(json.dumps(message).encode())
        assert field in {error.field for error in refusal.value.errors}
        refused[kind] += 1
    record_property("seed", SEED)
    record_property("runs", f"{MESSAGES} payments, each as it was and bent")
    told = ", ".join(f"{many} with a field {kind}" for kind, many in sorted(refused.items()))
    record_property("figures", f"{told}: {refused.total()} of {MESSAGES} refused by that field's name")


def other_columns(draw: random.Random, table: Table) -> tuple[str, str]:
    """The kind of change, and the changed columns as Spark takes them."""
    columns = [(column.name, column.type) for column in table.columns]
    place, kind = draw.randrange(len(columns)), draw.choice(("added", "renamed", "retyped"))
    name, type_ = columns[place]
    if kind == "added":
        columns.insert(place, ("added_since", "string"))
    else:
        columns[place] = (f"{name}_new", type_) if kind == "renamed" else (name, OTHER_COLUMN.get(type_, "string"))
    return kind, ", ".join(f"`{name}` {type_}" for name, type_ in columns)


def test_frames_of_another_schema_are_written(
    spark: Any, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    lake = LakeResource(root=str(tmp_path / "lake"), locks=str(tmp_path / "locks"), tmp=str(tmp_path / "tmp"))
    draw, refused = random.Random(SEED), Counter[str]()
    for number in range(FRAMES):
        table = draw.choice([covered()[name] for name in sorted(covered())])
        kind, ddl = other_columns(draw, table)
        write = lake.overwrite if number % 2 else lambda table, frame: lake.replace(table, frame, where="true")
        with pytest.raises(WrongSchema):
            write(table, spark.createDataFrame([], ddl))
        assert not lake.exists(table.name)
        refused[kind] += 1
    record_property("seed", SEED)
    record_property("runs", f"{FRAMES} frames for the tables of silver and gold")
    told = ", ".join(f"{many} with a column {kind}" for kind, many in sorted(refused.items()))
    record_property("figures", f"{told}: {refused.total()} of {FRAMES} refused, nothing written")
