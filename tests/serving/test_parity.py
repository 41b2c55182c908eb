"""I3: Spark recomputes every logged vector, bit for bit, from what the service logged."""

import json
import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from traffic import KEYRING, NOW_MS, Clock, StubbornModel, arrival, label, pipeline, random_message
from written_logs import WrittenLogs, flushed

from pix.contracts import DAY_MS, HOUR_MS, MINUTE_MS, behind_the_door, canonical_json
from pix.engines import kernel
from pix.engines.events import kind_of
from pix.offline.features import HistoryFeatures, Log, of_decisions, of_history
from pix.store.interface import LIVE_NUMBERS, Store, open_store
from pix.topics import FOLDS
from serving.degraded import decide_by_rules
from serving.outcomes import Done
from serving.reconciling import Reconciler

HISTORY = "history string, import_number int, end_to_end_id string, tenant string, event_time_ms long, payment string"
HISTORY_LABELS = "end_to_end_id string, tenant string, known_at_ms long, label_id string, kind string"
DECISIONS = "end_to_end_id string, tenant string, decided_at_ms long, record string, asked boolean"


def past(draw: random.Random, count: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Imported payments of the last hundred days, and labels of one in ten."""
    payments, labels = [], []
    for number in range(count):
        at_ms = NOW_MS - draw.randint(HOUR_MS, 100 * DAY_MS)
        payment = behind_the_door(random_message(draw, 10**9 + number, at_ms, accounts=12), KEYRING)
        payments.append(("h", 1, payment.end_to_end_id, "default", at_ms, canonical_json(payment.to_dict()).decode()))
        if draw.random() < 0.1:
            known_ms = min(NOW_MS, at_ms + draw.randint(0, 5 * DAY_MS))
            labels.append((payment.end_to_end_id, "default", known_ms, f"l{number}a", "accepted"))
            if draw.random() < 0.3:
                labels.append((payment.end_to_end_id, "default", known_ms + 1, f"l{number}b", "reversed"))
    return payments, labels


def decide_live(store: Store, seed: int, first: int, count: int, records: list[bytes], folds: list[bytes]) -> None:
    """Late, tied, blocked and labelled payments on a few hot accounts."""
    draw, clock = random.Random(seed), Clock()
    decider = pipeline(store, clock, StubbornModel())
    for number in range(first, first + count):
        clock.now_ms += draw.choice([0, 1, MINUTE_MS, HOUR_MS])
        at_ms = clock.now_ms - draw.choice([0, 0, 0, MINUTE_MS, 5 * DAY_MS])
        outcome = decider.decide(random_message(draw, number, at_ms, accounts=12), arrival(clock.now_ms, number))
        assert isinstance(outcome, Done)
        records.append(outcome.record)
        if draw.random() < 0.2:
            labelled = json.loads(draw.choice(records))["end_to_end_id"]
            kind = draw.choice(["accepted", "reversed", "contested", "confirmed"])
            folded = decider.fold_label(label(labelled, kind, clock.now_ms), clock.now_ms)
            assert isinstance(folded, Done)
            folds.append(folded.record)


def decide_without_store(store: Store, records: list[bytes], folds: list[bytes]) -> None:
    """Payments that were decided while the store was away, folded when it came back."""
    draw, clock = random.Random(8), Clock(NOW_MS + 40 * DAY_MS)
    decider, logs = pipeline(store, clock, StubbornModel()), WrittenLogs()
    for number in range(20):
        sent = random_message(draw, 80_000 + number, clock.now_ms - draw.choice([0, DAY_MS]), accounts=12)
        record = decide_by_rules(decider, decider.seen(sent, arrival(clock.now_ms, number))).record
        assert Reconciler(store, logs, clock).fold(record)
        records.append(record)
    flushed(store, logs)
    folds += [value for (topic, _), values in logs.topics.items() if topic == FOLDS for value in values
              if json.loads(value)["kind"] == "payment"]  # fmt: skip


@dataclass
class Offline:
    """What the lake would hold."""

    history: dict[str, Any]
    live: dict[str, Any]
    base_states: list[Any]
    states: dict[str, Any]
    unanswered: list[Any]
    reopened: int = 0


def log(spark: Any, records: Iterable[bytes], folds: Iterable[bytes], asked: bool = True) -> Log:
    said = [(json.loads(record), record) for record in records]
    decided = [
        (*(content[name] for name in ("end_to_end_id", "tenant", "decided_at_ms")), record.decode(), asked)
        for content, record in said
    ]
    return Log(
        decisions=spark.createDataFrame(decided, DECISIONS),
        folds=spark.createDataFrame([(fold.decode(),) for fold in folds], "value string"),
    )


def vectors(rows: Iterable[Any]) -> dict[str, Any]:
    return {row.end_to_end_id: kernel.listed(np.frombuffer(row.features)) for row in rows}


def past_frames(spark: Any, payments: list[Any], labels: list[Any]) -> tuple[Any, Any]:
    return spark.createDataFrame(payments, HISTORY), spark.createDataFrame(labels, HISTORY_LABELS)


def offline(spark: Any, payments: list[Any], labels: list[Any], records: list[bytes], folds: list[bytes]) -> Offline:
    """Everything from the beginning."""
    new = log(spark, records, folds)
    past_of = of_history(*past_frames(spark, payments, labels), new.decisions, partitions=2)
    base = max((row[1] for row in payments), default=0)
    found = of_decisions(new, as_starts(past_of, base), current=base, partitions=2)
    try:
        return Offline(
            history=vectors(past_of.features.collect()),
            live=vectors(found.features.collect()),
            base_states=past_of.base_states.collect(),
            states={row.key: (row.number, bytes(row.blob)) for row in found.states.collect()},
            unanswered=found.unanswered.collect(),
        )
    finally:
        past_of.release()
        found.release()


def as_starts(past_of: HistoryFeatures, base: int) -> Any:
    return past_of.base_states.selectExpr("key", f"{base} as base", "number", "blob")


def live_states(store: Store) -> dict[str, tuple[int, bytes | None]]:
    """Key -> number and blob of the entities that something happened to live."""
    return {
        key: (stored.number, stored.blob)
        for key, stored in store.states().items()
        if stored.number >= LIVE_NUMBERS and kind_of(key) != "payment"
    }


def test_spark_recomputes_every_logged_vector(spark: Any, tmp_path: Path) -> None:
    """Of three workers at once; one alone is in ``test_law``."""
    workers = 3
    payments, labels = past(random.Random(5), 400)
    base = offline(spark, payments, labels, [], [])
    store = open_store(f"lmdb://{tmp_path / 'store'}", "test")
    store.load_base(1, [(row.key, row.number, bytes(row.blob)) for row in base.base_states])

    records: list[bytes] = []
    folds: list[bytes] = []
    threads = [
        threading.Thread(target=decide_live, args=(store, seed, seed * 10_000, 300 // workers, records, folds))
        for seed in range(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    decide_without_store(store, records, folds)
    decide_live(store, 9, 90_000, 30, records, folds)
    states = live_states(store)
    store.close()

    found = offline(spark, payments, labels, records, folds)
    assert len(found.live) == len(records) == 300 // workers * workers + 20 + 30
    logged = {record["end_to_end_id"]: tuple(record["features"]) for record in map(json.loads, records)}
    assert [identity for identity, vector in found.live.items() if vector != logged[identity]] == []
    assert found.states == states
    values = [value for vector in found.live.values() for value in vector]
    assert sum(value not in (None, 0.0) for value in values) > len(values) / 3
    assert any(json.loads(record)["outcome"] == "attempted" for record in records)


def test_the_history_features_see_no_future(spark: Any) -> None:
    payments, labels = past(random.Random(6), 300)
    whole = offline(spark, payments, labels, [], []).history
    cut_ms = sorted(row[4] for row in payments)[200]
    early = [row for row in payments if row[4] < cut_ms]
    known = [row for row in labels if row[2] < cut_ms]
    cut = offline(spark, early, known, [], []).history
    assert len(cut) == 200
    assert all(whole[identity] == features for identity, features in cut.items())


def test_a_missing_fold_leaves_later_reads_unanswered_never_wrong(spark: Any) -> None:
    """The planted fault: one decision is missing from the lake (or not there yet)."""
    store, records, folds = open_store("memory://", "test"), [], []
    decide_live(store, 1, 0, 120, records, folds)
    payers = [json.loads(record)["payment"]["payer_account"] for record in records]
    gone = payers.index(max(set(payers), key=payers.count))
    kept = [record for number, record in enumerate(records) if number != gone]
    logged = {record["end_to_end_id"]: tuple(record["features"]) for record in map(json.loads, kept)}
    found = offline(spark, [], [], kept, folds)
    unanswered = {row.end_to_end_id for row in found.unanswered if row.is_read}
    assert unanswered
    assert unanswered | found.live.keys() == logged.keys()
    assert not unanswered & found.live.keys()
    assert all(vector == logged[identity] for identity, vector in found.live.items())
