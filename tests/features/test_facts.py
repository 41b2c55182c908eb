"""Request features, by hand."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from histories import START_MS, payment

from pix.contracts import DAY_MS, HOUR_MS
from pix.engines import kernel, oracle
from pix.features import FACT_NAMES, FEATURE_NAMES, facts

# 2026-11-27 is a Friday; 22:30 in Brasília is 01:30 UTC on Saturday.
FRIDAY_NIGHT_MS = int(datetime(2026, 11, 28, 1, 30, tzinfo=UTC).timestamp() * 1000)


def feature(name: str, at_ms: int = START_MS, **fields: object) -> float:
    one = payment(**fields)  # type: ignore[arg-type]
    value = kernel.features(one, at_ms, {})[FEATURE_NAMES.index(name)]
    by_oracle = oracle.vector(one, at_ms, {})[FEATURE_NAMES.index(name)]
    assert (math.isnan(value) and by_oracle is None) or value == by_oracle
    return float(value)


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("amount_reais", {"amount_cents": 12_345}, 123.45),
        ("is_round_amount", {"amount_cents": 30_000}, 1.0),
        ("odd_centavos", {"amount_cents": 30_099}, 99.0),
        ("balance_share", {"amount_cents": 50, "payer_balance_cents": 200}, 0.25),
        ("balance_share", {"payer_balance_cents": 0}, None),
        ("balance_share", {"payer_balance_cents": -5}, None),
        ("limit_share", {}, None),
        ("device_age_days", {"device_registered_at_ms": START_MS - 36 * HOUR_MS}, 1.5),
        ("key_age_days", {"key_created_at_ms": START_MS + DAY_MS}, -1.0),
        ("is_key_claimed", {"key_created_at_ms": 1, "key_owned_since_ms": 2}, 1.0),
        ("is_key_claimed", {"key_created_at_ms": 1}, None),
        ("is_dynamic_qr", {"initiation": "QRDN"}, 1.0),
        ("is_dynamic_qr", {"initiation": "MANU"}, 0.0),
        ("is_dynamic_qr", {}, None),
        ("is_contactless", {"initiation": "APDN"}, 1.0),
        ("is_tax_id_key", {"pix_key_type": "CNPJ"}, 1.0),
        ("payee_is_company", {"payee_person_type": "PJ"}, 1.0),
        ("is_active_call", {"active_call": False}, 0.0),
        ("is_away_from_home", {"device_municipality": "3550308", "payer_municipality": "3304557"}, 1.0),
        ("is_away_region", {"device_municipality": "3550308", "payer_municipality": "3304557"}, 0.0),
        ("is_away_region", {"device_municipality": "1302603", "payer_municipality": "3304557"}, 1.0),
        ("is_device_unregistered", {"device_id": "d"}, 1.0),
        ("is_device_unregistered", {}, None),
        ("payee_marker_share_d90", {"payee_fraud_markers_d90": 3, "payee_settlements_d90": 12}, 0.25),
        ("payee_marker_share_d90", {"payee_fraud_markers_d90": 3, "payee_settlements_d90": 0}, None),
        ("login_age_seconds", {"login_age_ms": 1_500}, 1.5),
    ],
)
def test_facts_by_hand(name: str, fields: dict[str, object], expected: float | None) -> None:
    value = feature(name, **fields)
    assert math.isnan(value) if expected is None else value == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("local_hour", 22), ("local_minute_of_day", 1350), ("local_weekday", 4), ("day_of_month", 27), ("is_night", 1),
     ("is_dawn", 0), ("is_weekend", 0), ("is_business_hours", 0), ("is_pay_week", 0), ("is_month_end", 0),
     ("minutes_from_noon", 630)],
)  # fmt: skip
def test_the_calendar_is_that_of_brasilia(name: str, expected: float) -> None:
    assert feature(name, FRIDAY_NIGHT_MS) == expected


def test_the_calendar_agrees_with_the_standard_library() -> None:
    day, weekday, minute = (FACT_NAMES.index(n) for n in ("day_of_month", "weekday", "minute_of_day"))
    for number in range(0, 40_000, 13):
        moment = datetime(1969, 1, 1, tzinfo=UTC) + timedelta(days=number, minutes=number % 1440)
        found = facts(payment(), int(moment.timestamp() * 1000))
        local = moment - timedelta(hours=3)
        assert (found[day], found[weekday], found[minute]) == (
            local.day,
            local.weekday(),
            local.hour * 60 + local.minute,
        )


def test_without_entities_everything_else_is_missing() -> None:
    values = kernel.listed(kernel.features(payment(), START_MS, {}))
    assert values == oracle.vector(payment(), START_MS, {})
    assert values[FEATURE_NAMES.index("payer_count_30d")] is None
