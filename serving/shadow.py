"""The challenger in the shadow: scored after the decision is final, by a thread of its own.

A decision only leaves its vector in a queue of bounded length; where that is full, the score is dropped and counted.
Nothing here can delay or change an answer.
"""

import logging
from collections.abc import Callable, Sequence
from queue import Full, Queue
from threading import Thread
from typing import NamedTuple

from learning.ensemble import vector_of
from pix.contracts import canonical_json
from serving.champion import Champion

log = logging.getLogger(__name__)

ROOM = 10_000
STOP_SECONDS = 2.0


class Waiting(NamedTuple):
    """A decided payment that the challenger has not scored yet."""

    tenant: str
    end_to_end_id: str
    features: Sequence[float | None]


class Shadow:
    """Scores decided payments with the challenger and sends the scores on."""

    def __init__(
        self,
        *,
        challenger: Callable[[], Champion | None],
        send: Callable[[str, bytes], None],
        dropped: Callable[[], None],
        now_ms: Callable[[], int],
        room: int = ROOM,
    ) -> None:
        """Start the thread.

        Args:
            challenger: Asked anew for each payment.
            send: Takes key and value of a message; raises BufferError where it has no room.
            dropped: Told of each score that is not sent, for a metric.
            now_ms: The clock, epoch milliseconds.
            room: Length of the queue.
        """
        self._challenger = challenger
        self._send = send
        self._dropped = dropped
        self._now_ms = now_ms
        self._queue: Queue[Waiting | None] = Queue(room)
        self._thread = Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, tenant: str, end_to_end_id: str, features: Sequence[float | None]) -> None:
        """Leave a decided payment; returns at once."""
        if self._challenger() is None:
            return
        try:
            self._queue.put_nowait(Waiting(tenant, end_to_end_id, features))
        except Full:
            self._dropped()

    def close(self) -> None:
        """Score what waits, as far as that takes no longer than ``STOP_SECONDS``."""
        try:
            self._queue.put(None, timeout=STOP_SECONDS)
        except Full:
            return
        self._thread.join(STOP_SECONDS)

    def _work(self) -> None:
        while (waiting := self._queue.get()) is not None:
            challenger = self._challenger()
            if challenger is None:
                continue
            try:
                self._send(waiting.end_to_end_id, self._scored(challenger, waiting))
            except Exception:
                # One bad score must not end the shadow of all others.
                self._dropped()
                log.exception("the challenger's score of %s is lost", waiting.end_to_end_id)

    def _scored(self, challenger: Champion, waiting: Waiting) -> bytes:
        raw_score = challenger.raw_score(vector_of(waiting.features))
        return canonical_json(
            {
                "end_to_end_id": waiting.end_to_end_id,
                "tenant": waiting.tenant,
                "model": challenger.identity,
                "raw_score": raw_score,
                "fraud_probability": challenger.probability(raw_score),
                "scored_at_ms": self._now_ms(),
            }
        )
