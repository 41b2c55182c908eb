"""Reviews from the logs: what a decision opened and a label closed, back into a queue that lost some of it.

The queue belongs to all generations of the store, so it is restored, not built beside: what is there stays, what is
missing comes back, and a verdict that a log has counts. Expiries need no log: they follow from the decision's hold.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pix import topics
from pix.contracts import InvalidMessage, parse_label
from pix.store.interface import RECORD_LIFE_MS, QueueChange, Store
from serving.reviews import CLOSED, REVIEWED, Closing, Review, closing_of, opened, read, review_id

ACTIONS = tuple(b'"action":"%s"' % action.encode() for action in sorted(REVIEWED))
WITHOUT_STORE = b'"mode":"degraded:store"'
CLOSES = b'"closed_by"'
"""These stand in the bytes of every such message, and in no text of a payment or note: there quotes are escaped."""
RESTORED_AT_ONCE = 500


class ReviewReplay:
    """The reviews of one reading of the logs, or of a part of them."""

    def __init__(self, now_ms: int) -> None:
        """Begin.

        Args:
            now_ms: Epoch milliseconds; reviews that ended a record's life before that are left to the lake.
        """
        self._now_ms = now_ms
        self._opened: dict[str, Review] = {}
        self._without_store: dict[str, Review | None] = {}
        self._closed: dict[str, Closing] = {}

    def take(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Read messages (topic, value); of an id's decisions in the order of their log, because the first counts."""
        for topic, value in messages:
            if topic == topics.LABELS and CLOSES in value:
                self._take_label(value)
            elif topic == topics.DECISIONS:
                if WITHOUT_STORE in value:
                    # It decides on its id's review, whether or not there is a decision with the store, too.
                    content = json.loads(value)
                    identity = review_id(content["tenant"], content["end_to_end_id"])
                    self._without_store.setdefault(identity, self._lasting(opened(content)))
                elif any(action in value for action in ACTIONS):
                    review = self._lasting(opened(json.loads(value)))
                    if review is not None:
                        self._opened.setdefault(review.id, review)

    def _take_label(self, value: bytes) -> None:
        """``pix.labels`` is written by others, too: what is no label here went to the dead letters."""
        try:
            parse_label(value)
        except InvalidMessage:
            return
        label: dict[str, Any] = json.loads(value)
        closing = closing_of(label)
        if closing is not None:
            identity = review_id(label.get("tenant", "default"), label["end_to_end_id"])
            self._closed.setdefault(identity, closing)

    def _lasting(self, review: Review | None) -> Review | None:
        is_past = review is not None and (review.expires_at_ms or self._now_ms) < self._now_ms - RECORD_LIFE_MS
        return None if is_past else review

    def restore(self, store: Store) -> int:
        """Bring the queue to what was read; returns how many of its entries changed.

        Raises:
            pix.store.errors.StoreError: The store does not answer.
        """
        return sum(store.change_queue(changes.values()) for changes in self._changes(store))

    def differing(self, store: Store) -> list[str]:
        """Reviews that the queue lost, or has open although a label closed them; each with what is wrong.

        Raises:
            pix.store.errors.StoreError: The store does not answer.
        """
        told = []
        for changes in self._changes(store):
            for identity, change in changes.items():
                # What only expired is moved on by the next settling.
                if change.before is None:
                    told.append(f"{identity}: not in the queue")
                elif change.after is not None and identity in self._closed:
                    told.append(f"{identity}: open in the queue, closed by a label")
        return told

    def _changes(self, store: Store) -> Iterator[dict[str, QueueChange]]:
        """Id -> what would have to change for the queue to say what was read, a part at a time."""
        identities = sorted(self._opened.keys() | self._without_store.keys() | self._closed.keys())
        for first in range(0, len(identities), RESTORED_AT_ONCE):
            chunk = identities[first : first + RESTORED_AT_ONCE]
            there = store.queued(chunk)
            changes = {identity: self._change(identity, there.get(identity)) for identity in chunk}
            yield {identity: change for identity, change in changes.items() if change is not None}

    def _change(self, identity: str, content: bytes | None) -> QueueChange | None:
        there, closing = read(content) if content else None, self._closed.get(identity)
        if there is not None and there.status == CLOSED:
            return None
        is_decided_anew = identity in self._without_store
        known = self._without_store[identity] if is_decided_anew else there or self._opened.get(identity)
        wanted = known.closed(closing) if known is not None and closing is not None else known
        if wanted is not None:
            wanted = wanted.at(self._now_ms)
            if (wanted.ended_at_ms or self._now_ms) < self._now_ms - RECORD_LIFE_MS:
                wanted = None
        before, after = (review.entry() if review else None for review in (there, wanted))
        return QueueChange(before, after) if before != after else None
