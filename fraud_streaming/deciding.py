"""A batch of payments: read, decided by the service, the refused put away. Knows no consumer and no thread.

What the service cannot answer now is asked again, so a payment that is sent twice gets the decision it already has.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from fraud_streaming.kafka import Taken
from fraud_streaming.lanes import Done
from fraud_streaming.lifetime import Stop
from fraud_streaming.reading import read
from fraud_streaming.refusals import Refusal, answered_no, refuse, to_letter
from fraud_streaming.service import MINIMAL, Answer, ServiceClient
from pix.contracts import InvalidMessage, canonical_json, parse_payment
from pix.deadletter import DeadLetter
from pix.tokens import Keyring, body_sha256
from pix.tracecontext import HEADER

PATH = "/v1/decisions:batch"
DECIDED = 200
OnRetry = Callable[[str], None]


class Letters(Protocol):
    """Where refused messages are put away."""

    def send(self, letters: Sequence[DeadLetter], stop: Stop) -> bool:
        """Write all of them; False when asked to stop before every one was confirmed."""


@dataclass(frozen=True, slots=True)
class Valid:
    """A message that keeps the contract, with its payment's id."""

    taken: Taken
    end_to_end_id: str


@dataclass(frozen=True, slots=True)
class Deciding:
    """What decides a partition's batches.

    Attributes:
        service: Client of the decision service.
        letters: Takes the refused messages.
        keyring: Seals them.
        on_retry: Told why something is asked again.
    """

    service: ServiceClient
    letters: Letters
    keyring: Keyring
    on_retry: OnRetry

    def __call__(self, batch: Sequence[Taken], stop: Stop) -> Done:
        """Decide a batch of one partition, in its order.

        Raises:
            ServiceRefuses: The service rejects this client as a whole.
            DeadLetterRefused: The broker will never take one of the dead letters.
        """
        payments, refusals = split(batch)
        answers: Sequence[Answer | None] = self.service.answers(
            PATH,
            len(payments),
            lambda numbers: request_body(payments, numbers),
            stop=stop,
            on_retry=self.on_retry,
            headers=MINIMAL,
        )
        refusals += refused_by_service(payments, answers)
        are_written = self.letters.send([to_letter(refusal, self.keyring) for refusal in refusals], stop)
        unfinished = [payment.taken for payment, answer in zip(payments, answers, strict=True) if answer is None]
        unfinished += [] if are_written else [refusal.taken for refusal in refusals]
        return Done(
            reached=min((taken.origin.offset for taken in unfinished), default=batch[-1].origin.offset + 1),
            messages=len(batch) - len(unfinished),
            decided=sum(answer is not None and answer.status == DECIDED for answer in answers),
            refused=len(refusals) if are_written else 0,
        )


def split(batch: Sequence[Taken]) -> tuple[list[Valid], list[Refusal]]:
    """Payments that keep the contract, and the messages that do not, both in order."""
    payments: list[Valid] = []
    refusals: list[Refusal] = []
    for taken in batch:
        try:
            payments.append(Valid(taken, read(taken.value, parse_payment).end_to_end_id))
        except InvalidMessage as invalid:
            refusals.append(refuse(taken, invalid))
    return payments, refusals


def request_body(payments: Sequence[Valid], numbers: Sequence[int]) -> bytes:
    """The batch request: messages spliced in as received, so the service parses what was sent."""
    chosen = [payments[number].taken for number in numbers]
    raw = [taken.value or b"" for taken in chosen]
    origins: list[Mapping[str, object]] = [
        {**asdict(taken.origin), "received_at_ms": taken.received_at_ms, "body_sha256": body_sha256(body)}
        | ({HEADER: taken.traceparent} if taken.traceparent else {})
        for taken, body in zip(chosen, raw, strict=True)
    ]
    return b'{"payments":[' + b",".join(raw) + b'],"origins":' + canonical_json(origins) + b"}"


def refused_by_service(payments: Sequence[Valid], answers: Sequence[Answer | None]) -> list[Refusal]:
    """The payments that the service will not decide."""
    return [
        answered_no(payment.taken, answer, payment.end_to_end_id)
        for payment, answer in zip(payments, answers, strict=True)
        if answer is not None and answer.status != DECIDED
    ]
