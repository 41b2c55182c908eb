"""The queue of reviews in the online store: lists, verdicts, and moving on what is over.

A review is opened in the commit of its decision, and closed by one compare-and-set that brings its label into the
outbox as well. Whoever comes second finds who was first.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pix import topics
from pix.contracts import canonical_json
from pix.store.interface import RECORD_LIFE_MS, Committed, Message, QueueChange, Store
from serving.outcomes import Done, TooManyRaces
from serving.reviews import (
    LAST,
    OPEN,
    Review,
    closing_label,
    closing_of,
    due_before,
    ended_before,
    prefix_of_entity,
    prefix_of_list,
    read,
    review_id,
)

MAX_RACES = 20
SETTLED_AT_ONCE = 500
MOST_RELATED = 20
MOST_READ = 2_000
"""So many places are read for one page at most, however few of them belong into it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an analyst says of a review.

    Attributes:
        kind: confirmed or dismissed.
        by: Name of the caller.
        note: In words, if anything.
        fraud_type: Kind of fraud, by the MED's list.
    """

    kind: str
    by: str
    note: str | None = None
    fraud_type: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        as_of_ms: The time by which deadlines were judged, epoch milliseconds.
        reviews: In the list's order.
        after: Place of the last review that was looked at; None at the list's end.
    """

    as_of_ms: int
    reviews: list[Review]
    after: str | None


@dataclass(frozen=True, slots=True)
class TakenBefore:
    """Somebody else closed the review, or its deadline did."""

    review: Review


@dataclass(frozen=True, slots=True)
class Related:
    """A review that shares something with another one.

    Attributes:
        review: It.
        shares: Roles of the other review's payment whose account, device or person it has, too.
    """

    review: Review
    shares: list[str]


@dataclass(frozen=True, slots=True)
class ReviewQueue:
    """The queue as the service works it."""

    store: Store
    now_ms: Callable[[], int]

    def page(self, tenant: str, status: str, sort: str, limit: int, after: str | None = None) -> Page:
        """Reviews of one list.

        A place depends on nothing that changes while a review stays in its list, so whoever follows the pages meets
        each that stays exactly once, whatever is closed or opened meanwhile.

        Args:
            tenant: Of the payments.
            status: open, closed or expired.
            sort: deadline (the nearest first) or expected_loss (the greatest first).
            limit: At most so many reviews.
            after: ``Page.after`` of the page before.

        Raises:
            pix.store.errors.StoreError: The store cannot answer.
        """
        self.settle()
        now_ms, prefix = self.now_ms(), prefix_of_list(tenant, status, sort)
        place, found, looked_at = after or prefix, list[Review](), 0
        while looked_at < MOST_READ:
            wanted = limit - len(found)
            rows = self.store.queue(place, prefix + LAST, wanted)
            for place, content in rows:  # noqa: B007 - the last one is where the next page begins
                review = self._standing(place, content, now_ms)
                if review is not None and review.status == status:
                    found.append(review)
            looked_at += len(rows)
            if len(rows) < wanted:
                return Page(now_ms, found, None)
            if len(found) == limit:
                break
        return Page(now_ms, found, place)

    def get(self, tenant: str, end_to_end_id: str) -> Review | None:
        """One review as it is now; None where the payment's decision opened none, or it ended long ago.

        Raises:
            pix.store.errors.StoreError: The store cannot answer.
        """
        found = self.store.queued([review_id(tenant, end_to_end_id)])
        return next((read(content).at(self.now_ms()) for content in found.values()), None)

    def related(self, review: Review) -> list[Related]:
        """The newest reviews of the same accounts, device and persons, of any status, newest first."""
        now_ms, others = self.now_ms(), dict[str, Review]()
        for key in review.entities():
            prefix = prefix_of_entity(key)
            for place, content in self.store.queue(prefix, prefix + LAST, MOST_RELATED + 1):
                other = self._standing(place, content, now_ms)
                if other is not None and other.id != review.id:
                    others[other.id] = other
        newest = sorted(others.values(), key=lambda other: (-other.decided_at_ms, other.id))
        return [Related(other, review.shares(other)) for other in newest[:MOST_RELATED]]

    def close(self, tenant: str, end_to_end_id: str, verdict: Verdict) -> tuple[Review, Done] | TakenBefore | None:
        """Close a review; the first verdict before the deadline counts.

        Returns:
            The closed review and its label, which is still to be published unless it was: also for the same verdict
            of the same caller again. Else who was first, or None where there is no such review.

        Raises:
            TooManyRaces: Others kept changing the entry.
            pix.store.errors.StoreError: The store cannot answer, or whether it took the verdict is not known.
        """
        record_id = f"{tenant}|review|{end_to_end_id}"
        for _ in range(MAX_RACES):
            snapshot = self.store.snapshot(record_id, [])
            review = self.get(tenant, end_to_end_id)
            if review is None:
                return None
            if review.status != OPEN:
                closing = review.closing
                if closing is None or not closing.says(verdict.kind, verdict.by, verdict.note, verdict.fraud_type):
                    return TakenBefore(review)
                known = snapshot.record is not None and not snapshot.is_published
                message = self._message(record_id, review, snapshot.record or b"") if known else None
                return review, Done(snapshot.record or b"", message)
            content = closing_label(review, verdict.kind, verdict.by, self.now_ms(), verdict.note, verdict.fraud_type)
            closing = closing_of(content)
            closed = review.closed(closing) if closing else review
            label = canonical_json(content)
            message = self._message(record_id, closed, label)
            change = QueueChange(review.entry(), closed.entry())
            result = self.store.commit(message, [], snapshot.generation, change)
            if isinstance(result, Committed):
                return closed, Done(label, message)
        raise TooManyRaces(f"the review of {end_to_end_id} lost {MAX_RACES} races; try again")

    def settle(self) -> int:
        """Move on what is over: reviews past their deadline, and those that ended so long ago that the lake has them.

        Any worker does that at any time. It is for the lists' sake only: what a review is follows from its content and
        the time.

        Returns:
            How many entries were changed.
        """
        now_ms = self.now_ms()
        overdue = self.store.queue(due_before(0), due_before(now_ms + 1), SETTLED_AT_ONCE)
        due = [read(content) for _, content in overdue if content]
        changes = [QueueChange(one.entry(), one.at(now_ms).entry()) for one in due if one.status == OPEN]
        ended = self.store.queue(ended_before(0), ended_before(now_ms - RECORD_LIFE_MS), SETTLED_AT_ONCE)
        changes += [QueueChange(read(content).entry(), None) for _, content in ended if content]
        return self.store.change_queue(changes) if changes else 0

    def _standing(self, place: str, content: bytes, now_ms: int) -> Review | None:
        """The review that stands at a place; None if it moved since the place was read."""
        review = read(content) if content else None
        return review.at(now_ms) if review is not None and place in review.entry().places else None

    def _message(self, record_id: str, review: Review, label: bytes) -> Message:
        return Message(record_id, topics.LABELS, review.end_to_end_id, label, self.now_ms())
