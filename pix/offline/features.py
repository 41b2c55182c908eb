"""Offline features in Spark: the same kernel as online, over the lake.

Two passes, each one shuffle. By key: every entity's events are folded in their numbered order and read
where payments read them. By payment: what the roles read is put together by ``pix.features.vector``.

Imported history has no numbers yet: it is folded by (event time, payments before labels, id) and counts
1, 2, ... per key. A live decision is folded at the number it got and read at the number it read, so the
result does not depend on when or where this runs. A key starts from the history that its first live
read saw: none if it read number 0, else the imports up to the decision's generation. A read of a number
that cannot be reached, because a fold is missing (yet), gets no features rather than wrong ones.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgpack
import pyarrow as pa

from pix.contracts import Payment
from pix.engines import kernel
from pix.engines.events import Carried, Event, entity_keys, kind_of, payment_events
from pix.engines.layout import STATE_LAYOUT
from pix.features import FINGERPRINT
from pix.labels import LabelChange, fold_labels, reference_key
from pix.offline.names import is_live
from pix.store.interface import LIVE_NUMBERS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

PARTITIONS = 8
ARROW_ROWS = 5_000

EVENTS = (
    "key string, import_number int, number long, is_read boolean, time_ms long, rank int, id string, "
    "role string, generation int, body binary"
)
STAGE = "key string, number long, blob binary, import_number int, id string, role string, source string"
FEATURES = (
    "end_to_end_id string, tenant string, source string, event_time_ms long, features array<double>, "
    "logged array<double>, fingerprint string"
)
PAYMENT_RANK, LABEL_RANK = 0, 1
LIVE, HISTORY = "live", "history"
SIDES = ("payer_flagged", "payee_flagged")
FLAGS = "id string, payer_flagged boolean, payee_flagged boolean"


@dataclass(frozen=True, slots=True)
class OfflineFeatures:
    """Result of the two passes.

    Attributes:
        features: One row per payment (columns of ``FEATURES`` and ``fold_day``).
        base_states: One row per key of the past of the live traffic: key, number, blob, import_number, layout. Other
            histories are for learning and backtests; the online store must not meet them.
    """

    features: "DataFrame"
    base_states: "DataFrame"


def compute(
    history_payments: "DataFrame",
    history_labels: "DataFrame",
    decisions: "DataFrame",
    folds: "DataFrame",
) -> OfflineFeatures:
    """Features of every payment in the lake, and the states that imported history leaves behind.

    Args:
        history_payments: silver/history_payments.
        history_labels: silver/history_labels.
        decisions: silver/decisions, with the decision record as JSON in ``record``.
        folds: bronze/pix_folds.
    """
    from pyspark.sql import functions as f

    identity = ["tenant", "end_to_end_id"]
    # An id that has a decision is not history.
    history = history_payments.join(decisions.select(*identity), identity, "left_anti")
    labels = history_labels.groupBy(*identity).agg(
        f.collect_list(f.struct("known_at_ms", "label_id", "kind")).alias("labels")
    )
    past = with_flags(
        history.join(labels, identity, "left").select(
            f.concat_ws("|", *identity).alias("id"),
            "tenant",
            "payment",
            "event_time_ms",
            "import_number",
            f.to_json("labels").alias("labels"),
        )
    )
    events = (
        past.mapInArrow(history_events, EVENTS)
        .unionByName(decisions.select("record").mapInArrow(decision_events, EVENTS))
        .unionByName(folds.select("value").mapInArrow(label_events, EVENTS))
    )
    stage = events.repartition(PARTITIONS, "key").mapInArrow(fold_by_key, STAGE).persist()
    payments = (
        past.select(f.lit(HISTORY).alias("source"), f.col("payment").alias("content"))
        .unionByName(decisions.select(f.lit(LIVE).alias("source"), f.col("record").alias("content")))
        .mapInArrow(payment_rows, STAGE)
    )
    reads = stage.where(f.col("id").isNotNull())
    features = (
        reads.unionByName(payments)
        .repartition(PARTITIONS, "id")
        .mapInArrow(features_by_payment, FEATURES)
        .withColumn("fold_day", f.to_date(f.timestamp_millis("event_time_ms")))
    )
    base_states = stage.where(f.col("id").isNull() & is_live("key")).select("key", "number", "blob", "import_number")
    references = past.where(is_live("tenant")).mapInArrow(reference_rows, STAGE)
    states = base_states.unionByName(references.select(*base_states.columns))
    return OfflineFeatures(features, states.withColumn("layout", f.lit(STATE_LAYOUT)))


def with_flags(past: "DataFrame") -> "DataFrame":
    """Imported payments with what their accounts' states said of them: payer_flagged, payee_flagged.

    The first of two passes: it folds only labels, which carry nothing themselves.
    """
    from pyspark.sql import functions as f

    events = past.mapInArrow(flag_events, EVENTS)
    labelled = events.where(f.col("rank") == LABEL_RANK).select("key").distinct()
    flags = (
        events.join(labelled, "key", "left_semi")
        .repartition(PARTITIONS, "key")
        .mapInArrow(flags_by_key, FLAGS)
        .groupBy("id")
        .agg(*(f.max(side).alias(side) for side in SIDES))
    )
    known = [f.coalesce(side, f.lit(False)).alias(side) for side in SIDES]
    return past.join(flags, "id", "left").select(*past.columns, *known)


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        yield from batch.to_pylist()


def _batches(rows: Iterable[tuple[Any, ...]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows as Arrow batches; mapInArrow binds columns by position, so ``schema`` is in Spark's order."""
    pending: list[tuple[Any, ...]] = []
    for row in rows:
        pending.append(row)
        if len(pending) == ARROW_ROWS:
            yield _batch(pending, schema)
            pending = []
    if pending:
        yield _batch(pending, schema)


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = [pa.array(values, type=field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


ARROW_TYPES = {
    "string": pa.string(),
    "int": pa.int32(),
    "long": pa.int64(),
    "boolean": pa.bool_(),
    "binary": pa.binary(),
    "array<double>": pa.list_(pa.float64()),
}


def arrow_schema(ddl: str) -> pa.Schema:
    """Arrow's form of one of this module's column lists."""
    return pa.schema([(name, ARROW_TYPES[kind]) for name, kind in (part.split() for part in ddl.split(", "))])


def _body(event: Event) -> bytes:
    packed: bytes = msgpack.packb(event.words())
    return packed


def _words(body: bytes) -> tuple[int, int, int]:
    time_ms, word, other = msgpack.unpackb(body)
    return time_ms, word, other


def _identity(tenant: str, end_to_end_id: str) -> str:
    return f"{tenant}|{end_to_end_id}"


def _label_parts(row: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(label["known_at_ms"], label["label_id"], label["kind"]) for label in json.loads(row["labels"] or "[]")]


def history_events(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Imported payments and their labels as events of their entities (``EVENTS``)."""

    def rows() -> Iterator[tuple[Any, ...]]:
        for row in _rows(batches):
            payment, time_ms, imported = (
                Payment(**json.loads(row["payment"])),
                row["event_time_ms"],
                row["import_number"],
            )
            identity = _identity(payment.tenant, payment.end_to_end_id)
            keys = entity_keys(payment)
            carried = Carried(payer_flagged=row["payer_flagged"], payee_flagged=row["payee_flagged"])
            events = payment_events(payment, keys, time_ms, carried, is_allowed=True, is_imported=True)
            for role, key in keys.items():
                yield key, imported, 0, False, time_ms, PAYMENT_RANK, identity, role, 0, _body(events[key])
            for change in fold_labels(keys, _label_parts(row))[1]:
                for key, event in change.events(keys).items():
                    yield key, imported, 0, False, event.time_ms, LABEL_RANK, identity, None, 0, _body(event)

    return _batches(rows(), arrow_schema(EVENTS))


def flag_events(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What tells whether accounts of imported payments were flagged: labels, and when it is asked (``EVENTS``)."""

    def rows() -> Iterator[tuple[Any, ...]]:
        for row in _rows(batches):
            payment, time_ms, imported = (
                Payment(**json.loads(row["payment"])),
                row["event_time_ms"],
                row["import_number"],
            )
            keys = {role: key for role, key in entity_keys(payment).items() if kind_of(key) == "account"}
            for role, key in keys.items():
                yield key, imported, 0, True, time_ms, PAYMENT_RANK, row["id"], role, 0, b""
            for change in fold_labels(keys, _label_parts(row))[1]:
                for key, event in change.events(keys).items():
                    yield key, imported, 0, False, event.time_ms, LABEL_RANK, row["id"], None, 0, _body(event)

    return _batches(rows(), arrow_schema(EVENTS))


def flags_by_key(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Which payments found one of their accounts flagged (``FLAGS``)."""

    def rows() -> Iterator[tuple[Any, ...]]:
        events = sorted(_rows(batches), key=itemgetter("key", *PAST_ORDER))
        steps, asked = kernel.Steps("account"), []
        for row in events:
            if row["is_read"]:
                steps.add(row["key"], kernel.READ, row["time_ms"])
                asked.append(row)
            else:
                steps.add(row["key"], kernel.FOLD, row["time_ms"], _words(row["body"]))
        for row, reads in zip(asked, steps.run().reads, strict=True):
            if kernel.is_flagged(reads):
                yield row["id"], row["role"] == "payer_account", row["role"] == "payee_account"

    return _batches(rows(), arrow_schema(FLAGS))


def reference_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What the online store must remember of imported payments to fold their later labels (``STAGE``)."""

    def rows() -> Iterator[tuple[Any, ...]]:
        for row in _rows(batches):
            payment = Payment(**json.loads(row["payment"]))
            labels = _label_parts(row)
            reference, _ = fold_labels(entity_keys(payment), labels)
            key = reference_key(payment.tenant, payment.end_to_end_id)
            yield key, 1 + len(labels), reference.pack(), row["import_number"], None, None, HISTORY

    return _batches(rows(), arrow_schema(STAGE))


def decision_events(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Each decision's reads and folds, at the numbers it logged (``EVENTS``)."""

    def rows() -> Iterator[tuple[Any, ...]]:
        for row in _rows(batches):
            record = json.loads(row["record"])
            payment, time_ms = Payment(**record["payment"]), record["event_time_ms"]
            allowed, generation = record["outcome"] == "allowed", record["generation"]
            identity = _identity(payment.tenant, payment.end_to_end_id)
            keys = {role: state["key"] for role, state in record["states"].items()}
            carried = carried_of(record)
            events = payment_events(payment, keys, time_ms, carried, is_allowed=allowed, is_imported=False)
            for role, state in record["states"].items():
                place = (time_ms, PAYMENT_RANK, identity, role, generation, _body(events[state["key"]]))
                yield state["key"], 0, state["read"], True, *place
                yield state["key"], 0, state["got"], False, *place

    return _batches(rows(), arrow_schema(EVENTS))


def carried_of(record: dict[str, Any]) -> Carried:
    """What a decision record carries; records from before anything was carried have an empty object."""
    return Carried(**{side: side in record["carried"] and record["carried"][side]["value"] for side in SIDES})


def label_events(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Live label folds, at the numbers they got (``EVENTS``)."""

    def rows() -> Iterator[tuple[Any, ...]]:
        for row in _rows(batches):
            fold = json.loads(row["value"])
            if not fold["states"]:
                continue
            keys = {role: state["key"] for role, state in fold["states"].items()}
            measure = fold.get("measure", "frauds")
            change = LabelChange(fold["time_ms"], measure, fold["change"], fold["counted_at_ms"])
            events = change.events(keys)
            for state in fold["states"].values():
                identity = _identity(fold["tenant"], fold["end_to_end_id"])
                place = (fold["time_ms"], LABEL_RANK, identity, None, fold["generation"], _body(events[state["key"]]))
                # At least once delivery, two roles of one key: `fold_by_key` folds a number once.
                yield state["key"], 0, state["read"], True, *place
                yield state["key"], 0, state["got"], False, *place

    return _batches(rows(), arrow_schema(EVENTS))


def fold_by_key(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Fold each key's events in order; emit what payments read and the base state (``STAGE``)."""

    def rows() -> Iterator[tuple[Any, ...]]:
        events = sorted(_rows(batches), key=itemgetter("key"))
        for key, group in groupby(events, key=itemgetter("key")):
            of_key = list(group)
            past = sorted((row for row in of_key if row["import_number"]), key=itemgetter(*PAST_ORDER))
            live = sorted((row for row in of_key if not row["import_number"]), key=itemgetter("number", "is_read"))
            yield from _fold_history(key, past)
            yield from _fold_live(key, past, live)

    return _batches(rows(), arrow_schema(STAGE))


PAST_ORDER = ("time_ms", "rank", "id", "body")


def _once(past: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows of one event: a payment between one person's accounts has two roles on one key."""
    for (_, rank, *_), rows in groupby(past, key=itemgetter(*PAST_ORDER)):
        same = list(rows)
        yield from [same] if rank == PAYMENT_RANK else [[row] for row in same]


def _fold_history(key: str, past: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    steps, asked, folds = kernel.Steps(kind_of(key)), [], 0
    for rows in _once(past):
        for row in rows:
            if row["role"] is not None:
                steps.add(key, kernel.READ, row["time_ms"], is_imported=True)
                asked.append(row)
        steps.add(key, kernel.FOLD, rows[0]["time_ms"], _words(rows[0]["body"]))
        folds += 1
    if folds:
        done = steps.run()
        yield from (_read_row(values, row, HISTORY) for values, row in zip(done.reads.tolist(), asked, strict=True))
        newest = max(row["import_number"] for row in past)
        yield key, folds, done.states[key], newest, None, None, HISTORY


def _fold_live(key: str, past: list[dict[str, Any]], live: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Live events of a key; a read whose number was not reached without a gap stays unanswered."""
    steps, asked, folded = kernel.Steps(kind_of(key)), [], 0
    if live and live[0]["number"] > 0:
        known = [row for row in past if row["import_number"] <= live[0]["generation"]]
        for rows in _once(known):
            steps.add(key, kernel.FOLD, rows[0]["time_ms"], _words(rows[0]["body"]))
            folded += 1
    # Without the read before the first live fold, its number may not be the first.
    knows_first = bool(live) and live[0]["number"] < LIVE_NUMBERS
    for row in live:
        if row["is_read"]:
            if row["role"] is not None and row["number"] == folded:
                steps.add(key, kernel.READ, row["time_ms"])
                asked.append(row)
            elif row["role"] is not None:
                yield _unanswered(row)
        elif row["number"] == folded + 1 or (knows_first and folded < LIVE_NUMBERS <= row["number"]):
            steps.add(key, kernel.FOLD, row["time_ms"], _words(row["body"]))
            folded = row["number"]
    if asked:
        reads = steps.run().reads.tolist()
        yield from (_read_row(values, row, LIVE) for values, row in zip(reads, asked, strict=True))


def _read_row(values: list[int], row: dict[str, Any], source: str) -> tuple[Any, ...]:
    return row["key"], row["number"], msgpack.packb(values), 0, row["id"], row["role"], source


def _unanswered(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["key"], row["number"], None, 0, row["id"], row["role"], LIVE


def payment_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The payments themselves, to meet what their entities read (``STAGE``, without a role)."""

    def rows() -> Iterator[tuple[Any, ...]]:
        for row in _rows(batches):
            content = json.loads(row["content"])
            payment = content if row["source"] == HISTORY else content["payment"]
            identity = _identity(payment["tenant"], payment["end_to_end_id"])
            yield payment["tenant"], 0, row["content"].encode(), 0, identity, None, row["source"]

    return _batches(rows(), arrow_schema(STAGE))


def features_by_payment(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One feature vector per payment (``FEATURES``)."""

    def rows() -> Iterator[tuple[Any, ...]]:
        parts = sorted(_rows(batches), key=itemgetter("id"))
        for _, group in groupby(parts, key=itemgetter("id")):
            of_id = list(group)
            for payment_row in (part for part in of_id if part["role"] is None):
                yield _assembled(payment_row, [part for part in of_id if part["role"] is not None])

    return _batches(rows(), arrow_schema(FEATURES))


def _assembled(payment_row: dict[str, Any], parts: list[dict[str, Any]]) -> tuple[Any, ...]:
    content = json.loads(payment_row["blob"])
    is_live = payment_row["source"] == LIVE
    payment = Payment(**(content["payment"] if is_live else content))
    event_ms = content["event_time_ms"] if is_live else payment.initiated_at_ms
    keys = entity_keys(payment)
    own = [part for part in parts if keys.get(part["role"]) == part["key"]]
    logged = content["features"] if is_live else None
    values = None
    if all(part["blob"] is not None for part in own):
        reads = {part["role"]: msgpack.unpackb(part["blob"]) for part in own}
        values = kernel.listed(kernel.vector(payment, event_ms, reads))
    return payment.end_to_end_id, payment.tenant, payment_row["source"], event_ms, values, logged, FINGERPRINT
