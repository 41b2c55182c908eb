"""Four processes decide together: ``crowd.py FOLDER SEED PAYMENTS HOT_EVERY STORE...`` leaves what each of them logged.

A process of its own, so that the four are forked from one without threads, after one import.
"""

import json
import multiprocessing
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix.clock import epoch_ms

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

from traffic import StubbornModel, arrival, label, pipeline, random_message

from pix.contracts import DAY_MS, MINUTE_MS
from pix.engines.layout import STATE_LAYOUT
from pix.store.interface import CommitResult, Fold, Message, QueueChange, Raced, Store, open_store
from serving.outcomes import Done

WORKERS = 4
ACCOUNTS = 40
HOT = "12345678-0001-1"
KINDS = ("accepted", "reversed", "contested", "confirmed")


class Counting:
    """A store that counts lost races by record."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.snapshot = store.snapshot
        self.races: Counter[str] = Counter()

    def commit(
        self, message: Message, folds: list[Fold], generation: int, change: QueueChange | None = None
    ) -> CommitResult:
        result = self.store.commit(message, folds, generation, change)
        self.races[message.record_id] += isinstance(result, Raced)
        return result


@dataclass(frozen=True)
class Day:
    """What the four do: so many payments from a time on, every so many of them to one payee."""

    seed: int
    payments: int
    hot_every: int
    begin_ms: int


def work(worker: int, url: str, day: Day, log: Path, together: Any) -> None:
    """Decide every fourth payment, and some of the next one's."""
    store = Counting(open_store(url, STATE_LAYOUT))
    decider = pipeline(store, epoch_ms, StubbornModel())  # type: ignore[arg-type]
    draw = random.Random(f"{day.seed}-{worker}")
    mine = [
        number for number in range(day.payments) if number % WORKERS == worker or number % 50 == (worker + 1) % WORKERS
    ]
    with log.open("wb") as out:
        together.wait()
        for number in mine:
            # The same payment is the same message, whoever sends it.
            of = random.Random(f"{day.seed}-{number}")
            at_ms = day.begin_ms + number * MINUTE_MS - of.choice([0, 0, 0, 1, DAY_MS])
            sent = random_message(of, number, at_ms, ACCOUNTS)
            if number % day.hot_every == 0 and sent.payer_account != HOT:
                sent = sent.model_copy(update={"payee_account": HOT})
            done = decider.decide(sent, arrival(epoch_ms(), number))
            assert isinstance(done, Done), done
            out.write(b"d" + done.record + b"\n")
            if draw.random() < 0.1:
                known = label(sent.end_to_end_id, draw.choice(KINDS), epoch_ms())
                folded = decider.fold_label(known, epoch_ms())
                assert isinstance(folded, Done), folded
                out.write(b"f" + folded.record + b"\n")
    log.with_suffix(".races").write_text(json.dumps(store.races))
    store.store.close()


def main() -> None:
    folder, seed, payments, hot_every, *urls = sys.argv[1:]
    day = Day(int(seed), int(payments), int(hot_every), epoch_ms() - int(payments) * MINUTE_MS)
    fork = multiprocessing.get_context("fork")
    for place, url in enumerate(urls):
        together = fork.Barrier(WORKERS)
        logs = [Path(folder) / f"{place}-{worker}.log" for worker in range(WORKERS)]
        workers = [fork.Process(target=work, args=(worker, url, day, log, together)) for worker, log in enumerate(logs)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
        if any(each.exitcode for each in workers):
            sys.exit(1)


if __name__ == "__main__":
    main()
