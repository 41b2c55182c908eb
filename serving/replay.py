"""Logged folds into a generation's states, in number order per key, whatever order the log is in.

A fold is taken when it is the one right after its key's newest number; others wait. A fold that the states
have already is passed over, so the same part of the log may be read twice. What still waits when the whole log
was read has a gap before it: a fold is missing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from pix import topics
from pix.engines import kernel
from pix.engines.events import kind_of
from pix.logged import LoggedFold, ReferenceChange, folds_of_decision, folds_of_record
from pix.store.interface import LIVE_NUMBERS, Stored

KEYS_AT_ONCE = 1_000


class StaleBase(Exception):
    """The base holds a payment as history that was decided live."""


class States(Protocol):
    """Where a generation's states are."""

    def read_states(self, number: int, keys: list[str]) -> Mapping[str, Stored]:
        """States of one generation."""

    def write_states(self, number: int, states: list[tuple[str, int, bytes]]) -> int:
        """Put states into it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A key whose folds do not follow each other.

    Attributes:
        key: Key of the state.
        number: Newest number before the gap.
        waiting: Smallest number behind it.
        folds: How many folds wait behind it.
    """

    key: str
    number: int
    waiting: int
    folds: int

    def __str__(self) -> str:
        return f"{self.key}: number {self.number} is followed by {self.waiting} ({self.folds} folds wait)"


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """A record for the idempotency of its id."""

    record_id: str
    value: bytes
    committed_at_ms: int


class Replay:
    """One replay into one generation."""

    def __init__(self, states: States, number: int, until: Mapping[str, int] | None = None) -> None:
        """Begin.

        Args:
            states: Where the generation's states are.
            number: The generation.
            until: Key -> number of the last fold to take; all of every key if None.
        """
        self._states = states
        self._number = number
        self._until = until
        self._waiting: dict[str, dict[int, LoggedFold]] = {}
        self.newest_generation = 0
        self.unknown: set[str] = set()
        """Keys in the log that ``until`` does not know."""

    def take(self, messages: Iterable[tuple[str, bytes]]) -> list[LoggedRecord]:
        """Read messages (topic, value); the first record of an id is the record, later ones do not count.

        Labels are passed over: what they folded is on ``pix.folds``.

        Returns:
            The records, for the idempotency of their ids.
        """
        records = []
        for topic, value in messages:
            if topic not in (topics.DECISIONS, topics.FOLDS):
                continue
            content = json.loads(value)
            if topic == topics.DECISIONS:
                record_id, at_ms = f"{content['tenant']}|decision|{content['end_to_end_id']}", content["decided_at_ms"]
                folds = folds_of_decision(content)
            else:
                record_id, at_ms = fold_record_id(content), content["folded_at_ms"]
                folds = folds_of_record(content)
            self.newest_generation = max(self.newest_generation, content.get("store_generation", 0))
            records.append(LoggedRecord(record_id, value, at_ms))
            for fold in folds:
                if self._until is None or fold.got <= self._until.get(fold.key, 0):
                    self._waiting.setdefault(fold.key, {}).setdefault(fold.got, fold)
                elif fold.key not in self._until:
                    self.unknown.add(fold.key)
        return records

    def fold(self, *, over_gaps: bool = False) -> int:
        """Fold what follows; returns how many folds were taken.

        Args:
            over_gaps: Fold also what has a gap before it.

        Raises:
            StaleBase: The base holds a payment as history that was decided live.
        """
        keys, folded = iter(list(self._waiting)), 0
        while chunk := list(islice(keys, KEYS_AT_ONCE)):
            stored = self._states.read_states(self._number, chunk)
            chosen = {key: self._following(key, stored[key].number, over_gaps=over_gaps) for key in chunk}
            chosen = {key: folds for key, folds in chosen.items() if folds}
            blobs = _after(chosen, stored)
            self._states.write_states(self._number, [(key, chosen[key][-1].got, blob) for key, blob in blobs.items()])
            folded += sum(len(folds) for folds in chosen.values())
        return folded

    def _following(self, key: str, number: int, *, over_gaps: bool) -> list[LoggedFold]:
        waiting, chosen = self._waiting[key], []
        for got in sorted(waiting):
            fold = waiting[got]
            if got <= number:
                del waiting[got]
            elif fold.follows(number) or over_gaps:
                _refuse_history(fold, number)
                chosen.append(waiting.pop(got))
                number = got
            else:
                break
        if not waiting:
            del self._waiting[key]
        return chosen

    def newest_numbers(self) -> dict[str, int]:
        """Key -> greatest number that was taken and not folded yet."""
        return {key: max(folds) for key, folds in self._waiting.items()}

    @property
    def waiting(self) -> int:
        """How many keys wait for a fold."""
        return len(self._waiting)

    def gaps(self, limit: int) -> list[Gap]:
        """Keys that wait for a fold, by key."""
        keys = sorted(self._waiting)[:limit]
        stored = self._states.read_states(self._number, keys)
        return [Gap(key, stored[key].number, min(self._waiting[key]), len(self._waiting[key])) for key in keys]


def fold_record_id(content: dict[str, Any]) -> str:
    """Id in the store of a record on ``pix.folds``."""
    kind = "label" if content["kind"] == "label" else "fold"
    return f"{content['tenant']}|{kind}|{content['fold_id']}"


def _refuse_history(fold: LoggedFold, number: int) -> None:
    made_it = isinstance(fold.what, ReferenceChange) and fold.what.keys is not None
    if made_it and 0 < number < LIVE_NUMBERS:
        raise StaleBase(
            f"features/base_states holds {fold.key} as history, but it was decided live since; materialise silver and "
            "features/base_states again, then rebuild"
        )


def _after(chosen: Mapping[str, list[LoggedFold]], stored: Mapping[str, Stored]) -> dict[str, bytes]:
    """Key -> blob after these folds."""
    by_kind: dict[str, kernel.Steps] = {}
    blobs: dict[str, bytes] = {}
    for key, folds in chosen.items():
        for fold in folds:
            if isinstance(fold.what, ReferenceChange):
                blobs[key] = fold.what.applied(blobs.get(key, stored[key].blob))
            else:
                steps = by_kind.setdefault(kind_of(key), kernel.Steps(kind_of(key)))
                steps.add(key, kernel.FOLD, fold.what[0], fold.what)
    before = {key: found.blob for key, found in stored.items() if found.blob is not None}
    for steps in by_kind.values():
        blobs |= steps.run(before).states
    return blobs
