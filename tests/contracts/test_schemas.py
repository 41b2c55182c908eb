"""The published contracts are what the models say, are valid, and only ever grow compatibly."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import Field

from pix import topics
from pix.contracts import __main__ as publishing
from pix.contracts import asyncapi
from pix.contracts.compatibility import breaks
from pix.contracts.payment import TEXT_FIELDS, PaymentMessage
from pix.contracts.schemas import CONTRACTS, Contract, schema

PUBLISHED = Path(__file__).parents[2] / "contracts"
contracts = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)


def published(contract: Contract) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((PUBLISHED / contract.file).read_text())
    return content


def test_the_published_files_are_current() -> None:
    files = publishing.files()
    # serving publishes its own; it is judged with the API.
    assert {path.name for path in PUBLISHED.iterdir()} == {*files, "openapi.json"}
    for name, text in files.items():
        assert (PUBLISHED / name).read_text() == text, f"{name} is old: run `make contracts`"


@contracts
def test_what_was_published_is_still_taken(contract: Contract) -> None:
    found = breaks(published(contract), schema(contract))
    assert not found, "; ".join(f"{one.field or 'message'}: {one.reason}" for one in found)


@contracts
def test_a_published_schema_is_a_schema(contract: Contract) -> None:
    Draft202012Validator.check_schema(published(contract))


def fields_of(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        for name, field in node.get("properties", {}).items():
            yield f"{path}.{name}", field
        for name, inner in node.items():
            if name not in ("if", "then", "allOf"):
                yield from fields_of(inner, f"{path}.{name}")


@contracts
def test_every_field_is_described(contract: Contract) -> None:
    described = list(fields_of(published(contract)))
    assert described
    assert [path for path, field in described if not field.get("description")] == []


def test_the_parser_knows_which_fields_are_texts() -> None:
    """The rule against duplicate keys counts quotation marks by this list."""

    def is_text(field: dict[str, Any]) -> bool:
        return field.get("type") == "string" or any(is_text(choice) for choice in field.get("anyOf", ()))

    fields = PaymentMessage.model_json_schema()["properties"]
    assert set(TEXT_FIELDS) == {name for name, field in fields.items() if is_text(field)}


class Narrower(PaymentMessage):
    """The planted break: amounts end at R$ 1 and a fact became required."""

    amount_cents: int = Field(gt=0, le=100, description="Amount in centavos.")
    device_id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="The payer's device.")


def test_a_break_is_named_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publishing.main(["--folder", str(tmp_path)]) == 0
    before = (tmp_path / "payment.schema.json").read_text()
    planted = tuple(Contract("payment", Narrower, c.topic, c.key, True) for c in CONTRACTS if c.name == "payment")
    monkeypatch.setattr(publishing, "CONTRACTS", planted)
    assert publishing.main(["--folder", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "amount_cents: maximum is now 100" in said
    assert "device_id: is now required" in said
    assert (tmp_path / "payment.schema.json").read_text() == before
    assert publishing.main(["--folder", str(tmp_path), "--break"]) == 0
    assert (tmp_path / "payment.schema.json").read_text() != before


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            assert set(node) == {"$ref"}, "nothing stands beside a reference"
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    if isinstance(node, list):
        for inner in node:
            yield from references(inner)


def resolved(document: dict[str, Any], reference: str) -> Any:
    if reference.startswith("./"):
        return json.loads((PUBLISHED / reference).read_text())
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_asyncapi_has_the_structure_of_version_3() -> None:
    document = yaml.safe_load((PUBLISHED / asyncapi.FILE).read_text())
    assert re.fullmatch(r"3\.\d\.\d", document["asyncapi"])
    assert {"title", "version"} <= set(document["info"])
    assert set(document) <= {"asyncapi", "info", "defaultContentType", "channels", "operations", "components"}
    for reference in references(document):
        assert resolved(document, reference)
    for channel in document["channels"].values():
        assert set(channel) == {"address", "messages", "bindings"}
    for operation in document["operations"].values():
        assert set(operation) == {"action", "channel", "messages"}
        assert operation["action"] in ("send", "receive")
        of_channel = resolved(document, operation["channel"]["$ref"])["messages"].values()
        assert all(resolved(document, message["$ref"]) in of_channel for message in operation["messages"])
    for message in document["components"]["messages"].values():
        assert set(message["payload"]) == {"schemaFormat", "schema"}
        assert resolved(document, message["payload"]["schema"]["$ref"])["$schema"].endswith("2020-12/schema")
        assert message["bindings"]["kafka"]["key"]["type"] == "string"


def test_every_topic_has_its_channel_and_its_direction() -> None:
    document = asyncapi.document()
    assert {channel["address"] for channel in document["channels"].values()} == set(topics.ALL)
    received = {
        operation["channel"]["$ref"]
        for operation in document["operations"].values()
        if operation["action"] == "receive"
    }
    assert received == {"#/channels/pix.transactions", "#/channels/pix.labels"}
