"""What a state said at a number: its folds again, in their order, up to there. Pure: folds and bases in, reads out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pix.engines import kernel
from pix.engines.events import kind_of
from pix.engines.kernel import Integers
from pix.logged import LoggedFold, ReferenceChange
from pix.store.interface import ABSENT, Stored


class Read(NamedTuple):
    """One reading of a state.

    Attributes:
        imports: How many imports of history its generation's base held.
        key: Key of the state.
        number: Number of the newest fold that was seen.
        time_ms: Event time of the payment that it was read for, epoch milliseconds.
    """

    imports: int
    key: str
    number: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Unreached:
    """The folds in the lake do not lead to the number that was read.

    Attributes:
        reached: Number up to which they do.
        waiting: Smallest number behind the gap, None if there is none.
    """

    reached: int
    waiting: int | None

    def __str__(self) -> str:
        behind = "" if self.waiting is None else f", then comes {self.waiting}"
        return f"the lake's folds lead to number {self.reached}{behind}: a fold is missing"


def states_read(
    reads: Collection[Read],
    folds: Mapping[str, Mapping[int, LoggedFold]],
    bases: Mapping[int, Mapping[str, Stored]],
) -> dict[Read, "Integers | Unreached"]:
    """What each reading found, integers as ``kernel.integers_of`` takes them.

    Args:
        reads: The readings.
        folds: Key -> number -> fold, for every key that is read.
        bases: Imports -> key -> state, for every base that is read.
    """
    by_state: dict[tuple[int, str], list[Read]] = {}
    for read in dict.fromkeys(reads):
        by_state.setdefault((read.imports, read.key), []).append(read)
    found: dict[Read, Integers | Unreached] = {}
    rows: dict[Read, tuple[str, int]] = {}
    steps: dict[str, kernel.Steps] = {}
    before: dict[str, bytes] = {}
    for (imports, key), wanted in by_state.items():
        start, kind, label = bases[imports].get(key, ABSENT), kind_of(key), f"{imports}|{key}"
        if start.blob is not None:
            before[label] = start.blob
        of_kind = steps.setdefault(kind, kernel.Steps(kind))
        for read, row in _walk(of_kind, label, sorted(wanted, key=lambda each: each.number), folds[key], start.number):
            if isinstance(row, Unreached):
                found[read] = row
            else:
                rows[read] = kind, row
    ran = {kind: of_kind.run(before).reads for kind, of_kind in steps.items()}
    return found | {read: ran[kind][row] for read, (kind, row) in rows.items()}


def _walk(
    steps: kernel.Steps, label: str, wanted: list[Read], folds: Mapping[int, LoggedFold], number: int
) -> list[tuple[Read, "int | Unreached"]]:
    """Fold up to each reading, in the order of their numbers; the row of each in its kind's reads."""
    waiting = [folds[got] for got in sorted(folds, reverse=True) if got > number]
    told: list[tuple[Read, int | Unreached]] = []
    for read in wanted:
        while waiting and waiting[-1].got <= read.number and waiting[-1].follows(number):
            fold = waiting.pop()
            if not isinstance(fold.what, ReferenceChange):
                steps.add(label, kernel.FOLD, fold.what[0], fold.what)
            number = fold.got
        if number == read.number:
            told.append((read, steps.add(label, kernel.READ, read.time_ms)))
        else:
            told.append((read, Unreached(number, waiting[-1].got if waiting else None)))
    return told
