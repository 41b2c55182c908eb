"""Small Delta tables without Spark, and rows that keep every promise."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from fraud_assets.asking import asking
from fraud_assets.lake import LakeResource
from pix.offline.declaration import Table
from pix.offline.tables import KPIS
from quality.suites import covered

ARROW = {
    "string": pa.string(),
    "bigint": pa.int64(),
    "int": pa.int32(),
    "boolean": pa.bool_(),
    "double": pa.float64(),
    "date": pa.date32(),
    "array<string>": pa.list_(pa.string()),
}
NOON_MS = 1_780_326_000_000  # 2026-06-01T12:00:00-03:00
DAY_MS = 86_400_000


def token(name: str) -> str:
    return f"k1:{name:_<32}"


def identity(number: int) -> str:
    return f"E12345678202606011500{number:011d}"


def day_of(at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000 - 10_800, UTC).date()


def payment(number: int, at_ms: int = NOON_MS, **changes: Any) -> dict[str, Any]:
    return {
        "end_to_end_id": identity(number),
        "tenant": "default",
        "initiated_at_ms": at_ms,
        "event_time_ms": at_ms,
        "amount_cents": 1_000 + number,
        "payer_account": token(f"payer{number}"),
        "payee_account": token(f"payee{number}"),
        "source": "live",
        "outcome": "allowed",
        "silence_is_honest": True,
        "event_hour": 12,
        "event_weekday": 1,
        "initiator_ispb": "12345678",
        "event_day": day_of(changes.get("event_time_ms", at_ms)),
        **changes,
    }


def decision(number: int, at_ms: int = NOON_MS, **changes: Any) -> dict[str, Any]:
    names = ("end_to_end_id", "tenant", "event_time_ms", "amount_cents", "payer_account", "payee_account", "outcome")
    plain = {name: value for name, value in payment(number, at_ms).items() if name in names}
    return {
        **plain,
        "event_day": day_of(changes.get("event_time_ms", at_ms)),
        "published_at_ms": at_ms + 6,
        "decided_at_ms": at_ms + 5,
        "received_at_ms": at_ms + 1,
        "action": "ALLOW",
        "fraud_probability": 0.25,
        "raw_score": -1.1,
        "mode": "normal",
        "model_name": "pix_fraud",
        "model_version": "3",
        "model_sha256": "ab" * 32,
        "feature_fingerprint": "ab" * 8,
        "policy_version": "cd" * 8,
        "rule_hits": [],
        "reason_codes": [],
        "payment_digest": "ef" * 32,
        "body_token": token(f"body{number}"),
        "generation": 1,
        "origin_kind": "kafka",
        "trace_id": "01" * 16,
        "build": "b",
        "record": "{}",
        **changes,
    }


def kpis(at_ms: int = NOON_MS, payments: int = 1, cents: int = 1_001, **changes: Any) -> dict[str, Any]:
    zero = dict.fromkeys(column.name for column in KPIS if column.name not in ("payments", "allowed", "amount_cents"))
    sums = {"payments": payments, "allowed": payments, "amount_cents": cents}
    rates = {"review_rate": 0.0, "block_rate": 0.0, "friction_rate": 0.0}
    return {"day": day_of(at_ms), **dict.fromkeys(zero, 0), **sums, **rates, **changes}


def model_day(at_ms: int = NOON_MS, **changes: Any) -> dict[str, Any]:
    counts = {"payments": 100, "outcomes_known": 90, "frauds_known": 5, "alerts": 10, "alerts_judged": 8}
    sums = {"frauds_caught": 4, "frauds_cents": 9_000, "caught_cents": 8_000, "made_from": 3}
    said = {"average_probability": 0.05, "expected_frauds": 4.5, "expected_variance": 2.0, "brier_score": 0.02}
    rates = {"alert_precision": 0.5, "alert_recall": 0.8, "value_recall": 8 / 9}
    model = {"day": day_of(at_ms), "model_name": "pix_fraud", "model_version": "3"}
    return {**model, **counts, **sums, **said, **rates, **changes}


@pytest.fixture
def rows() -> SimpleNamespace:
    """The builders above, so that test modules need no import between them."""
    builders = (token, identity, day_of, payment, decision, kpis, model_day)
    return SimpleNamespace(NOON_MS=NOON_MS, DAY_MS=DAY_MS, **{each.__name__: each for each in builders})


@pytest.fixture
def lake(tmp_path) -> LakeResource:
    return LakeResource(root=str(tmp_path / "lake"), locks=str(tmp_path / "locks"), tmp=str(tmp_path / "tmp"))


@pytest.fixture
def ask(lake: LakeResource):
    return asking(lake)


@pytest.fixture
def write(lake: LakeResource) -> Callable[..., Table]:
    """Writes a declared table; columns that a row does not name are null."""

    def write_rows(table: str | Table, *given: dict[str, Any], without: tuple[str, ...] = ()) -> Table:
        declared = covered()[table] if isinstance(table, str) else table
        fields = [(column.name, ARROW[column.type]) for column in declared.columns if column.name not in without]
        content = pa.Table.from_pylist(list(given), pa.schema(fields))
        write_deltalake(lake.path(declared.name), content, mode="overwrite", schema_mode="overwrite")
        return declared

    return write_rows
