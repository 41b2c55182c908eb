"""The offline engine over a lake: how fast history becomes vectors in Delta, and what one more day costs after many.

``python -m benchmarks.offline`` takes these alone. Times include everything an asset's run does: reading Delta, two
shuffles, writing the vectors (and states) as Delta. The year is scaled down: ``DAYS`` days of ``A_DAY`` decisions of
the real pipeline without a model, folded on the first day, then all but the last in one run, then the last day; every
recomputed vector must equal the logged one.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.windows import Spent, session, spent
from fraud_assets import folding
from fraud_assets.feature_checks import online_equals_offline
from fraud_assets.lake import LakeResource
from fraud_assets.silver import BRONZE_FOLDS
from pix.contracts import behind_the_door, canonical_json, parse_payment
from pix.features import FEATURES
from pix.offline import assembling, eventing, replaying
from pix.offline.days import day_at
from pix.offline.declaration import Table
from pix.offline.tables import (
    BRONZE_COLUMNS,
    DECISIONS_SILVER,
    HISTORIES,
    HISTORY_LABELS,
    HISTORY_PAYMENTS,
    PAYMENT_FEATURES,
)
from pix.simulator.lines import lines
from pix.simulator.simulation import SimulationPlan, parts
from pix.store.memory import MemoryStore
from pix.tokens import Keyring
from serving.outcomes import Arrival, Done
from serving.pipeline import DecisionPipeline
from serving.policy import load_policy

PAYMENTS = int(os.environ.get("SENTINELA_BENCH_OFFLINE_PAYMENTS", "200000"))
DAYS = int(os.environ.get("SENTINELA_BENCH_OFFLINE_DAYS", "40"))
A_DAY = int(os.environ.get("SENTINELA_BENCH_OFFLINE_A_DAY", "4000"))
START_MS = 1_780_282_800_000
ROUNDS = 3
PASSED = 20_000
KEYRING = Keyring(1, {1: b"k" * 32})
POLICY = Path(__file__).parents[1] / "config" / "policy.yaml"
FOLDS = Table(BRONZE_FOLDS, "One message.", BRONZE_COLUMNS)


def offline_rows() -> list[dict[str, object]]:
    """Every measurement of this file."""
    with tempfile.TemporaryDirectory() as name, session(Path(name)):
        return [passes(), into_delta(Path(name) / "history"), one_more_day(Path(name) / "days")]


def passes() -> dict[str, object]:
    """Processor time of the three passes over simulated payments of 30 days, in this process and without Spark."""
    rows = list(history(plan(PASSED)))
    table = pa.table({name: [row[name] for row in rows] for name in ("payment", "event_time_ms")})
    table = table.append_column("import_number", pa.array([1] * len(rows), pa.int32()))
    batches = table.append_column("labels", pa.nulls(len(rows), pa.string())).to_batches(max_chunksize=10_000)
    rounds = [_passed(batches) for _ in range(ROUNDS + 1)][1:]
    parts = [statistics.median(part) / len(rows) * 1e6 for part in zip(*rounds, strict=True)]
    names = ("JSON to events", "fold and read by key", "vectors by payment")
    return {
        "name": f"offline: the passes over {len(rows):,} payments in one process, without Spark, CPU",
        "ours_us": sum(parts),
        "reference_us": 2e6 / 40_000,
        "ratio": sum(parts) * 40_000 / 2e6,
        "note": ", ".join(f"{name} {part:.1f} us" for name, part in zip(names, parts, strict=True))
        + "; the reference is what two cores may spend at 40,000 payments/s",
    }


def _passed(batches: list[pa.RecordBatch]) -> tuple[float, float, float]:
    """Processor seconds of each pass."""
    times = [time.process_time()]
    events = list(eventing.of_history(batches, {}))
    times.append(time.process_time())
    stage = list(replaying.history_by_key(events, with_states=False))
    times.append(time.process_time())
    vectors = sum(batch.num_rows for batch in assembling.features_by_payment(stage))
    times.append(time.process_time())
    if vectors != sum(batch.num_rows for batch in batches):
        raise SystemExit(f"{vectors} vectors; nothing is measured")
    first, second, third = (after - before for before, after in pairwise(times))
    return first, second, third


def plan(count: int) -> SimulationPlan:
    """So many payments of 30 days."""
    return SimulationPlan(seed=3, start_ms=START_MS, days=30, accounts=max(1_000, count // 50), payments=count)


def into_delta(folder: Path) -> dict[str, object]:
    """All features of simulated payments of 30 days, from silver into ``features/payment_features``, warm."""
    lake = _lake(folder)
    _write(lake, HISTORY_PAYMENTS, history(plan(PAYMENTS)))
    _write(lake, HISTORY_LABELS, [])
    folding.prepare(lake)

    def fold() -> None:
        if folding.fold_histories(lake) != ["bench"]:
            raise SystemExit("the history was not folded; nothing is measured")

    rounds = []
    for _ in range(1 + ROUNDS):
        # As a history that came in just now: without its ledger and vectors it is folded anew.
        for table in (HISTORIES, PAYMENT_FEATURES):
            lake.overwrite(table, lake.empty(table))
        rounds.append(spent(fold))
    rounds = rounds[1:]
    count = lake.rows(HISTORY_PAYMENTS.name)
    if lake.rows(PAYMENT_FEATURES.name) != count:
        raise SystemExit(f"{lake.rows(PAYMENT_FEATURES.name)} vectors of {count} payments; nothing is measured")
    seconds = statistics.median(each.seconds for each in rounds)
    cpu = statistics.median(each.cpu_seconds for each in rounds)
    return {
        "name": f"offline: all {len(FEATURES)} features of {count:,} payments into Delta, warm",
        "payments_per_second": count / seconds,
        "ours_us": seconds / count * 1e6,
        "reference_us": 1e6 / 40_000,
        "ratio": seconds / count * 40_000,
        "cpu_us": cpu / count * 1e6,
        "note": f"{count / seconds:,.0f} payments/s (target 40,000), {cpu:.1f} CPU-s in {seconds:.1f} s",
    }


def one_more_day(folder: Path) -> dict[str, object]:
    """A day's run after many days, against the first day's run at equal volume."""
    lake = _lake(folder)
    days = _decided_days()
    _write(lake, HISTORY_PAYMENTS, [])
    _write(lake, HISTORY_LABELS, [])
    _write(lake, FOLDS, [])
    first, last = [], []
    for _ in range(2):
        # The second time everything is warm; the tables begin anew.
        for table in reversed(folding.TABLES):
            lake.overwrite(table, lake.empty(table))
        first.append(_run(lake, days[:1]))
        _run(lake, days[:-1])
        last.append(_run(lake, days))
    found = online_equals_offline(lake=lake)
    if not found.passed or found.metadata["compared"].value != DAYS * A_DAY:
        raise SystemExit(f"{found.description}; nothing is measured")
    return {
        "name": f"offline: one more day of {A_DAY:,} decisions after {DAYS - 1} such days / the first day",
        "ours_us": last[-1].seconds / A_DAY * 1e6,
        "reference_us": first[-1].seconds / A_DAY * 1e6,
        "ratio": last[-1].seconds / first[-1].seconds,
        "cpu_ratio": last[-1].cpu_seconds / first[-1].cpu_seconds,
        "note": (
            f"{last[-1].seconds:.1f} s, {last[-1].cpu_seconds:.1f} CPU-s / {first[-1].seconds:.1f} s, "
            f"{first[-1].cpu_seconds:.1f} CPU-s; {DAYS * A_DAY:,} vectors equal those logged"
        ),
    }


def _run(lake: LakeResource, days: list[list[bytes]]) -> Spent:
    """Fold what these days add to the lake; writing them there is silver's cost, not the engine's."""
    _write(lake, DECISIONS_SILVER, _silver(days))
    return spent(lambda: (folding.prepare(lake), folding.fold_log(lake)))


def _lake(folder: Path) -> LakeResource:
    return LakeResource(root=str(folder / "lake"), locks=str(folder / "locks"), tmp=str(folder / "tmp"))


def _write(lake: LakeResource, table: Table, rows: "Iterator[dict[str, Any]] | list[dict[str, Any]]") -> None:
    """Rows by way of Parquet, a file each so many, so that neither side holds them twice."""
    kinds = {"string": pa.string(), "bigint": pa.int64(), "int": pa.int32(), "boolean": pa.bool_(), "date": pa.date32()}
    columns = [column for column in table.columns if column.type in kinds]
    shape = pa.schema([(column.name, kinds[column.type]) for column in columns])
    folder = Path(lake.tmp) / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.parquet"
    with pq.ParquetWriter(file, shape) as writer:
        held: list[dict[str, Any]] = []
        for row in rows:
            held.append(row)
            if len(held) == 20_000:
                writer.write_table(pa.Table.from_pylist(held, shape))
                held = []
        writer.write_table(pa.Table.from_pylist(held, shape))
    frame = lake.spark.read.parquet(str(file))
    lake.overwrite(table, frame.unionByName(lake.empty(table), allowMissingColumns=True))
    file.unlink()


def history(simulated: SimulationPlan) -> Iterator[dict[str, Any]]:
    """Its payments as silver/history_payments has them."""
    for part in parts(simulated):
        for line in lines(part.payments).splitlines():
            payment = behind_the_door(parse_payment(line), KEYRING)
            content = payment.to_dict() | {"tenant": "default@bench"}
            yield {
                **{"history": "bench", "import_number": 1, "end_to_end_id": payment.end_to_end_id},
                **{"tenant": "default@bench", "event_time_ms": payment.initiated_at_ms},
                "payment": canonical_json(content).decode(),
            }


def _decided_days() -> list[list[bytes]]:
    """Decision records by the real pipeline, a list per day."""
    policy, clock = load_policy(POLICY), [START_MS]
    decider = DecisionPipeline(
        store=MemoryStore(),
        keyring=KEYRING,
        champion=lambda: None,
        policy=lambda: policy,
        now_ms=lambda: clock[0],
        build="bench",
    )
    plan = SimulationPlan(seed=5, start_ms=START_MS, days=DAYS, accounts=2_000, payments=int(DAYS * A_DAY * 1.1))
    payments = (line for part in parts(plan) for line in lines(part.payments).splitlines())
    days, number = [], 0
    for _ in range(DAYS):
        records = []
        while len(records) < A_DAY:
            message = parse_payment(next(payments))
            clock[0] = message.initiated_at
            number += 1
            outcome = decider.decide(message, Arrival(clock[0], "0" * 64, {"kind": "rest"}, "0" * 32))
            if not isinstance(outcome, Done):
                raise SystemExit(f"{outcome} where a decision was expected; nothing is measured")
            records.append(outcome.record)
        days.append(records)
    return days


def _silver(days: list[list[bytes]]) -> Iterator[dict[str, Any]]:
    for place, text in enumerate(text for day in days for text in day):
        record = json.loads(text)
        names = ("end_to_end_id", "tenant", "decided_at_ms", "generation")
        row = {name: record[name] for name in names} | {"record": text.decode()}
        day = day_at(record["event_time_ms"])
        yield row | {"decision_partition": place % 2, "decision_offset": place // 2, "event_day": day}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(offline_rows(), indent=2) + "\n")
