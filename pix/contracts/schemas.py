"""The published form of the contracts: which message is on which topic, and its JSON Schema.

``python -m pix.contracts`` writes the schemas into ``contracts/``; they are made from the models here and
nowhere else. Rules that one field alone cannot show stand in ``allOf``.
"""

import json
from dataclasses import dataclass
from typing import Any

from pix import topics
from pix.contracts.dead_letter import DeadLetterRecord, RedrivenRecord
from pix.contracts.decision import DecisionRecord
from pix.contracts.fields import StrictMessage
from pix.contracts.fold import FoldRecord
from pix.contracts.label import LabelMessage
from pix.contracts.payment import WITHOUT_KEY, PaymentMessage
from pix.contracts.shadow import ShadowScore
from pix.identifiers import PIX_KEY_SHAPES, anchored

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Contract:
    """One message and where it travels.

    Attributes:
        name: Name of its schema's file, and of the message in AsyncAPI.
        model: What its bytes must hold.
        topic: Kafka topic.
        key: What the Kafka key is.
        is_taken_in: Others write it and this platform reads it; otherwise the other way round.
    """

    name: str
    model: type[StrictMessage]
    topic: str
    key: str
    is_taken_in: bool

    @property
    def file(self) -> str:
        """File name of the published schema."""
        return f"{self.name}.schema.json"

    @property
    def summary(self) -> str:
        """What the message is, in a sentence or two."""
        return str(self.model.__doc__)


CONTRACTS = (
    Contract("payment", PaymentMessage, topics.TRANSACTIONS, "The payer's account, as the sender has it.", True),
    Contract("label", LabelMessage, topics.LABELS, "EndToEndId of the payment.", True),
    Contract("decision", DecisionRecord, topics.DECISIONS, "Token of the payer's account.", False),
    Contract("fold", FoldRecord, topics.FOLDS, "EndToEndId of the payment.", False),
    Contract("dead-letter", DeadLetterRecord, topics.DLQ, "topic/partition/offset of the refused message.", False),
    Contract("redriven", RedrivenRecord, topics.DLQ, "The key of the dead letter that it is about.", False),
    Contract("shadow-score", ShadowScore, topics.SHADOW, "EndToEndId of the payment.", False),
)


def schema(contract: Contract) -> dict[str, Any]:
    """JSON Schema (2020-12) of a message."""
    content = without_titles(contract.model.model_json_schema())
    if contract.model is PaymentMessage:
        content["allOf"] = payment_rules()
    return {"$schema": DIALECT, "$id": f"urn:sentinela:contract:{contract.name}", "title": contract.name, **content}


def schema_text(content: dict[str, Any]) -> str:
    """A schema as its file holds it."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def payment_rules() -> list[dict[str, Any]]:
    """Rules between a payment's fields, as ``allOf``."""

    def when(field: str, values: list[str], shape: dict[str, Any]) -> dict[str, Any]:
        condition = {"required": [field], "properties": {field: {"enum": values}}}
        return {"if": condition, "then": {"properties": {"pix_key": shape}}}

    of_type = [when("pix_key_type", [kind], {"pattern": anchored(shape)}) for kind, shape in PIX_KEY_SHAPES.items()]
    return [*of_type, when("initiation", sorted(WITHOUT_KEY), {"type": "null"})]


def without_titles(node: Any) -> Any:
    """Without the titles that pydantic makes from names: they say nothing and double the file."""
    if isinstance(node, list):
        return [without_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    # A field may be called title; then its value is a schema, not a text.
    return {
        name: without_titles(item) for name, item in node.items() if not (name == "title" and isinstance(item, str))
    }
