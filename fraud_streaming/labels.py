"""The label job: labels from ``pix.labels`` to the service, which folds them into the states.

A label may overtake its payment: it then waits here, and its partition's offset with it. After the
declared time it becomes a dead letter. Only time in which the service said that it does not know the
payment counts, so a service that was away makes no orphans; a killed job's successor begins to count anew.

Labels of one payment are folded in the order of ``pix.labels``, one at a time: none is asked for before
the service has settled the one before it. Kafka stamps them on arrival, so that is the order in which they
became known; one that its source knows a little ahead of its arrival is held until then. A redelivered
label folds once. No Spark and no Dagster here.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice, takewhile

from fraud_streaming.kafka import DeadLetters, Group, Taken, finished_offsets, held_back
from fraud_streaming.lifetime import Cadence, Report, Stop
from fraud_streaming.meters import BATCH as BATCH_SECONDS
from fraud_streaming.meters import EXPIRED, LAG, MESSAGES, OLDEST, RETRIES, Meters
from fraud_streaming.reading import read
from fraud_streaming.refusals import Refusal, answered_no, refuse, to_letter
from fraud_streaming.service import Answer, ServiceClient
from pix import topics
from pix.contracts import InvalidMessage, check_label_live, parse_label
from pix.deadletter import Origin
from pix.tokens import Keyring

log = logging.getLogger(__name__)

GROUP = "sentinela-labels"
PATH = "/v1/labels:fold"
BATCH = 200
WAIT_SECONDS = 0.5
LOOK_SECONDS = 5.0
ASK_AGAIN_SECONDS = 2.0
# A longer silence between two answers about a payment counts as this much waiting: nobody was there to decide it.
LONGEST_STEP_SECONDS = 2 * ASK_AGAIN_SECONDS
# So many labels without a payment say that something is wrong; taking more would not help them.
MOST_WAITING = 5_000
FOLDED, PAYMENT_UNKNOWN = 200, 404


PaymentId = tuple[str, str]
"""Tenant and EndToEndId."""


@dataclass(slots=True, kw_only=True)
class Label:
    """A label on its way; times are seconds of the job's clock.

    Attributes:
        taken: Its message.
        payment: What it is about.
        known_from: When it may be folded; later than its arrival only where its source's clock is ahead.
        waited_seconds: How long the service has been saying that it does not know the payment.
        asked_at: When it last said so; None before the first time.
    """

    taken: Taken
    payment: PaymentId
    known_from: float
    waited_seconds: float = 0.0
    asked_at: float | None = None

    def wait(self, now: float) -> None:
        """Count the time since the service last said that it does not know the payment."""
        since = 0.0 if self.asked_at is None else now - self.asked_at
        self.waited_seconds += min(since, LONGEST_STEP_SECONDS)
        self.asked_at = now


@dataclass(slots=True)
class Stats:
    """What the job did since it started; see ``scoring.Stats`` for ``lag``, ``offsets`` and ``expired``.

    Times of batches are milliseconds since the last report; a batch with nothing to ask for is none.
    """

    messages: int = 0
    folded: int = 0
    refused: int = 0
    batches: int = 0
    batch_ms_mean: float = 0.0
    batch_ms_max: float = 0.0
    unknown: int = 0
    waiting: int = 0
    oldest_waiting_seconds: float = 0.0
    retries: int = 0
    lag: int | None = None
    expired: int = 0
    offsets: dict[int, int] = field(default_factory=dict)
    problem: str | None = None
    final: bool = False


def run(
    *,
    kafka: Mapping[str, str],
    service_url: str,
    api_key: str,
    keyring: Keyring,
    wait_seconds: float,
    stop: Stop,
    report: Report,
    randomness: random.Random,
    meters: Meters | None = None,
    cadence: Cadence | None = None,
) -> None:
    """Hand labels to the service until asked to stop.

    Args:
        kafka: librdkafka configuration, ``bootstrap.servers`` included.
        service_url: Base URL of the decision service.
        api_key: Key for its ``Authorization`` header.
        keyring: Keys for dead letters.
        wait_seconds: How long a label waits for its payment while the service answers.
        stop: Looked at between and within batches.
        report: Gets ``Stats`` as a dictionary, soon after the start, then per ``cadence``, and at the end.
        randomness: Source of the retries' jitter.
        meters: Count for Prometheus.
        cadence: When to report.

    Raises:
        StreamError: Kafka or the topic is not there, or the broker refuses dead letters.
        ServiceRefuses: The service rejects this client as a whole.
    """
    group = Group(kafka, group_id=GROUP, topic=topics.LABELS)
    group.join()
    service = ServiceClient(service_url, api_key, randomness=randomness)
    letters = DeadLetters(kafka)
    try:
        Labels(
            group, service, letters, keyring, wait_seconds, stop, report, cadence or Cadence(), meters or Meters()
        ).run()
    finally:
        letters.close()
        service.close()
        group.close()


class Labels:
    """One label job over its open connections."""

    def __init__(
        self,
        group: Group,
        service: ServiceClient,
        letters: DeadLetters,
        keyring: Keyring,
        wait_seconds: float,
        stop: Stop,
        report: Report,
        cadence: Cadence,
        meters: Meters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._service = service
        self._letters = letters
        self._keyring = keyring
        self._wait_seconds = wait_seconds
        self._stop = stop
        self._report = report
        self._cadence = cadence
        self._meters = meters
        self._look_at = 0.0
        self._clock = clock
        self.stats = Stats()
        self._batch_ms: list[float] = []
        self._waiting: dict[Origin, Label] = {}
        self._reached: dict[int, int] = {}
        self._ask_again_at = 0.0

    def run(self) -> None:
        """Batch after batch until asked to stop; always ends with a report."""
        try:
            at_start = self._group.standing()
            self.stats.expired = at_start.expired if at_start else 0
            while not self._stop:
                if len(self._waiting) < MOST_WAITING:
                    self.one(self._group.take(BATCH, WAIT_SECONDS))
                else:
                    self._stop.sleep(WAIT_SECONDS)
                    self.one([])
                self._look()
                if self._cadence.due():
                    self._tell()
        finally:
            self.stats.final = True
            self._look_at = 0.0
            self._look()
            self._tell()

    def one(self, fresh: Sequence[Taken]) -> None:
        """Ask for the fresh labels and the waiting ones whose turn it is; commit what is finished."""
        began = self._clock()
        labels, refusals = self._read(fresh)
        queue = self._queue(labels)
        refusals += self._fold(queue)
        unfinished = set(self._waiting)
        if self._letters.send([to_letter(refusal, self._keyring) for refusal in refusals], self._stop):
            self.stats.refused += len(refusals)
            self._meters.count(MESSAGES, "refused", by=len(refusals))
        else:
            unfinished |= {refusal.taken.origin for refusal in refusals}
        self.stats.messages += len(fresh)
        self._reached |= finished_offsets((taken.origin for taken in fresh), ())
        self._group.commit(held_back(self._reached, unfinished))
        if fresh or queue:
            self._count(self._clock() - began)

    def _count(self, seconds: float) -> None:
        self.stats.batches += 1
        self._batch_ms.append(seconds * 1000)
        self._meters.observe(BATCH_SECONDS, seconds)

    def _read(self, fresh: Sequence[Taken]) -> tuple[list[Label], list[Refusal]]:
        labels: list[Label] = []
        refusals: list[Refusal] = []
        for taken in fresh:
            try:
                message = read(taken.value, parse_label)
                check_label_live(message, taken.received_at_ms)
            except InvalidMessage as invalid:
                refusals.append(refuse(taken, invalid))
                continue
            payment = (message.tenant, message.end_to_end_id)
            ahead_ms = max(0, message.known_at - taken.received_at_ms)
            labels.append(Label(taken=taken, payment=payment, known_from=self._clock() + ahead_ms / 1000))
        return labels, refusals

    def _queue(self, labels: Sequence[Label]) -> list[Label]:
        """Whom to ask for now, in order; labels of a payment that others wait for stand behind them."""
        if self._clock() >= self._ask_again_at:
            self._ask_again_at = self._clock() + ASK_AGAIN_SECONDS
            return [*self._waiting.values(), *labels]
        waited_for = {label.payment for label in self._waiting.values()}
        self._waiting |= {label.taken.origin: label for label in labels if label.payment in waited_for}
        return [label for label in labels if label.payment not in waited_for]

    def _fold(self, queue: Sequence[Label]) -> list[Refusal]:
        """Ask for all of them, of each payment one label at a time; returns those that will never be folded."""
        lines: dict[PaymentId, list[Label]] = {}
        for label in queue:
            lines.setdefault(label.payment, []).append(label)
        self._hold_back_the_unknown(lines)
        refusals: list[Refusal] = []
        while lines:
            turn = list(islice(lines.items(), BATCH))
            answers = self._ask([line[0] for _, line in turn])
            for (payment, line), answer in zip(turn, answers, strict=True):
                lines[payment], over = self._settle(line, answer)
                if not lines[payment]:
                    del lines[payment]
                refusals += over
        return refusals

    def _hold_back_the_unknown(self, lines: dict[PaymentId, list[Label]]) -> None:
        """Let labels wait whose known time has not come, and those behind them."""
        now = self._clock()
        for payment, line in list(lines.items()):
            known = list(takewhile(lambda label: label.known_from <= now, line))
            self._wait(line[len(known) :])
            lines[payment] = known
            if not known:
                del lines[payment]

    def _wait(self, labels: Sequence[Label]) -> None:
        self._waiting |= {label.taken.origin: label for label in labels}

    def _ask(self, labels: Sequence[Label]) -> list[Answer | None]:
        return self._service.answers(
            PATH,
            len(labels),
            lambda numbers: request_body(labels, numbers),
            stop=self._stop,
            on_retry=self._on_retry,
        )

    def _settle(self, line: list[Label], answer: Answer | None) -> tuple[list[Label], list[Refusal]]:
        """What the answer about a payment's first label means for all of the payment's labels.

        Returns:
            The labels to ask for next, and those that will never be folded; all others are folded or wait.
        """
        if answer is None:
            self._wait(line)
            return [], []
        if answer.status == PAYMENT_UNKNOWN:
            return [], self._unknown(line, answer)
        first, *left = line
        self._waiting.pop(first.taken.origin, None)
        if answer.status == FOLDED:
            self.stats.folded += 1
            self._meters.count(MESSAGES, "folded")
            return left, []
        return left, [answered_no(first.taken, answer, first.payment[1])]

    def _unknown(self, line: Sequence[Label], answer: Answer) -> list[Refusal]:
        """Let the labels of an unknown payment wait; returns those that have waited long enough."""
        over = []
        for label in line:
            label.wait(self._clock())
            if label.waited_seconds < self._wait_seconds:
                self._wait([label])
            else:
                self._waiting.pop(label.taken.origin, None)
                over.append(answered_no(label.taken, answer, label.payment[1]))
        self.stats.unknown += len(over)
        return over

    def _on_retry(self, problem: str) -> None:
        self.stats.retries += 1
        self.stats.problem = problem
        self._meters.count(RETRIES)
        log.warning("the service is asked again: %s", problem)
        self._look()
        if self._cadence.due():
            self._tell()

    def _look(self) -> None:
        """Now and then: where the job stands."""
        if self._clock() < self._look_at:
            return
        standing, stats = self._group.standing(), self.stats
        stats.waiting = len(self._waiting)
        waited = (label.waited_seconds for label in self._waiting.values())
        stats.oldest_waiting_seconds = round(max(waited, default=0.0), 1)
        stats.lag = standing.lag if standing else None
        stats.expired = max(stats.expired, standing.expired if standing else 0)
        stats.offsets = dict(standing.committed) if standing else {}
        if stats.lag is not None:
            self._meters.set(LAG, stats.lag)
        self._meters.set(OLDEST, stats.oldest_waiting_seconds)
        self._meters.set(EXPIRED, stats.expired)
        self._look_at = self._clock() + LOOK_SECONDS

    def _tell(self) -> None:
        stats, times = self.stats, self._batch_ms
        stats.batch_ms_mean = round(sum(times) / len(times), 1) if times else 0.0
        stats.batch_ms_max = round(max(times, default=0.0), 1)
        self._batch_ms = []
        stats.problem = stats.problem or self._group.problem
        self._group.problem = None
        self._report(asdict(stats))
        stats.problem = None


def request_body(labels: Sequence[Label], numbers: Sequence[int]) -> bytes:
    """The fold request: labels spliced in as received, each with the time Kafka got it."""
    parts = [
        b'{"label":'
        + (label.taken.value or b"")
        + b',"received_at_ms":'
        + str(label.taken.received_at_ms).encode()
        + (b',"traceparent":"' + label.taken.traceparent.encode() + b'"' if label.taken.traceparent else b"")
        + b"}"
        for label in (labels[number] for number in numbers)
    ]
    return b'{"labels":[' + b",".join(parts) + b"]}"
