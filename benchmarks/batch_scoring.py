"""A past day scored by a version: rows a second with everything from Delta to Delta, and of the scoring alone.

The day is made of simulated payments' real vectors, again and again under other ids, each with a decision and a payment
beside it; the model has the recipe's size, labels that are noise, and an intercept by which thresholds may ask
something for one payment in a hundred. Every score must have the bits that the service's single-row path gives the
same vector.
"""

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.ensemble import DEPTH, TREES, served
from benchmarks.offline import POLICY, history, plan
from fraud_assets.batch_rows import READ, Scorer, Told, score_day
from fraud_assets.lake import LakeResource
from learning.ensemble import Ensemble
from learning.members import FITS
from learning.ranking import Floats
from learning.recipe import MEMBERS, TrainingConfig
from learning.registry import ChampionRef
from learning.scoring import scored
from pix.features import FINGERPRINT
from pix.offline import assembling, eventing, replaying
from pix.offline.days import begin_ms
from pix.offline.declaration import ARROW_TYPES, Table
from pix.offline.tables import BATCH_SCORES, DECISIONS_GOLD, PAYMENT_FEATURES, PAYMENTS_SILVER
from pix.offline.vectors import matrix
from pix.settings import Settings
from serving.policy import load_policy

PAYMENTS, TIMES = 20_000, int(os.environ.get("SENTINELA_BENCH_BATCH_TIMES", "15"))
ONE_BY_ONE, ROUNDS, TRAINING_ROWS, FRAUD_SHARE = 5_000, 7, 6_000, 0.004
SUSPICIOUS_SHARE, LEAST_THRESHOLD = 0.01, 0.05
DAY, TARGET_US = date(2026, 6, 1), 10.0


def batch_scoring_rows() -> list[dict[str, object]]:
    """Scoring alone beside the service's single rows; then the day as the asset makes it."""
    vectors = _vectors()
    ensemble = _ensemble(matrix(vectors))
    with tempfile.TemporaryDirectory() as folder:
        lake = LakeResource.of(Settings(home=Path(folder)))
        _fill(lake, vectors)
        held = list(_read(lake))
        alone, one_by_one = _alone(ensemble, held), _one_by_one(ensemble, matrix(vectors)[:ONE_BY_ONE])
        return [_compared(alone, one_by_one), _day(lake, ensemble, matrix(vectors), alone)]


def _compared(alone: "_Spent", one_by_one: float) -> dict[str, object]:
    return {
        "name": f"batch scoring, {TREES} trees of depth {DEPTH}, two tables: in threads / row by row as served",
        "ours_us": alone.seconds * 1e6,
        "reference_us": one_by_one,
        "ratio": alone.seconds * 1e6 / one_by_one,
        "note": f"{1 / alone.seconds:,.0f} rows/s by the clock, {alone.cpu * 1e6:.1f} us CPU a row",
    }


def _day(lake: LakeResource, ensemble: Ensemble, vectors: Floats, alone: "_Spent") -> dict[str, object]:
    ref = ChampionRef(name="bench", version="1", sha256="0" * 64, fingerprint=FINGERPRINT, run_id="none")
    scorer, count = Scorer(ref, ensemble, load_policy(POLICY), "live"), len(vectors) * TIMES
    whole = _spent(lambda: score_day(lake, DAY, scorer, Told()), count)
    reading = _spent(lambda: sum(batch.num_rows for batch in _read(lake)), count)
    _require_equal(lake, ensemble, vectors)
    return {
        "name": f"batch scoring: a day of {count:,} payments, from Delta to Delta, beside its decisions",
        "ours_us": whole.seconds * 1e6,
        "reference_us": TARGET_US,
        "ratio": whole.seconds * 1e6 / TARGET_US,
        "rows_per_second": 1 / whole.seconds,
        "cpu_us": whole.cpu * 1e6,
        "note": f"{1 / whole.seconds:,.0f} rows/s (target 100,000); CPU a row: {whole.cpu * 1e6:.1f} us, of it reading "
        f"{reading.cpu * 1e6:.1f}, scoring {alone.cpu * 1e6:.1f}, joining and writing the rest",
    }


class _Spent:
    """What one row takes, by the clock and of the processor, in seconds: medians."""

    def __init__(self, seconds: float, cpu: float) -> None:
        self.seconds, self.cpu = seconds, cpu


def _spent(work: Callable[[], object], count: int) -> _Spent:
    rounds = []
    for _ in range(ROUNDS):
        began, cpu = time.perf_counter(), time.process_time()
        work()
        rounds.append(((time.perf_counter() - began) / count, (time.process_time() - cpu) / count))
    return _Spent(*(statistics.median(side) for side in zip(*rounds[1:], strict=True)))


def _alone(ensemble: Ensemble, held: list[pa.RecordBatch]) -> _Spent:
    count = sum(batch.num_rows for batch in held)
    return _spent(lambda: sum(len(one.raw_scores) for one in scored(ensemble, held)), count)


def _one_by_one(ensemble: Ensemble, rows: Floats) -> float:
    """Microseconds a row."""
    rows = rows.copy()

    def score() -> None:
        for row in rows:
            ensemble.probability(ensemble.raw_score(row))

    return _spent(score, len(rows)).seconds * 1e6


def _require_equal(lake: LakeResource, ensemble: Ensemble, vectors: Floats) -> None:
    query = "select end_to_end_id as id, raw_score, fraud_probability as p from asked"
    found = {row["id"]: (row["raw_score"], row["p"]) for row in lake.ask(BATCH_SCORES.name, query)}
    raw = [ensemble.raw_score(row) for row in vectors[:ONE_BY_ONE].copy()]
    expected = [(one, ensemble.probability(one)) for one in raw]
    for copy in range(TIMES):
        if [found[_name(copy, number)] for number in range(ONE_BY_ONE)] != expected:
            raise SystemExit("a score in batch must be the service's")
    if len(found) != len(vectors) * TIMES:
        raise SystemExit(f"{len(found)} payments were scored of {len(vectors) * TIMES}")


def _vectors() -> pa.Array:
    """Packed vectors of simulated payments, by the engine's passes."""
    rows = list(history(plan(PAYMENTS)))
    table = pa.table({name: [row[name] for row in rows] for name in ("payment", "event_time_ms")})
    table = table.append_column("import_number", pa.array([1] * len(rows), pa.int32()))
    batches = table.append_column("labels", pa.nulls(len(rows), pa.string())).to_batches(max_chunksize=10_000)
    stage = list(replaying.history_by_key(list(eventing.of_history(batches, {})), with_states=False))
    packed: pa.Array = pa.Table.from_batches(list(assembling.features_by_payment(stage)))["features"].combine_chunks()
    return packed


def _ensemble(vectors: Floats) -> Ensemble:
    draw = np.random.default_rng(1)
    rows, target = vectors[:TRAINING_ROWS].copy(), draw.random(TRAINING_ROWS) < FRAUD_SHARE
    recipe = TrainingConfig(iterations=TREES, depth=DEPTH)
    fitted = [FITS[name](rows, target, np.ones(TRAINING_ROWS), recipe) for name in MEMBERS]
    # So that thresholds may ask something for as few payments as in truth.
    most = np.quantile(served(fitted, draw).raw_scores(rows), 1 - SUSPICIOUS_SHARE)
    return served(fitted, draw, math.log(LEAST_THRESHOLD / (1 - LEAST_THRESHOLD)) - float(most))


def _name(copy: int, number: int) -> str:
    return f"E1234567820260601{copy:04d}{number:011d}"


def _fill(lake: LakeResource, vectors: pa.Array) -> None:
    """A day's vectors, decisions and payments, a file of each per copy."""
    count, draw = len(vectors), np.random.default_rng(2)
    for copy in range(TIMES):
        ids = {"end_to_end_id": [_name(copy, number) for number in range(count)], "tenant": ["default"] * count}
        at_ms = np.sort(begin_ms(DAY) + draw.integers(0, 50_000_000, count))
        known: dict[str, Any] = {
            "source": ["live"] * count,
            "fingerprint": [FINGERPRINT] * count,
            "fold_day": [DAY] * count,
        }
        packed = {
            "event_time_ms": at_ms,
            "features": vectors,
            "logged": vectors,
            "history": pa.nulls(count, pa.string()),
        }
        _write(lake, PAYMENT_FEATURES, {**ids, **known, **packed})
        day, mode = {"event_day": [DAY] * count}, {"mode": ["normal"] * count, "action": ["ALLOW"] * count}
        decided = {"fraud_probability": draw.random(count), "model_version": ["1"] * count}
        _write(lake, DECISIONS_GOLD, {**ids, **day, **mode, **decided})
        facts = {"amount_cents": draw.integers(1, 2_000_000, count), "payee_person_type": ["PF"] * count}
        _write(lake, PAYMENTS_SILVER, {**ids, **day, **facts})


def _write(lake: LakeResource, table: Table, columns: dict[str, Any]) -> None:
    from deltalake import write_deltalake

    types = {column.name: ARROW_TYPES[column.type] for column in table.columns if column.name in columns}
    content = pa.table({name: columns[name] for name in types}, schema=pa.schema(list(types.items())))
    write_deltalake(lake.path(table.name), content, mode="append", partition_by=list(table.partitions))


def _read(lake: LakeResource) -> Iterator[pa.RecordBatch]:
    found = lake.log(PAYMENT_FEATURES.name).scan(columns=READ.names)
    return (batch.select(READ.names).cast(READ) for batch in pa.RecordBatchReader.from_stream(found))
