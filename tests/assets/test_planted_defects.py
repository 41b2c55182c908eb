"""Each planted defect of quality turns the right check red and stops the right assets; all others run."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from fraud_assets import definitions, table_checks
from fraud_assets.daily import FOLLOWS_NEWS, partition_of
from fraud_assets.silver import BRONZE_DECISIONS, BRONZE_DLQ, BRONZE_LABELS
from pix.offline.days import day_at
from pix.offline.declaration import Table
from pix.offline.tables import BRONZE_COLUMNS, DECISIONS_GOLD, DECISIONS_SILVER, HISTORY_PAYMENTS
from quality.unexpected import DAYS_KEPT, UNEXPECTED

NOON_MS = 1_780_326_000_000  # 2026-06-01T12:00:00-03:00
DAY_MS = 86_400_000
DAYS, A_DAY = 20, 30
BRONZE = Table(BRONZE_DECISIONS, "One message.", BRONZE_COLUMNS)
ARROW = {
    **{"string": pa.string(), "bigint": pa.int64(), "int": pa.int32(), "boolean": pa.bool_(), "double": pa.float64()},
    **{"date": pa.date32(), "array<string>": pa.list_(pa.string())},
}
LEARNT = "features/training_set"
KPIS = ("gold/hourly_kpis", "gold/daily_kpis")
SILVER = ("silver/decisions", "silver/labels", "silver/payments")


def token(name: str) -> str:
    return f"k1:{name:_<32}"


def payment(number: int, at_ms: int, **facts: Any) -> dict[str, Any]:
    return {
        "end_to_end_id": f"E12345678202606011500{number:011d}",
        "tenant": "default",
        "initiated_at_ms": at_ms,
        "amount_cents": 1_000 + number % 30,
        "payer_account": token(f"payer{number}"),
        "payee_account": token(f"payee{number}"),
        **facts,
    }


def decided(number: int, at_ms: int, **changes: Any) -> dict[str, Any]:
    """A row of silver/decisions and gold/decisions."""
    names = ("end_to_end_id", "tenant", "amount_cents", "payer_account", "payee_account")
    inside = payment(number, at_ms)
    times = {"event_time_ms": at_ms, "received_at_ms": at_ms + 1, "decided_at_ms": at_ms + 5}
    day = {"event_day": day_at(at_ms), "published_at_ms": at_ms + 6}
    shapes = {"feature_fingerprint": "ab" * 8, "policy_version": "cd" * 8, "payment_digest": "ef" * 32}
    verdict = {"action": "ALLOW", "outcome": "allowed", "mode": "normal", "fraud_probability": 0.1, "raw_score": -2.2}
    model = {"model_name": "pix_fraud", "model_version": "3", "model_sha256": "ab" * 32}
    origin = {"origin_kind": "rest", "trace_id": "01" * 16, "build": "b", "generation": 1, "record": "{}"}
    lists = {"rule_hits": [], "reason_codes": [], "body_token": token("body")}
    plain = {name: inside[name] for name in names}
    return {**plain, **times, **day, **shapes, **verdict, **model, **origin, **lists, **changes}


def record(number: int, at_ms: int, **facts: Any) -> str:
    row = decided(number, at_ms)
    model = {name: row[f"model_{name}"] for name in ("name", "version", "sha256")}
    del row["event_day"]
    return json.dumps(
        {**row, "payment": payment(number, at_ms, **facts), "model": model, "reasons": [], "origin": {"kind": "rest"}}
    )


def plant(made: Any, table: Table, *rows: dict[str, Any]) -> None:
    fields = [(column.name, ARROW[column.type]) for column in table.columns]
    content = pa.Table.from_pylist(list(rows), pa.schema(fields))
    write_deltalake(made.lake.path(table.name), content, mode="overwrite", partition_by=list(table.partitions) or None)


def plant_bronze(made: Any, records: list[str]) -> None:
    where = {"topic": "pix.decisions", "partition": 0, "timestamp_ms": NOON_MS, "ingested_at_ms": NOON_MS}
    plant(made, BRONZE, *[{**where, "offset": place, "value": value} for place, value in enumerate(records)])


def days_of_records(newest: Callable[[int], list[str]]) -> list[str]:
    """Twenty days of thirty decisions, all with a device, and what the newest day is."""
    device = {"device_id": token("device")}
    whole = [record(day * 1_000 + n, NOON_MS + day * DAY_MS + n, **device) for day in range(DAYS) for n in range(A_DAY)]
    return [*whole, *newest(NOON_MS + DAYS * DAY_MS)]


def run(made: Any, *assets: str, checked: tuple[str, ...] = ()) -> dg.ExecuteInProcessResult:
    """The assets with their checks, and the checks alone of tables that stay as they were planted."""
    chosen = dg.AssetSelection.assets(*[dg.AssetKey(name.split("/")) for name in assets])
    for name in checked:
        chosen |= dg.AssetSelection.checks_for_assets(dg.AssetKey(name.split("/")))
    job = dg.define_asset_job("planted_job", chosen, tags=FOLLOWS_NEWS)
    loaded = dg.Definitions.merge(definitions.build(made.settings), dg.Definitions(jobs=[job]))
    planted = loaded.resolve_job_def("planted_job")
    today = partition_of(datetime.now(UTC)) if planted.partitions_def else None
    return planted.execute_in_process(instance=made.instance, raise_on_error=False, partition_key=today)


def red(result: dg.ExecuteInProcessResult) -> dict[str, tuple[str, dg.AssetCheckSeverity]]:
    """Table and check -> severity, of what failed."""
    return {
        f"{found.asset_key.to_user_string()} {found.check_name}": found.severity
        for found in result.get_asset_check_evaluations()
        if not found.passed
    }


def stopping(result: dg.ExecuteInProcessResult) -> set[str]:
    return {name for name, severity in red(result).items() if severity == dg.AssetCheckSeverity.ERROR}


def failed(result: dg.ExecuteInProcessResult) -> set[str]:
    """Steps that failed; what they stop is not tried."""
    return {event.step_key for event in result.all_events if event.is_step_failure}


def made_by(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}


@pytest.fixture
def made(place, tmp_path) -> Any:
    home = place(tmp_path)
    for name in (BRONZE_LABELS, BRONZE_DLQ):
        plant(home, Table(name, "One message.", BRONZE_COLUMNS))
    return home


def test_a_duplicate_id_stops_the_training_set_and_not_labels(made):
    past = {"history": "bank", "import_number": 1, "file_sha256": "0" * 64, "event_time_ms": NOON_MS}
    inside = payment(1, NOON_MS)
    row = {**past, "end_to_end_id": inside["end_to_end_id"], "tenant": "default", "payment": json.dumps(inside)}
    plant(made, HISTORY_PAYMENTS, {**row, "row_number": 1}, {**row, "row_number": 2})
    plant(made, DECISIONS_SILVER)
    result = run(made, "silver/payments", "silver/labels", LEARNT)
    assert stopping(result) == {"silver/payments rows_are_unique"}
    assert failed(result) == {"silver_payments_promises"}
    assert made_by(result) == {"silver/payments", "silver/labels"}
    (kept,) = DeltaTable(made.lake.path(UNEXPECTED.name)).to_pyarrow_table().to_pylist()
    assert (kept["table_name"], kept["check_name"], kept["run_id"]) == (
        *("silver/payments", "rows_are_unique", result.run_id),
    )
    assert kept["row_key"] == f"tenant=default end_to_end_id={inside['end_to_end_id']}"
    assert "times=2" in kept["value"]
    assert run(made, checked=("silver/payments",)).run_id
    assert DeltaTable(made.lake.path(UNEXPECTED.name)).count() == 1


def test_lost_facts_stop_the_training_set_and_not_gold(made):
    plant_bronze(made, days_of_records(lambda at: [record(90_000 + n, at + n) for n in range(A_DAY)]))
    result = run(made, *SILVER, "gold/decisions", *KPIS, LEARNT)
    assert stopping(result) == {"silver/payments null_shares_are_as_usual"}
    assert failed(result) == {"silver_payments_promises"}
    assert made_by(result) == {*SILVER, "gold/decisions", *KPIS}


def test_a_day_that_lost_its_rows_stops_the_training_set_and_not_gold(made):
    device = {"device_id": token("device")}
    plant_bronze(made, days_of_records(lambda at: [record(90_000, at, **device)]))
    result = run(made, *SILVER, "gold/decisions", *KPIS, LEARNT)
    assert stopping(result) == {"silver/payments volume_is_as_usual"}
    assert red(result)["silver/decisions volume_is_as_usual"] == dg.AssetCheckSeverity.WARN
    assert failed(result) == {"silver_payments_promises"}
    assert made_by(result) == {*SILVER, "gold/decisions", *KPIS}


def test_a_wrong_total_stops_the_daily_numbers_and_not_labels(made):
    plant(made, DECISIONS_SILVER, decided(1, NOON_MS), decided(2, NOON_MS))
    plant(made, DECISIONS_GOLD, decided(1, NOON_MS), decided(2, NOON_MS, amount_cents=9))
    result = run(made, *KPIS, "silver/labels", checked=("gold/decisions",))
    assert stopping(result) == {"gold/decisions amounts_and_actions_are_those_of_its_source"}
    assert failed(result) == {"gold_decisions_promises"}
    assert made_by(result) == {"silver/labels"}


def test_a_stale_table_stops_what_is_made_of_it(made):
    plant(made, DECISIONS_SILVER, decided(1, NOON_MS), decided(2, NOON_MS + DAY_MS))
    plant(made, DECISIONS_GOLD, decided(1, NOON_MS))
    result = run(made, *KPIS, "silver/labels", checked=("gold/decisions",))
    assert stopping(result) == {"gold/decisions newest_rows_of_its_source_are_there"}
    assert failed(result) == {"gold_decisions_promises"}
    assert made_by(result) == {"silver/labels"}


def test_the_same_tables_without_a_defect_stop_nothing(made):
    device = {"device_id": token("device")}
    plant_bronze(made, days_of_records(lambda at: [record(90_000 + n, at + n, **device) for n in range(A_DAY)]))
    result = run(made, *SILVER, "gold/decisions", *KPIS, "quality/scorecard")
    assert result.success
    # Nothing has arrived since that June; that is told, and stops nothing.
    assert {name.split()[1] for name in red(result)} <= {"rows_keep_arriving"}
    assert not made.lake.exists(UNEXPECTED.name)
    told = made.newest("quality/scorecard")
    assert (told["good"], told["broken"]) == (5 * (DAYS + 1), 0)
    assert len(told["days"]) < 100_000
    assert made.lake.rows("quality/scorecard") == 5 * (DAYS + 1)


def test_samples_are_kept_for_ninety_days(made):
    today = date(2026, 6, 1)
    plain = dict.fromkeys(UNEXPECTED.names, "x") | {"checked_at_ms": 1}
    table = definitions.silver.DECISIONS_SILVER

    def keep(day: date, count: int) -> None:
        rows = [{**plain, "day": day, "table_name": table.name, "check_name": "c"} for _ in range(count)]
        table_checks.keep(made.lake, table, ["c"], rows, day=day)

    keep(today - timedelta(days=DAYS_KEPT + 1), 3)
    keep(today - timedelta(days=DAYS_KEPT), 2)
    keep(today, 5)
    keep(today, 1)
    days = DeltaTable(made.lake.path(UNEXPECTED.name)).to_pyarrow_table().column("day").to_pylist()
    assert sorted(days) == [today - timedelta(days=DAYS_KEPT)] * 2 + [today]
    keep(today, 0)
    assert made.lake.rows(UNEXPECTED.name) == 2
    # A run of habits alone judges no promise.
    table_checks.keep(made.lake, table, [], [], day=today)
    assert made.lake.rows(UNEXPECTED.name) == 2
