"""Messages that will never be taken: why, and what becomes of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fraud_streaming.kafka import Taken
from fraud_streaming.reading import reason
from fraud_streaming.service import Answer
from pix.contracts import FieldError, InvalidMessage
from pix.deadletter import DeadLetter, dead_letter
from pix.tokens import Keyring

SERVICE_REASONS = {
    400: "not_json",
    404: "payment_unknown",
    409: "conflict",
    413: "too_large",
    422: "invalid_fields",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that will never be decided, and why."""

    taken: Taken
    word: str
    errors: tuple[FieldError, ...]
    end_to_end_id: str | None


def refuse(taken: Taken, invalid: InvalidMessage) -> Refusal:
    """The refusal of a message that breaks its contract."""
    return Refusal(taken, reason(invalid), tuple(invalid.errors), invalid.end_to_end_id)


def answered_no(taken: Taken, answer: Answer, end_to_end_id: str) -> Refusal:
    """The service's final no as a refusal."""
    word = SERVICE_REASONS.get(answer.status, f"refused_{answer.status}")
    return Refusal(taken, word, problem_errors(answer.content), end_to_end_id)


def problem_errors(content: Mapping[str, Any]) -> tuple[FieldError, ...]:
    """Field errors of a problem document; its title or detail where it names no field."""
    problem = content.get("problem")
    if not isinstance(problem, dict):
        return (FieldError("", "the service gave no reason"),)
    errors = problem.get("errors")
    if isinstance(errors, list) and errors:
        return tuple(
            FieldError(str(error.get("field", "")), str(error.get("reason", "")))
            for error in errors
            if isinstance(error, dict)
        )
    return (FieldError("", str(problem.get("detail") or problem.get("title") or "the service gave no reason")),)


def to_letter(refusal: Refusal, keyring: Keyring) -> DeadLetter:
    """The dead letter of a refusal."""
    return dead_letter(
        reason=refusal.word,
        errors=refusal.errors,
        origin=refusal.taken.origin,
        received_at_ms=refusal.taken.received_at_ms,
        end_to_end_id=refusal.end_to_end_id,
        raw=refusal.taken.value,
        keyring=keyring,
        redriven_from=refusal.taken.redriven_from,
    )
