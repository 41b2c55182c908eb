"""`sentinela backtest`: what models would have said of a past, fold by fold, written payment by payment.

Spark makes the features of the whole past once, with every label held back until its delay is over; the folds are then
fit and scored in this process.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix.contracts import DAY_MS
from pix.contracts.fields import parse_instant
from pix.features import FEATURE_NAMES
from pix.offline.days import begin_ms
from pix.settings import Settings
from sentinela.backtest_report import written
from sentinela.errors import BadUse
from sentinela.progress import Say

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

    from learning.folds import Fold
    from learning.past import Past

PAYMENTS, LABELS = "silver/history_payments", "silver/history_labels"
SAY_EVERY_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be backtested.

    Attributes:
        history: Name of an import; ``live`` is the past of the live traffic.
        start_ms: First payment that is learnt from.
        train_days: How long each fold learns from.
        delay_days: Between that and what it is tested on; no label is known earlier.
        test_days: How long each is tested on, and how much later the next one begins.
        folds: How many.
        seed: Of samples and models.
        by_account: Whether accounts are scored too.
        out: Parquet file that is written.
        honest_rows: At most about so many payments without a known fraud are fit on, in each fold.
        iterations: Trees of CatBoost.
    """

    history: str
    start_ms: int
    train_days: int
    delay_days: int
    test_days: int
    folds: int
    seed: int
    by_account: bool
    out: Path
    honest_rows: int
    iterations: int

    def __post_init__(self) -> None:
        for name, least in (("train_days", 1), ("delay_days", 0), ("test_days", 1), ("folds", 1)):
            if getattr(self, name) < least:
                option = f"--{name.replace('_', '-')}"
                raise BadUse(f"{option} must be at least {least}, got {getattr(self, name)}")
        for name in ("honest_rows", "iterations"):
            if getattr(self, name) < 1:
                raise BadUse(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if not self.out.parent.is_dir():
            raise BadUse(f"--out {self.out}: there is no folder {self.out.parent}")
        if self.out.is_dir():
            raise BadUse(f"--out {self.out} is a folder; name a Parquet file")

    def of_folds(self) -> "tuple[Fold, ...]":
        """The folds, first to last."""
        from learning.folds import rolling

        return rolling(
            start_ms=self.start_ms,
            train_ms=self.train_days * DAY_MS,
            delay_ms=self.delay_days * DAY_MS,
            test_ms=self.test_days * DAY_MS,
            count=self.folds,
        )


def start_of(text: str) -> int:
    """Epoch milliseconds of a day's begin in Brasília, or of an RFC 3339 time.

    Raises:
        BadUse: It is neither.
    """
    try:
        return begin_ms(date.fromisoformat(text))
    except ValueError:
        pass
    try:
        return parse_instant(text)
    except ValueError as broken:
        raise BadUse(
            f"--start {text}: {broken}; write a day such as 2026-03-01, which begins at midnight in Brasília, or a "
            "time with its offset"
        ) from broken


def run(asked: Asked, settings: Settings, say: Say) -> dict[str, Any]:
    """Backtest, write the file, and tell what the models were worth.

    Raises:
        BadUse: The history is not there, or has no payments at that time.
        learning.errors.TrainingDataTooSmall: A fold knows too few frauds.
    """
    from functools import partial

    from learning import backtest
    from learning.recipe import TrainingConfig
    from serving.policy import load_policy
    from serving.rules_only import severities

    _require_history(asked, settings)
    config = TrainingConfig(
        seed=asked.seed, honest_rows=asked.honest_rows, iterations=asked.iterations, threads=os.cpu_count() or 1
    )
    rules = partial(severities, load_policy(settings.policy_file))
    folds = asked.of_folds()
    (settings.root / "tmp").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="backtest-", dir=settings.root / "tmp"))
    try:
        past = _past(asked, folds, settings, folder, say)
        _require_payments(asked, folds, past, say)
        scored = []
        for fold in folds:
            say(f"fold {fold.number} of {len(folds)}: learns from {_span(fold.train_from_ms, fold.train_until_ms)}")
            done = backtest.score(past, fold, FEATURE_NAMES, config, rules)
            say(
                f"  {done.learnt:,} payments with {done.known_frauds:,} known frauds; scored {len(done.places):,} of "
                f"{_span(fold.test_from_ms, fold.test_until_ms)}"
            )
            scored.append(done)
        return written(past, scored, asked.out, history=asked.history, by_account=asked.by_account, say=say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_history(asked: Asked, settings: Settings) -> None:
    from deltalake import DeltaTable

    from pix.offline.names import UnusableName, usable

    try:
        usable(asked.history)
    except UnusableName as broken:
        raise BadUse(f"--history: {broken}") from broken
    address = f"{settings.lake}/{PAYMENTS}"
    names: set[str] = set()
    if DeltaTable.is_deltatable(address):
        import pyarrow as pa
        import pyarrow.compute as pc

        table = pa.table(DeltaTable(address).scan(columns=["history"]).read_all())
        names = set(pc.unique(table["history"]).to_pylist())
    if asked.history not in names:
        there = f"there are {', '.join(sorted(names))}" if names else "nothing was imported into this home yet"
        raise BadUse(f"--history {asked.history} was not imported; {there}; see `sentinela import --help`")


def _past(asked: Asked, folds: "Sequence[Fold]", settings: Settings, folder: Path, say: Say) -> "Past":
    """The history up to the end of the last test, with its features, in a folder."""
    from pyspark.sql import functions as f

    from learning.past import Past
    from pix.offline import backtest_frame

    with _spark(settings) as spark:
        mine = f.col("history") == asked.history
        read = {
            name: spark.read.format("delta").load(f"{settings.lake}/{name}").where(mine) for name in (PAYMENTS, LABELS)
        }
        payments = read[PAYMENTS].where(f.col("event_time_ms") < folds[-1].test_until_ms)
        labels = backtest_frame.delayed(read[LABELS], payments, asked.delay_days * DAY_MS).persist()
        say(f"making the features of {payments.count():,} payments of {asked.history}, with {labels.count():,} labels")
        vectors, facts = str(folder / "vectors"), str(folder / "facts")
        with _steps_told(spark, say):
            wanted = f.col("event_time_ms") >= folds[0].train_from_ms
            _write(backtest_frame.vectors(payments, labels).where(wanted), vectors, "fold_day")
            _write(backtest_frame.facts(payments, labels).where(wanted), facts)
    return Past.of(_facts(Path(facts)), Path(vectors))


def _write(frame: "DataFrame", folder: str, *by: str) -> None:
    frame.write.partitionBy(*by).parquet(folder)


def _facts(folder: Path) -> "pd.DataFrame":
    """The facts, texts as categories but for the ids."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    table = ds.dataset(folder, format="parquet").to_table()
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) and field.name != "end_to_end_id":
            table = table.set_column(place, field.name, table[field.name].dictionary_encode())
    facts: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    return facts


@contextmanager
def _spark(settings: Settings) -> "Iterator[SparkSession]":
    """A session over the lake; ended again, unless this process had it before."""
    import dagster as dg

    from fraud_assets.lake import LakeResource
    from pix.offline.session import use_this_python

    use_this_python()
    lake = LakeResource.of(settings)
    with _errors_to(settings.root / "logs" / "backtest.log"):
        spark = lake.spark
    try:
        yield spark
    finally:
        lake.teardown_after_execution(dg.build_init_resource_context())


@contextmanager
def _errors_to(log: Path) -> Iterator[None]:
    """What is started meanwhile writes its errors to a file, as long as it lives: Spark's log is no progress."""
    log.parent.mkdir(parents=True, exist_ok=True)
    ours = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)


@contextmanager
def _steps_told(spark: "SparkSession", say: Say) -> Iterator[None]:
    """Tell now and then how far Spark is, while something else waits for it."""
    over, tracker = threading.Event(), spark.sparkContext.statusTracker()

    def look() -> None:
        while not over.wait(SAY_EVERY_SECONDS):
            for stage in tracker.getActiveStageIds():
                if (info := tracker.getStageInfo(stage)) is not None:
                    say(f"  Spark stage {stage}: {info.numCompletedTasks} of {info.numTasks} tasks done")

    teller = threading.Thread(target=look, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _require_payments(asked: Asked, folds: "Sequence[Fold]", past: "Past", say: Say) -> None:
    times = past.times_ms
    if not len(times) or times[-1] < folds[-1].test_from_ms:
        until = f"ends on {_day(int(times[-1]))}" if len(times) else f"has no payment from {_day(asked.start_ms)} on"
        raise BadUse(
            f"--folds {asked.folds}: the last test begins on {_day(folds[-1].test_from_ms)}, and {asked.history} "
            f"{until}; ask for fewer folds or an earlier --start"
        )
    if times[-1] < folds[-1].test_until_ms - DAY_MS:
        say(f"the history ends on {_day(int(times[-1]))}, within the last test")


def _day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M}Z"


def _span(from_ms: int, until_ms: int) -> str:
    return f"{_day(from_ms)} to {_day(until_ms)}"
