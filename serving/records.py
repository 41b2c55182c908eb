"""Decision records: what is in them, and what of it the caller is told."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from pix.contracts import canonical_json
from pix.features import FINGERPRINT
from serving.outcomes import Done, Judgement, Sighting

PUBLIC_FIELDS = (
    "end_to_end_id",
    "action",
    "fraud_probability",
    "reasons",
    "rule_hits",
    "hold",
    "model",
    "feature_fingerprint",
    "policy_version",
    "mode",
    "decided_at",
    "trace_id",
)


def publicly(sighting: Sighting, judgement: Judgement, mode: str) -> dict[str, Any]:
    """What the caller is told.

    Args:
        sighting: The payment as it came in.
        judgement: What was concluded.
        mode: ``normal``, or ``degraded:`` by what was missing.
    """
    hold, decided_at = judgement.hold, datetime.fromtimestamp(judgement.decided_at_ms / 1000, UTC)
    return {
        "end_to_end_id": sighting.payment.end_to_end_id,
        "action": judgement.verdict.action,
        "fraud_probability": judgement.probability,
        "reasons": judgement.reasons,
        "rule_hits": judgement.verdict.rule_hits,
        "hold": hold.described() if hold else None,
        "model": judgement.model,
        "feature_fingerprint": FINGERPRINT,
        "policy_version": judgement.policy.version,
        "mode": mode,
        "decided_at": decided_at.isoformat(timespec="milliseconds"),
        "trace_id": sighting.arrival.trace_id,
    }


def answer(done: Done) -> bytes:
    """What the caller of a decision is told; equal records give equal answers."""
    return canonical_json(public_part(done))


def public_part(done: Done) -> Mapping[str, object]:
    """The fields of a decision record that its caller is told; an older record may lack some, as its answer did."""
    if done.public is not None:
        return done.public
    content = parse_record(done.record)
    return {name: content[name] for name in PUBLIC_FIELDS if name in content}


def parse_record(record: bytes) -> dict[str, Any]:
    """A record's content; our own bytes, so size and shape are trusted."""
    content: dict[str, Any] = orjson.loads(record)
    return content
