"""The topics as an AsyncAPI 3 document; the payloads are the published JSON Schemas."""

from typing import Any

import yaml

from pix.contracts.schemas import CONTRACTS, Contract

FILE = "asyncapi.yaml"
# The version of the document grows with its schemas; these only ever grow compatibly.
VERSION = "1.0.0"


def document() -> dict[str, Any]:
    """Channels, operations and messages, from this platform's side: it receives what others write."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sentinela",
            "version": VERSION,
            "description": "Decisions on Pix payments: what goes in, what comes out, what is refused. Values are "
            "JSON in UTF-8, at least once; equal records have identical bytes.",
        },
        "defaultContentType": "application/json",
        "channels": {topic: _channel(topic) for topic in dict.fromkeys(contract.topic for contract in CONTRACTS)},
        "operations": {_operation_name(contract): _operation(contract) for contract in CONTRACTS},
        "components": {"messages": {contract.name: _message(contract) for contract in CONTRACTS}},
    }


def text() -> str:
    """The document as its file holds it."""
    return yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=110)


def _channel(topic: str) -> dict[str, Any]:
    names = [contract.name for contract in CONTRACTS if contract.topic == topic]
    return {
        "address": topic,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _operation_name(contract: Contract) -> str:
    return f"{'take' if contract.is_taken_in else 'publish'}-{contract.name}"


def _operation(contract: Contract) -> dict[str, Any]:
    channel = f"#/channels/{contract.topic}"
    return {
        "action": "receive" if contract.is_taken_in else "send",
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{contract.name}"}],
    }


def _message(contract: Contract) -> dict[str, Any]:
    return {
        "name": contract.name,
        "summary": contract.summary,
        "contentType": "application/json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./{contract.file}"},
        },
        "bindings": {"kafka": {"key": {"type": "string", "description": contract.key}, "bindingVersion": "0.5.0"}},
    }
