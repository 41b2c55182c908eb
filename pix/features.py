"""Every feature, declared once, as data.

Nothing here computes over events: ``pix.engines.kernel`` does, for every engine, from these
declarations; ``pix.engines.oracle`` says the same thing naively. The expressions at the end are the
one place where a payment's own facts and the windows' integers become floating-point numbers.

The meaning of a window *w* with hop *h*: for a payment with event time *t* it covers the events
folded into the entity before the payment, with event time at or after ``floor(now / h) * h - w``,
where ``now`` is the later of *t* and the newest event time folded for that entity. The head is exact,
the tail is rounded outward to the hop, and a payment never sees itself.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import log1p

from pix.contracts import DAY_MS, HOUR_MS, MINUTE_MS, Payment

BRASILIA_OFFSET_MS = -3 * HOUR_MS
NIGHT_HOURS = frozenset({20, 21, 22, 23, 0, 1, 2, 3, 4, 5})
ROUND_AMOUNT_CENTS = 100_00
DISTINCT_CAP = 64

ROLES = {
    "payer_account": "account",
    "payee_account": "account",
    "pair": "pair",
    "device": "device",
}
"""Role that an entity plays in a payment -> kind of entity state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFeature:
    """A value of the payment itself; ``measure`` names the expression."""

    name: str
    measure: str
    unit: str
    description: str
    group: str = "request"
    entity: str = "payment"
    aggregate: str = "value"
    window_ms: int | None = None
    hop_ms: int | None = None
    population: str = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFeature:
    """An aggregate over an entity's earlier events in a sliding window.

    ``flow`` is ``out`` for what the entity paid, ``in`` for what it received. ``population`` is
    ``allowed`` (payments that went on) or ``all`` (held and blocked attempts, too). ``measure`` is
    ``payments``, ``amount_cents``, ``counterpart`` (the other side) or ``frauds`` (payments whose label
    became fraud, at the time it became known; a reversal takes away where it was added).
    """

    name: str
    group: str
    entity: str
    flow: str
    measure: str
    aggregate: str
    window_ms: int
    hop_ms: int
    unit: str
    description: str
    population: str = "allowed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LastFeature:
    """Time since the entity's newest event of a flow; missing where there was none within 120 days."""

    name: str
    group: str
    entity: str
    flow: str
    description: str
    measure: str = "event_time"
    aggregate: str = "since_last"
    window_ms: int | None = None
    hop_ms: int | None = None
    unit: str = "seconds"
    population: str = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioFeature:
    """``numerator / denominator``: other features or ``amount_cents``; missing at denominator 0."""

    name: str
    group: str
    entity: str
    numerator: str
    denominator: str
    description: str
    measure: str = "ratio"
    aggregate: str = "ratio"
    window_ms: int | None = None
    hop_ms: int | None = None
    unit: str = "ratio"
    population: str = "allowed"


Feature = RequestFeature | WindowFeature | LastFeature | RatioFeature

FEATURES: tuple[Feature, ...] = (
    RequestFeature(
        name="amount_log_reais",
        measure="amount_log_reais",
        unit="ln(1 + reais)",
        description="Natural logarithm of one plus the payment's amount in reais.",
    ),
    RequestFeature(
        name="local_hour",
        measure="local_hour",
        unit="hour",
        description="Hour of the event time in Brasília (UTC-3), 0 to 23.",
        group="temporal",
    ),
    RequestFeature(
        name="is_night",
        measure="is_night",
        unit="flag",
        description="1 from 20h to 6h in Brasília, when Pix's night limits apply, else 0.",
        group="temporal",
    ),
    RequestFeature(
        name="is_round_amount",
        measure="is_round_amount",
        unit="flag",
        description="1 if the amount is a multiple of R$ 100, else 0.",
    ),
    RequestFeature(
        name="is_active_call",
        measure="is_active_call",
        unit="flag",
        description="1 if the payer's device was in a call, 0 if not, missing if unknown.",
    ),
    RequestFeature(
        name="balance_share",
        measure="balance_share",
        unit="ratio",
        description="The amount over the payer's balance before the payment; missing if not positive.",
    ),
    RequestFeature(
        name="device_age_days",
        measure="device_age_days",
        unit="days",
        description="Days from the registration of the payer's device to the event time; missing if unknown.",
    ),
    RequestFeature(
        name="payee_account_age_days",
        measure="payee_account_age_days",
        unit="days",
        description="Days from the opening of the payee's account to the event time; missing if unknown.",
    ),
    WindowFeature(
        name="payer_count_1h",
        group="payer",
        entity="payer_account",
        flow="out",
        measure="payments",
        aggregate="count",
        window_ms=HOUR_MS,
        hop_ms=5 * MINUTE_MS,
        population="all",
        unit="payments",
        description="Payments that the payer's account tried in the last hour, with held and blocked ones.",
    ),
    WindowFeature(
        name="payer_amount_sum_24h",
        group="payer",
        entity="payer_account",
        flow="out",
        measure="amount_cents",
        aggregate="sum",
        window_ms=DAY_MS,
        hop_ms=2 * HOUR_MS,
        unit="centavos",
        description="Sum paid by the payer's account in the last 24 hours.",
    ),
    WindowFeature(
        name="payer_count_30d",
        group="payer",
        entity="payer_account",
        flow="out",
        measure="payments",
        aggregate="count",
        window_ms=30 * DAY_MS,
        hop_ms=2 * DAY_MS,
        unit="payments",
        description="Payments made by the payer's account in the last 30 days.",
    ),
    WindowFeature(
        name="payer_amount_mean_30d",
        group="payer",
        entity="payer_account",
        flow="out",
        measure="amount_cents",
        aggregate="mean",
        window_ms=30 * DAY_MS,
        hop_ms=2 * DAY_MS,
        unit="centavos",
        description="Mean amount paid by the payer's account in the last 30 days; missing without a payment.",
    ),
    RatioFeature(
        name="payer_amount_ratio_30d",
        group="payer",
        entity="payer_account",
        numerator="amount_cents",
        denominator="payer_amount_mean_30d",
        description="This amount over the mean that the payer's account paid in the last 30 days.",
    ),
    LastFeature(
        name="payer_seconds_since_inflow",
        group="payer",
        entity="payer_account",
        flow="in",
        description="Seconds since the payer's account last received a payment.",
    ),
    WindowFeature(
        name="payer_in_amount_sum_24h",
        group="payer",
        entity="payer_account",
        flow="in",
        measure="amount_cents",
        aggregate="sum",
        window_ms=DAY_MS,
        hop_ms=2 * HOUR_MS,
        unit="centavos",
        description="Sum received by the payer's account in the last 24 hours.",
    ),
    RatioFeature(
        name="payer_pass_through_24h",
        group="network",
        entity="payer_account",
        numerator="amount_cents",
        denominator="payer_in_amount_sum_24h",
        description="This amount over what the payer's account received in the last 24 hours.",
    ),
    WindowFeature(
        name="payee_in_count_1h",
        group="payee",
        entity="payee_account",
        flow="in",
        measure="payments",
        aggregate="count",
        window_ms=HOUR_MS,
        hop_ms=5 * MINUTE_MS,
        unit="payments",
        description="Payments received by the payee's account in the last hour.",
    ),
    WindowFeature(
        name="payee_distinct_payers_24h",
        group="network",
        entity="payee_account",
        flow="in",
        measure="counterpart",
        aggregate="distinct",
        window_ms=DAY_MS,
        hop_ms=2 * HOUR_MS,
        unit="accounts",
        description=f"Distinct accounts that paid the payee in the last 24 hours, at most {DISTINCT_CAP}.",
    ),
    WindowFeature(
        name="payee_in_count_30d",
        group="payee",
        entity="payee_account",
        flow="in",
        measure="payments",
        aggregate="count",
        window_ms=30 * DAY_MS,
        hop_ms=2 * DAY_MS,
        unit="payments",
        description="Payments received by the payee's account in the last 30 days.",
    ),
    WindowFeature(
        name="payee_in_amount_sum_24h",
        group="payee",
        entity="payee_account",
        flow="in",
        measure="amount_cents",
        aggregate="sum",
        window_ms=DAY_MS,
        hop_ms=2 * HOUR_MS,
        unit="centavos",
        description="Sum received by the payee's account in the last 24 hours.",
    ),
    WindowFeature(
        name="payee_out_amount_sum_24h",
        group="payee",
        entity="payee_account",
        flow="out",
        measure="amount_cents",
        aggregate="sum",
        window_ms=DAY_MS,
        hop_ms=2 * HOUR_MS,
        unit="centavos",
        description="Sum paid onward by the payee's account in the last 24 hours.",
    ),
    RatioFeature(
        name="payee_out_in_ratio_24h",
        group="network",
        entity="payee_account",
        numerator="payee_out_amount_sum_24h",
        denominator="payee_in_amount_sum_24h",
        description="What the payee's account paid onward over what it received, in the last 24 hours.",
    ),
    WindowFeature(
        name="payee_frauds_90d",
        group="label",
        entity="payee_account",
        flow="in",
        measure="frauds",
        aggregate="count",
        window_ms=90 * DAY_MS,
        hop_ms=5 * DAY_MS,
        population="all",
        unit="payments",
        description="Payments to the payee's account that became known as fraud in the last 90 days.",
    ),
    WindowFeature(
        name="pair_count_90d",
        group="pair",
        entity="pair",
        flow="out",
        measure="payments",
        aggregate="count",
        window_ms=90 * DAY_MS,
        hop_ms=5 * DAY_MS,
        unit="payments",
        description="Payments from this payer's account to this payee's account in the last 90 days.",
    ),
    WindowFeature(
        name="device_distinct_payers_30d",
        group="device",
        entity="device",
        flow="out",
        measure="counterpart",
        aggregate="distinct",
        window_ms=30 * DAY_MS,
        hop_ms=2 * DAY_MS,
        unit="accounts",
        description=f"Distinct accounts that paid from this device in 30 days, at most {DISTINCT_CAP}; "
        "missing without a device.",
    ),
)

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)


def fingerprint(features: Sequence[Feature]) -> str:
    """Hash of the ordered declarations; models carry it and serving refuses another."""
    rows = [{"declaration": type(feature).__name__, **asdict(feature)} for feature in features]
    return sha256(json.dumps(rows, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


FINGERPRINT = fingerprint(FEATURES)

CATALOGUE_COLUMNS = (
    "name",
    "group",
    "entity",
    "measure",
    "aggregate",
    "window_ms",
    "hop_ms",
    "population",
    "unit",
    "description",
)


def catalogue(features: Sequence[Feature] = FEATURES) -> list[dict[str, object]]:
    """The declarations as rows for people and tools."""
    return [{column: getattr(feature, column) for column in CATALOGUE_COLUMNS} for feature in features]


def _days_since(moment_ms: int | None, now_ms: int) -> float | None:
    return None if moment_ms is None else (now_ms - moment_ms) / DAY_MS


def _local_hour(_: Payment, event_ms: int) -> int:
    return (event_ms + BRASILIA_OFFSET_MS) // HOUR_MS % 24


def _balance_share(payment: Payment, _: int) -> float | None:
    balance = payment.payer_balance_cents
    return payment.amount_cents / balance if balance is not None and balance > 0 else None


EXPRESSIONS: dict[str, Callable[[Payment, int], float | int | bool | None]] = {
    "amount_log_reais": lambda payment, _: log1p(payment.amount_cents / 100),
    "local_hour": _local_hour,
    "is_night": lambda payment, event_ms: _local_hour(payment, event_ms) in NIGHT_HOURS,
    "is_round_amount": lambda payment, _: payment.amount_cents % ROUND_AMOUNT_CENTS == 0,
    "is_active_call": lambda payment, _: payment.active_call,
    "balance_share": _balance_share,
    "device_age_days": lambda payment, event_ms: _days_since(payment.device_registered_at_ms, event_ms),
    "payee_account_age_days": lambda payment, event_ms: _days_since(payment.payee_account_opened_at_ms, event_ms),
}

RoleReads = Mapping[str, tuple[int | float | None, ...] | None]
"""Role -> its read values, in the order of ``READ_NAMES[role]``; None without such an entity."""


READ_NAMES = {
    role: tuple(f.name for f in FEATURES if isinstance(f, WindowFeature | LastFeature) and f.entity == role)
    for role in ROLES
}
"""Role -> names of the features that the kernel reads from its state."""


def vector(payment: Payment, event_ms: int, reads: RoleReads) -> tuple[float | None, ...]:
    """The feature vector, in the order of ``FEATURES``; missing values are None.

    Args:
        payment: The payment behind the door.
        event_ms: Its event time, epoch milliseconds.
        reads: What the kernel read from each role's state.
    """
    values: dict[str, float | int | None] = {"amount_cents": payment.amount_cents}
    for role, read in reads.items():
        if read is not None:
            values.update(zip(READ_NAMES[role], read, strict=True))
    for feature in FEATURES:
        if isinstance(feature, RequestFeature):
            values[feature.name] = EXPRESSIONS[feature.measure](payment, event_ms)
        elif isinstance(feature, RatioFeature):
            values[feature.name] = _ratio(values.get(feature.numerator), values.get(feature.denominator))
    found = (values.get(name) for name in FEATURE_NAMES)
    return tuple(None if value is None else float(value) for value in found)


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return None if numerator is None or not denominator else numerator / denominator
