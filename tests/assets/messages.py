"""Messages as bronze has them, with what silver and gold read of each."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pix import topics


def token(name: str) -> str:
    """A token's shape."""
    return f"k1:{name:_>32}"


def identity(number: int, at_ms: int) -> str:
    """An EndToEndId of that minute."""
    return f"E12345678{datetime.fromtimestamp(at_ms / 1000, UTC):%Y%m%d%H%M}{number:011d}"


def payment(number: int, at_ms: int, *, id_at_ms: int | None = None) -> dict[str, Any]:
    """A tokenised payment."""
    named = {"end_to_end_id": identity(number, id_at_ms or at_ms), "tenant": "default", "initiated_at_ms": at_ms}
    return named | {"amount_cents": 1_000 + number, "payer_account": token("payer"), "payee_account": token("shop")}


def record(said: Mapping[str, Any], action: str = "ALLOW", **others: Any) -> str:
    """A decision of a payment on ``pix.decisions``."""
    at_ms = said["initiated_at_ms"]
    return json.dumps(
        {
            **{name: said[name] for name in ("end_to_end_id", "tenant")},
            "event_time_ms": at_ms,
            "received_at_ms": at_ms + 1,
            "decided_at_ms": at_ms + 5,
            "action": action,
            "outcome": "attempted" if action == "BLOCK" else "allowed",
            "fraud_probability": 0.25,
            "mode": "normal",
            "model": {"name": "pix_fraud", "version": "3", "sha256": "0" * 64},
            "policy_version": "0" * 16,
            "feature_fingerprint": "0" * 16,
            "generation": 1,
            "reasons": [],
            "rule_hits": [],
            "trace_id": "0" * 32,
            "build": "b",
            "body_token": token("body"),
            "payment": dict(said),
            "payment_digest": "0" * 64,
            "origin": {"kind": "rest"},
            **others,
        }
    )


def letter(offset: int, at_ms: int) -> str:
    """A dead letter of a payment at that offset of its topic."""
    origin = {"topic": topics.TRANSACTIONS, "partition": 0, "offset": offset}
    said = {"reason": "not_json", "errors": [], "body_token": token(f"l{offset}"), "payload": "k1:sealed"}
    content = {**said, "payload_bytes": 9, "origin": origin, "received_at_ms": at_ms}
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
