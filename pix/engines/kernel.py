"""The one meaning of an entity state: how an event is folded and how windows are read.

Used as it is by the online service and by the offline engine in Spark; refereed by
``pix.engines.oracle``. A state is a small tree of integers (tiles per declared window, newest event
times, last-seen counterparts) that packs into one blob. Its size does not depend on how busy the
entity is: windows keep ``window / hop + 1`` tiles, distinct counts the ``DISTINCT_CAP`` counterparts
seen last.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b, sha256

import msgpack

from pix.contracts import DAY_MS, Payment
from pix.features import DISTINCT_CAP, FEATURES, ROLES, LastFeature, WindowFeature

FORGET_AFTER_MS = 120 * DAY_MS
"""An event this much later than the key's clock finds an empty state."""


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment as one entity sees it.

    Attributes:
        time_ms: Event time, epoch milliseconds.
        flow: ``out`` if the entity paid, ``in`` if it received.
        amount_cents: Centavos.
        counterpart: 64-bit hash of the other side (of the payer's account for a device).
        allowed: False for an attempt that was held or blocked.
    """

    time_ms: int
    flow: str
    amount_cents: int
    counterpart: int
    allowed: bool


@dataclass(frozen=True, slots=True)
class Labelled:
    """A payment's label changed whether it counts as fraud.

    Attributes:
        time_ms: When the label became known, epoch milliseconds; the event time of this fold.
        flow: Side of the payment that the entity was on.
        change: +1 when the payment became fraud, -1 when that was taken back.
        counted_at_ms: Time under which the payment was (or is now) counted.
    """

    time_ms: int
    flow: str
    change: int
    counted_at_ms: int


Event = Paid | Labelled


@dataclass(slots=True)
class EntityState:
    """What is remembered of one key.

    Attributes:
        clock_ms: Newest event time folded.
        tiles: Per tiled series of the kind: tile number -> integer.
        last_ms: Per flow of the kind: newest event time.
        seen: Per distinct series of the kind: counterpart -> newest event time.
    """

    clock_ms: int
    tiles: list[dict[int, int]]
    last_ms: list[int | None]
    seen: list[dict[int, int]]


@dataclass(frozen=True, slots=True)
class Series:
    """Integers that several features may share."""

    flow: str
    measure: str
    population: str
    window_ms: int
    hop_ms: int


@dataclass(slots=True)
class Layout:
    """Which series a kind of entity keeps, in order; follows from the declarations."""

    tiled: list[Series] = field(default_factory=list)
    distinct: list[Series] = field(default_factory=list)
    flows: list[str] = field(default_factory=list)

    def place(self, kept: list[Series], series: Series) -> int:
        """Position of a series, added when new."""
        if series not in kept:
            kept.append(series)
        return kept.index(series)


Reader = Callable[[EntityState, int], int | float | None]


def _reader(feature: WindowFeature | LastFeature, layout: Layout) -> Reader:
    if isinstance(feature, LastFeature):
        if feature.flow not in layout.flows:
            layout.flows.append(feature.flow)
        return _since_last(layout.flows.index(feature.flow))
    kept = layout.distinct if feature.aggregate == "distinct" else layout.tiled
    series = Series(feature.flow, feature.measure, feature.population, feature.window_ms, feature.hop_ms)
    position = layout.place(kept, series)
    if feature.aggregate == "distinct":
        return _distinct(position, series)
    if feature.aggregate == "mean":
        count = Series(feature.flow, "payments", feature.population, feature.window_ms, feature.hop_ms)
        return _mean(_total(position, series), _total(layout.place(kept, count), count))
    return _total(position, series)


def _total(position: int, series: Series) -> Callable[[EntityState, int], int]:
    def read(state: EntityState, now_ms: int) -> int:
        first = now_ms // series.hop_ms - series.window_ms // series.hop_ms
        return sum(value for tile, value in state.tiles[position].items() if tile >= first)

    return read


def _mean(total: Callable[[EntityState, int], int], count: Callable[[EntityState, int], int]) -> Reader:
    def read(state: EntityState, now_ms: int) -> float | None:
        events = count(state, now_ms)
        return total(state, now_ms) / events if events else None

    return read


def _distinct(position: int, series: Series) -> Reader:
    def read(state: EntityState, now_ms: int) -> int:
        first_ms = window_start(now_ms, series.window_ms, series.hop_ms)
        return sum(1 for seen_ms in state.seen[position].values() if seen_ms >= first_ms)

    return read


def _since_last(position: int) -> Reader:
    def read(state: EntityState, now_ms: int) -> float | None:
        last_ms = state.last_ms[position]
        return None if last_ms is None else (now_ms - last_ms) / 1000

    return read


def window_start(now_ms: int, window_ms: int, hop_ms: int) -> int:
    """First event time inside a window, epoch milliseconds."""
    return now_ms // hop_ms * hop_ms - window_ms


LAYOUTS: dict[str, Layout] = {kind: Layout() for kind in dict.fromkeys(ROLES.values())}
READERS: dict[str, list[Reader]] = {
    role: [
        _reader(feature, LAYOUTS[kind])
        for feature in FEATURES
        if isinstance(feature, WindowFeature | LastFeature) and feature.entity == role
    ]
    for role, kind in ROLES.items()
}
STATE_LAYOUT = sha256(repr(LAYOUTS).encode()).hexdigest()[:16]
"""Version of the blobs; states of another layout are rebuilt, never read."""


def kind_of(key: str) -> str:
    """Kind of entity that a state's key belongs to."""
    return key.split("|", 2)[1]


def entity_keys(payment: Payment) -> dict[str, str]:
    """Role -> key of the entity's state, for the entities that the payment has."""
    keys = {
        "payer_account": account_key(payment.tenant, payment.payer_account),
        "payee_account": account_key(payment.tenant, payment.payee_account),
        "pair": f"{payment.tenant}|pair|{payment.payer_account}>{payment.payee_account}",
    }
    if payment.device_id is not None:
        keys["device"] = f"{payment.tenant}|device|{payment.device_id}"
    return keys


def account_key(tenant: str, account: str) -> str:
    """Key of an account's state."""
    return f"{tenant}|account|{account}"


def payment_event(payment: Payment, role: str, time_ms: int, *, allowed: bool) -> Paid:
    """The payment as the entity in this role sees it."""
    is_inflow = role == "payee_account"
    other = payment.payer_account if role in ("payee_account", "device") else payment.payee_account
    return Paid(time_ms, "in" if is_inflow else "out", payment.amount_cents, counterpart_hash(other), allowed)


def counterpart_hash(account: str) -> int:
    """64-bit hash of an account token."""
    return int.from_bytes(blake2b(account.encode(), digest_size=8).digest(), "little")


def empty(clock_ms: int, kind: str) -> EntityState:
    """A state that has seen nothing yet."""
    layout = LAYOUTS[kind]
    return EntityState(clock_ms, [{} for _ in layout.tiled], [None] * len(layout.flows), [{} for _ in layout.distinct])


def fold(state: EntityState | None, kind: str, event: Event) -> EntityState:
    """The state after one more event; the given state is used up.

    Late events count where they belong, as far as some window still reaches back to them. An event
    more than ``FORGET_AFTER_MS`` after the key's clock starts from empty.
    """
    layout = LAYOUTS[kind]
    if state is None or event.time_ms > state.clock_ms + FORGET_AFTER_MS:
        state = empty(event.time_ms, kind)
    state.clock_ms = max(state.clock_ms, event.time_ms)
    if isinstance(event, Labelled):
        _count(state, layout, event.flow, "frauds", event.counted_at_ms, event.change, allowed=True)
    else:
        _count(state, layout, event.flow, "payments", event.time_ms, 1, allowed=event.allowed)
        _count(
            state,
            layout,
            event.flow,
            "amount_cents",
            event.time_ms,
            event.amount_cents,
            allowed=event.allowed,
        )
        _remember(state, layout, event)
    return state


def _count(
    state: EntityState, layout: Layout, flow: str, measure: str, time_ms: int, value: int, *, allowed: bool
) -> None:
    for series, tiles in zip(layout.tiled, state.tiles, strict=True):
        if series.flow != flow or series.measure != measure or (series.population == "allowed" and not allowed):
            continue
        tile = time_ms // series.hop_ms
        tiles[tile] = tiles.get(tile, 0) + value
        first = state.clock_ms // series.hop_ms - series.window_ms // series.hop_ms
        for old in [number for number in tiles if number < first]:
            del tiles[old]


def _remember(state: EntityState, layout: Layout, event: Paid) -> None:
    for position, flow in enumerate(layout.flows):
        if flow == event.flow:
            state.last_ms[position] = max(state.last_ms[position] or 0, event.time_ms)
    for series, seen in zip(layout.distinct, state.seen, strict=True):
        if series.flow != event.flow or (series.population == "allowed" and not event.allowed):
            continue
        seen[event.counterpart] = max(seen.get(event.counterpart, 0), event.time_ms)
        if len(seen) > DISTINCT_CAP:
            # The hash breaks ties, so that every engine forgets the same one.
            del seen[min(seen, key=lambda counterpart: (seen[counterpart], counterpart))]


def read(state: EntityState | None, role: str, time_ms: int) -> tuple[int | float | None, ...]:
    """Values of the role's features for a payment at ``time_ms`` that is not folded yet.

    Args:
        state: The entity's state, None if it has none.
        role: Role that the entity plays in the payment.
        time_ms: The payment's event time, epoch milliseconds.
    """
    if state is None or time_ms > state.clock_ms + FORGET_AFTER_MS:
        state = empty(time_ms, ROLES[role])
    now_ms = max(time_ms, state.clock_ms)
    return tuple(reader(state, now_ms) for reader in READERS[role])


def pack(state: EntityState) -> bytes:
    """The state as a blob; equal states give equal bytes, whatever the order of their events."""
    parts = [
        state.clock_ms,
        [sorted(tiles.items()) for tiles in state.tiles],
        state.last_ms,
        [sorted(seen.items()) for seen in state.seen],
    ]
    packed: bytes = msgpack.packb(parts)
    return packed


def unpack(blob: bytes) -> EntityState:
    """The state that ``pack`` wrote."""
    clock_ms, tiles, last_ms, seen = msgpack.unpackb(blob)
    return EntityState(clock_ms, [dict(part) for part in tiles], last_ms, [dict(part) for part in seen])
