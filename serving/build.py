"""Building a generation of the online store beside the one in use, and changing over to it.

    base -> lake -> Kafka, until the logs' end is near -> fence -> outbox empty -> the rest of the logs -> flip

Decisions go on while it is built; they wait only behind the fence, for as long as the last messages take. The
same way brings a retired generation to the logs' end, to roll back to it. Fails as a whole, or not at all.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pix.store.generation import Generation, Identity
from pix.store.interface import Store
from serving.base import Base
from serving.logs import Ends, LogLost, Logs, Messages
from serving.replay import Replay
from serving.review_replay import ReviewReplay

log = logging.getLogger(__name__)

NEAR_THE_END = 200
MOST_ROUNDS = 10
BASE_AT_ONCE = 2_000
SHOWN_GAPS = 20


class BuildFailed(Exception):
    """A generation could not be built; the one in use stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """What a build needs beside the generation.

    Attributes:
        store: The online store.
        logs: Lake and Kafka.
        flush: Publishes what waits in the outbox; whether it is empty then.
        now_ms: The clock, epoch milliseconds.
        name: Who builds; unique.
    """

    store: Store
    logs: Logs
    flush: Callable[[], bool]
    now_ms: Callable[[], int]
    name: str

    def begin(self, base: Base, *, layout: str, token_key_version: int, at_least: int = 1) -> Generation:
        """Announce the next generation; ``build`` makes it.

        Raises:
            pix.store.errors.BuildBusy: Somebody else builds.
        """
        identity = Identity(
            imports=base.imports, base_version=base.version, layout=layout, token_key_version=token_key_version
        )
        return self.store.begin(identity, self.name, self.now_ms(), at_least=at_least)

    def build(self, generation: Generation, base: Base, *, accept_gaps: bool = False) -> None:
        """Make a generation that ``begin`` announced, and use it.

        Args:
            generation: The announced one.
            base: Its base.
            accept_gaps: Fold over missing folds; the number of keys that miss some stands in the generation.

        Raises:
            BuildFailed: It could not be made.
        """

        def work(build: _Build) -> Ends:
            build.write_base(base)
            return build.read_lake()

        self._run(generation, work, accept_gaps=accept_gaps)

    def roll_back(self, number: int) -> Generation:
        """Announce the return to a retired generation; ``catch_up`` makes it.

        Raises:
            pix.store.errors.StoreError: It cannot be returned to.
        """
        return self.store.resume(number, self.name, self.now_ms())

    def catch_up(self, generation: Generation) -> None:
        """Fold into a retired generation what happened since, and use it again.

        Raises:
            BuildFailed: It could not be brought to the logs' end.
        """
        start: Ends = {
            (topic, int(part)): offset
            for topic, parts in generation.complete_to.items()
            for part, offset in parts.items()
        }

        def work(build: _Build) -> Ends:
            try:
                build.read_tail(start)
            except LogLost:
                # Kafka has forgotten what the lake still has; what the states have already is passed over.
                return build.read_lake()
            return start

        self._run(generation, work, accept_gaps=False)

    def _run(self, generation: Generation, work: "Callable[[_Build], Ends]", *, accept_gaps: bool) -> None:
        try:
            build = _Build(self, generation)
            start = build.approach(work(build))
            build.change_over(start, accept_gaps=accept_gaps)
        except Exception as trouble:
            self.store.lift(self.name)
            self.store.give_up(generation, str(trouble))
            raise BuildFailed(f"generation {generation.number} was not built: {trouble}") from trouble


class _Build:
    """One build under way."""

    def __init__(self, builder: Builder, generation: Generation) -> None:
        self._builder = builder
        self._store, self._logs = builder.store, builder.logs
        self._generation = generation
        self._replay = Replay(builder.store, generation.number)
        self._reviews = ReviewReplay(builder.now_ms())

    def write_base(self, base: Base) -> None:
        """Put the base into the generation."""
        rows: list[tuple[str, int, bytes]] = []
        done = 0
        self._note("base", 0, base.keys)
        for row in base.states():
            rows.append(row)
            if len(rows) == BASE_AT_ONCE:
                done += self._store.write_states(self._generation.number, rows)
                rows = []
                self._note("base", done, base.keys)
        self._store.write_states(self._generation.number, rows)

    def read_lake(self) -> Ends:
        """Fold what the lake has; where its part ends."""
        total, done = self._logs.rows(), 0
        ends = self._logs.lake_ends()
        for messages in self._logs.lake():
            self._fold(messages)
            done += len(messages)
            self._note("lake", done, total)
        return ends

    def read_tail(self, start: Ends) -> Ends:
        """Fold what Kafka has after ``start``; where Kafka ended when it was asked."""
        ends = self._logs.ends()
        total, done = sum(end - start.get(place, 0) for place, end in ends.items()), 0
        for messages in self._logs.tail(start, ends):
            self._fold(messages)
            done += len(messages)
            self._note("kafka", done, total)
        return ends

    def approach(self, start: Ends) -> Ends:
        """Follow Kafka until its end is near, or does not come nearer."""
        for _ in range(MOST_ROUNDS):
            ends = self.read_tail(start)
            is_near = sum(end - start.get(place, 0) for place, end in ends.items()) <= NEAR_THE_END
            start = ends
            if is_near:
                break
        return start

    def change_over(self, start: Ends, *, accept_gaps: bool) -> None:
        """Fence, take the last records, flip."""
        self._note("fence", 0, 0)
        self._store.fence(self._generation)
        if not self._builder.flush():
            raise BuildFailed("Kafka does not take what waits in the outbox; see `sentinela status`")
        ends = self.read_tail(start)
        gaps = self._gaps(accept_gaps=accept_gaps)
        self._reviews.restore(self._store)
        places: dict[str, dict[str, int]] = {}
        for (topic, part), end in ends.items():
            places.setdefault(topic, {})[str(part)] = end
        self._store.flip(self._generation, places, gaps)

    def _gaps(self, *, accept_gaps: bool) -> int:
        waiting = self._replay.waiting
        if not waiting:
            return 0
        shown = "; ".join(str(gap) for gap in self._replay.gaps(SHOWN_GAPS))
        if not accept_gaps:
            raise BuildFailed(
                f"folds of {waiting} keys are missing in lake and Kafka: {shown}. Restore bronze, or accept the loss "
                "with `sentinela store rebuild --accept-gaps`"
            )
        log.warning("folds of %d keys are missing and were accepted: %s", waiting, shown)
        self._replay.fold(over_gaps=True)
        return waiting

    def _fold(self, messages: Messages) -> None:
        self._reviews.take(messages)
        records = self._replay.take(messages)
        self._replay.fold()
        restored = ((record.record_id, record.value, record.committed_at_ms) for record in records)
        self._store.restore_records(restored, self._builder.now_ms())

    def _note(self, step: str, done: int, total: int) -> None:
        self._store.note(self._generation, step, done, total, self._builder.now_ms())
