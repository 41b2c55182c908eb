"""A day of payments as the service leaves it in bronze: decided by the real pipeline with a model, labels folded.

Deciding costs 300 us a payment, so it is done by processes side by side, each for a tenant of its own, whose accounts
never meet; and what they wrote is kept in a folder for the runs that follow (``SENTINELA_BENCH_LAKE_CACHE``). A small
day goes before the day that is measured, as there is one before every day but the first. Payments came by REST, so
nothing lies in ``pix.transactions``, which no silver table is made from.
"""

import heapq
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.champion import register_champion
from learning.registry import champion as champion_of
from learning.registry import download
from learning.signing import PUBLIC_KEY_FILE, ensure_signing_keys
from pix import topics
from pix.contracts import DAY_MS, HOUR_MS, canonical_json, label_from, label_id, parse_payment
from pix.settings import Settings
from pix.simulator.lines import lines
from pix.simulator.simulation import SimulationPlan, parts
from pix.store.interface import Message
from pix.store.memory import MemoryStore
from pix.tokens import ensure_keys, load_keyring
from serving.champion import load_champion
from serving.outcomes import Arrival, Done
from serving.pipeline import DecisionPipeline
from serving.policy import load_policy

POLICY = Path(__file__).parents[1] / "config" / "policy.yaml"
BEFORE_MS = 1_780_282_800_000
"""Midnight in Brasília, 2026-06-01; the day that is measured is the one after."""
DAY_BEFORE = 20_000
PAYMENTS_AN_ACCOUNT = 4
SIDE_BY_SIDE = 2
TENANTS = ("default", "second", "third", "fourth")
VERDICT_AFTER_MS = HOUR_MS
ROWS_HELD = 2_000
MESSAGE = pa.schema(
    [("topic", pa.string()), ("key", pa.string()), ("value", pa.string()), ("timestamp_ms", pa.int64())]
)


@dataclass(frozen=True, slots=True)
class Office:
    """What all tenants share: keys, and a registry with the champion that decides."""

    folder: Path

    @property
    def settings(self) -> Settings:
        """Of a home that has nothing but secrets and a registry."""
        return Settings(home=self.folder, mlflow_uri=f"sqlite:///{self.folder}/mlflow.db")

    def open(self) -> None:
        """Make the keys and train the champion, once."""
        if (self.folder / "whole").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        ensure_keys(self.settings.secrets)
        ensure_signing_keys(self.settings.secrets)
        # MLflow puts artefacts into the working folder if nobody says where.
        with chdir(self.folder):
            register_champion(self.settings, self.folder / "model")
        (self.folder / "whole").touch()


def cache() -> Path:
    """Where what was decided stays between runs."""
    named = os.environ.get("SENTINELA_BENCH_LAKE_CACHE")
    return Path(named) if named else Path(tempfile.gettempdir()) / "sentinela-bench-lake"


@dataclass(slots=True)
class Desk:
    """One tenant's service and its analysts.

    Attributes:
        pipeline: Decides; ``clock`` is its clock.
        clock: One number, epoch milliseconds.
        send: Gets every message, in the order of their time.
        due: Labels that are not known yet.
    """

    pipeline: DecisionPipeline
    clock: list[int]
    send: Callable[[Message], None]
    due: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)

    def pay(self, line: bytes, tenant: str) -> None:
        """Decide one payment after the verdicts that came before it."""
        message = parse_payment(line[:-1] + f',"tenant":"{tenant}"}}'.encode())
        self.fold_until(message.initiated_at)
        self.clock[0] = message.initiated_at
        body = sha256(line).hexdigest()
        done = self.pipeline.decide(
            message, Arrival(self.clock[0], body, {"kind": "rest", "client": "bench"}, body[:32])
        )
        if not isinstance(done, Done) or done.message is None or done.facts is None:
            raise SystemExit(f"{done} where a decision was expected; nothing is measured")
        self.send(done.message)
        if done.facts.action in ("REVIEW", "BLOCK_AND_REVIEW"):
            self.judge(message.end_to_end_id, tenant, self.clock[0] + VERDICT_AFTER_MS)

    def lines(self, plan: SimulationPlan, tenant: str) -> Iterator[bytes]:
        """The payments of a plan; its labels are expected."""
        for part in parts(plan):
            for label in part.labels:
                at_ms = int(datetime.fromisoformat(label["known_at"]).timestamp() * 1000)
                said = {name: value for name, value in label.items() if name != "label_id"}
                self.expect(at_ms, said | {"tenant": tenant})
            yield from lines(part.payments).splitlines()

    def judge(self, end_to_end_id: str, tenant: str, at_ms: int) -> None:
        """An analyst's verdict, when its time has come; by chance, of which the id decides."""
        kind = "confirmed" if crc32(end_to_end_id.encode()) % 4 == 0 else "dismissed"
        at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        said: dict[str, Any] = {"end_to_end_id": end_to_end_id, "kind": kind, "source": "analyst", "tenant": tenant}
        self.expect(at_ms, said | {"effective_at": at, "known_at": at, "review": {"closed_by": "bench"}})

    def expect(self, at_ms: int, said: dict[str, Any]) -> None:
        """A label that becomes known then."""
        content = {**said, "label_id": label_id(said)}
        heapq.heappush(self.due, (at_ms, content["label_id"], content))

    def fold_until(self, at_ms: int) -> None:
        """Send and fold the labels that were known before."""
        while self.due and self.due[0][0] < at_ms:
            self.clock[0], name, content = heapq.heappop(self.due)
            value = canonical_json(content)
            self.send(Message(name, topics.LABELS, content["end_to_end_id"], value, self.clock[0]))
            done = self.pipeline.fold_label(label_from(content), self.clock[0])
            if isinstance(done, Done) and done.message is not None:
                self.send(done.message)


class _Hours:
    """Messages in the order of their time, a file an hour."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[tuple[Any, ...]] = []
        self._hour = -1
        self._writer: pq.ParquetWriter | None = None

    def add(self, at_ms: int, row: tuple[Any, ...]) -> None:
        """One more."""
        hour = (at_ms - BEFORE_MS) // HOUR_MS
        if hour != self._hour:
            self.close()
            self._hour = hour
            self._writer = pq.ParquetWriter(self._folder / f"{hour:02}.parquet", MESSAGE)
        self._rows.append(row)
        if len(self._rows) >= ROWS_HELD:
            self._flush()

    def _flush(self) -> None:
        if self._writer is not None and self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, kind) for column, kind in zip(columns, MESSAGE.types, strict=True)]
            self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=MESSAGE))
        self._rows = []

    def close(self) -> None:
        """The hour is over."""
        self._flush()
        if self._writer is not None:
            self._writer.close()


def decided(payments: int, tenants: int) -> list[Path]:
    """Folders of messages, one a tenant, of a day of so many payments and the small one before; made where missing."""
    office = Office(cache() / "office")
    office.open()
    each = payments // tenants
    asked = [(cache() / f"{name}-{each}", name, place, each) for place, name in enumerate(TENANTS[:tenants])]
    missing = [one for one in asked if not (one[0] / "whole").exists()]
    with ProcessPoolExecutor(SIDE_BY_SIDE, get_context("spawn"), max_tasks_per_child=1) as pool:
        for made in [pool.submit(_decide, *one) for one in missing]:
            made.result()
    return [folder for folder, *_ in asked]


def _decide(folder: Path, tenant: str, seed: int, payments: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings, clock = Office(cache() / "office").settings, [BEFORE_MS]
    found = champion_of(settings.mlflow, settings.model_name)
    if found is None:
        raise SystemExit("there is no champion; nothing is measured")
    ready = download(settings.mlflow, found, folder / "served", public_key=settings.secrets / PUBLIC_KEY_FILE)
    model, policy = load_champion(ready, now_ms=BEFORE_MS, source="registry"), load_policy(POLICY)
    pipeline = DecisionPipeline(
        store=MemoryStore(),
        keyring=load_keyring(settings.secrets),
        champion=lambda: model,
        policy=lambda: policy,
        now_ms=lambda: clock[0],
        build="bench",
    )
    out = _Hours(folder)

    def send(message: Message) -> None:
        out.add(clock[0], (message.topic, message.key, message.value.decode(), clock[0]))
        # Only the answer to a retry needs it, and nobody asks twice.
        pipeline.store.replace_record(message.record_id, b"", clock[0], clock[0])

    desk = Desk(pipeline, clock, send)
    days = ((BEFORE_MS, DAY_BEFORE // len(TENANTS), "before"), (BEFORE_MS + DAY_MS, payments, ""))
    for start_ms, count, run in days:
        accounts = max(1_000, payments // PAYMENTS_AN_ACCOUNT)
        plan = SimulationPlan(seed=seed, start_ms=start_ms, days=1, accounts=accounts, payments=count, run=run)
        for line in desk.lines(plan, tenant):
            desk.pay(line, tenant)
        desk.fold_until(start_ms + DAY_MS)
    out.close()
    shutil.rmtree(folder / "served")
    (folder / "whole").touch()
