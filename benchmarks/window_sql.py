"""Declarations as SQL, for who doubts the engine: the usual RANGE windows, and a join with the windows' true edges.

``range_query`` is what one would write first, in DuckDB or Spark: windows of constant length before each payment.
``hop_query`` has the platform's tail (rounded outward to the hop) and takes all events of a key, so that on payments
in order and with unique times, without labels or attempts, it must say what the kernel says. Both are made from the
declarations; what SQL cannot say in one frame is left out.
"""

from collections.abc import Sequence

from pix.features import (
    DISTINCT_CAP,
    FEATURES,
    FLOW_OF_ROLE,
    Feature,
    LifetimeFeature,
    TimeFeature,
    WindowFeature,
)
from pix.features.declarations import WINDOWS

FRAME_ROLES = ("payer_account", "payee_account", "pair", "device")
"""Roles whose windows are frames over the payments themselves: one side of each payment, nobody on both sides."""

_FLAGS = {"night_payments": "night", "round_payments": "rounded"}
_LONGEST, _LONGEST_HOP = WINDOWS["90d"]


def _aggregate(feature: WindowFeature, over: str) -> str | None:
    """The aggregate, each part with ``over`` behind it; None where SQL has no such thing in one frame."""
    count = f"count(amount) {over}"

    def share(part: str) -> str:
        return f"cast(sum({part}) {over} as double) / nullif({count}, 0)"

    match feature.measure, feature.aggregate:
        case "payments", "count":
            return f"cast({count} as double)" if feature.population != "attempted" else None
        case "amount_cents", "sum":
            return f"cast(coalesce(sum(amount) {over}, 0) as double)"
        case "amount_cents", "max":
            return f"cast(max(amount) {over} as double)"
        case "amount_cents", "mean":
            return share("amount")
        case "reais", "mean":
            return share("reais")
        case "reais", "deviation":
            spread = f"{share('reais * reais')} - {share('reais')} * ({share('reais')})"
            # `greatest` would make a zero of what is missing.
            return f"sqrt(case when {count} > 0 then greatest({spread}, cast(0 as double)) end)"
        case measure, "share" if measure in _FLAGS:
            return share(_FLAGS[measure])
    return None


def in_frames() -> list[WindowFeature]:
    """Features that a RANGE frame over one side of the payments can say."""
    return [
        feature
        for feature in FEATURES
        if isinstance(feature, WindowFeature)
        and feature.entity in FRAME_ROLES
        and feature.flow == FLOW_OF_ROLE[feature.entity]
        and _aggregate(feature, "") is not None
    ]


def range_query(table: str) -> str:
    """Every feature of ``in_frames`` by RANGE windows of constant length, for DuckDB and Spark alike.

    Args:
        table: With columns id, t, amount, reais, night, rounded, and the key of each of ``FRAME_ROLES``.
    """
    chosen, frames = [], []
    for feature in in_frames():
        frame = f"{feature.entity}_{feature.window_ms}"
        before = f"range between {feature.window_ms} preceding and 1 preceding"
        window = f"{frame} as (partition by {feature.entity} order by t {before})"
        if window not in frames:
            frames.append(window)
        chosen.append(f"{_aggregate(feature, f'over {frame}')} as {feature.name}")
    return f"select id, {', '.join(chosen)} from {table} window {', '.join(frames)}"


def in_hops() -> list[Feature]:
    """Features that a join over all earlier events of a key can say."""
    return [f for f in FEATURES if _joined(f) is not None]


def _joined(feature: Feature) -> str | None:
    match feature:
        case WindowFeature(aggregate="distinct"):
            inside = f"filter (where {_inside(feature)})"
            return f"cast(least({DISTINCT_CAP}, count(distinct e.counterpart) {inside}) as double)"
        case WindowFeature():
            return _aggregate(feature, f"filter (where {_inside(feature)})")
        case TimeFeature(moment=moment) if moment != "last_attempt":
            which, flow = moment.split("_")
            first = {"first": "min", "last": "max"}[which]
            return f"(p.t - {first}(e.t) filter (where e.flow = '{flow}')) / cast(1000 as double)"
        case LifetimeFeature():
            return f"cast(count(*) filter (where e.flow = '{feature.flow}') as double)"
    return None


def _inside(feature: WindowFeature) -> str:
    return f"e.flow = '{feature.flow}' and e.t >= p.t // {feature.hop_ms} * {feature.hop_ms} - {feature.window_ms}"


def hop_query(role: str, payments: str, events: str) -> tuple[Sequence[str], str]:
    """One role's features of ``in_hops`` for DuckDB: their names, and the query (id, then one column each).

    Args:
        role: Role of the entity.
        payments: Table with id, t and the role's key (null without such an entity).
        events: Table with key, t, flow (``out`` or ``in``), counterpart, amount, reais, night, rounded. All of a
            key's events must lie within 90 days.
    """
    chosen = [feature for feature in in_hops() if feature.entity == role]
    columns = ", ".join(f"case when p.{role} is not null then {_joined(f)} end as {f.name}" for f in chosen)
    reach = f"e.t >= p.t // {_LONGEST_HOP} * {_LONGEST_HOP} - {_LONGEST}"
    return (
        [feature.name for feature in chosen],
        f"select p.id, {columns} from (select id, t, {role} from {payments}) p left join {events} e "
        f"on e.key = p.{role} and e.t < p.t and {reach} group by p.id, p.t, p.{role} order by p.id",
    )
