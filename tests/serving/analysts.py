"""Analysts in processes of their own: ``analysts.py URL NOW_MS DIES ID...`` closes every review, in two workers.

Both close all of them at once, one confirming and one dismissing; each line of the output is what one got. With
``DIES`` each worker kills itself right after a commit, before it could publish or answer.
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

WORKERS = {"ana": "confirmed", "bruno": "dismissed"}


class Dying:
    """A store whose process dies as soon as something is committed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.snapshot, self.queued = store.snapshot, store.queued

    def commit(
        self, message: Message, folds: list[Fold], generation: int, change: QueueChange | None = None
    ) -> CommitResult:
        if isinstance(self._store.commit(message, folds, generation, change), Committed):
            os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("nobody else closes anything")


def work(name: str, url: str, now_ms: int, dies: bool, chosen: list[str], together: Any, out: Any) -> None:
    store = open_store(url, STATE_LAYOUT)
    queue = ReviewQueue(Dying(store) if dies else store, lambda: now_ms)  # type: ignore[arg-type]
    together.wait()
    for end_to_end_id in chosen:
        outcome = queue.close("default", end_to_end_id, Verdict(WORKERS[name], name))
        assert outcome is not None
        review = outcome.review if isinstance(outcome, TakenBefore) else outcome[0]
        assert review.closing is not None
        out.put([name, end_to_end_id, not isinstance(outcome, TakenBefore), review.closing.closed_by])
    store.close()


def main() -> None:
    url, now_ms, dies, *ids = sys.argv[1:]
    is_deadly = dies == "DIES"
    fork = multiprocessing.get_context("fork")
    together, out = fork.Barrier(1 if is_deadly else len(WORKERS)), fork.SimpleQueue()
    names = list(WORKERS)[:1] if is_deadly else list(WORKERS)
    workers = [
        fork.Process(target=work, args=(name, url, int(now_ms), is_deadly, ids, together, out)) for name in names
    ]
    for each in workers:
        each.start()
    if not is_deadly:
        for _ in range(len(ids) * len(WORKERS)):
            sys.stdout.write(json.dumps(out.get()) + "\n")
    for each in workers:
        each.join()
    sys.exit(any(each.exitcode not in ((-signal.SIGKILL,) if is_deadly else (0,)) for each in workers))


if __name__ == "__main__":
    main()
