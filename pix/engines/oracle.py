"""The referee: every feature by its definition, from the full list of events, with no cleverness.

Slow on purpose. It shares only the declarations, the event types and ``pix.features.vector`` with the
kernel.
"""

from collections.abc import Sequence

from pix.engines.kernel import FORGET_AFTER_MS, Event, Labelled, Paid
from pix.features import DISTINCT_CAP, FEATURES, LastFeature, WindowFeature


def read(folded: Sequence[Event], role: str, time_ms: int) -> tuple[int | float | None, ...]:
    """Values of the role's features for a payment at ``time_ms``.

    Args:
        folded: The key's events in the order they were folded, up to the one the payment read.
        role: Role that the entity plays in the payment.
        time_ms: The payment's event time, epoch milliseconds.
    """
    remembered = remembered_events(folded, time_ms)
    now_ms = max([time_ms, *(event.time_ms for event in remembered)])
    return tuple(
        since_last(feature, remembered, now_ms)
        if isinstance(feature, LastFeature)
        else over_window(feature, remembered, now_ms)
        for feature in FEATURES
        if isinstance(feature, WindowFeature | LastFeature) and feature.entity == role
    )


def remembered_events(folded: Sequence[Event], time_ms: int) -> list[Event]:
    """Events since the last gap of more than 120 days."""
    remembered: list[Event] = []
    clock_ms: int | None = None
    for event in folded:
        if clock_ms is not None and event.time_ms > clock_ms + FORGET_AFTER_MS:
            remembered, clock_ms = [], None
        remembered.append(event)
        clock_ms = event.time_ms if clock_ms is None else max(clock_ms, event.time_ms)
    forgotten = clock_ms is not None and time_ms > clock_ms + FORGET_AFTER_MS
    return [] if forgotten else remembered


def since_last(feature: LastFeature, events: Sequence[Event], now_ms: int) -> float | None:
    """Seconds from the newest event of the flow to ``now_ms``."""
    times = [event.time_ms for event in events if isinstance(event, Paid) and event.flow == feature.flow]
    return (now_ms - max(times)) / 1000 if times else None


def over_window(feature: WindowFeature, events: Sequence[Event], now_ms: int) -> int | float | None:
    """The aggregate over the events inside the window."""
    first_ms = now_ms // feature.hop_ms * feature.hop_ms - feature.window_ms
    if feature.measure == "frauds":
        labels = [event for event in events if isinstance(event, Labelled) and event.flow == feature.flow]
        return sum(label.change for label in labels if label.counted_at_ms >= first_ms)
    inside = [
        event
        for event in events
        if isinstance(event, Paid)
        and event.flow == feature.flow
        and event.time_ms >= first_ms
        and (event.allowed or feature.population == "all")
    ]
    if feature.aggregate == "distinct":
        return min(DISTINCT_CAP, len({event.counterpart for event in inside}))
    if feature.aggregate == "count":
        return len(inside)
    total = sum(event.amount_cents for event in inside)
    if feature.aggregate == "mean":
        return total / len(inside) if inside else None
    return total
