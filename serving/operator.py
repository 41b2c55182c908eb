"""The decision service as operators and analysts meet it: the store's generations, and the queue of reviews.

NotDone
└── NoAnswer   the service does not answer
"""

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx

POLL_SECONDS = 0.3
SAY_EVERY_SECONDS = 2.0
TIMEOUT_SECONDS = 60.0
OK = 200
LEFT = ("active", "failed", "retired")


class NotDone(Exception):
    """The service does not do what it was asked; the message says why and what to do."""


class NoAnswer(NotDone):
    """The service does not answer."""


class Operator:
    """Calls one decision service."""

    def __init__(self, url: str, api_key: str) -> None:
        """Address it.

        Args:
            url: Base URL of the service.
            api_key: Key for its ``Authorization`` header.
        """
        self._url = url
        # A proxy from the environment is not meant for the service beside us.
        self._headers = {"Authorization": f"Bearer {api_key}"}

    def store(self) -> dict[str, Any]:
        """What ``GET /v1/store`` says.

        Raises:
            NoAnswer: The service does not answer.
        """
        return self._ask("GET", "/v1/store", None)

    def model(self) -> dict[str, Any]:
        """What ``GET /v1/model`` says; like ``store``."""
        return self._ask("GET", "/v1/model", None)

    def rebuild(self, order: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
        """Order a generation and wait until it is in use.

        Args:
            order: version, force, accept_gaps, as ``POST /v1/store:rebuild`` takes them.
            say: Told of the progress now and then.

        Returns:
            generation and already_built.

        Raises:
            NotDone: The service does not answer, refuses, or could not build it.
        """
        return self._followed(self._ask("POST", "/v1/store:rebuild", order), say)

    def roll_back(self, number: int | None, say: Callable[[str], None]) -> dict[str, Any]:
        """Return to a retired generation, by default the newest; like ``rebuild``."""
        return self._followed(self._ask("POST", "/v1/store:roll-back", {"generation": number}), say)

    def reviews(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A part of the list of reviews that ``GET /v1/reviews`` gives for this query.

        Raises:
            NotDone: The service does not answer, or refuses.
        """
        return self._ask("GET", f"/v1/reviews?{urlencode(query)}", None)

    def review(self, end_to_end_id: str, tenant: str) -> dict[str, Any]:
        """One review with what an analyst needs; like ``reviews``."""
        return self._ask("GET", f"/v1/reviews/{quote(end_to_end_id, safe='')}?{urlencode({'tenant': tenant})}", None)

    def close_review(self, end_to_end_id: str, tenant: str, verb: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """Close a review by ``confirm`` or ``dismiss``; like ``reviews``."""
        path = f"/v1/reviews/{quote(end_to_end_id, safe='')}:{verb}?{urlencode({'tenant': tenant})}"
        return self._ask("POST", path, said)

    def _followed(self, begun: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
        say_at, told = time.monotonic(), ""
        while True:
            listed = {each["number"]: each for each in self.store()["generations"]}
            found = listed.get(begun["generation"], {"state": "failed", "problem": "another builder took over"})
            if found["state"] == "active":
                return begun
            if found["state"] in LEFT:
                raise NotDone(found["problem"] or f"generation {begun['generation']} is not in use any more")
            line = progress(found)
            if time.monotonic() >= say_at and line != told:
                say(line)
                say_at, told = time.monotonic() + SAY_EVERY_SECONDS, line
            time.sleep(POLL_SECONDS)

    def _ask(self, method: str, path: str, content: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            answer = httpx.request(
                method,
                f"{self._url}{path}",
                headers=self._headers,
                json=content,
                timeout=TIMEOUT_SECONDS,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise NoAnswer(
                f"the decision service at {self._url} does not answer ({error}); start it with `sentinela up`, or see "
                "what runs with `sentinela status`"
            ) from error
        if answer.status_code != OK:
            raise NotDone(f"the decision service at {self._url} refuses: {answer.status_code} {_detail(answer)}")
        found: dict[str, Any] = answer.json()
        return found


def progress(generation: Mapping[str, Any]) -> str:
    """One line on a generation that is being built."""
    share = f" {generation['done']:,} of {generation['total']:,}" if generation["total"] else ""
    return f"generation {generation['number']}: {generation['step'] or 'begins'}{share}"


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]
