"""Hand-made messages, bronze rows and frames for the lake's transforms."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from pix.contracts import behind_the_door, canonical_json, label_id, parse_payment, payment_digest
from pix.offline.tables import BRONZE_COLUMNS
from pix.tokens import Keyring

KEYRING = Keyring(1, {1: b"\x07" * 32})
DAY_MS = 86_400_000
NOON_MS = 1_780_315_200_000  # 2026-06-01T12:00:00Z
BRONZE = ", ".join(f"`{column.name}` {column.type}" for column in BRONZE_COLUMNS)


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def identity(number: int) -> str:
    return f"E12345678202606011200{number:011d}"


def payment(number: int, at_ms: int = NOON_MS, **fields) -> dict:
    return {
        "end_to_end_id": identity(number),
        "initiated_at": iso(at_ms),
        "amount_cents": 1_000 + number,
        "payer_account": f"12345678-0001-{number % 5 + 1}",
        "payee_account": f"87654321-0001-{number % 3 + 1}",
        **fields,
    }


def label(number: int, kind: str, known_ms: int, **fields) -> dict:
    content = {
        "end_to_end_id": identity(number),
        "kind": kind,
        "fraud_type": "SCAM" if kind == "accepted" else None,
        "effective_at": iso(known_ms),
        "known_at": iso(known_ms),
        "source": "med",
        **fields,
    }
    return {**content, "label_id": label_id(content)}


def record(number: int, action: str = "ALLOW", at_ms: int = NOON_MS, **fields) -> dict:
    inside = behind_the_door(parse_payment(json.dumps(payment(number, at_ms)).encode()), KEYRING)
    return {
        "end_to_end_id": inside.end_to_end_id,
        "tenant": "default",
        "action": action,
        "fraud_probability": 0.25,
        "raw_score": -1.0986,
        "reasons": [{"code": "new_payee", "text": {"pt-BR": "", "en": ""}, "contribution": 0.5}],
        "rule_hits": ["big"],
        "model": {"name": "pix_fraud", "version": "3", "sha256": "ab"},
        "feature_fingerprint": "f",
        "policy_version": "p",
        "mode": "normal",
        "decided_at": iso(at_ms + 5),
        "decided_at_ms": at_ms + 5,
        "event_time_ms": at_ms,
        "received_at_ms": at_ms + 1,
        "trace_id": "t",
        "payment": inside.to_dict(),
        "payment_digest": payment_digest(inside),
        "body_token": f"k1:body{number}",
        "features": [],
        "carried": {"payer_flagged": {"value": False, "read": 0}, "payee_flagged": {"value": False, "read": 0}},
        "generation": 1,
        "states": {},
        "outcome": "allowed" if action in ("ALLOW", "REVIEW") else "attempted",
        "origin": {"kind": "kafka", "topic": "pix.transactions", "partition": 2, "offset": number},
        "build": "b",
        "token_key_version": 1,
        **fields,
    }


def bronze_row(topic: str, offset: int, value: dict | str | None, *, partition: int = 0, at_ms: int = NOON_MS) -> tuple:
    text = canonical_json(value).decode() if isinstance(value, dict) else value
    return topic, partition, offset, at_ms, None, text, None, None, at_ms + 100


@pytest.fixture(scope="session")
def messages():
    """The builders above, so that test modules need no import between them."""
    builders = (iso, identity, payment, label, record, bronze_row)
    return SimpleNamespace(
        KEYRING=KEYRING, DAY_MS=DAY_MS, NOON_MS=NOON_MS, **{builder.__name__: builder for builder in builders}
    )


@pytest.fixture(scope="session")
def bronze(spark):
    def frame(*rows: tuple):
        return spark.createDataFrame(list(rows), BRONZE)

    return frame
