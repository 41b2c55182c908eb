"""The scoring job: payments from ``pix.transactions`` to the decision service, nothing lost on the way.

Offsets are committed after the service acknowledged the decision or the broker confirmed the dead
letter. A redelivered payment gets the decision it already has. No Spark and no Dagster here.
"""

import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from fraud_streaming.kafka import DeadLetters, Group, Taken, finished_offsets
from fraud_streaming.lifetime import Cadence, Report, Stop
from fraud_streaming.reading import read
from fraud_streaming.refusals import Refusal, answered_no, refuse, to_letter
from fraud_streaming.service import Answer, ServiceClient
from pix import topics
from pix.contracts import InvalidMessage, canonical_json, parse_payment
from pix.tokens import Keyring, body_sha256
from pix.tracecontext import HEADER

log = logging.getLogger(__name__)

GROUP = "sentinela-scoring"
PATH = "/v1/decisions:batch"
BATCH = 200
# Keeps a request under a megabyte when every message is as large as it may be.
BATCH_BYTES = 512 * 1024
WAIT_SECONDS = 0.5
DECIDED = 200


@dataclass(frozen=True, slots=True)
class Valid:
    """A message that keeps the contract, with its payment's id."""

    taken: Taken
    end_to_end_id: str


@dataclass(slots=True)
class Stats:
    """What the job did since it started, and how long it took since the last report.

    Times are milliseconds; ``lag`` and ``offsets`` are None and empty while Kafka does not answer.
    ``expired`` counts messages that Kafka deleted unread: more than 0 is a loss.
    """

    messages: int = 0
    decided: int = 0
    refused: int = 0
    retries: int = 0
    batches: int = 0
    lag: int | None = None
    expired: int = 0
    offsets: dict[int, int] = field(default_factory=dict)
    oldest_unscored_ms: int = 0
    batch_ms_mean: float = 0.0
    batch_ms_max: float = 0.0
    wait_ms_max: int = 0
    problem: str | None = None
    final: bool = False


@dataclass(slots=True)
class _Period:
    batch_ms: list[float] = field(default_factory=list)
    wait_ms_max: int = 0


def run(
    *,
    kafka: Mapping[str, str],
    service_url: str,
    api_key: str,
    keyring: Keyring,
    stop: Stop,
    report: Report,
    randomness: random.Random,
    cadence: Cadence | None = None,
) -> None:
    """Score until asked to stop.

    Args:
        kafka: librdkafka configuration, ``bootstrap.servers`` included.
        service_url: Base URL of the decision service.
        api_key: Key for its ``Authorization`` header.
        keyring: Keys for dead letters.
        stop: Looked at between and within batches.
        report: Gets ``Stats`` as a dictionary, soon after the start, then per ``cadence``, and at the end.
        randomness: Source of the retries' jitter.
        cadence: When to report.

    Raises:
        StreamError: Kafka or the topic is not there, or the broker refuses dead letters.
        ServiceRefuses: The service rejects this client as a whole.
    """
    group = Group(kafka, group_id=GROUP, topic=topics.TRANSACTIONS)
    service = ServiceClient(service_url, api_key, randomness=randomness)
    letters = DeadLetters(kafka)
    try:
        Scoring(group, service, letters, keyring, stop, report, cadence or Cadence()).run()
    finally:
        letters.close()
        service.close()
        group.close()


class Scoring:
    """One scoring job over its open connections."""

    def __init__(
        self,
        group: Group,
        service: ServiceClient,
        letters: DeadLetters,
        keyring: Keyring,
        stop: Stop,
        report: Report,
        cadence: Cadence,
    ) -> None:
        self._group = group
        self._service = service
        self._letters = letters
        self._keyring = keyring
        self._stop = stop
        self._report = report
        self._cadence = cadence
        self.stats = Stats()
        self._period = _Period()
        self._oldest_ms: int | None = None
        self._reached: dict[int, int] = {}

    def run(self) -> None:
        """Batch after batch until asked to stop; always ends with a report."""
        try:
            # Before the first message: Kafka then moves past a gap without a word.
            at_start = self._group.standing()
            self.stats.expired = at_start.expired if at_start else 0
            while not self._stop:
                taken = self._group.take(BATCH, WAIT_SECONDS)
                for batch in in_batches(taken, BATCH_BYTES):
                    if self._stop:
                        break
                    self.one(batch)
                self._group.commit(self._reached)
                self._tell_if_due()
        finally:
            self.stats.final = True
            self._tell()

    def one(self, batch: Sequence[Taken]) -> None:
        """One batch: asked for, its refused messages put away, then committed."""
        started = time.monotonic()
        self._oldest_ms = min(taken.received_at_ms for taken in batch)
        payments, refusals = split(batch)
        answers = self._service.answers(
            PATH,
            len(payments),
            lambda numbers: request_body(payments, numbers),
            stop=self._stop,
            on_retry=self._on_retry,
        )
        refusals += refused_by_service(payments, answers)
        written = self._letters.send([to_letter(refusal, self._keyring) for refusal in refusals], self._stop)
        unfinished = [payment.taken.origin for payment, answer in zip(payments, answers, strict=True) if answer is None]
        unfinished += [] if written else [refusal.taken.origin for refusal in refusals]
        self._reached |= finished_offsets((taken.origin for taken in batch), unfinished)
        self._count(batch, answers, len(refusals) if written else 0)
        if self._group.commit(self._reached) and not unfinished:
            self._oldest_ms = None
        self._period.batch_ms.append((time.monotonic() - started) * 1000)

    def _count(self, batch: Sequence[Taken], answers: Sequence[Answer | None], refused: int) -> None:
        self.stats.batches += 1
        self.stats.messages += len(batch)
        self.stats.decided += sum(answer is not None and answer.status == DECIDED for answer in answers)
        self.stats.refused += refused
        self.stats.problem = None
        waited = time.time_ns() // 1_000_000 - min(taken.received_at_ms for taken in batch)
        self._period.wait_ms_max = max(self._period.wait_ms_max, waited)

    def _on_retry(self, problem: str) -> None:
        self.stats.retries += 1
        self.stats.problem = problem
        log.warning("the service is asked again: %s", problem)
        self._tell_if_due()

    def _tell_if_due(self) -> None:
        if self._cadence.due():
            self._tell()

    def _tell(self) -> None:
        standing = self._group.standing()
        stats, times = self.stats, self._period.batch_ms
        stats.lag = standing.lag if standing else None
        stats.expired = max(stats.expired, standing.expired if standing else 0)
        stats.offsets = dict(standing.committed) if standing else {}
        now = time.time_ns() // 1_000_000
        stats.oldest_unscored_ms = 0 if self._oldest_ms is None else max(0, now - self._oldest_ms)
        stats.batch_ms_mean = round(sum(times) / len(times), 1) if times else 0.0
        stats.batch_ms_max = round(max(times, default=0.0), 1)
        stats.wait_ms_max = self._period.wait_ms_max
        stats.problem = stats.problem or self._group.problem
        self._group.problem = None
        self._period = _Period()
        self._report(asdict(stats))


def in_batches(taken: Sequence[Taken], most_bytes: int) -> list[list[Taken]]:
    """Cut into runs of at most ``most_bytes``; a message larger than that stands alone."""
    batches: list[list[Taken]] = []
    size = 0
    for one in taken:
        length = len(one.value or b"")
        if not batches or size + length > most_bytes:
            batches.append([])
            size = 0
        batches[-1].append(one)
        size += length
    return batches


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
    origins = [
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
