"""A hundred thousand payments: redelivered, answered twice, shuffled and late; silver, gold and features as on time."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from benchmarks.day_messages import Desk
from fraud_assets.automation import FEATURES
from fraud_streaming import bronze_tables
from fraud_streaming.bronze_rows import ARROW_SCHEMA
from pix import topics
from pix.contracts import DAY_MS, HOUR_MS, parse_payment
from pix.offline.days import day_at
from pix.simulator.simulation import SimulationPlan
from pix.store.interface import Message
from pix.store.memory import MemoryStore
from pix.tokens import ensure_keys, load_keyring
from serving import policy_archive
from serving.outcomes import Arrival, Conflict
from serving.pipeline import DecisionPipeline
from serving.policy import load_policy

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_800)]

SEED, PAYMENTS, DAYS, ACCOUNTS = 15, 100_000, 4, 8_000
START_MS = 1_780_282_800_000  # 2026-06-01T00:00:00-03:00
LATE_DAY = day_at(START_MS + DAY_MS)
REDELIVERED, CONFLICTING, LATE = 0.10, 0.01, 0.05
PARTITIONS = 2
POLICY = Path(__file__).parents[2] / "config" / "policy.yaml"
SILVER_AND_GOLD = (
    *("silver/decisions", "silver/payments", "silver/labels", "silver/quarantine"),
    *("gold/decisions", "gold/hourly_kpis", "gold/daily_kpis"),
)
# Where and when a record stands in Kafka is another thing on time than late; everything else is not.
OF_ARRIVAL = ("decision_partition", "decision_offset", "published_at_ms")


@dataclass(frozen=True, slots=True)
class Sent:
    """A message, and where its sender's clock and the way it took put it in its partition."""

    message: Message
    order_ms: float
    is_copy: bool = False
    is_conflict: bool = False

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.message.value)
        return found


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was sent; ``late`` are the ids of 5 % of one day, ``refused`` other bodies that the door refused.

    ``secrets`` has the keys of the service that decided.
    """

    sent: tuple[Sent, ...]
    late: frozenset[str]
    refused: int
    secrets: Path


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Traffic:
    messages, clock, secrets = [], [START_MS], tmp_path_factory.mktemp("office") / "secrets"
    ensure_keys(secrets)
    policy = load_policy(POLICY)
    pipeline = DecisionPipeline(
        store=MemoryStore(),
        keyring=load_keyring(secrets),
        champion=lambda: None,
        policy=lambda: policy,
        now_ms=lambda: clock[0],
        build="test",
    )
    desk = Desk(pipeline, clock, messages.append)
    plan = SimulationPlan(seed=SEED, start_ms=START_MS, days=DAYS, accounts=ACCOUNTS, payments=PAYMENTS)
    draw, refused = random.Random(SEED), 0
    for line in desk.lines(plan, "default"):
        desk.pay(line, "default")
        if draw.random() < CONFLICTING:
            other = json.loads(line) | {"amount_cents": 1 + json.loads(line)["amount_cents"]}
            told = pipeline.decide(parse_payment(json.dumps(other).encode()), Arrival(clock[0], "1" * 64, {}, "1" * 32))
            refused += isinstance(told, Conflict)
    desk.fold_until(START_MS + DAYS * DAY_MS)
    return _with_copies(draw, messages, refused, secrets)


def _with_copies(draw: random.Random, messages: Sequence[Message], refused: int, secrets: Path) -> Traffic:
    """Every tenth record comes twice, and of every hundredth id another one comes after it."""
    sent, late = [], set[str]()
    for message in messages:
        here = Sent(message, message.committed_at_ms)
        sent.append(here)
        if message.topic != topics.DECISIONS:
            continue
        record = here.record
        if day_at(record["event_time_ms"]) == LATE_DAY and draw.random() < LATE:
            late.add(record["end_to_end_id"])
        if draw.random() < REDELIVERED:
            sent.append(replace(here, order_ms=here.order_ms + draw.randint(1, HOUR_MS), is_copy=True))
        if draw.random() < CONFLICTING and record["end_to_end_id"] not in late:
            other = {**record, "payment": {**record["payment"], "amount_cents": record["payment"]["amount_cents"] + 1}}
            value = json.dumps({**other, "body_token": f"k1:{'x' * 32}"}).encode()
            after = here.order_ms + draw.randint(HOUR_MS, 2 * HOUR_MS)
            sent.append(Sent(replace(message, value=value), after, is_conflict=True))
    return Traffic(tuple(sent), frozenset(late), refused, secrets)


def arrive(made: Any, sent: Sequence[Sent]) -> None:
    """Bronze gets these in the order of their times, offsets counted on."""
    for topic in topics.ALL:
        table = bronze_tables.open_table(bronze_tables.table_path(made.settings.lake, topic))
        ends = Counter(bronze_tables.ends(table))
        rows = []
        for one in sorted((each for each in sent if each.message.topic == topic), key=lambda each: each.order_ms):
            partition = crc32(one.message.key.encode()) % PARTITIONS
            row = dict.fromkeys(ARROW_SCHEMA.names) | {"topic": topic, "partition": partition, "key": one.message.key}
            row |= {
                "offset": ends[partition] + 1,
                "timestamp_ms": int(one.order_ms),
                "value": one.message.value.decode(),
            }
            rows.append(row | {"ingested_at_ms": int(one.order_ms) + 1_000})
            ends[partition] += 1
        write_deltalake(table, pa.Table.from_pylist(rows, ARROW_SCHEMA), mode="append")


def nightly(made: Any) -> None:
    result = made.run(*SILVER_AND_GOLD, *FEATURES, job="daily_refresh_job")
    assert result.success, made.told(result)


def home(place: Callable[[Path], Any], folder: Path, traffic: Traffic) -> Any:
    made = place(folder)
    shutil.copytree(traffic.secrets, made.settings.secrets, dirs_exist_ok=True)
    bronze_tables.create_tables(made.settings.lake)
    policy_archive.keep(made.settings.lake, POLICY.read_text(), START_MS)
    return made


@pytest.fixture(scope="module")
def on_time(place, tmp_path_factory, traffic):
    """Everything came as it was sent, in the order of its events."""
    made = home(place, tmp_path_factory.mktemp("on_time"), traffic)
    arrive(made, traffic.sent)
    nightly(made)
    return made


@dataclass(frozen=True, slots=True)
class Late:
    """A home to which rows came late, how many did, and how many decisions waited for them."""

    made: Any
    rows: int
    waited: int


@pytest.fixture(scope="module")
def late(place, tmp_path_factory, traffic):
    """5 % of a day came two days later, with the last hour of all; every other decision up to half an hour later."""
    made, draw = home(place, tmp_path_factory.mktemp("late"), traffic), random.Random(SEED)
    first, second = [], []
    for one in traffic.sent:
        if one.message.topic != topics.DECISIONS:
            first.append(one)
        elif one.record["end_to_end_id"] in traffic.late:
            second.append(replace(one, order_ms=one.order_ms + 2 * DAY_MS))
        else:
            # Another answer never overtakes the first: it was given an hour later.
            first.append(replace(one, order_ms=one.order_ms + (not one.is_conflict) * draw.random() * HOUR_MS / 2))
    rows, last_hour_ms = len(second), START_MS + DAYS * DAY_MS - HOUR_MS
    arrive(made, [one for one in first if one.order_ms < last_hour_ms])
    nightly(made)
    waited = made.newest("features/unanswered")["unanswered"]
    arrive(made, [*second, *(one for one in first if one.order_ms >= last_hour_ms)])
    nightly(made)
    return Late(made, rows, waited)


def differing(ours: Any, theirs: Any, name: str, without: Sequence[str]) -> tuple[int, int]:
    """Rows of a table, and rows that one home has and the other has not."""
    frames = [made.lake.read(name).drop(*without) for made in (ours, theirs)]
    left, right = frames
    return left.count(), left.exceptAll(right).count() + right.exceptAll(left).count()


def test_late_and_shuffled_rows_end_in_the_same_tables(on_time, late, traffic, record_property):
    found = {}
    for name in SILVER_AND_GOLD:
        without = ("partition", "offset") if name == "silver/quarantine" else OF_ARRIVAL
        found[name] = differing(on_time, late.made, name, without)
    assert {name: different for name, (_, different) in found.items()} == dict.fromkeys(SILVER_AND_GOLD, 0)
    assert found["gold/decisions"][0] == PAYMENTS
    record_property("seed", SEED)
    record_property(
        "runs", f"{PAYMENTS:,} payments of {DAYS} days, {len(traffic.late):,} ({LATE:.0%} of one) two days late"
    )
    record_property(
        "figures", ", ".join(f"{name} {rows:,} rows, {other} differ" for name, (rows, other) in found.items())
    )


def test_late_rows_are_counted_exactly(late, traffic, record_property):
    told = late.made.newest("silver/decisions")
    assert (told["late_rows"], told["days_opened_again"]) == (late.rows, str(LATE_DAY))
    assert late.rows > len(traffic.late)
    record_property("seed", SEED)
    record_property("runs", f"{late.rows:,} late records, {len(traffic.late):,} payments, beside an hour of others")
    record_property("figures", f"counted {told['late_rows']:,}, opened again {told['days_opened_again']}")


def test_features_of_late_and_shuffled_rows_are_those_of_the_batch(on_time, late, record_property):
    columns = ("tenant", "end_to_end_id", "features", "logged", "carried", "logged_carried", "folded_at_ms")
    vectors = [made.lake.read("features/payment_features").select(*columns) for made in (on_time, late.made)]
    missing = [left.exceptAll(right).count() for left, right in (vectors, vectors[::-1])]
    unequal = [frame.where("features <> logged or carried <> logged_carried").count() for frame in vectors]
    assert (missing, unequal, vectors[0].count()) == ([0, 0], [0, 0], PAYMENTS)
    assert late.made.newest("features/unanswered")["unanswered"] == 0
    # What could not be known yet was left out, not guessed.
    assert late.waited > 0
    record_property("seed", SEED)
    record_property("runs", f"{PAYMENTS:,} vectors on time, late, and logged by the service")
    record_property("figures", f"differ 0, {late.waited:,} waited for late rows in between, 0 at the end")


def test_redelivered_records_collapse_and_conflicting_ones_are_quarantined(on_time, late, traffic, record_property):
    copies, conflicts = (sum(getattr(one, name) for one in traffic.sent) for name in ("is_copy", "is_conflict"))
    for made in (on_time, late.made):
        decided = made.lake.read("silver/decisions")
        assert (decided.count(), decided.select("tenant", "end_to_end_id").distinct().count()) == (PAYMENTS, PAYMENTS)
        kinds = {
            row.kind: row["count"] for row in made.lake.read("silver/quarantine").groupBy("kind").count().collect()
        }
        assert kinds == {"superseded": conflicts}
    wanted = {json.loads(one.message.value)["end_to_end_id"] for one in traffic.sent if one.is_conflict}
    assert {row[0] for row in late.made.lake.read("silver/quarantine").select("end_to_end_id").collect()} == wanted
    assert min(copies / PAYMENTS / REDELIVERED, traffic.refused / PAYMENTS / CONFLICTING) > 0.9
    record_property("seed", SEED)
    record_property("runs", f"{PAYMENTS:,} payments, {copies:,} redelivered, {conflicts:,} ids with another record")
    record_property("figures", f"{PAYMENTS:,} decisions, {conflicts:,} of {conflicts:,} conflicts quarantined, "
                    f"{traffic.refused:,} of {traffic.refused:,} other bodies refused at the door")  # fmt: skip
