"""The referee: every feature by its definition, from the full list of events, with no cleverness.

Slow on purpose, in plain Python. It shares only the declarations, a payment's facts and the event types
with the kernel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt

from pix.contracts import HOUR_MS, Payment
from pix.engines.events import FLOW_BITS, FORGET_AFTER_MS, Carried, Event, Labelled, Paid, counterpart_hash
from pix.features import (
    BRASILIA_OFFSET_MS,
    DISTINCT_CAP,
    FACT_NAMES,
    FEATURES,
    FLOW_OF_ROLE,
    MISSING,
    Feature,
    LifetimeFeature,
    RatioFeature,
    RequestFeature,
    ScoreFeature,
    TimeFeature,
    WindowFeature,
    facts,
)
from pix.features.declarations import NIGHT_HOURS, REAIS_CAP, ROUND_AMOUNT_CENTS, YOUNG_ACCOUNT_MS

Histories = Mapping[str, Sequence[Event] | None]
"""Role -> its key's events in the order they were folded, up to what the payment read; None without an entity."""

ORDERED = sorted(FEATURES, key=lambda feature: isinstance(feature, RatioFeature | ScoreFeature))
"""Features after those that they are made of."""


class Past:
    """One entity's events, looked at from one moment.

    Attributes:
        events: What is remembered of them, in the order they were folded.
        payments: The payments among them.
        labels: The labels among them.
        now_ms: The later of that moment and the newest event.
    """

    def __init__(self, folded: Sequence[Event], time_ms: int) -> None:
        """Look at the events folded so far for a payment at ``time_ms``."""
        self.events = remembered_events(folded, time_ms)
        self.payments = [event for event in self.events if isinstance(event, Paid)]
        self.labels = [event for event in self.events if isinstance(event, Labelled)]
        self.now_ms = max([time_ms, *(event.time_ms for event in self.events)])
        self._inside: dict[tuple[int, int, str], list[Paid]] = {}

    def inside(self, flow: int, first_ms: int, population: str) -> list[Paid]:
        """Payments of a flow from a time on; kept, because many features ask for the same."""
        asked = (flow, first_ms, population)
        if asked not in self._inside:
            outcomes = {"allowed": (True,), "attempted": (False,), "all": (True, False)}[population]
            self._inside[asked] = [
                event
                for event in self.payments
                if event.time_ms >= first_ms and event.flows & flow and event.is_allowed in outcomes
            ]
        return self._inside[asked]


def vector(
    payment: Payment, time_ms: int, histories: Histories, *, is_imported: bool = False
) -> tuple[float | None, ...]:
    """The payment's feature vector, in the order of ``FEATURES``; missing values are None.

    Args:
        payment: The payment behind the door.
        time_ms: Its event time, epoch milliseconds.
        histories: What its entities have lived through.
        is_imported: Whether the payment comes from imported history, where attempts are unknown.
    """
    known = {name: None if n == MISSING else n for name, n in zip(FACT_NAMES, facts(payment, time_ms), strict=True)}
    pasts = {role: Past(folded, time_ms) for role, folded in histories.items() if folded is not None}
    values: dict[str, float | None] = {}
    for feature in ORDERED:
        if isinstance(feature, RequestFeature):
            values[feature.name] = of_request(feature, known)
        elif isinstance(feature, RatioFeature | ScoreFeature):
            values[feature.name] = of_others(feature, payment, values)
        elif feature.entity not in pasts:
            values[feature.name] = None
        else:
            values[feature.name] = of_past(feature, pasts[feature.entity], is_imported=is_imported)
    return tuple(values[feature.name] for feature in FEATURES)


def seen(
    payment: Payment, keys: Mapping[str, str], time_ms: int, carried: Carried, *, is_allowed: bool, is_imported: bool
) -> dict[str, Paid]:
    """Key -> the payment as that entity sees it, once it is decided.

    Args:
        payment: The payment behind the door.
        keys: Role -> key of the entity's state, for the entities that the payment has.
        time_ms: Its event time, epoch milliseconds.
        carried: What its accounts' states said when it was decided.
        is_allowed: Whether it went on.
        is_imported: Whether it comes from imported history.
    """

    def is_young(opened_at_ms: int | None) -> bool:
        return opened_at_ms is not None and time_ms - opened_at_ms < YOUNG_ACCOUNT_MS

    payer, payee = counterpart_hash(payment.payer_account), counterpart_hash(payment.payee_account)
    is_marked = (payment.payee_fraud_markers_d90 or 0) > 0
    young_payer, young_payee = (
        is_young(payment.payer_account_opened_at_ms),
        is_young(payment.payee_account_opened_at_ms),
    )
    outflow = Paid(
        *(time_ms, FLOW_BITS["out"], payment.amount_cents, payee, is_allowed),
        *(young_payee, is_marked, is_imported, carried.payee_flagged),
    )
    inflow = Paid(
        *(time_ms, FLOW_BITS["in"], payment.amount_cents, payer, is_allowed),
        *(young_payer, False, is_imported, carried.payer_flagged),
    )
    events: dict[str, Paid] = {}
    for role, key in keys.items():
        event = outflow if FLOW_OF_ROLE[role] == "out" else inflow
        # A device pays nobody itself: who pays from it is its counterpart.
        event = replace(event, counterpart=payer) if role == "device" else event
        # A person's transfer between two own accounts is one event with both roles.
        events[key] = replace(outflow, flows=FLOW_BITS["out"] | FLOW_BITS["in"]) if key in events else event
    return events


def of_request(feature: RequestFeature, known: Mapping[str, int | None]) -> float | None:
    """A fact of the payment, or what is made of it."""
    fact = known[feature.measure]
    if fact is None:
        return None
    if feature.is_code is not None:
        return 1.0 if fact == feature.is_code else 0.0
    if feature.over is not None:
        return quotient(fact, known[feature.over])
    return fact / feature.scale


def of_others(
    feature: RatioFeature | ScoreFeature, payment: Payment, values: Mapping[str, float | None]
) -> float | None:
    """A feature made of other features."""
    if isinstance(feature, ScoreFeature):
        mean, deviation = values[feature.mean], values[feature.deviation]
        return None if mean is None else quotient(payment.amount_cents / 100 - mean, deviation)
    is_amount = feature.numerator == "amount_cents"
    return quotient(payment.amount_cents if is_amount else values[feature.numerator], values[feature.denominator])


def quotient(numerator: float | None, denominator: float | None) -> float | None:
    """A ratio, missing unless the denominator is positive."""
    if numerator is None or denominator is None or denominator <= 0:
        return None
    return float(numerator) / float(denominator)


def remembered_events(folded: Sequence[Event], time_ms: int) -> list[Event]:
    """Events since the last gap of more than 120 days."""
    remembered: list[Event] = []
    clock_ms: int | None = None
    for event in folded:
        if clock_ms is not None and event.time_ms > clock_ms + FORGET_AFTER_MS:
            remembered, clock_ms = [], None
        remembered.append(event)
        if clock_ms is None or event.time_ms > clock_ms:
            clock_ms = event.time_ms
    forgotten = clock_ms is not None and time_ms > clock_ms + FORGET_AFTER_MS
    return [] if forgotten else remembered


def of_past(feature: Feature, past: Past, *, is_imported: bool) -> float | None:
    """A feature of one entity's events."""
    if isinstance(feature, TimeFeature):
        return since(feature, past.payments, past.now_ms)
    if isinstance(feature, LifetimeFeature):
        return float(sum(event.is_allowed for event in past.payments if event.flows & FLOW_BITS[feature.flow]))
    if not isinstance(feature, WindowFeature) or feature.window_ms is None or feature.hop_ms is None:
        raise TypeError(f"{feature.name} is no feature of an entity's past")
    first_ms = past.now_ms // feature.hop_ms * feature.hop_ms - feature.window_ms
    flow = FLOW_BITS[feature.flow]
    if feature.measure in ("frauds", "contests"):
        labels = [label for label in past.labels if label.flows & flow and label.measure == feature.measure]
        return float(sum(label.change for label in labels if label.counted_at_ms >= first_ms))
    if feature.population == "attempted":
        is_unknown = is_imported or any(event.is_imported and event.time_ms >= first_ms for event in past.payments)
        if is_unknown:
            return None
    return over(feature, past.inside(flow, first_ms, feature.population))


def since(feature: TimeFeature, payments: Sequence[Paid], now_ms: int) -> float | None:
    """Seconds from a moment of the entity to ``now_ms``."""
    which, what = feature.moment.split("_")
    if what == "attempt":
        times = [event.time_ms for event in payments if not event.is_allowed]
    else:
        times = [event.time_ms for event in payments if event.flows & FLOW_BITS[what]]
    moment = {"first": min, "last": max}[which]
    return (now_ms - moment(times)) / 1000 if times else None


def over(feature: WindowFeature, inside: Sequence[Paid]) -> float | None:
    """The aggregate over the payments inside the window."""
    match feature.measure, feature.aggregate:
        case "payments", "count":
            return float(len(inside))
        case "counterpart", "distinct":
            return float(min(DISTINCT_CAP, len({event.counterpart for event in inside})))
        case "amount_cents", "sum":
            return float(sum(event.amount_cents for event in inside))
        case "amount_cents", "max":
            return float(max(event.amount_cents for event in inside)) if inside else None
        case "amount_cents", "mean":
            return quotient(sum(event.amount_cents for event in inside), len(inside))
        case "reais", "mean":
            return quotient(sum(clipped_reais(inside)), len(inside))
        case "reais", "deviation":
            return deviation(clipped_reais(inside))
        case measure, "count":
            return float(sum(has(event, measure) for event in inside))
        case measure, "share":
            return quotient(sum(has(event, measure) for event in inside), len(inside))
    raise ValueError(f"{feature.name}: no meaning for {feature.aggregate} of {feature.measure}")


def clipped_reais(inside: Sequence[Paid]) -> list[int]:
    """Amounts in whole reais, each clipped."""
    return [min(event.amount_cents // 100, REAIS_CAP) for event in inside]


def deviation(values: Sequence[int]) -> float | None:
    """Standard deviation of the population: the root of the mean square less the squared mean."""
    if not values:
        return None
    mean = float(sum(values)) / len(values)
    return sqrt(max(float(sum(value * value for value in values)) / len(values) - mean * mean, 0.0))


def has(event: Paid, measure: str) -> bool:
    """Whether a payment has a property."""
    if measure == "night_payments":
        return (event.time_ms + BRASILIA_OFFSET_MS) // HOUR_MS % 24 in NIGHT_HOURS
    if measure == "round_payments":
        return event.amount_cents % ROUND_AMOUNT_CENTS == 0
    return {
        "young_counterparts": event.is_young,
        "marked_counterparts": event.is_marked,
        "flagged_counterparts": event.is_flagged,
    }[measure]
