"""A partition's messages on their way, in order: one thread, one batch at a time.

A payer's payments lie in one partition, so what keeps a partition's order keeps a payer's. Lanes work beside each
other; ``turns`` bounds how many of them work at once. What is done to a batch is not known here.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from fraud_streaming.kafka import Taken
from fraud_streaming.lifetime import Stop
from pix.clock import epoch_ms

log = logging.getLogger(__name__)

BATCH = 200
# Keeps a request under a megabyte when every message is as large as it may be.
BATCH_BYTES = 512 * 1024
# What a message takes beside its value, so that tombstones, too, have an end.
MESSAGE_BYTES = 500
LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a batch.

    Attributes:
        reached: Next offset to read: past the batch, or its first message that is not finished.
        messages: Finished messages.
        decided: Of them, those that the service decided.
        refused: Of them, those that were put away as dead letters.
    """

    reached: int
    messages: int
    decided: int
    refused: int


Work = Callable[[Sequence[Taken], Stop], Done]


@dataclass(frozen=True, slots=True)
class Finished:
    """A batch that left its lane.

    Attributes:
        done: What became of it.
        seconds: How long it was worked on, waiting for a turn included.
        wait_ms: From Kafka's timestamp of its oldest message to now.
    """

    done: Done
    seconds: float
    wait_ms: int


class Lane:
    """One partition's way. ``put`` and everything that is asked belong to one thread, the work to the lane's own.

    Attributes:
        error: What ended the work before anybody asked for its end.
        held_bytes: What the messages that are not finished take in memory, about.
    """

    def __init__(self, name: str, work: Work, stop: Stop, turns: AbstractContextManager[object]) -> None:
        """Start.

        Args:
            name: For the thread.
            work: Called with each batch; returns when it is finished, or earlier when asked to stop.
            stop: The stream's.
            turns: Entered around ``work``.
        """
        self.error: Exception | None = None
        self.held_bytes = 0
        self._work = work
        self._turns = turns
        self._stop = stop.of_a_part()
        self._messages: deque[Taken] = deque()
        self._finished: deque[Finished] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, message: Taken) -> None:
        """Add the next message of the partition."""
        with self._changed:
            self._messages.append(message)
            self.held_bytes += _size(message) + MESSAGE_BYTES
            self._changed.notify()

    def finished(self) -> list[Finished]:
        """The batches that were finished since the last call, in order."""
        return [self._finished.popleft() for _ in range(len(self._finished))]

    @property
    def oldest_ms(self) -> int | None:
        """Kafka's timestamp of the first message that is not finished; None if all are."""
        with self._changed:
            return self._messages[0].received_at_ms if self._messages else None

    def ask_to_end(self) -> None:
        """Finish what is being worked on if that is possible now; the rest is not begun."""
        self._stop.ask("LANE")
        with self._changed:
            self._changed.notify()

    def has_ended(self, seconds: float) -> bool:
        """Wait for the end."""
        self._thread.join(max(seconds, 0.0))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while batch := self._next():
                started = time.monotonic()
                with self._turns:
                    done = self._work(batch, self._stop)
                self._leave(batch, done, time.monotonic() - started)
        except Exception as error:
            log.exception("%s ends", self._thread.name)
            self.error = error

    def _next(self) -> list[Taken]:
        """The messages to work on; none when asked to stop."""
        with self._changed:
            while not self._messages and not self._stop:
                self._changed.wait(LOOK_SECONDS)
            return [] if self._stop else first_batch(self._messages)

    def _leave(self, batch: Sequence[Taken], done: Done, seconds: float) -> None:
        waited_ms = epoch_ms() - min(message.received_at_ms for message in batch)
        with self._changed:
            while self._messages and self._messages[0].origin.offset < done.reached:
                self.held_bytes -= _size(self._messages.popleft()) + MESSAGE_BYTES
        self._finished.append(Finished(done, seconds, waited_ms))


def first_batch(messages: Sequence[Taken]) -> list[Taken]:
    """As many as one request takes; a message larger than that stands alone."""
    batch: list[Taken] = []
    size = 0
    for message in messages:
        size += _size(message)
        if batch and (size > BATCH_BYTES or len(batch) == BATCH):
            break
        batch.append(message)
    return batch


def _size(message: Taken) -> int:
    return len(message.value or b"")
