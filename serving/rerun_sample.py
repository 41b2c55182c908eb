"""Many past decisions re-run at once: chosen by chance, so many of each action and mode as there are to be had."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.rerun import Difference, Rerun, Rerunner
from serving.rerun_errors import BrokenRecord
from serving.rerun_lake import DECISIONS, SILVER, Decided

AT_ONCE = 5_000
"""Decisions whose folds are held in memory together."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One decision of a sample.

    Attributes:
        action: What was decided.
        mode: How.
        rerun: What became of it.
    """

    action: str
    mode: str
    rerun: Rerun


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What became of a sample.

    Attributes:
        sampled: The decisions.
        versions: Table -> Delta version that was read.
    """

    sampled: tuple[Sampled, ...]
    versions: dict[str, int]

    @property
    def different(self) -> list[Rerun]:
        """Those of which something does not come out again."""
        return [one.rerun for one in self.sampled if one.rerun.differences]

    @property
    def not_compared(self) -> list[Rerun]:
        """Those that could not be compared as a whole, and show no difference where they could."""
        return [one.rerun for one in self.sampled if one.rerun.away is not None and not one.rerun.differences]

    def strata(self) -> list[dict[str, Any]]:
        """Per action and mode, how many are equal, differ, or could not be compared."""
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for one in self.sampled:
            empty = {"action": one.action, "mode": one.mode, "equal": 0, "different": 0, "not_compared": 0}
            row = rows.setdefault((one.action, one.mode), empty)
            row["equal" if one.rerun.is_equal else "different" if one.rerun.differences else "not_compared"] += 1
        return [rows[stratum] for stratum in sorted(rows)]

    def described(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "sampled": len(self.sampled),
            "equal": sum(one.rerun.is_equal for one in self.sampled),
            "different": len(self.different),
            "not_compared": len(self.not_compared),
            "strata": self.strata(),
            "by_name": dict(Counter(each.what for one in self.different for each in one.differences)),
            "differences": [one.described() for one in self.different],
            "away": [one.described() for one in self.not_compared],
            "lake_versions": self.versions,
        }


def rerun_sample(
    rerunner: Rerunner,
    count: int,
    draw: np.random.Generator,
    *,
    since_ms: int = 0,
    waiting: Collection[tuple[str, str]] = (),
    say: Callable[[str], None] = lambda _: None,
) -> SampleReport:
    """Choose and re-run.

    Args:
        rerunner: Re-runs decisions of its lake.
        count: How many; all, if there are fewer.
        draw: Chance.
        since_ms: Only decisions from then on, epoch milliseconds.
        waiting: Tenant and id of decisions that are left out, because a fold that they read is not in the lake yet.
        say: Told of the progress.

    Raises:
        EvidenceAway: Silver or bronze is not there.
    """
    decided = (one for one in rerunner.evidence.decided(since_ms) if (one.tenant, one.end_to_end_id) not in waiting)
    chosen = stratified(decided, count, draw)
    done: list[Sampled] = []
    for start in range(0, len(chosen), AT_ONCE):
        part = chosen[start : start + AT_ONCE]
        done += _rerun(rerunner, part)
        say(f"  {len(done)} of {len(chosen)} decisions re-run")
    return SampleReport(tuple(done), rerunner.evidence.versions)


def _rerun(rerunner: Rerunner, chosen: Sequence[Decided]) -> list[Sampled]:
    published = rerunner.evidence.published({one.end_to_end_id for one in chosen})
    found: dict[tuple[str, str], dict[str, Any]] = {}
    broken: dict[str, str] = {}
    for identity, records in published.items():
        for record in records:
            try:
                content = record.content()
            except BrokenRecord as unreadable:
                broken[identity] = str(unreadable)
                continue
            found.setdefault((content["tenant"], identity), content)
    readable = [one for one in chosen if (one.tenant, one.end_to_end_id) in found]
    again = rerunner.rerun([found[one.tenant, one.end_to_end_id] for one in readable])
    done = [Sampled(one.action, one.mode, rerun) for one, rerun in zip(readable, again, strict=True)]
    for one in chosen:
        if (one.tenant, one.end_to_end_id) not in found:
            told = broken.get(one.end_to_end_id, f"no record of it is in {DECISIONS}")
            gone = Rerun(
                tenant=one.tenant,
                end_to_end_id=one.end_to_end_id,
                differences=(Difference("record", f"in {SILVER}", told),),
            )
            done.append(Sampled(one.action, one.mode, gone))
    return done


def stratified(decided: Iterable[Decided], count: int, draw: np.random.Generator) -> list[Decided]:
    """So many decisions: one of each action and mode in turn, as long as there are some.

    Args:
        decided: All of them.
        count: How many.
        draw: Chance; equal draws over equal decisions choose the same, in whatever order they come.
    """
    strata: dict[tuple[str, str], list[Decided]] = {}
    for one in decided:
        strata.setdefault((one.action, one.mode), []).append(one)
    turns: list[tuple[int, Decided]] = []
    for stratum in sorted(strata):
        rows = sorted(strata[stratum])
        turns += enumerate(rows[place] for place in draw.permutation(len(rows)))
    # Stable: within a turn, in the order of the strata.
    return [one for _, one in sorted(turns, key=lambda turn: turn[0])[:count]]
