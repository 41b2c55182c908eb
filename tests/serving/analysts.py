"""Analysts in processes of their own: ``analysts.py NOW_MS`` reads {url: {"meet": [id], "die": [id]}}, closes them all.

``meet``: one confirms and one dismisses, and each commits only when the other is about to as well; a line of the output
is what one of them got. ``die``: one confirms, and is killed right after the commit, before a publication or an answer.
A program of its own, so that all are forked from a process without threads, after one import.
"""

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from pix.engines.layout import STATE_LAYOUT
from pix.store.interface import CommitResult, Committed, Fold, Message, QueueChange, Store, open_store
from serving.review_queue import ReviewQueue, TakenBefore, Verdict

MEETING = {"ana": "confirmed", "bruno": "dismissed"}
SECONDS = 30.0


class Watched:
    """A store whose commits wait for each other, or are the last thing that their process does."""

    def __init__(self, store: Store, together: Any) -> None:
        self._store = store
        self._together = together
        self.snapshot, self.queued = store.snapshot, store.queued

    def commit(
        self, message: Message, folds: list[Fold], generation: int, change: QueueChange | None = None
    ) -> CommitResult:
        if self._together is not None:
            self._together.wait(SECONDS)
        result = self._store.commit(message, folds, generation, change)
        if self._together is None and isinstance(result, Committed):
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def work(name: str, url: str, now_ms: int, chosen: list[str], together: Any, out: Any) -> None:
    store = open_store(url, STATE_LAYOUT)
    queue = ReviewQueue(Watched(store, together), lambda: now_ms)  # type: ignore[arg-type]
    for end_to_end_id in chosen:
        outcome = queue.close("default", end_to_end_id, Verdict(MEETING[name], name))
        assert outcome is not None
        review = outcome.review if isinstance(outcome, TakenBefore) else outcome[0]
        assert review.closing is not None
        out.put([name, end_to_end_id, not isinstance(outcome, TakenBefore), review.closing.closed_by])
    store.close()


def main() -> None:
    now_ms, chosen = int(sys.argv[1]), json.load(sys.stdin)
    fork = multiprocessing.get_context("fork")
    out = fork.Queue()
    for url, asked in chosen.items():
        meeting = fork.Barrier(len(MEETING))
        both = [fork.Process(target=work, args=(name, url, now_ms, asked["meet"], meeting, out)) for name in MEETING]
        _run(both, 0)
        for _ in range(len(asked["meet"]) * len(MEETING)):
            sys.stdout.write(json.dumps([url, *out.get(timeout=SECONDS)]) + "\n")
        for end_to_end_id in asked["die"]:
            _run([fork.Process(target=work, args=("ana", url, now_ms, [end_to_end_id], None, out))], -signal.SIGKILL)


def _run(workers: list[Any], ending: int) -> None:
    for each in workers:
        each.start()
    for each in workers:
        each.join()
        if each.exitcode != ending:
            sys.exit(1)


if __name__ == "__main__":
    main()
