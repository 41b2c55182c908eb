"""What a feature declaration is. Data only: nothing here looks at a payment or an event.

The meaning of a window *w* with hop *h*: for a payment with event time *t* it covers the events
folded into the entity before the payment, with event time at or after ``floor(now / h) * h - w``,
where ``now`` is the later of *t* and the newest event time folded for that entity. The head is exact,
the tail is rounded outward to the hop, and a payment never sees itself.

Populations: ``allowed`` are payments that went on, ``attempted`` those held or blocked, ``all`` both.
"""

from dataclasses import dataclass

from pix.contracts import DAY_MS, HOUR_MS, MINUTE_MS

BRASILIA_OFFSET_MS = -3 * HOUR_MS
NIGHT_BEGINS, NIGHT_ENDS = 20, 6
NIGHT_HOURS = frozenset(hour % 24 for hour in range(NIGHT_BEGINS, NIGHT_ENDS + 24))
ROUND_AMOUNT_CENTS = 100_00
YOUNG_ACCOUNT_MS = 30 * DAY_MS
DISTINCT_CAP = 64
REAIS_CAP = 10**6
"""Deviations are of whole reais, clipped here, so that their squares fit into integers."""

WINDOWS = {
    "1m": (MINUTE_MS, 5_000),
    "10m": (10 * MINUTE_MS, 50_000),
    "1h": (HOUR_MS, 5 * MINUTE_MS),
    "6h": (6 * HOUR_MS, 30 * MINUTE_MS),
    "24h": (DAY_MS, 2 * HOUR_MS),
    "7d": (7 * DAY_MS, 12 * HOUR_MS),
    "30d": (30 * DAY_MS, 2 * DAY_MS),
    "90d": (90 * DAY_MS, 6 * DAY_MS),
}
"""Name of a window -> its length and its hop, milliseconds."""

SPANS = {
    "1m": "the last minute",
    "10m": "the last 10 minutes",
    "1h": "the last hour",
    "6h": "the last 6 hours",
    "24h": "the last 24 hours",
    "7d": "the last 7 days",
    "30d": "the last 30 days",
    "90d": "the last 90 days",
}

ROLES = {
    "payer_account": "account",
    "payee_account": "account",
    "pair": "pair",
    "device": "device",
    "payer_person": "person",
    "payee_person": "person",
}
"""Role that an entity plays in a payment -> kind of entity state."""

FLOW_OF_ROLE = {
    "payer_account": "out",
    "payee_account": "in",
    "pair": "out",
    "device": "out",
    "payer_person": "out",
    "payee_person": "in",
}
"""Role -> side on which the entity stands in the payment: ``out`` pays, ``in`` receives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """What every declaration says; the columns of the catalogue."""

    name: str
    group: str
    entity: str
    measure: str
    aggregate: str
    window_ms: int | None = None
    hop_ms: int | None = None
    population: str = "all"
    unit: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFeature(Feature):
    """A fact of the payment itself (``pix.features.facts``), missing if the fact is.

    ``is_code`` turns a coded fact into a flag; ``over`` divides by another fact, missing unless that is
    positive; ``scale`` divides by a constant.
    """

    entity: str = "payment"
    aggregate: str = "value"
    is_code: int | None = None
    over: str | None = None
    scale: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFeature(Feature):
    """An aggregate over an entity's earlier events in a sliding window.

    ``flow`` is ``out`` for what the entity paid, ``in`` for what it received. ``measure`` is what is
    aggregated; ``aggregate`` is count, sum, mean, deviation, max, share or distinct.
    """

    flow: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeFeature(Feature):
    """Seconds between ``now`` and a moment of the entity; missing where there was none.

    ``moment``: first_out, last_out, first_in, last_in (payments of any outcome) or last_attempt.
    """

    moment: str
    measure: str = "event_time"
    aggregate: str = "since"
    unit: str = "seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class LifetimeFeature(Feature):
    """Allowed payments of a flow since the entity's state began."""

    flow: str
    measure: str = "payments"
    aggregate: str = "count"
    population: str = "allowed"
    unit: str = "payments"


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioFeature(Feature):
    """``numerator / denominator``: other features or ``amount_cents``; missing unless the latter is positive."""

    numerator: str
    denominator: str
    aggregate: str = "ratio"
    unit: str = "ratio"
    population: str = "allowed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFeature(Feature):
    """``(amount in reais - mean) / deviation`` of two other features; missing unless the latter is positive."""

    mean: str
    deviation: str
    measure: str = "amount_reais"
    aggregate: str = "score"
    unit: str = "deviations"
    population: str = "allowed"
