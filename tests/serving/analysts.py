"""Analysts in processes of their own: ``analysts.py URL NOW_MS MEET|DIE ID...`` closes every review.

``MEET``: two of them, one confirming and one dismissing, and each commits only when the other is about to as well; a line of
the output is what one of them got. ``DIE``: one, whose process is killed right after its commit, before it could
publish or answer.
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
    url, now_ms, how, *ids = sys.argv[1:]
    fork = multiprocessing.get_context("fork")
    names, ending = (list(MEETING), 0) if how == "MEET" else (["ana"], -signal.SIGKILL)
    together, out = fork.Barrier(len(names)) if how == "MEET" else None, fork.Queue()
    workers = [fork.Process(target=work, args=(name, url, int(now_ms), ids, together, out)) for name in names]
    for each in workers:
        each.start()
    for _ in range(len(ids) * len(names) if how == "MEET" else 0):
        sys.stdout.write(json.dumps(out.get(timeout=SECONDS)) + "\n")
    for each in workers:
        each.join()
    sys.exit(any(each.exitcode != ending for each in workers))


if __name__ == "__main__":
    main()
