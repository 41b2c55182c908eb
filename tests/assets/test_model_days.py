"""A day's row of a model: made once its labels have matured, by what was known then, and only then made again."""

from datetime import date, timedelta

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from fraud_assets import model_days
from fraud_assets.lake import LakeResource
from pix.contracts import DAY_MS
from pix.offline.days import begin_ms
from pix.offline.tables import DECISIONS_GOLD, DECISIONS_SILVER, LABELS_SILVER, MODEL_DAILY
from pix.settings import Settings

DAY = date(2026, 6, 1)
AT_MS = begin_ms(DAY) + DAY_MS // 2
HORIZON_MS = begin_ms(DAY + timedelta(days=8))
DECIDED = (
    *("tenant", "end_to_end_id", "event_day", "model_name", "model_version", "fraud_probability", "action"),
    *("amount_cents", "mode", "decided_at_ms"),
)


def decided(name, probability, action="ALLOW", *, day=DAY, version="1", mode="normal", cents=1_000):
    at_ms = begin_ms(day) + DAY_MS // 2
    return dict(zip(DECIDED, ("t", name, day, "m", version, probability, action, cents, mode, at_ms), strict=True))


def label(name, kind, known_ms, is_fraud, until_ms=None):
    columns = ("tenant", "end_to_end_id", "kind", "known_at_ms", "known_until_ms", "is_fraud_after", "payment_day")
    return {
        **dict(zip(columns, ("t", name, kind, known_ms, until_ms, is_fraud, DAY), strict=True)),
        "recorded_at_ms": known_ms,
    }


@pytest.fixture
def lake(tmp_path):
    return LakeResource.of(Settings(home=tmp_path))


def write(lake, table, rows, mode="overwrite"):
    types = {column.name: column.type for column in table.columns}
    kinds = {"bigint": pa.int64(), "double": pa.float64(), "boolean": pa.bool_(), "date": pa.date32()}
    schema = pa.schema([(name, kinds.get(types[name], pa.string())) for name in rows[0]])
    write_deltalake(lake.path(table.name), pa.Table.from_pylist(rows, schema), mode=mode)


def decide(lake, rows, mode="overwrite"):
    """Silver says up to when the lake knows what happened, gold what was decided."""
    write(lake, DECISIONS_SILVER, [{"decided_at_ms": row["decided_at_ms"]} for row in rows], mode)
    write(lake, DECISIONS_GOLD, rows, mode)


def made(lake):
    result = model_days.model_daily(lake)
    assert isinstance(result, dg.MaterializeResult)
    write_deltalake(lake.path(MODEL_DAILY.name), result.value, mode="overwrite", schema_mode="overwrite")
    return result.value.to_pylist(), result.metadata["days_made"]


PAYMENTS = [
    decided("caught", 0.9, "BLOCK", cents=5_000),
    decided("missed", 0.1, cents=2_000),
    decided("late", 0.2),
    decided("cleared", 0.6, "REVIEW"),
    decided("open", 0.3),
    decided("stopped", 0.8, "BLOCK_AND_REVIEW"),
    decided("silent", 0.05),
    decided("stateless", 0.5, mode="degraded:store"),
    decided("modelless", None),
    decided("other", 0.4, version="2"),
    # What makes the lake's knowledge reach beyond the horizon, on a day that has not matured.
    decided("newest", 0.5, day=DAY + timedelta(days=9)),
]
LABELS = [
    label("caught", "confirmed", AT_MS + 1, True),
    label("missed", "contested", AT_MS + 1, False, until_ms=HORIZON_MS),
    label("missed", "accepted", HORIZON_MS, True),
    label("late", "accepted", HORIZON_MS + 1, True),
    label("cleared", "accepted", AT_MS + 1, True, until_ms=AT_MS + 9),
    label("cleared", "rejected", AT_MS + 9, False),
    label("open", "contested", AT_MS + 1, False),
]


def test_a_day_is_judged_by_what_was_known_when_it_had_matured(lake):
    decide(lake, PAYMENTS)
    write(lake, LABELS_SILVER, LABELS)
    (first, second), days_made = made(lake)
    assert days_made == 1
    assert (first["day"], first["model_version"], second["model_version"]) == (DAY, "1", "2")
    # Known: caught, missed, late (still honest then), cleared, silent; not open, nor stopped.
    assert (first["payments"], first["outcomes_known"], first["frauds_known"]) == (7, 5, 2)
    assert first["expected_frauds"] == pytest.approx(0.9 + 0.1 + 0.2 + 0.6 + 0.05)
    assert (first["alerts"], first["alerts_judged"], first["frauds_caught"]) == (3, 2, 1)
    assert (first["alert_precision"], first["alert_recall"]) == (0.5, 0.5)
    assert first["value_recall"] == pytest.approx(5_000 / 7_000)
    assert first["calibration_error"] is first["average_precision"] is None
    assert (second["payments"], second["frauds_known"], second["alert_precision"]) == (1, 0, None)


def test_no_day_is_made_before_it_has_matured_and_none_twice(lake):
    decide(lake, PAYMENTS[:-1])
    write(lake, LABELS_SILVER, LABELS[:1])
    assert made(lake) == ([], 0)
    decide(lake, [decided("newest", 0.5, day=DAY + timedelta(days=8))], mode="append")
    rows, days_made = made(lake)
    assert (len(rows), days_made) == (2, 1)
    assert made(lake) == (rows, 0)


def test_a_day_whose_decisions_came_later_is_made_again(lake):
    decide(lake, PAYMENTS)
    write(lake, LABELS_SILVER, LABELS)
    before, _ = made(lake)
    decide(lake, [decided("straggler", 0.7)], mode="append")
    after, days_made = made(lake)
    assert days_made == 1
    assert after[0]["payments"] == before[0]["payments"] + 1


def test_a_champion_has_its_own_days_and_those_that_had_matured_before_it(lake):
    days = [DAY + timedelta(days=n) for n in range(27)]
    of_days = [decided(f"p{n}", 0.5, day=day, version="1" if n < 23 else "2") for n, day in enumerate(days)]
    # On the day of its promotion both decided.
    decide(lake, [*of_days, decided("both", 0.5, day=days[23]), decided("newest", 0.5, day=DAY + timedelta(days=40))])
    write(lake, LABELS_SILVER, LABELS[:1])
    made(lake)
    seen = model_days.days_of(lake, "m", "2")
    assert [one.day for one in seen.own] == days[23:]
    assert [one.day for one in seen.before] == days[:16]
    assert seen.own[0].expected == 0.5
    first = model_days.days_of(lake, "m", "1")
    assert (len(first.own), first.before) == (24, ())
    new = model_days.days_of(lake, "m", "3")
    assert (new.own, new.days) == ((), seen.own)
