"""Client of the decision service for the streams: batches, answered item by item, with patience.

Every endpoint used here is idempotent, so an unanswered item is simply sent again. What the service
refuses for good is an answer; what it cannot answer now is retried until it can.

ServiceRefuses    the service rejects this client as a whole: wrong key, wrong address
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httpx

from fraud_streaming.lifetime import Stop

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
TIMEOUT_SECONDS = 10.0
TOO_MANY, TIMED_OUT, OK, SERVER_ERROR = 429, 408, 200, 500
# RFC 7240: the streams need to know what became of an item, not what was decided.
MINIMAL: Mapping[str, str] = {"Prefer": "return=minimal"}
# The batch as a whole was refused: one item in it may be to blame, so it is asked in halves.
ITEM_TO_BLAME = frozenset({400, 413, 422})


_Body = Callable[[Sequence[int]], bytes]


class ServiceRefuses(Exception):
    """The service rejects this client as a whole."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said about one item.

    Attributes:
        status: HTTP status of the item; never one that asks to try again.
        content: The item's result, with ``decision``, ``fold`` or ``problem``.
    """

    status: int
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Attempt:
    answers: dict[int, Answer]
    problem: str
    retry_after_seconds: float = 0.0


class ServiceClient:
    """Calls the decision service. Close it after use."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        randomness: random.Random,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = base_url
        self._random = randomness
        self._http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"},
            timeout=TIMEOUT_SECONDS,
            # A proxy from the environment is not meant for the service beside us.
            trust_env=False,
            transport=transport,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def answers(
        self,
        path: str,
        count: int,
        body: _Body,
        *,
        stop: Stop,
        on_retry: Callable[[str], None],
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> list[Answer | None]:
        """Ask until every item is answered, or until ``stop``.

        Args:
            path: The batch endpoint.
            count: Number of items.
            body: Request body for the items with the given numbers, in that order.
            stop: Ends the patience.
            on_retry: Called with the problem before each pause.
            headers: Of each request, beside those of the client.

        Returns:
            One answer per item; None for those still unanswered when asked to stop.

        Raises:
            ServiceRefuses: Waiting would not help.
        """
        answers: list[Answer | None] = [None] * count
        failures = 0
        while (missing := [number for number, answer in enumerate(answers) if answer is None]) and not stop:
            attempt = self._ask(path, missing, body, headers)
            for number, answer in attempt.answers.items():
                answers[number] = answer
            if len(attempt.answers) < len(missing):
                failures = 1 if attempt.answers else failures + 1
                on_retry(attempt.problem)
                stop.sleep(max(attempt.retry_after_seconds, self._pause(failures)))
        return answers

    def get(self, path: str) -> dict[str, Any] | None:
        """A JSON document of the service; None when it has none to give now."""
        try:
            response = self._http.get(path)
            content = response.json() if response.status_code == OK else None
        except (httpx.HTTPError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def _ask(self, path: str, numbers: Sequence[int], body: _Body, headers: Mapping[str, str]) -> _Attempt:
        try:
            response = self._http.post(path, content=body(numbers), headers=headers)
        except httpx.HTTPError as error:
            return _Attempt({}, f"no answer from {self._url}{path}: {error!r}")
        if response.status_code == OK:
            return _read(response, numbers)
        if response.status_code in ITEM_TO_BLAME:
            return self._ask_in_halves(path, numbers, body, headers, response)
        if response.status_code in (TOO_MANY, TIMED_OUT) or response.status_code >= SERVER_ERROR:
            return _Attempt({}, f"{response.status_code} from {self._url}{path}", _retry_after(response))
        raise ServiceRefuses(
            f"{self._url}{path} answers {response.status_code}: {response.text[:200]!r}; "
            "check the service's address and the key in secrets/api-key"
        )

    def _ask_in_halves(
        self,
        path: str,
        numbers: Sequence[int],
        body: _Body,
        headers: Mapping[str, str],
        refused: httpx.Response,
    ) -> _Attempt:
        if len(numbers) == 1:
            return _Attempt({numbers[0]: Answer(refused.status_code, {"problem": _json_object(refused)})}, "")
        middle = len(numbers) // 2
        first = self._ask(path, numbers[:middle], body, headers)
        second = self._ask(path, numbers[middle:], body, headers)
        return _Attempt(
            first.answers | second.answers,
            first.problem or second.problem,
            max(first.retry_after_seconds, second.retry_after_seconds),
        )

    def _pause(self, failures: int) -> float:
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 16))
        # At least half of it: full jitter may not wait at all.
        return self._random.uniform(longest / 2, longest)


def _read(response: httpx.Response, numbers: Sequence[int]) -> _Attempt:
    results = _json_object(response).get("results")
    if not isinstance(results, list) or len(results) != len(numbers):
        return _Attempt({}, f"{response.url} did not answer {len(numbers)} items with as many results")
    answers: dict[int, Answer] = {}
    later: set[int] = set()
    for number, result in zip(numbers, results, strict=True):
        status = result.get("status") if isinstance(result, dict) else None
        if not isinstance(status, int) or status in (TOO_MANY, TIMED_OUT) or status >= SERVER_ERROR:
            later.add(status if isinstance(status, int) else 0)
        else:
            answers[number] = Answer(status, result)
    return _Attempt(answers, f"{response.url} answers {sorted(later)} for single items" if later else "")


def _json_object(response: httpx.Response) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), LONGEST_PAUSE_SECONDS) if text.isascii() and text.isdigit() else 0.0
