"""The scoring job: payments from ``pix.transactions`` to the decision service, nothing lost on the way.

One thread takes messages and commits; each partition has a lane of its own, which asks for its payments in order.
Offsets are committed after the service acknowledged the decision or the broker confirmed the dead letter. While the
service is away lanes wait, and a partition that is ahead of its lane is paused. As many jobs may run as there are
partitions: one that another job takes over is finished or let go, and committed, before it goes. A redelivered payment
gets the decision it already has. No Spark and no Dagster here.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from fraud_streaming.deciding import Deciding, Letters
from fraud_streaming.kafka import DeadLetters, Group
from fraud_streaming.lanes import Finished, Lane
from fraud_streaming.lifetime import Cadence, Report, Stop
from fraud_streaming.meters import (
    BATCH,
    EXPIRED,
    LAG,
    MESSAGES,
    OLDEST,
    PARTITIONS,
    PAUSED,
    RETRIES,
    WAIT,
    Meters,
)
from fraud_streaming.service import ServiceClient
from pix import topics
from pix.clock import epoch_ms
from pix.streams import SCORING_GROUP
from pix.tokens import Keyring

log = logging.getLogger(__name__)

TAKEN_AT_ONCE = 500
WAIT_SECONDS = 0.1
COMMIT_SECONDS = 0.1
# Requests under way at once, of all partitions of this job.
TURNS = 4
# Bytes of a partition's messages that wait in its lane: above the first it is paused, below the second no longer.
MOST_HELD_BYTES, FEW_HELD_BYTES = 4 * 2**20, 2**20
# A partition that goes to another member is waited for so long; then its request is left unanswered.
GIVE_UP_SECONDS = 5.0
POLL_INTERVAL_MS = 300_000
LOOK_SECONDS = 5.0


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
    partitions: list[int] = field(default_factory=list)
    paused: int = 0
    lag: int | None = None
    expired: int = 0
    offsets: dict[int, int] = field(default_factory=dict)
    oldest_unscored_ms: int = 0
    messages_a_second: float = 0.0
    batch_ms_mean: float = 0.0
    batch_ms_max: float = 0.0
    wait_ms_max: int = 0
    problem: str | None = None
    final: bool = False


@dataclass(slots=True)
class _Period:
    began: float
    messages: int = 0
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
    member: int = 1,
    meters: Meters | None = None,
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
        member: Number of this job among those that share the topic, from 1.
        meters: Count for Prometheus.
        cadence: When to report.

    Raises:
        StreamError: Kafka or the topic is not there, or the broker refuses dead letters.
        ServiceRefuses: The service rejects this client as a whole.
    """
    group = Group(
        kafka, group_id=SCORING_GROUP, topic=topics.TRANSACTIONS, member=member, poll_interval_ms=POLL_INTERVAL_MS
    )
    service = ServiceClient(service_url, api_key, randomness=randomness)
    letters = DeadLetters(kafka)
    try:
        Scoring(group, service, letters, keyring, stop, report, cadence or Cadence(), meters or Meters()).run()
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
        letters: Letters,
        keyring: Keyring,
        stop: Stop,
        report: Report,
        cadence: Cadence,
        meters: Meters,
    ) -> None:
        self._group = group
        self._deciding = Deciding(service, letters, keyring, self._on_retry)
        self._stop = stop
        self._report = report
        self._cadence = cadence
        self._meters = meters
        self._look_at = 0.0
        self._lanes: dict[int, Lane] = {}
        self._paused: set[int] = set()
        self._turns = threading.BoundedSemaphore(TURNS)
        self._reached: dict[int, int] = {}
        self._commit_at = 0.0
        self._retries: deque[str] = deque()
        self._error: Exception | None = None
        self.stats = Stats()
        self._period = _Period(time.monotonic())

    def run(self) -> None:
        """Take, settle and commit until asked to stop; always ends with a report."""
        try:
            # Before the first message: Kafka then moves past a gap without a word.
            at_start = self._group.standing()
            self.stats.expired = at_start.expired if at_start else 0
            self._group.join(got=self._begin, giving_up=self._give_up, lost=self._lose)
            while not self._stop:
                self._take()
                self._settle()
                if self._error is not None:
                    raise self._error
                self._pace()
                if self._reached and time.monotonic() >= self._commit_at:
                    self._commit()
                self._look()
                if self._cadence.due():
                    self._tell()
        finally:
            self._give_up(list(self._lanes))
            self.stats.final = True
            self._look_at = 0.0
            self._look()
            self._tell()

    def _take(self) -> None:
        for taken in self._group.take(TAKEN_AT_ONCE, WAIT_SECONDS):
            # One that was fetched before its partition went to another member is that one's.
            if taken.origin.partition in self._lanes:
                self._lanes[taken.origin.partition].put(taken)

    def _settle(self) -> None:
        for partition, lane in self._lanes.items():
            for finished in lane.finished():
                self._reached[partition] = finished.done.reached
                self._count(finished)
            self._error = self._error or lane.error

    def _pace(self) -> None:
        """Pause the partitions that are ahead of their lanes, and go on with those that are not any more."""
        ahead = {partition for partition, lane in self._lanes.items() if lane.held_bytes > MOST_HELD_BYTES}
        caught_up = {part for part in self._paused if self._lanes[part].held_bytes < FEW_HELD_BYTES}
        if ahead - self._paused:
            self._group.pause(ahead - self._paused)
        if caught_up:
            self._group.resume(caught_up)
        self._paused = (self._paused | ahead) - caught_up

    def _commit(self) -> None:
        if self._group.commit(self._reached):
            self._reached = {}
        self._commit_at = time.monotonic() + COMMIT_SECONDS

    def _begin(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self._lanes[partition] = Lane(f"scoring-{partition}", self._deciding, self._stop, self._turns)

    def _give_up(self, partitions: Sequence[int]) -> None:
        """Finish what is under way in these partitions if that is soon done, and commit it."""
        lanes = {part: self._lanes[part] for part in partitions if part in self._lanes}
        for lane in lanes.values():
            lane.ask_to_end()
        deadline = time.monotonic() + GIVE_UP_SECONDS
        late = [part for part, lane in lanes.items() if not lane.has_ended(deadline - time.monotonic())]
        if late:
            log.warning("partitions %s go while a request of theirs is unanswered; it is asked for again", late)
        self._settle()
        self._commit()
        self._lose(list(lanes))

    def _lose(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            if partition in self._lanes:
                self._lanes.pop(partition).ask_to_end()
            self._reached.pop(partition, None)
            self._paused.discard(partition)

    def _count(self, finished: Finished) -> None:
        done, period = finished.done, self._period
        self.stats.batches += 1
        self.stats.messages += done.messages
        self.stats.decided += done.decided
        self.stats.refused += done.refused
        self.stats.problem = None
        period.messages += done.messages
        period.batch_ms.append(finished.seconds * 1000)
        period.wait_ms_max = max(period.wait_ms_max, finished.wait_ms)
        self._meters.count(MESSAGES, "decided", by=done.decided)
        self._meters.count(MESSAGES, "refused", by=done.refused)
        self._meters.observe(BATCH, finished.seconds)
        self._meters.observe(WAIT, finished.wait_ms / 1000)

    def _on_retry(self, problem: str) -> None:
        """Comes from the lanes' threads."""
        self._retries.append(problem)
        self._meters.count(RETRIES)
        log.warning("the service is asked again: %s", problem)

    def _look(self) -> None:
        """Now and then: where the job stands."""
        if time.monotonic() < self._look_at:
            return
        standing, stats = self._group.standing(), self.stats
        stats.lag = standing.lag if standing else None
        stats.expired = max(stats.expired, standing.expired if standing else 0)
        stats.offsets = dict(standing.committed) if standing else {}
        stats.partitions = sorted(self._lanes)
        stats.paused = len(self._paused)
        stats.oldest_unscored_ms = self._oldest_unscored_ms()
        if stats.lag is not None:
            self._meters.set(LAG, stats.lag)
        self._meters.set(OLDEST, stats.oldest_unscored_ms / 1000)
        self._meters.set(EXPIRED, stats.expired)
        self._meters.set(PARTITIONS, len(stats.partitions))
        self._meters.set(PAUSED, stats.paused)
        self._look_at = time.monotonic() + LOOK_SECONDS

    def _tell(self) -> None:
        period, now = self._period, time.monotonic()
        retries = [self._retries.popleft() for _ in range(len(self._retries))]
        stats, times = self.stats, period.batch_ms
        stats.messages_a_second = round(period.messages / max(now - period.began, 0.001), 1)
        stats.batch_ms_mean = round(sum(times) / len(times), 1) if times else 0.0
        stats.batch_ms_max = round(max(times, default=0.0), 1)
        stats.wait_ms_max = period.wait_ms_max
        stats.retries += len(retries)
        stats.problem = self._group.problem or (retries[-1] if retries else stats.problem)
        self._group.problem = None
        self._period = _Period(now)
        self._report(asdict(stats))

    def _oldest_unscored_ms(self) -> int:
        oldest = [at_ms for lane in self._lanes.values() if (at_ms := lane.oldest_ms) is not None]
        return max(0, epoch_ms() - min(oldest)) if oldest else 0
