"""The facts of one payment as integers: what request features and ratios are computed from.

Missing facts are ``MISSING``; flags are 0 or 1; texts with few values are coded. One list per payment,
in the order of ``FACT_NAMES``. What does not depend on the event time (``timeless``) can be kept with the payment.
"""

from operator import attrgetter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pix.contracts import Payment
from pix.features.declarations import BRASILIA_OFFSET_MS, NIGHT_BEGINS, NIGHT_ENDS, ROUND_AMOUNT_CENTS

MISSING = -(2**63)
MINUTES_A_DAY = 24 * 60
Moment = TypeVar("Moment", int, NDArray[np.int64])

DIRECT = (
    "amount_cents",
    "payer_balance_cents",
    "payer_limit_cents",
    "payer_age_years",
    "payee_settlements_d90",
    "payee_fraud_markers_d90",
    "payee_mule_markers_d90",
    "payee_fraud_reporters_d90",
    "payee_rejected_reports_d90",
    "payee_open_reports",
    "payee_is_preregistered",
    "device_remote_access",
    "device_rooted",
    "active_call",
    "login_age_ms",
    "typing_interval_ms",
)
"""Fields that are integers or flags already."""

SINCE = (
    "payer_account_opened_at_ms",
    "payee_account_opened_at_ms",
    "key_created_at_ms",
    "key_owned_since_ms",
    "device_registered_at_ms",
    "credentials_changed_at_ms",
    "limit_raised_at_ms",
    "funds_raised_at_ms",
    "fraud_markers_watermark_ms",
)
"""Moments; the fact is the time from them to the event, milliseconds (negative if they come after it)."""

CODES: dict[str, tuple[str, ...]] = {
    "initiation": ("MANU", "DICT", "QRDN", "QRES", "AUTO", "INIC", "APES", "APDN"),
    "priority": ("HIGH", "NORM"),
    "pix_key_type": ("CPF", "CNPJ", "PHONE", "EMAIL", "EVP"),
    "payer_person_type": ("PF", "PJ"),
    "payee_person_type": ("PF", "PJ"),
    "payee_account_type": ("CACC", "SVGS", "TRAN", "SLRY", "OTHR"),
    "authentication": ("PASSWORD", "BIOMETRY", "TOKEN"),
}
"""Texts with few values -> their values; the fact is the position."""

TIMES = ("minute_of_day", "hour", "weekday", "day_of_month", "minutes_from_noon")
CALENDAR = ("is_night", "is_dawn", "is_weekend", "is_business_hours", "is_pay_week", "is_month_end")
DERIVED = (
    "is_round_amount",
    "odd_centavos",
    "is_key_claimed",
    "is_tax_id_key",
    "is_contactless",
    "is_away_from_home",
    "is_away_region",
    "is_device_unregistered",
    "has_text",
    "has_device",
    "payee_markers_any",
)

FACT_NAMES = (*DIRECT, *SINCE, *CODES, *TIMES, *CALENDAR, *DERIVED)
TIMELESS_NAMES = (*DIRECT, *SINCE, *CODES, *DERIVED)

_direct = attrgetter(*DIRECT)
_moments = attrgetter(*SINCE)
_coded = attrgetter(*CODES)
# No value stands in two of these texts with different meanings, but positions differ: one table each.
_TABLES = tuple({None: MISSING, **{value: place for place, value in enumerate(values)}} for values in CODES.values())


def facts(payment: Payment, event_ms: int) -> list[int]:
    """The payment's facts in the order of ``FACT_NAMES``.

    Args:
        payment: The payment behind the door.
        event_ms: Its event time, epoch milliseconds.
    """
    return [
        *[MISSING if value is None else value for value in _direct(payment)],
        *[MISSING if moment is None else event_ms - moment for moment in _moments(payment)],
        *[table[value] for table, value in zip(_TABLES, _coded(payment), strict=True)],
        *calendar(event_ms),
        *_derived(payment),
    ]


def timeless(payment: Payment) -> list[int]:
    """The payment's facts in the order of ``TIMELESS_NAMES``, with moments (epoch milliseconds) instead of ages."""
    return [
        *[MISSING if value is None else value for value in (*_direct(payment), *_moments(payment))],
        *[table[value] for table, value in zip(_TABLES, _coded(payment), strict=True)],
        *_derived(payment),
    ]


def calendar(event_ms: Moment) -> tuple[Moment, ...]:
    """``TIMES`` and ``CALENDAR`` in Brasília (UTC-3) of one moment, or of an array of them.

    The kernel compiles this very function, and the offline engine calls it with columns: hence no ``or`` and no branch.

    Args:
        event_ms: Epoch milliseconds.
    """
    minute = (event_ms + BRASILIA_OFFSET_MS) // 60_000
    day, minute_of_day = divmod(minute, MINUTES_A_DAY)
    hour = minute_of_day // 60
    # 1970-01-01 was a Thursday; Monday is 0.
    weekday = (day + 3) % 7
    # Day of the month of a day since 1970 (Hinnant, chrono-compatible low-level date algorithms).
    of_era = (day + 719_468) % 146_097
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    day_of_month = of_year - (153 * ((5 * of_year + 2) // 153) + 2) // 5 + 1
    return (
        minute_of_day,
        hour,
        weekday,
        day_of_month,
        abs(minute_of_day - MINUTES_A_DAY // 2),
        1 * ((hour >= NIGHT_BEGINS) | (hour < NIGHT_ENDS)),
        1 * (hour < 6),
        1 * (weekday >= 5),
        1 * ((hour >= 9) & (hour < 18) & (weekday < 5)),
        1 * (day_of_month <= 7),
        1 * (day_of_month >= 28),
    )


def _derived(payment: Payment) -> tuple[int, ...]:
    """``DERIVED``: facts that follow from several fields or from one in another form."""
    created, owned = payment.key_created_at_ms, payment.key_owned_since_ms
    here, home = payment.device_municipality, payment.payer_municipality
    key_type, initiation = payment.pix_key_type, payment.initiation
    has_places = here is not None and home is not None
    marked = payment.payee_fraud_markers_d90
    return (
        payment.amount_cents % ROUND_AMOUNT_CENTS == 0,
        payment.amount_cents % 100,
        MISSING if created is None or owned is None else owned > created,
        MISSING if key_type is None else key_type in ("CPF", "CNPJ"),
        MISSING if initiation is None else initiation in ("APES", "APDN"),
        here != home if has_places else MISSING,
        here[0] != home[0] if has_places else MISSING,  # type: ignore[index]
        MISSING if payment.device_id is None else payment.device_registered_at_ms is None,
        payment.remittance_text is not None,
        payment.device_id is not None,
        MISSING if marked is None else marked > 0,
    )
