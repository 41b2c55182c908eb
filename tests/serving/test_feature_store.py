"""The offline engine over a lake, run after run: as much as a day costs, and the same as everything at once."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from test_parity import decide_live, past
from traffic import NOW_MS

from fraud_assets import folding
from fraud_assets.feature_checks import every_decision_has_its_features, features_are_fresh, online_equals_offline
from fraud_assets.lake import LakeResource
from fraud_assets.silver import BRONZE_FOLDS
from pix.engines import kernel
from pix.engines.events import event_of, kind_of
from pix.logged import ReferenceChange, folds_of_decision, folds_of_record
from pix.offline import vectors
from pix.offline.declaration import Table
from pix.offline.tables import (
    BASE_STATES,
    BRONZE_COLUMNS,
    DECISIONS_SILVER,
    HISTORY_LABELS,
    HISTORY_PAYMENTS,
    LIVE_STATES,
    PAYMENT_FEATURES,
    RUNS,
    UNANSWERED,
)
from pix.store.interface import LIVE_NUMBERS, Fold, Message
from pix.store.memory import MemoryStore

FOLDS = Table(BRONZE_FOLDS, "One message.", BRONZE_COLUMNS)


@pytest.fixture
def lake(spark: Any, tmp_path: Path) -> LakeResource:  # noqa: ARG001 - the lake joins the running session
    return LakeResource(root=str(tmp_path / "lake"), locks=str(tmp_path / "locks"), tmp=str(tmp_path / "tmp"))


def put(lake: LakeResource, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """What a table holds from now on; without Spark, which takes seconds for it."""
    lake.unchanged(table)
    schema = pa.schema(DeltaTable(lake.path(table.name)).schema().to_arrow())
    write_deltalake(lake.path(table.name), pa.Table.from_pylist(list(rows), schema), mode="overwrite")


def all_of(lake: LakeResource, table: Table, then: str = "") -> list[SimpleNamespace]:
    return [SimpleNamespace(**row) for row in lake.ask(table.name, f"select * from asked {then}")]  # noqa: S608


def put_log(lake: LakeResource, records: Iterable[tuple[int, bytes]], folds: Iterable[tuple[int, bytes]]) -> None:
    """Silver and bronze as they would be after these messages: (offset, bytes) on two partitions."""
    decided = []
    for offset, text in records:
        record = json.loads(text)
        row = {name: record[name] for name in ("end_to_end_id", "tenant", "decided_at_ms", "generation")}
        decided.append(row | {"decision_partition": offset % 2, "decision_offset": offset, "record": text.decode()})
    put(lake, DECISIONS_SILVER, decided)
    messages = ({"partition": n % 2, "offset": n, "value": text.decode()} for n, text in folds)
    put(lake, FOLDS, messages)


def put_history(lake: LakeResource, payments: list[Any], labels: list[Any]) -> None:
    named = ("history", "import_number", "end_to_end_id", "tenant", "event_time_ms", "payment")
    imports = {row[2]: row[1] for row in payments}
    put(lake, HISTORY_PAYMENTS, (dict(zip(named, ("live", *row[1:]), strict=True)) for row in payments))
    of_label = ("end_to_end_id", "tenant", "known_at_ms", "label_id", "kind")
    rows = [dict(zip(of_label, row, strict=True)) | {"import_number": imports[row[0]]} for row in labels]
    put(lake, HISTORY_LABELS, (row | {"history": "live"} for row in rows))


def run(lake: LakeResource) -> dict[str, Any]:
    folding.prepare(lake)
    folding.fold_histories(lake)
    return folding.fold_log(lake)


def rows(lake: LakeResource, source: str = "live") -> dict[str, Any]:
    return {row.end_to_end_id: row for row in all_of(lake, PAYMENT_FEATURES, f"where source = '{source}'")}


def newest_states(lake: LakeResource, base: int) -> dict[str, tuple[int, bytes]]:
    found = all_of(lake, LIVE_STATES, f"where base = {base} order by number")
    return {row.key: (row.number, bytes(row.blob)) for row in found}


def store_on(states: Iterable[Any], imports: int) -> MemoryStore:
    store = MemoryStore()
    store.load_base(imports, [(row.key, row.number, bytes(row.blob)) for row in states])
    return store


def live_states(store: MemoryStore) -> dict[str, tuple[int, bytes | None]]:
    return {
        key: (stored.number, stored.blob)
        for key, stored in store.states().items()
        if stored.number >= LIVE_NUMBERS and kind_of(key) != "payment"
    }


def differing(found: dict[str, Any], records: Iterable[bytes]) -> list[str]:
    logged = {record["end_to_end_id"]: tuple(record["features"]) for record in map(json.loads, records)}
    return [name for name, row in found.items() if kernel.listed(np.frombuffer(row.features)) != logged[name]]


@pytest.mark.faults
def test_run_after_run_equals_all_at_once(lake: LakeResource) -> None:
    """Two runs; in the first some records are still on their way, so that reads and folds have to wait."""
    payments, labels = past(random.Random(5), 150)
    put_history(lake, payments, labels)
    put_log(lake, [], [])
    run(lake)
    store = store_on(all_of(lake, BASE_STATES), 1)
    records, folds = [], []
    decide_live(store, 3, 0, 150, records, folds)
    everything, every_fold = list(enumerate(records)), list(enumerate(folds))

    here = [(n, r) for n, r in everything if n < 60 or (n % 2 == 0 and n < 70)]
    put_log(lake, here, every_fold[:10])
    first = run(lake)
    assert first["from_the_beginning"]
    assert first["unanswered"] > 0
    assert first["answered"] + first["unanswered"] == len(here)
    assert not every_decision_has_its_features(lake=lake).passed
    assert features_are_fresh(lake=lake).passed
    before = rows(lake)
    assert differing(before, records) == []

    put_log(lake, everything, every_fold)
    assert not features_are_fresh(lake=lake).passed
    last = run(lake)
    assert (last["unanswered"], last["from_the_beginning"]) == (0, False)
    assert not run(lake)["news"]

    found = rows(lake)
    assert len(found) == len(records)
    assert differing(found, records) == []
    assert all(found[name] == row for name, row in before.items())
    assert newest_states(lake, 1) == live_states(store)
    for check in (online_equals_offline, every_decision_has_its_features, features_are_fresh):
        assert check(lake=lake).passed
    assert online_equals_offline(lake=lake).metadata["compared"].value == len(records)


@pytest.mark.faults
def test_many_runs_equal_one_from_the_beginning(lake: LakeResource) -> None:
    store, records, folds = MemoryStore(), [], []
    decide_live(store, 9, 0, 120, records, folds)
    everything, every_fold = list(enumerate(records)), list(enumerate(folds))
    put_history(lake, [], [])
    for part in (30, 60, 90, len(everything)):
        put_log(lake, everything[:part], every_fold[: part * len(every_fold) // len(everything)])
        run(lake)
    found = rows(lake)
    assert len(found) == len(records)
    put(lake, RUNS, [])
    put(lake, PAYMENT_FEATURES, [])
    assert run(lake)["from_the_beginning"]
    assert {name: row.features for name, row in rows(lake).items()} == {n: row.features for n, row in found.items()}
    assert newest_states(lake, 0) == live_states(store)


def next_generation(base: Iterable[Any], imports: int, records: list[bytes], folds: list[bytes]) -> MemoryStore:
    """The referee: the next generation of the store, folded event by event over the new base."""
    happened: defaultdict[str, dict[int, Any]] = defaultdict(dict)
    of_labels = (fold for text in folds for fold in folds_of_record(json.loads(text)))
    for fold in (*(fold for text in records for fold in folds_of_decision(json.loads(text))), *of_labels):
        happened[fold.key][fold.got] = fold.what
    store = store_on(base, imports)
    begun, made = store.states(), []
    for key, events in happened.items():
        stored = begun.get(key)
        blob = stored.blob if stored else None
        for number in sorted(events):
            what = events[number]
            is_reference = isinstance(what, ReferenceChange)
            blob = what.applied(blob) if is_reference else kernel.fold(blob, kind_of(key), event_of(what))
        made.append(Fold(key, stored.number if stored else 0, max(events), blob or b""))
    active = store.active()
    assert active is not None
    store.commit(Message("generation", "t", "k", b"", 0), made, active.number)
    return store


@pytest.mark.faults
def test_a_later_import_changes_no_vector_and_both_generations_are_answered(lake: LakeResource) -> None:
    """Decisions under two generations; one of the first comes in after the second import."""
    draw = random.Random(6)
    payments, labels = past(draw, 100)
    put_history(lake, payments, labels)
    put_log(lake, [], [])
    run(lake)
    first = store_on(all_of(lake, BASE_STATES), 1)
    records, folds = [], []
    decide_live(first, 4, 0, 60, records, folds)
    held_back = len(records) - 1
    put_log(lake, list(enumerate(records[:held_back])), list(enumerate(folds)))
    run(lake)
    before, histories_before = rows(lake), rows(lake, "history")

    more, more_labels = past(draw, 60)
    renamed = [(h, 2, f"{i[:-1]}z", t, at, p.replace(i, f"{i[:-1]}z")) for h, _, i, t, at, p in more if at < NOW_MS]
    put_history(lake, payments + renamed, labels + [(f"{i[:-1]}z", *rest) for i, *rest in more_labels])
    folding.fold_histories(lake)
    assert len(rows(lake, "history")) == len(payments) + len(renamed) > len(histories_before)
    assert rows(lake) == before
    second = next_generation(all_of(lake, BASE_STATES), 2, records, folds)
    later, later_folds = list(records), list(folds)
    decide_live(second, 5, 10_000, 50, later, later_folds)
    put_log(lake, list(enumerate(later)), list(enumerate(later_folds)))
    told = run(lake)

    found = rows(lake)
    assert (told["unanswered"], told["from_the_beginning"]) == (0, True)
    assert len(found) == len(later)
    assert {json.loads(record)["generation"] for record in later} == {1, 2}
    assert differing(found, later) == []
    assert all(found[name] == row for name, row in before.items())
    assert newest_states(lake, 2) == live_states(second)


@pytest.mark.faults
def test_an_interrupted_run_leaves_nothing_behind(lake: LakeResource, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: the process ends between the states and the ledger."""
    store, records, folds = MemoryStore(), [], []
    decide_live(store, 7, 0, 40, records, folds)
    put_history(lake, [], [])
    put_log(lake, list(enumerate(records[:20])), [])
    run(lake)
    put_log(lake, list(enumerate(records)), list(enumerate(folds)))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folding, "_counts", killed)
        with pytest.raises(KeyboardInterrupt):
            run(lake)
    told = run(lake)
    found = all_of(lake, PAYMENT_FEATURES, "where source = 'live'")
    assert len({row.end_to_end_id for row in found}) == len(found) == len(records) - told["unanswered"]
    assert differing({row.end_to_end_id: row for row in found}, records) == []
    assert [row.batch for row in all_of(lake, RUNS, "order by batch")] == [1, 2]
    assert {row.batch for row in all_of(lake, UNANSWERED)} <= {1, 2}


def test_vectors_are_columns_for_who_wants_them(lake: LakeResource) -> None:
    store, records, folds = MemoryStore(), [], []
    decide_live(store, 8, 0, 12, records, folds)
    put_history(lake, [], [])
    put_log(lake, list(enumerate(records)), list(enumerate(folds)))
    run(lake)
    frame = vectors.as_columns(lake.read(PAYMENT_FEATURES.name), ["end_to_end_id"])
    logged = {record["end_to_end_id"]: tuple(record["features"]) for record in map(json.loads, records)}
    assert {row[0]: row[1:] for row in map(tuple, frame.collect())} == logged
