"""Plans that cannot be simulated are refused, with the value and what would do."""

from dataclasses import replace

import pytest

from pix.simulator.plan import Drift, InvalidPlan, SimulationPlan, parse_drift

HISTORY = SimulationPlan(seed=11, start_ms=1_790_000_000_000, days=30, accounts=1_500, payments=20_000)


@pytest.mark.parametrize(
    "text", ["", "null", "null:device_id", "null:device_id@", "null:device_id@x", "null:nothing@3",
             "null:amount_cents@3", "storm:QRDN@3", "outage:PIX@3", "outage:QRDN@-1", "outage:QRDN@nan"],
)  # fmt: skip
def test_a_drift_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(InvalidPlan, match="drift"):
        parse_drift(text)


def test_a_drift_is_read() -> None:
    assert parse_drift("typology:fake_sale@2.5") == Drift(kind="typology", of="fake_sale", from_day=2.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("start_ms", -1),
        ("days", 0),
        ("days", float("nan")),
        ("days", 1e6),
        ("accounts", 49),
        ("payments", -1),
        ("fraud_per_100k", -1),
        ("fraud_per_100k", float("nan")),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(InvalidPlan, match=field):
        replace(HISTORY, **{field: value})
