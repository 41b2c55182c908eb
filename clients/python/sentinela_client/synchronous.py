"""The synchronous client; ``asynchronous.py`` is the same with ``await``."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import stamina

from sentinela_client import calls
from sentinela_client.calls import DEADLINE_SECONDS, Call, Good, NoHttpAnswer, Patience
from sentinela_client.errors import Problem
from sentinela_client.types import Decision, Payment


class Client:
    """Asks one service with one key; keeps its connections open until it is closed.

    Every method raises ``NoAnswer`` or a ``Problem`` (``sentinela_client.errors``), after it tried again as long as its
    deadline allows.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Begin; nothing is sent yet.

        Args:
            base_url: Of the service, such as ``https://decisions.example``.
            key: The API key.
            deadline_seconds: How long a call may take, with all its attempts and pauses.
            transport: Of httpx, for certificates, proxies or tests.
        """
        self._deadline_seconds = deadline_seconds
        self._http = httpx.Client(**calls.client_options(base_url, key, transport))

    def __enter__(self) -> Self:
        """Use it in a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def decide(self, payment: Payment, *, traceparent: str | None = None) -> Decision:
        """Decide a payment, or get what was decided when it was first asked.

        Args:
            payment: As it is; the same payment again brings the same decision.
            traceparent: W3C Trace Context of the caller.
        """
        return calls.decision_of(self._answer(calls.decide(payment, traceparent)))

    def decide_batch(self, payments: Sequence[Payment], *, traceparent: str | None = None) -> list[Decision | Problem]:
        """Decide up to 1,000 payments, each by itself; a refused one has its problem in its place."""
        return calls.results_of(self._answer(calls.decide_batch(payments, traceparent)))

    def dry_run(self, payment: Payment, *, traceparent: str | None = None) -> Decision:
        """What would be decided on a new payment now; nothing is stored."""
        return calls.decision_of(self._answer(calls.decide(payment, traceparent, is_dry_run=True)))

    def decision(self, end_to_end_id: str, *, tenant: str = "default") -> Decision:
        """What was decided on a payment of this client; ``Unknown`` where nothing was, or not by its asking."""
        return calls.decision_of(self._answer(calls.look_up(end_to_end_id, tenant)))

    def feedback(
        self,
        end_to_end_id: str,
        kind: Literal["confirmed", "dismissed"],
        *,
        fraud_type: str | None = None,
        known_at: str | None = None,
        tenant: str = "default",
    ) -> Mapping[str, Any]:
        """Tell what a payment turned out to be; the label that this becomes.

        Args:
            end_to_end_id: Of a payment that this client asked about.
            kind: ``confirmed`` is fraud, ``dismissed`` is none.
            fraud_type: Of a confirmed one, such as ``SCAM``.
            known_at: RFC 3339; needed where the decision is older than 8 days, or a verdict is given again.
            tenant: Of the payment.
        """
        call = calls.feedback(end_to_end_id, tenant, kind, fraud_type, known_at)
        return calls.label_of(self._answer(call))

    def _answer(self, call: Call) -> Good:
        patience = Patience(self._deadline_seconds)
        try:
            for attempt in stamina.retry_context(**calls.retries(patience)):
                with attempt:
                    return calls.checked(self._sent(call, patience.attempt_seconds()))
        except NoHttpAnswer as error:
            raise calls.no_answer(error) from error
        raise AssertionError("stamina ends with an answer or an error")

    def _sent(self, call: Call, seconds: float) -> httpx.Response:
        try:
            return self._http.request(
                call.method,
                call.path,
                content=call.body,
                params=call.query,
                headers=call.headers(),
                timeout=seconds,
            )
        except httpx.TransportError as error:
            raise NoHttpAnswer(f"no answer from {self._http.base_url}: {error!r}") from error
