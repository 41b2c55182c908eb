"""Offline features in Spark: the same kernel as online, over the lake, in Arrow batches.

Payments become events of their keys (``eventing``); one shuffle by key folds and reads them (``replaying``); one by
payment makes vectors of what was read (``assembling``). Events and reads move through both in large pieces
(``chunks``).

Imported history has no numbers yet: it is folded by (event time, payments before labels, id) and counts 1, 2, ...
per key. A live decision is folded at the number it got and read at the number it read, on the base of its own
generation: the imports folded when that was built. So the result depends neither on when nor on where this runs,
and a later import changes no vector of an earlier decision. A number that cannot be reached, because a fold is
missing (yet), gives no vector rather than a wrong one.

Live days are folded one after the other: what a key's state was after the last run, and the events since then.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pix.contracts import DAY_MS
from pix.engines.layout import KINDS, STATE_LAYOUT
from pix.features import FINGERPRINT
from pix.offline import assembling, chunks, eventing, replaying
from pix.offline.chunks import CHUNK, ByKey, InLine
from pix.offline.names import history_of, is_live
from pix.offline.shapes import BEHIND, EVENTS, FEATURES, STAGE, START, STATE, WAITING_FOLD, WAITING_READ
from pix.offline.tables import BASE_STATES, LIVE_STATES, PAYMENT_FEATURES, UNANSWERED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa
    from pyspark import StorageLevel
    from pyspark.sql import Column, DataFrame

    Pass = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]

PARTITIONS = 8
FEW_PARTITIONS = 4
"""So few are asked for where there are few events, about a day's."""
LIVE, HISTORY = "live", "history"
IDENTITY = ("tenant", "end_to_end_id")


@dataclass(frozen=True, slots=True)
class HistoryFeatures:
    """What folding imported payments gave; both frames are lazy.

    Attributes:
        features: One row per payment (``features/payment_features``, batch 0).
        base_states: One row per key of the past of the live traffic (``features/base_states``). Other histories
            are for learning and backtests; the online store must not meet them. Empty where no states were wanted.
        release: Frees what both share.
    """

    features: "DataFrame"
    base_states: "DataFrame"
    stage: "DataFrame"

    def release(self) -> None:
        """Free what the frames share."""
        self.stage.unpersist()


@dataclass(frozen=True, slots=True)
class LiveFeatures:
    """What folding decisions gave; the frames are lazy.

    Attributes:
        features: One row per asked decision that could be answered (``features/payment_features``).
        states: The states of the keys that were folded (``features/live_states``).
        unanswered: What waits for a fold that is not there (``features/unanswered``).
        reopened: How many keys were folded from their beginning because a read came from before their state.
    """

    features: "DataFrame"
    states: "DataFrame"
    unanswered: "DataFrame"
    reopened: int
    stage: "DataFrame"

    def release(self) -> None:
        """Free what the frames share."""
        self.stage.unpersist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The live log: what was decided and what labels changed.

    Attributes:
        decisions: silver/decisions, at least tenant, end_to_end_id, decided_at_ms, record, and a boolean column
            ``asked``.
        folds: bronze/pix_folds, at least value.
    """

    decisions: "DataFrame"
    folds: "DataFrame"


def of_history(
    payments: "DataFrame",
    labels: "DataFrame",
    decided: "DataFrame",
    *,
    up_to: int | None = None,
    with_states: bool = True,
    partitions: int = PARTITIONS,
) -> HistoryFeatures:
    """Features of imported payments, and the states that the past of the live traffic leaves behind.

    Args:
        payments: silver/history_payments, of one history or several.
        labels: silver/history_labels.
        decided: tenant and end_to_end_id of what was decided: that is not history.
        up_to: Newest import to fold; all without it.
        with_states: Whether the base states are wanted; without them nothing is kept on disk on the way.
        partitions: Spark tasks per shuffle.
    """
    from pyspark.sql import functions as f

    past = with_labels(payments, labels, decided, up_to)
    asked = past.select("payment", "event_time_ms", "import_number", "labels")
    known = payments if up_to is None else payments.where(f.col("import_number") <= up_to)
    in_line = InLine.of(_by_day(known, "event_time_ms"), partitions)
    events = asked.mapInArrow(
        partial(_events, of=partial(eventing.of_history, timelines=_timelines(past)), place=ByKey(partitions)),
        CHUNK.ddl,
    )
    fold = partial(_replayed, by=partial(replaying.history_by_key, with_states=with_states), place=in_line)
    stage = events.repartitionById(partitions, "part").mapInArrow(fold, CHUNK.ddl)
    if with_states:
        stage = stage.persist(_on_disk())
    features = PAYMENT_FEATURES.shape(_shaped(_vectors(stage, in_line), HISTORY).withColumn("batch", f.lit(0)))
    if not with_states:
        return HistoryFeatures(features, payments.sparkSession.createDataFrame([], BASE_STATES.ddl), stage)
    references = past.where(is_live("tenant")).mapInArrow(eventing.references, STAGE.ddl)
    states = _rest(stage, in_line).where(is_live("key")).unionByName(references)
    base_states = states.withColumnRenamed("base", "import_number").withColumn("layout", f.lit(STATE_LAYOUT))
    return HistoryFeatures(features, BASE_STATES.shape(base_states), stage)


def of_decisions(
    new: Log,
    starts: "DataFrame",
    *,
    current: int,
    whole: "Log | None" = None,
    base_states: "DataFrame | None" = None,
    batch: int = 1,
    partitions: int = PARTITIONS,
) -> LiveFeatures:
    """Features of decisions, and the states of their keys afterwards.

    Args:
        new: What is to be folded.
        starts: Columns key, base, number, blob: states to begin with, several per key allowed; a key without one
            begins empty. With ``whole``, those left by the last run and the base states; else base states only.
        current: Newest import in the base of the newest generation; states are kept on that base.
        whole: Everything ever logged, if ``new`` is only what came since the last run. Keys that were read before
            the state that the last run left are folded again from their beginning.
        base_states: The base states alone (as ``starts``); with ``whole``.
        batch: Number of this run.
        partitions: Spark tasks per shuffle.
    """
    from pyspark.sql import functions as f

    keys = _live_keys(new)
    in_line = InLine.of(_by_day(new.decisions.where("asked"), "decided_at_ms"), partitions)
    stage = _folded(_live_chunks(new, partitions), keys, starts, current, in_line)
    reopened = 0
    if whole is not None and base_states is not None:
        behind = _rest(stage, in_line).where(f.col("what") == BEHIND).select("key").distinct().persist(_on_disk())
        reopened = behind.count()
        if reopened:
            stage.unpersist()
            again = _reopened(whole, new, behind)
            events = _live_events(new).join(behind, "key", "left_anti").unionByName(again)
            kept = starts.join(behind, "key", "left_anti")
            begun = kept.unionByName(base_states.join(behind, "key", "left_semi"))
            stage = _folded(_in_chunks(events, partitions), keys, begun, current, in_line)
    features = _shaped(_vectors(stage, in_line), LIVE).withColumn("batch", f.lit(batch))
    kept = _rest(stage, in_line)
    states = kept.where(f.col("what") == STATE).withColumn("layout", f.lit(STATE_LAYOUT))
    waiting = kept.where(f.col("what").isin(WAITING_READ, WAITING_FOLD, BEHIND)).select(
        "key", "base", "number", *_names("identity"), (f.col("what") != WAITING_FOLD).alias("is_read"), "at_ms"
    )
    return LiveFeatures(
        features=PAYMENT_FEATURES.shape(features),
        states=LIVE_STATES.shape(states.withColumn("batch", f.lit(batch))),
        unanswered=UNANSWERED.shape(waiting.withColumn("batch", f.lit(batch))),
        reopened=reopened,
        stage=stage,
    )


def _events(batches: "Iterable[pa.RecordBatch]", *, of: "Pass", place: chunks.Place) -> "Iterator[pa.RecordBatch]":
    return chunks.scattered(of(batches), place)


def _replayed(batches: "Iterable[pa.RecordBatch]", *, by: "Pass", place: chunks.Place) -> "Iterator[pa.RecordBatch]":
    return chunks.scattered(by(chunks.gathered(batches, EVENTS)), place)


def _assembled(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    return assembling.features_by_payment(_stage(batches))


def _stage(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    return chunks.gathered(batches, STAGE)


def _by_day(payments: "DataFrame", time_ms: str) -> dict[int, int]:
    """Day since 1970 -> payments, of history decided ones too: it need not be exact."""
    from pyspark.sql import functions as f

    return {row[0]: row[1] for row in payments.groupBy(f.expr(f"{time_ms} div {DAY_MS}")).count().collect()}


def with_labels(
    payments: "DataFrame", labels: "DataFrame", decided: "DataFrame", up_to: int | None = None
) -> "DataFrame":
    """Imported payments that were never decided, each with its labels as JSON."""
    from pyspark.sql import functions as f

    if up_to is not None:
        payments, labels = (frame.where(f.col("import_number") <= up_to) for frame in (payments, labels))
    said = labels.groupBy(*IDENTITY).agg(
        f.to_json(f.collect_list(f.struct("known_at_ms", "label_id", "kind"))).alias("labels")
    )
    columns = (*IDENTITY, "payment", "event_time_ms", "import_number")
    undecided = payments.select(*columns).join(decided.select(*IDENTITY), [*IDENTITY], "left_anti")
    return undecided.join(said, [*IDENTITY], "left")


def _timelines(past: "DataFrame") -> dict[str, eventing.Timeline]:
    """Account key -> known frauds that it received: what flags the account for the other side of its payments.

    They go to the workers as they are: frauds are a few in a thousand payments.
    """
    from pyspark.sql import functions as f

    accounts = past.where(f.col("labels").isNotNull()).select(
        "tenant", f.get_json_object("payment", "$.payee_account").alias("payee_account"), "labels"
    )
    shape = "key string, time_ms long, change long, counted_at_ms long"
    rows = accounts.mapInArrow(eventing.timeline_rows, shape).orderBy("key", "time_ms", "change", "counted_at_ms")
    found: dict[str, eventing.Timeline] = {}
    for row in rows.collect():
        found.setdefault(row.key, []).append((row.time_ms, row.change, row.counted_at_ms))
    return found


def _live_events(log: Log) -> "DataFrame":
    decided = log.decisions.select("record", "asked").mapInArrow(eventing.of_decisions, EVENTS.ddl)
    labels = log.folds.select("value").mapInArrow(eventing.of_folds, EVENTS.ddl)
    return decided.unionByName(labels)


def _live_chunks(log: Log, partitions: int) -> "DataFrame":
    """The same in chunks, without a row of their own for any of them on the way."""
    place = ByKey(partitions)
    decided = log.decisions.select("record", "asked").mapInArrow(
        partial(_events, of=eventing.of_decisions, place=place), CHUNK.ddl
    )
    return decided.union(
        log.folds.select("value").mapInArrow(partial(_events, of=eventing.of_folds, place=place), CHUNK.ddl)
    )


def _in_chunks(events: "DataFrame", partitions: int) -> "DataFrame":
    return events.mapInArrow(partial(chunks.scattered, place=ByKey(partitions)), CHUNK.ddl)


def _live_keys(log: Log) -> "DataFrame":
    """Every key of these events, and those that a decision names but did not fold; made without the events."""
    decided = log.decisions.select("record").mapInArrow(eventing.keys_of_decisions, "key string")
    return decided.unionByName(log.folds.select("value").mapInArrow(eventing.keys_of_folds, "key string")).distinct()


def _reopened(whole: Log, new: Log, keys: "DataFrame") -> "DataFrame":
    """All that ever happened to some keys; asked is what ``new`` asks."""
    from pyspark.sql import functions as f

    asked = new.decisions.where("asked").select(*IDENTITY, f.lit(True).alias("is_asked"))
    everything = whole.decisions.drop("asked").join(asked, [*IDENTITY], "left")
    log = Log(decisions=everything.withColumn("asked", f.coalesce("is_asked", f.lit(False))), folds=whole.folds)
    return _live_events(log).join(keys, "key", "left_semi")


def _folded(events: "DataFrame", keys: "DataFrame", starts: "DataFrame", current: int, in_line: InLine) -> "DataFrame":
    """Chunks of events and the states that they begin with, folded by key: chunks of ``STAGE``.

    They are kept on disk, because several frames come of them.
    """
    from pyspark.sql import functions as f

    # Only the states of keys that something happened to are moved; those of a day fit beside every task.
    partitions = in_line.parts
    needed = starts.join(f.broadcast(keys) if partitions <= FEW_PARTITIONS else keys, "key", "left_semi")
    begin = needed.select(*[_start_column(name) for name, _ in EVENTS.columns])
    fold = partial(_replayed, by=partial(replaying.live_by_key, current=current), place=in_line)
    everything = events.union(_in_chunks(begin, partitions))
    return everything.repartitionById(partitions, "part").mapInArrow(fold, CHUNK.ddl).persist(_on_disk())


def _start_column(name: str) -> "Column":
    from pyspark.sql import functions as f

    kinds = dict(EVENTS.columns)
    given = {"key": f.col("key"), "base": f.col("base"), "got": f.col("number"), "blob": f.col("blob")}
    given |= {"role": f.lit(START), "kind": _kind()}
    return given.get(name, f.lit(None)).cast(kinds[name]).alias(name)


def _kind() -> "Column":
    """Place of the key's kind among the kinds; payments' references and the like have none."""
    from pyspark.sql import functions as f

    kind = f.split_part("key", f.lit("|"), f.lit(2))
    return f.array_position(f.array(*[f.lit(each) for each in KINDS]), kind) - 1


def _vectors(stage: "DataFrame", in_line: InLine) -> "DataFrame":
    from pyspark.sql import functions as f

    reads = stage.where(f.col("part") != in_line.rest).repartitionById(in_line.parts, "part")
    return reads.mapInArrow(_assembled, FEATURES.ddl)


def _rest(stage: "DataFrame", in_line: InLine) -> "DataFrame":
    """What is no read, as rows of ``STAGE``."""
    from pyspark.sql import functions as f

    return stage.where(f.col("part") == in_line.rest).mapInArrow(_stage, STAGE.ddl)


def _shaped(vectors: "DataFrame", source: str) -> "DataFrame":
    from pyspark.sql import functions as f

    return (
        vectors.withColumn("source", f.lit(source))
        .withColumn("history", history_of("tenant") if source == HISTORY else f.lit(None))
        .withColumn("fingerprint", f.lit(FINGERPRINT))
        .withColumn("fold_day", f.to_date(f.timestamp_millis("folded_at_ms")))
    )


def _names(identity: str) -> "list[Column]":
    """Tenant and EndToEndId of an identity; the latter holds no bar."""
    from pyspark.sql import functions as f

    return [
        f.substring_index(identity, "|", -1).alias("end_to_end_id"),
        f.regexp_extract(identity, r"^(.*)\|[^|]*$", 1).alias("tenant"),
    ]


def _on_disk() -> "StorageLevel":
    from pyspark import StorageLevel

    return StorageLevel.DISK_ONLY
