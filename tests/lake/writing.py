"""Writers of one Delta table at the same time: appends, counting merges, compaction; by Spark or by delta-rs.

The table counts what was done to it: an append adds rows of its own number, a merge adds one to the counters of some
keys that all writers share. So after any run the table must say what the writers were told.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

APPENDED, KEYS, TRIES = 3, 6, 5
MATCH = "t.id = s.id"


class Engine(Protocol):
    """One way to write."""

    def shares(self, writer: int) -> tuple[int, int, int]:
        """How often a writer appends, counts and compacts."""

    def append(self, path: str, ids: list[str]) -> None: ...

    def count(self, path: str, ids: list[str]) -> None: ...

    def compact(self, path: str) -> None: ...


class DeltaRs:
    """delta-rs, as bronze and the care of tables use it.

    Two compactions of the same files both succeed in 1.6.6, and every row is there twice: neither changes data by its
    own word, so neither sees the other. Whoever compacts has to be alone; the care of tables holds a lock.
    """

    def shares(self, writer: int) -> tuple[int, int, int]:
        return (5, 4, 0) if writer else (0, 0, 1)

    def append(self, path: str, ids: list[str]) -> None:
        from deltalake import write_deltalake

        write_deltalake(path, self._rows(ids), mode="append")

    def count(self, path: str, ids: list[str]) -> None:
        from deltalake import DeltaTable

        merge = DeltaTable(path).merge(self._rows(ids), MATCH, source_alias="s", target_alias="t")
        merge = merge.when_matched_update({"n": "t.n + 1"})
        merge.when_not_matched_insert({"id": "s.id", "n": "s.n"}).execute()

    def compact(self, path: str) -> None:
        from deltalake import DeltaTable

        DeltaTable(path).optimize.compact()

    def _rows(self, ids: list[str]) -> Any:
        import pyarrow as pa

        return pa.table({"id": ids, "n": pa.array([1] * len(ids), pa.int64())})


class Spark:
    """Spark, every writer a thread of one JVM: on a local disk its commits are atomic within one only."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def shares(self, writer: int) -> tuple[int, int, int]:  # noqa: ARG002 - who it is does not matter here
        return (5, 4, 1)

    def append(self, path: str, ids: list[str]) -> None:
        self._rows(ids).write.format("delta").mode("append").save(path)

    def count(self, path: str, ids: list[str]) -> None:
        merge = self._table(path).alias("t").merge(self._rows(ids).alias("s"), MATCH)
        merge.whenMatchedUpdate(set={"n": "t.n + 1"}).whenNotMatchedInsertAll().execute()

    def compact(self, path: str) -> None:
        self._table(path).optimize().executeCompaction()

    def _table(self, path: str) -> Any:
        from delta.tables import DeltaTable

        return DeltaTable.forPath(self._session, path)

    def _rows(self, ids: list[str]) -> Any:
        return self._session.createDataFrame([(each, 1) for each in ids], "id string, n bigint").coalesce(1)


@dataclass
class Told:
    """What writers were told.

    Attributes:
        appended: Ids of rows whose append succeeded.
        counted: Key -> merges that counted it and succeeded.
        compacted: Compactions that succeeded.
        refused: Operation and error -> how often it was refused.
    """

    appended: set[str] = field(default_factory=set)
    counted: Counter[str] = field(default_factory=Counter)
    compacted: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: "Told") -> "Told":
        self.appended |= other.appended
        self.counted += other.counted
        self.compacted += other.compacted
        self.refused += other.refused
        return self


def write(engine: Engine, path: str, *, writer: int, seed: int, operations: int) -> Told:
    """What one writer does; what is refused is counted, tried again some times, and left."""
    draw, told = random.Random(f"{seed}/{writer}"), Told()
    for number in range(operations):
        what = draw.choices(("append", "count", "compact"), engine.shares(writer))[0]
        ids = [f"{writer}-{number}-{each}" for each in range(APPENDED)]
        keys = sorted(f"key{each}" for each in draw.sample(range(KEYS), 2))
        work: dict[str, Callable[[], None]] = {
            "append": lambda ids=ids: engine.append(path, ids),
            "count": lambda keys=keys: engine.count(path, keys),
            "compact": lambda: engine.compact(path),
        }
        if not _done(work[what], what, told, draw):
            continue
        if what == "append":
            told.appended |= set(ids)
        elif what == "count":
            told.counted.update(keys)
        else:
            told.compacted += 1
    return told


def _done(work: Callable[[], None], what: str, told: Told, draw: random.Random) -> bool:
    """Do it, several times where it is refused; whether it was done in the end."""
    for _ in range(TRIES):
        try:
            work()
        except Exception as error:  # which errors there are is what is found out
            told.refused[f"{what}: {type(error).__name__}"] += 1
            time.sleep(draw.random() / 4)
        else:
            return True
    return False


def in_threads(engine: Engine, path: str, writers: Iterable[int], *, seed: int, operations: int) -> Told:
    """Some writers at once, in this process."""
    told, chosen = Told(), list(writers)
    with ThreadPoolExecutor(len(chosen)) as pool:
        asked = [pool.submit(write, engine, path, writer=each, seed=seed, operations=operations) for each in chosen]
        for done in asked:
            told += done.result()
    return told


def by_delta_rs(path: str, writers: list[int], seed: int, operations: int) -> Told:
    """The same by delta-rs, for a process of its own."""
    return in_threads(DeltaRs(), path, writers, seed=seed, operations=operations)
