"""The zeroth pass, in a Spark worker: payments, decisions and label folds become events of their keys.

Out comes ``pix.offline.shapes.EVENTS``. Payments go by columns; labels, one in a hundred, one by one.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pix.engines import kernel
from pix.engines.events import Event, account_key, kind_of
from pix.engines.layout import KINDS
from pix.features import ROLES
from pix.labels import LabelChange, PaymentReference, fold_labels, reference_key
from pix.logged import events_of_payment
from pix.offline import columns, packing
from pix.offline.assembling import PAYEE_FLAGGED, PAYER_FLAGGED
from pix.offline.columns import PAYMENT, RECORD, ROLE_NAMES, Bools, Flags, Integers
from pix.offline.shapes import ALONE, EVENTS, LABEL, STAGE, STATE

Timeline = list[tuple[int, int, int]]
"""What labels did to an account that was paid, by time: (known at, change, counted at), milliseconds."""

TIMELINE = pa.schema(
    [("key", pa.string()), ("time_ms", pa.int64()), ("change", pa.int64()), ("counted_at_ms", pa.int64())]
)
KEYS = pa.struct([("states", pa.struct([(role, pa.struct([("key", pa.string())])) for role in ROLE_NAMES]))])
"""The keys in a decision record."""
_PLACE_OF_KIND = {kind: place for place, kind in enumerate(KINDS)}


def of_history(batches: Iterable[pa.RecordBatch], timelines: Mapping[str, Timeline]) -> Iterator[pa.RecordBatch]:
    """Imported payments and their labels.

    Args:
        batches: payment (canonical JSON), event_time_ms, import_number, labels (JSON list or null).
        timelines: Account key -> known frauds that it received.
    """
    for batch in batches:
        if batch.num_rows == 0:
            continue
        payments = columns.parsed(batch["payment"], PAYMENT)
        time_ms, imported = columns.integers(batch["event_time_ms"]), batch["import_number"]
        keys = columns.entity_keys(payments)
        payer, payee = (_flagged(keys[role], time_ms, timelines) for role in ("payer_account", "payee_account"))
        everywhere = np.ones(len(time_ms), np.bool_)
        words = columns.event_words(payments, time_ms, keys, Flags(payer, payee, everywhere, is_imported=True))
        shared = {
            "identity": identities(payments),
            "base": imported,
            "time_ms": time_ms,
            "at_ms": time_ms,
            "asked": everywhere,
            "carried": payer * PAYER_FLAGGED + payee * PAYEE_FLAGGED,
        }
        yield from _by_role(payments, time_ms, keys, words, shared)
        yield from _history_labels(batch, keys, shared["identity"])


def identities(payments: pa.Table) -> pa.Array:
    """``tenant|EndToEndId`` of each payment."""
    return pc.binary_join_element_wise(payments["tenant"], payments["end_to_end_id"], "|").combine_chunks()


def _by_role(
    payments: pa.Table,
    time_ms: Integers,
    keys: Mapping[str, pa.Array],
    words: Mapping[str, tuple[Integers, Integers]],
    shared: Mapping[str, Any],
    numbers: Mapping[str, tuple[Integers, Integers]] | None = None,
) -> Iterator[pa.RecordBatch]:
    """One batch per role, of the payments that have it; the payer's account brings what is the payment's own."""
    present = {role: columns.known(keys[role]) for role in ROLE_NAMES}
    roles = sum((present[role].astype(np.int64) << place for place, role in enumerate(ROLE_NAMES)), start=0)
    own = {"roles": roles, "facts": packing.pack(columns.fact_grid(payments, time_ms))}
    of_payer = {name: shared[name] for name in ("logged", "logged_by", "carried") if name in shared}
    everybody = {name: value for name, value in shared.items() if name not in of_payer}
    for place, role in enumerate(ROLE_NAMES):
        rows = pa.array(np.flatnonzero(present[role]))
        word, other = words[role]
        read, got = numbers[role] if numbers else (None, None)
        here = {**everybody, "key": keys[role], "word": word, "other": other, "read": read, "got": got}
        if role == "payer_account":
            here |= own | of_payer
        taken = {name: _taken(value, rows) for name, value in here.items() if value is not None}
        yield EVENTS.batch(len(rows), kind=_PLACE_OF_KIND[ROLES[role]], role=place, place=0, **taken)


def _taken(column: Any, rows: pa.Array) -> pa.Array:
    whole = column if isinstance(column, pa.Array) else pa.array(column)
    return whole.take(rows)


def _flagged(keys: pa.Array, time_ms: Integers, timelines: Mapping[str, Timeline]) -> Bools:
    """Whether each payment's account had received known frauds when it paid or was paid."""
    flagged = np.zeros(len(keys), np.bool_)
    if not timelines:
        return flagged
    rows = np.flatnonzero(np.asarray(pc.is_in(keys, pa.array(timelines.keys()))))
    asked: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for row, key in zip(rows.tolist(), keys.take(pa.array(rows)).to_pylist(), strict=True):
        asked[key].append((int(time_ms[row]), row))
    steps, places = kernel.Steps("account"), []
    for key, asks in asked.items():
        folds = iter(timelines[key])
        fold = next(folds, None)
        for at_ms, row in sorted(asks):
            # At one time payments come before labels.
            while fold is not None and fold[0] < at_ms:
                _fold_label(steps, key, fold)
                fold = next(folds, None)
            steps.add(key, kernel.READ, at_ms)
            places.append(row)
    for row, reads in zip(places, steps.run().reads, strict=True):
        flagged[row] = kernel.is_flagged(reads)
    return flagged


def _fold_label(steps: kernel.Steps, key: str, fold: tuple[int, int, int]) -> None:
    time_ms, change, counted_at_ms = fold
    event = LabelChange(time_ms, "frauds", change, counted_at_ms).events({"payee_account": key})[key]
    steps.add(key, kernel.FOLD, time_ms, event.words())


def label_parts(text: str | None) -> list[tuple[int, str, str]]:
    """Labels of one payment from their JSON: known at, id, kind."""
    return [(label["known_at_ms"], label["label_id"], label["kind"]) for label in json.loads(text or "[]")]


def timeline_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Account key, and JSON of one known fraud that it received or that was taken back.

    Args:
        batches: tenant, payee_account, labels (JSON list).
    """
    for batch in batches:
        rows = []
        for row in batch.to_pylist():
            key = account_key(row["tenant"], row["payee_account"])
            changes = fold_labels({}, label_parts(row["labels"]))[1]
            rows += [(key, c.time_ms, c.change, c.counted_at_ms) for c in changes if c.measure == "frauds"]
        columns_of = zip(*rows, strict=True) if rows else ([], [], [], [])
        yield pa.RecordBatch.from_arrays(
            [pa.array(c, kind) for c, kind in zip(columns_of, TIMELINE.types, strict=True)], schema=TIMELINE
        )


def _history_labels(
    batch: pa.RecordBatch, keys: Mapping[str, pa.Array], identity: pa.Array
) -> Iterator[pa.RecordBatch]:
    rows = pa.array(np.flatnonzero(columns.known(batch["labels"])))
    if not len(rows):
        return
    of_roles = {role: key.take(rows).to_pylist() for role, key in keys.items()}
    texts, imports = batch["labels"].take(rows).to_pylist(), batch["import_number"].take(rows).to_pylist()
    found: list[dict[str, Any]] = []
    for n, (text, imported, of_payment) in enumerate(zip(texts, imports, identity.take(rows).to_pylist(), strict=True)):
        mine = {role: values[n] for role, values in of_roles.items() if values[n] is not None}
        for place, change in enumerate(fold_labels(mine, label_parts(text))[1], start=1):
            for key, event in change.events(mine).items():
                found.append(_label_row(key, event, of_payment, place=place, base=imported, at_ms=event.time_ms))
    yield _labels(found)


def _label_row(key: str, event: Event, identity: str, **others: int) -> dict[str, Any]:
    time_ms, word, other = event.words()
    row = {"key": key, "kind": _PLACE_OF_KIND[kind_of(key)], "time_ms": time_ms, "word": word, "other": other}
    return {**row, "identity": identity, **others}


def _labels(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    names = rows[0] if rows else ()
    return EVENTS.batch(len(rows), role=LABEL, **{name: pa.array([row[name] for row in rows]) for name in names})


def of_decisions(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Decided payments, at the numbers that they logged.

    Args:
        batches: record (the decision record's JSON), asked (whether the payment's vector is wanted).
    """
    for batch in batches:
        if batch.num_rows == 0:
            continue
        record = columns.parsed(batch["record"], RECORD)
        payments = columns.as_table(record["payment"])
        states = {role: columns.as_table(column) for role, column in _fields(record["states"])}
        time_ms, decided_ms = columns.integers(record["event_time_ms"]), columns.integers(record["decided_at_ms"])
        payer, payee = (_logged_flag(column) for _, column in _fields(record["carried"]))
        allowed = np.asarray(pc.equal(record["outcome"], "allowed"))
        # A decision without the store read and folded nothing.
        keys = {
            role: pc.if_else(pc.is_valid(state["got"]), state["key"], None).combine_chunks()
            for role, state in states.items()
        }
        words = columns.event_words(payments, time_ms, keys, Flags(payer, payee, allowed, is_imported=False))
        numbers = {role: (columns.integers(s["read"], 0), columns.integers(s["got"], 0)) for role, s in states.items()}
        shared = {
            "identity": identities(payments),
            "base": columns.integers(record["generation"]),
            "time_ms": time_ms,
            "at_ms": decided_ms,
            "asked": batch["asked"],
            "logged": _doubles(record["features"].combine_chunks()),
            "logged_by": record["feature_fingerprint"].combine_chunks(),
            "carried": payer * PAYER_FLAGGED + payee * PAYEE_FLAGGED,
        }
        yield from _by_role(payments, time_ms, keys, words, shared, numbers)
        yield _without_states(payments, time_ms, keys, shared)


def keys_of_decisions(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Keys of the events that ``of_decisions`` makes, each once a batch, for two fifths of what making them costs.

    Args:
        batches: record (the decision record's JSON).
    """
    for batch in batches:
        states = columns.parsed(batch["record"], KEYS)["states"]
        found = [columns.as_table(state)["key"].combine_chunks() for _, state in _fields(states)]
        yield _unique(pa.concat_arrays(found))


def keys_of_folds(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Keys of the events that ``of_folds`` makes, each once a batch.

    Args:
        batches: value (the fold record's JSON).
    """
    for events in of_folds(batches):
        yield _unique(events["key"])


def _unique(keys: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pc.drop_null(pc.unique(keys))], names=["key"])


def _without_states(
    payments: pa.Table, time_ms: Integers, keys: Mapping[str, pa.Array], shared: Mapping[str, Any]
) -> pa.RecordBatch:
    """Decisions that read and folded nothing, because the store was away: their vectors come of the payment alone."""
    rows = pa.array(np.flatnonzero(~columns.known(keys["payer_account"])))
    facts = packing.pack(columns.fact_grid(payments.take(rows), time_ms[np.asarray(rows)]))
    taken = {name: _taken(value, rows) for name, value in {**shared, "key": shared["identity"]}.items()}
    return EVENTS.batch(len(rows), role=ALONE, roles=0, facts=facts, **taken)


def _fields(column: pa.ChunkedArray) -> list[tuple[str, pa.Array]]:
    table = columns.as_table(column)
    return [(name, table[name]) for name in table.column_names]


def _logged_flag(column: pa.ChunkedArray) -> Bools:
    flags: Bools = columns.integers(columns.as_table(column)["value"], 0) != 0
    return flags


def _doubles(lists: pa.ListArray) -> pa.BinaryArray:
    """Lists of doubles as little-endian bytes, NaN for null."""
    values = lists.values.to_numpy(zero_copy_only=False)
    ends = np.asarray(lists.offsets)[1:].astype(np.int64) * values.itemsize
    return packing.binary(ends, np.frombuffer(values.astype("<f8").tobytes(), np.uint8))


def of_folds(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What the service folded outside a decision, at the numbers that it got.

    Args:
        batches: value (the fold record's JSON).
    """
    for batch in batches:
        found: list[dict[str, Any]] = []
        for text in batch["value"].to_pylist():
            fold = json.loads(text)
            events = _events_of_fold(fold)
            identity, base, at_ms = (
                f"{fold['tenant']}|{fold['end_to_end_id']}",
                fold["generation"],
                fold["folded_at_ms"],
            )
            for state in {state["key"]: state for state in fold["states"].values()}.values():
                numbers = {"read": state["read"], "got": state["got"], "base": base, "at_ms": at_ms, "place": 1}
                found.append(_label_row(state["key"], events[state["key"]], identity, **numbers))
        yield _labels(found)


def _events_of_fold(fold: dict[str, Any]) -> Mapping[str, Event]:
    """Key -> event of a record on ``pix.folds``; none where a label changed nothing."""
    keys = {role: state["key"] for role, state in fold["states"].items()}
    if not keys:
        return {}
    if fold["kind"] == "payment":
        return events_of_payment(fold)
    # Records from before contests were counted are frauds.
    measure = fold.get("measure", "frauds")
    return LabelChange(fold["time_ms"], measure, fold["change"], fold["counted_at_ms"]).events(keys)


def references(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What the online store must remember of imported payments to fold their later labels (``STAGE``).

    Args:
        batches: As of ``of_history``.
    """
    for batch in batches:
        if batch.num_rows == 0:
            continue
        payments = columns.parsed(batch["payment"], PAYMENT)
        by_role = [key.to_pylist() for key in columns.entity_keys(payments).values()]
        names = zip(payments["tenant"].to_pylist(), payments["end_to_end_id"].to_pylist(), strict=True)
        number, blobs, keys = [], [], []
        for name, text, *of_roles in zip(names, batch["labels"].to_pylist(), *by_role, strict=True):
            mine = {role: key for role, key in zip(ROLE_NAMES, of_roles, strict=True) if key is not None}
            labels = label_parts(text)
            reference = fold_labels(mine, labels)[0] if labels else PaymentReference(mine)
            keys.append(reference_key(*name))
            number.append(1 + len(labels))
            blobs.append(reference.pack())
        yield STAGE.batch(
            len(keys), what=STATE, key=pa.array(keys), number=number, blob=blobs, base=batch["import_number"]
        )
