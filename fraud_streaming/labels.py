"""The label job: labels from ``pix.labels`` to the service, which folds them into the states.

A label may overtake its payment: it then waits here, and its partition's offset with it. After the
declared time it becomes a dead letter. A redelivered label folds once. No Spark and no Dagster here.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from fraud_streaming.kafka import DeadLetters, Group, Taken, finished_offsets, held_back
from fraud_streaming.lifetime import Cadence, Report, Stop
from fraud_streaming.reading import read
from fraud_streaming.refusals import Refusal, answered_no, refuse, to_letter
from fraud_streaming.service import Answer, ServiceClient
from pix import topics
from pix.contracts import InvalidMessage, parse_label
from pix.deadletter import Origin
from pix.tokens import Keyring

GROUP = "sentinela-labels"
PATH = "/v1/labels:fold"
BATCH = 200
WAIT_SECONDS = 0.5
ASK_AGAIN_SECONDS = 2.0
# So many labels without a payment say that something is wrong; taking more would not help them.
MOST_WAITING = 5_000
FOLDED, PAYMENT_UNKNOWN = 200, 404


@dataclass(frozen=True, slots=True)
class Label:
    """A label on its way.

    Attributes:
        taken: Its message.
        end_to_end_id: Its payment.
        since: When this process first saw it, seconds of the job's clock.
    """

    taken: Taken
    end_to_end_id: str
    since: float


@dataclass(slots=True)
class Stats:
    """What the job did since it started; see ``scoring.Stats`` for ``lag``, ``offsets`` and ``expired``."""

    messages: int = 0
    folded: int = 0
    refused: int = 0
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
    cadence: Cadence | None = None,
) -> None:
    """Hand labels to the service until asked to stop.

    Args:
        kafka: librdkafka configuration, ``bootstrap.servers`` included.
        service_url: Base URL of the decision service.
        api_key: Key for its ``Authorization`` header.
        keyring: Keys for dead letters.
        wait_seconds: How long a label waits for its payment.
        stop: Looked at between and within batches.
        report: Gets ``Stats`` as a dictionary, soon after the start, then per ``cadence``, and at the end.
        randomness: Source of the retries' jitter.
        cadence: When to report.

    Raises:
        StreamError: Kafka or the topic is not there, or the broker refuses dead letters.
        ServiceRefuses: The service rejects this client as a whole.
    """
    group = Group(kafka, group_id=GROUP, topic=topics.LABELS)
    service = ServiceClient(service_url, api_key, randomness=randomness)
    letters = DeadLetters(kafka)
    try:
        Labels(group, service, letters, keyring, wait_seconds, stop, report, cadence or Cadence()).run()
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
        self._clock = clock
        self.stats = Stats()
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
                if self._cadence.due():
                    self._tell()
        finally:
            self.stats.final = True
            self._tell()

    def one(self, fresh: Sequence[Taken]) -> None:
        """Ask for the fresh labels and the waiting ones whose turn it is; commit what is finished."""
        labels, refusals = self._read(fresh)
        queue = self._queue(labels)
        answers: list[Answer | None] = []
        for start in range(0, len(queue), BATCH):
            answers += self._ask(queue[start : start + BATCH])
        for label, answer in zip(queue, answers, strict=True):
            refusal = self._settle(label, answer)
            if refusal is not None:
                refusals.append(refusal)
        unfinished = set(self._waiting)
        if self._letters.send([to_letter(refusal, self._keyring) for refusal in refusals], self._stop):
            self.stats.refused += len(refusals)
        else:
            unfinished |= {refusal.taken.origin for refusal in refusals}
        self.stats.messages += len(fresh)
        self._reached |= finished_offsets((taken.origin for taken in fresh), ())
        self._group.commit(held_back(self._reached, unfinished))

    def _read(self, fresh: Sequence[Taken]) -> tuple[list[Label], list[Refusal]]:
        labels: list[Label] = []
        refusals: list[Refusal] = []
        for taken in fresh:
            try:
                labels.append(Label(taken, read(taken.value, parse_label).end_to_end_id, self._clock()))
            except InvalidMessage as invalid:
                refusals.append(refuse(taken, invalid))
        return labels, refusals

    def _queue(self, labels: Sequence[Label]) -> list[Label]:
        """Whom to ask for now, in order; labels of a payment that others wait for stand behind them."""
        if self._clock() >= self._ask_again_at:
            self._ask_again_at = self._clock() + ASK_AGAIN_SECONDS
            return [*self._waiting.values(), *labels]
        waited_for = {label.end_to_end_id for label in self._waiting.values()}
        self._waiting |= {label.taken.origin: label for label in labels if label.end_to_end_id in waited_for}
        return [label for label in labels if label.end_to_end_id not in waited_for]

    def _ask(self, labels: Sequence[Label]) -> list[Answer | None]:
        return self._service.answers(
            PATH,
            len(labels),
            lambda numbers: request_body(labels, numbers),
            stop=self._stop,
            on_retry=self._on_retry,
        )

    def _settle(self, label: Label, answer: Answer | None) -> Refusal | None:
        """Note what became of a label; a refusal if it will never be folded."""
        origin = label.taken.origin
        unknown = answer is not None and answer.status == PAYMENT_UNKNOWN
        if answer is None or (unknown and self._clock() - label.since < self._wait_seconds):
            self._waiting[origin] = label
            return None
        self._waiting.pop(origin, None)
        if answer.status == FOLDED:
            self.stats.folded += 1
            return None
        self.stats.unknown += unknown
        return answered_no(label.taken, answer, label.end_to_end_id)

    def _on_retry(self, problem: str) -> None:
        self.stats.retries += 1
        self.stats.problem = problem
        if self._cadence.due():
            self._tell()

    def _tell(self) -> None:
        standing = self._group.standing()
        stats = self.stats
        stats.waiting = len(self._waiting)
        oldest = min((label.since for label in self._waiting.values()), default=self._clock())
        stats.oldest_waiting_seconds = round(self._clock() - oldest, 1)
        stats.lag = standing.lag if standing else None
        stats.expired = max(stats.expired, standing.expired if standing else 0)
        stats.offsets = dict(standing.committed) if standing else {}
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
        + b"}"
        for label in (labels[number] for number in numbers)
    ]
    return b'{"labels":[' + b",".join(parts) + b"]}"
