"""Calls without their transport: what is sent, when it is sent again, and what an answer says.

A call is sent again after 429, 503, a broken connection or a time-out, with the same bytes, until its deadline. That is
safe for every call here: a payment is decided once, feedback is one label however often it is sent.
"""

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from sentinela_client.errors import NoAnswer, Problem, RateLimited, SentinelaError, Unavailable, problem_of
from sentinela_client.types import Decision, Payment

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
DEADLINE_SECONDS = 4.0
ATTEMPT_SECONDS = 2.5
"""A little more than the service allows itself."""


class NoHttpAnswer(Exception):
    """One attempt brought no answer; becomes ``NoAnswer`` when there is no time for another one."""


@dataclass(frozen=True)
class Call:
    """One call, whose bytes are the same in every attempt."""

    method: str
    path: str
    body: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    traceparent: str | None = None

    def headers(self) -> dict[str, str]:
        """What this call sends beside the client's own headers."""
        headers = {"Content-Type": "application/json"} if self.body is not None else {}
        return headers | ({"traceparent": self.traceparent} if self.traceparent is not None else {})


class Patience:
    """Decides whether a failed attempt is followed by another one, and when; ``stamina`` asks it."""

    def __init__(
        self,
        deadline_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Begin now.

        Args:
            deadline_seconds: How long the whole call may take.
            clock: Seconds, for differences only.
            jitter: Makes numbers from 0 to 1, so that many clients do not come back at once.
        """
        self._clock = clock
        self._jitter = jitter
        self._ends_at = clock() + deadline_seconds
        self._pause = FIRST_PAUSE_SECONDS

    def attempt_seconds(self) -> float:
        """How long the next attempt may take."""
        return max(0.001, min(ATTEMPT_SECONDS, self._ends_at - self._clock()))

    def __call__(self, error: Exception) -> bool | float:
        """The pause before another attempt, seconds: at least what the service asked for; False if there is none."""
        if not isinstance(error, RateLimited | Unavailable | NoHttpAnswer):
            return False
        asked = 0.0 if isinstance(error, NoHttpAnswer) else error.retry_after_seconds or 0.0
        pause = max(asked, self._pause) + self._jitter() * self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return pause if self._clock() + pause < self._ends_at else False


def retries(patience: Patience) -> dict[str, Any]:
    """How ``stamina`` shall try again: as the patience says."""
    return {"on": patience, "attempts": None, "timeout": None}


def client_options(base_url: str, key: str, transport: Any) -> dict[str, Any]:
    """What both kinds of httpx client are made with."""
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
    return {"base_url": f"{base_url.rstrip('/')}/v1", "headers": headers, "transport": transport}


@dataclass(frozen=True)
class Good:
    """A good answer.

    Attributes:
        content: Its JSON.
        is_deferred: Whether it says that Kafka has the decision later.
    """

    content: Any
    is_deferred: bool


def checked(answer: httpx.Response) -> Good:
    """The content of a good answer.

    Raises:
        Problem: The service refused.
    """
    try:
        content = answer.json()
    except ValueError:
        content = None
    if answer.is_success and content is not None:
        return Good(content, "sentinela-delivery" in answer.headers)
    # A proxy in between may answer in its own way.
    told = content if isinstance(content, dict) else {"title": answer.reason_phrase, "detail": "no problem document"}
    asked = answer.headers.get("retry-after", "")
    raise problem_of(
        {**told, "status": answer.status_code},
        retry_after_seconds=float(asked) if asked.isdecimal() else None,
        request_id=answer.headers.get("x-request-id"),
    )


def no_answer(error: NoHttpAnswer) -> NoAnswer:
    """What is raised when the time is over."""
    return NoAnswer(f"{error}; whether it was done is not known: send the same again, it is done once")


def decide(payment: Payment, traceparent: str | None, *, is_dry_run: bool = False) -> Call:
    """``POST /decisions`` or its dry run."""
    path = "decisions:dry-run" if is_dry_run else "decisions"
    return Call("POST", f"/{path}", _json(payment), traceparent=traceparent)


def decide_batch(payments: Sequence[Payment], traceparent: str | None) -> Call:
    """``POST /decisions:batch``."""
    return Call("POST", "/decisions:batch", _json({"payments": list(payments)}), traceparent=traceparent)


def look_up(end_to_end_id: str, tenant: str) -> Call:
    """``GET /decisions/{end_to_end_id}``."""
    return Call("GET", f"/decisions/{quote(end_to_end_id, safe='')}", query={"tenant": tenant})


def feedback(end_to_end_id: str, tenant: str, kind: str, fraud_type: str | None, known_at: str | None) -> Call:
    """``POST /decisions/{end_to_end_id}/feedback``."""
    told = {"kind": kind, "fraud_type": fraud_type, "known_at": known_at}
    content = {name: value for name, value in told.items() if value is not None}
    path = f"/decisions/{quote(end_to_end_id, safe='')}/feedback"
    return Call("POST", path, _json(content), query={"tenant": tenant})


def decision_of(answer: Good) -> Decision:
    """The decision that an answer brings."""
    try:
        return Decision.of(answer.content, is_deferred=answer.is_deferred)
    except (KeyError, TypeError, ValueError) as error:
        raise SentinelaError(f"the answer is no decision that this client can read: {error!r}") from error


def results_of(answer: Good) -> list[Decision | Problem]:
    """What a batch brings, one by one and in order."""
    try:
        return [_result(each, answer.is_deferred) for each in answer.content["results"]]
    except (KeyError, TypeError, ValueError) as error:
        raise SentinelaError(f"the answer holds no results that this client can read: {error!r}") from error


def _result(content: Mapping[str, Any], is_deferred: bool) -> Decision | Problem:
    if "decision" in content:
        return Decision.of(content["decision"], is_deferred=is_deferred)
    return problem_of(content["problem"])


def label_of(answer: Good) -> Mapping[str, Any]:
    """The label that feedback became."""
    label: Mapping[str, Any] = answer.content
    return label


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
