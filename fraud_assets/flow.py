"""Kafka's offsets against bronze, silver, gold and the service, hour by hour; what it means: ``quality.flow``."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from fraud_assets import flow_answers as answers
from fraud_assets import flow_rows as rows
from fraud_assets.declared import ARROW_KINDS, key_of, keys_of, table_asset
from fraud_assets.failures import told
from fraud_assets.flow_rows import BRONZE, Bounds, Compared, Counts, Pins
from fraud_assets.lake import LakeResource
from fraud_assets.resources import BrokerResource, OnlineStoreResource
from pix import topics
from pix.clock import epoch_ms
from pix.offline.care import gone_before, terms
from pix.offline.days import begin_ms
from pix.offline.tables import DECISIONS_GOLD, DECISIONS_SILVER, FLOW, QUARANTINE_SILVER
from pix.streams import SCORING_GROUP
from quality import flow
from quality.flow import DEAD_LETTER, NOT_YET, SUPERSEDED, UNDECIDED, UNREADABLE, Hour, Hours, Stage, Tally

if TYPE_CHECKING:
    import pyarrow as pa

    from fraud_streaming.offsets import Extent, Watermarks

TOPICS = (topics.TRANSACTIONS, topics.DECISIONS)
TOTALS = ("on_topic", "in_bronze", "in_silver", "in_gold", "in_service")
SHOWN_HOURS, SHOWN_PLACES, KEPT_PLACES = 24, 20, 20
MOST_LOOKED_AT = 20_000
"""Messages whose content is read for an explanation; where more are missing, that is the finding."""
NEVER = int(np.iinfo(np.int64).max)


class FlowConfig(dg.Config):
    """How far back to look.

    Attributes:
        days: Days before the newest message whose hours are compared; earlier hours stay as they were last seen.
    """

    days: int = 8


@dg.asset(
    **{
        **table_asset(FLOW, ARROW_KINDS),
        "deps": keys_of(*BRONZE.values(), DECISIONS_SILVER, QUARANTINE_SILVER, DECISIONS_GOLD),
    },
    io_manager_key="small_tables",
)
@told
def hourly_flow(
    lake: LakeResource, broker: BrokerResource, online_store: OnlineStoreResource, config: FlowConfig
) -> dg.MaterializeResult[Any]:
    """One hour of a topic: how many of Kafka's messages are in bronze, silver, gold and service; where others are."""
    found = _look(lake, broker.watermarks(), online_store, config.days, epoch_ms())
    kept = _kept(lake, min((hour.began_ms for hour in found), default=NEVER))
    table = FLOW.arrow([*kept, *map(_row, found)])
    return dg.MaterializeResult(
        value=table, metadata={"dagster/row_count": table.num_rows, "hours_compared": len(found), **_shown(table)}
    )


@dg.asset_check(asset=key_of(FLOW.name))
@told
def every_difference_is_explained(lake: LakeResource) -> dg.AssetCheckResult:
    """Each message that Kafka, bronze or silver has is at the next stage, or known to be elsewhere; amounts are equal.

    docs/runbook.md, A difference nobody explains, says what to do.
    """
    red = lake.ask(FLOW.name, "select * from asked where not is_explained order by hour_began_ms desc")
    named = [
        f"{row['topic']} {_instant(row['hour_began_ms'])} {stage} {place}"
        for row in red
        for stage, places in json.loads(row["nowhere"]).items()
        for place in places or ["by its counts"]
    ]
    return dg.AssetCheckResult(
        passed=not red,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(red)} hours have differences without a reason: {'; '.join(named[:3])}"
        if red
        else "every difference is explained",
        metadata={"hours": len(red), "places": named[:SHOWN_PLACES]},
    )


def _whole_from(topic: str, at_ms: int) -> int:
    """From when on bronze has every message of a topic, epoch milliseconds; rows before went by their retention."""
    name = BRONZE[topic]
    return begin_ms(gone_before(terms([name])[name], at_ms))


def _look(
    lake: LakeResource, watermarks: "Watermarks", online_store: OnlineStoreResource, days: int, at_ms: int
) -> list[Hour]:
    """Hours of both topics that have anything, the later stages read first.

    Only the service, which is ahead of Kafka, is read after them.
    """
    committed = watermarks.committed(SCORING_GROUP, topics.TRANSACTIONS)
    pins = Pins(lake)
    extents = {topic: watermarks.extents(topic) for topic in TOPICS}
    newest = max(
        *(rows.newest_in_bronze(pins, topic) for topic in TOPICS),
        *(extent.newest_ms for of_topic in extents.values() for extent in of_topic.values()),
        -1,
    )
    if newest < 0:
        return []
    began = flow.hours_until(newest, days)
    found: list[Hour] = []
    for topic in TOPICS:
        later = committed if topic == topics.TRANSACTIONS else _after(pins.ends(rows.SILVER, BRONZE[topic]))
        # Where nothing came for a year, the newest hours are so old that bronze's rows of them are gone.
        whole = _whole_from(topic, at_ms)
        if kept := tuple(hour for hour in began if hour >= whole):
            way = _Flow(pins, watermarks, topic, extents[topic], kept, later)
            found += way.hours(online_store if topic == topics.DECISIONS else None, at_ms)
    return sorted(found, key=lambda hour: (hour.began_ms, hour.topic))


class _Flow:
    """One topic's way through the lake."""

    def __init__(
        self,
        pins: Pins,
        watermarks: "Watermarks",
        topic: str,
        extents: "Mapping[int, Extent]",
        began: tuple[int, ...],
        later: flow.Offsets,
    ) -> None:
        self._pins, self._watermarks, self._topic = pins, watermarks, topic
        low = {part: extent.low for part, extent in extents.items()}
        self._bounds = Bounds(low, {part: extent.end for part, extent in extents.items()}, later)
        self._read_to = _after(pins.bronze_ends(topic))
        if topic == topics.DECISIONS:
            # What silver was made from was in bronze, also where bronze now ends before it.
            self._read_to = _largest(self._read_to, later)
        in_kafka, in_bronze = watermarks.firsts(topic, extents, began), rows.firsts_in_bronze(pins, topic, began)
        beyond = {part: max(self._bounds.end.get(part, 0), self._read_to.get(part, 0)) for part in in_kafka | in_bronze}
        self._hours = Hours(
            began,
            {
                part: np.minimum(flow.earliest([seen[part] for seen in (in_kafka, in_bronze) if part in seen]), end)
                for part, end in sorted(beyond.items())
            },
        )
        self._has_gold = topic == topics.DECISIONS

    def hours(self, online_store: OnlineStoreResource | None, at_ms: int) -> list[Hour]:
        """Its hours that have anything; without a store the service is no stage of them."""
        side = rows.bronze_and_silver(self._pins, self._topic, self._hours, self._bounds)
        stages = [self._in_kafka(), self._in_bronze(side), self._in_silver(side)]
        if self._has_gold:
            stages.append(self._in_gold(side))
        if online_store is not None:
            stages.append(self._in_service(online_store, at_ms))
        found = [
            Hour(self._topic, began_ms, of_hour)
            for began_ms, of_hour in zip(self._hours.began_ms, zip(*stages, strict=True), strict=True)
        ]
        return [hour for hour in found if any(stage.held for stage in hour.stages) or not hour.is_explained]

    def _in_kafka(self) -> list[Stage]:
        counts = self._hours.counts(self._bounds.low, self._bounds.end)
        return [Stage("topic", Tally(many, None)) for many in counts.tolist()]

    def _in_bronze(self, side: Compared) -> list[Stage]:
        low, end = self._bounds.low, self._bounds.end
        unread = self._hours.counts(_largest(low, self._read_to), end).tolist()
        nowhere: flow.Nowhere = {}
        for delta in side.strange:
            nowhere.setdefault(delta.hour, []).append(delta.place)
        for part, there in side.distinct.items():
            until = min(end.get(part, 0), self._read_to.get(part, 0))
            first, last = self._hours.ranges(part, low.get(part, 0), until)
            for hour in np.flatnonzero(last - first != there).tolist():
                missing = rows.missing_in_bronze(self._pins, self._topic, {part: (int(first[hour]), int(last[hour]))})
                nowhere.setdefault(hour, []).extend(missing)
        return [
            Stage(
                "bronze",
                held,
                _some({flow.UNREAD: Tally(unread[hour]), flow.EXPIRED: Tally(-int(side.expired[hour]))}),
                tuple(nowhere.get(hour, ())),
            )
            for hour, held in enumerate(_tallies(side.before))
        ]

    def _in_silver(self, side: Compared) -> list[Stage]:
        evidence = self._evidence(side)
        reasons, nowhere = flow.explained(side.deltas, evidence.why)
        ahead = UNDECIDED if self._topic == topics.TRANSACTIONS else NOT_YET
        stages = []
        for hour, (held, waiting) in enumerate(zip(_tallies(side.after), _tallies(side.waiting), strict=True)):
            why = reasons.get(hour, {})
            why = {**why, ahead: why.get(ahead, Tally()) + waiting}
            stages.append(Stage("silver", held, _some(why), tuple(nowhere.get(hour, ()))))
        return stages

    def _in_gold(self, before: Compared) -> list[Stage]:
        side = rows.silver_and_gold(self._pins, self._topic, self._hours)
        _, nowhere = flow.explained(side.deltas, lambda _: None)
        return [
            Stage("gold", held, _some({NOT_YET: now - then}), tuple(nowhere.get(hour, ())))
            for hour, (held, now, then) in enumerate(
                zip(_tallies(side.after), _tallies(before.after), _tallies(side.before), strict=True)
            )
        ]

    def _in_service(self, online_store: OnlineStoreResource, at_ms: int) -> list[Stage]:
        gold = answers.expected(self._pins, self._hours)
        with online_store.reading() as store:
            service = answers.held(store.records(), gold, self._hours.began_ms[0])

            def on_its_way() -> answers.Elsewhere:
                waiting = [message.record_id for message in store.unpublished(NEVER, NEVER)]
                return answers.elsewhere(self._pins, waiting, self._unread(topics.DECISIONS))

            return answers.stages(gold, service, self._hours, on_its_way, now_ms=at_ms)

    def _evidence(self, side: Compared) -> flow.Evidence:
        """What explains the rows that are missing in silver; asked for only as far as there are any."""
        missing = [delta.place for delta in side.deltas if not delta.after.rows]
        if not missing:
            return flow.Evidence()
        kinds = rows.quarantined(self._pins, self._topic, self._hours)
        rest = [place for place in missing if place not in kinds][:MOST_LOOKED_AT]
        copies, others, digests = set[flow.Place](), set[flow.Place](), dict[flow.Place, str]()
        for read in rows.messages(self._pins, self._topic, rest):
            alike, different = rows.decided_alike(self._pins, self._topic, read)
            copies |= alike
            others |= different
            digests |= {place: message.body for place, message in read.items()}
        if self._topic == topics.DECISIONS:
            # Superseded by what silver got since the quarantine was made: then they were decisions still.
            under_way = rows.decided_when(self._pins, rows.QUARANTINE, sorted(others))
            return flow.Evidence(kinds, copies, under_way, self._pins.ends(rows.QUARANTINE, BRONZE[self._topic]))
        return flow.Evidence(kinds, copies, self._under_way([each for each in rest if each not in copies], digests))

    def _under_way(self, places: Sequence[flow.Place], digests: Mapping[flow.Place, str]) -> set[flow.Place]:
        if not places:
            return set()
        tail = rows.tail(self._pins, self._unread(topics.DECISIONS, topics.DLQ))
        return {place for place in places if place in tail.origins or digests.get(place) in tail.digests}

    def _unread(self, *of: str) -> Iterator[bytes | None]:
        for topic in of:
            yield from self._watermarks.values(topic, _after(self._pins.bronze_ends(topic)))


def _after(offsets: flow.Offsets) -> dict[int, int]:
    """The next offsets."""
    return {part: offset + 1 for part, offset in offsets.items()}


def _largest(these: flow.Offsets, those: flow.Offsets) -> dict[int, int]:
    return {part: max(these.get(part, 0), those.get(part, 0)) for part in these.keys() | those.keys()}


def _tallies(counts: tuple[Counts, Counts]) -> list[Tally]:
    return [Tally(*both) for both in zip(*(each.tolist() for each in counts), strict=True)]


def _some(why: Mapping[str, Tally]) -> dict[str, Tally]:
    return {reason: tally for reason, tally in why.items() if tally}


def _row(hour: Hour) -> dict[str, Any]:
    """An hour as the table has it."""
    stages = {stage.name: stage for stage in hour.stages}
    bronze, silver, gold = (stages.get(name) for name in ("bronze", "silver", "gold"))
    if bronze is None or silver is None:
        raise ValueError(f"an hour of {hour.topic} has the stages {', '.join(stages)}, not bronze and silver")
    of_bronze, of_silver = bronze.explained, silver.explained
    left, open_ = hour.unexplained, Tally()
    service = stages.get(answers.STAGE)
    waits = gold.explained.get(NOT_YET, open_) if gold else None
    counts = {
        "copies": flow.COPY,
        "superseded": SUPERSEDED,
        "unreadable": UNREADABLE,
        "dead_letters": DEAD_LETTER,
        "undecided": UNDECIDED,
        "not_in_silver_yet": NOT_YET,
    }
    return {
        "hour_began_ms": hour.began_ms,
        "topic": hour.topic,
        "on_topic": hour.stages[0].held.rows,
        "unread": of_bronze.get(flow.UNREAD, open_).rows,
        "expired": -of_bronze.get(flow.EXPIRED, open_).rows,
        "in_bronze": bronze.held.rows,
        "bronze_cents": bronze.held.cents,
        **{name: of_silver.get(why, open_).rows for name, why in counts.items()},
        "elsewhere_cents": sum(of_silver.values(), Tally()).cents,
        "in_silver": silver.held.rows,
        "silver_cents": silver.held.cents,
        "not_in_gold_yet": waits.rows if waits else None,
        "not_in_gold_yet_cents": waits.cents if waits else None,
        "in_gold": gold.held.rows if gold else None,
        "gold_cents": gold.held.cents if gold else None,
        "forgotten": service.explained.get(answers.FORGOTTEN, open_).rows if service else None,
        "ahead_of_gold": -service.explained.get(answers.AHEAD, open_).rows if service else None,
        "service_elsewhere_cents": sum(service.explained.values(), Tally()).cents if service else None,
        "in_service": service.held.rows if service else None,
        "service_cents": service.held.cents if service else None,
        "lost_before_bronze": left["bronze"].rows,
        "lost_before_silver": left["silver"].rows,
        "lost_before_silver_cents": left["silver"].cents,
        "lost_before_gold": left["gold"].rows if gold else None,
        "lost_before_gold_cents": left["gold"].cents if gold else None,
        "lost_before_service": left[answers.STAGE].rows if service else None,
        "lost_before_service_cents": left[answers.STAGE].cents if service else None,
        "is_explained": hour.is_explained,
        "nowhere": json.dumps(
            {
                stage.name: _named(hour.topic, stage.nowhere)
                for stage in hour.stages
                if stage.nowhere or left.get(stage.name)
            }
        ),
    }


def _named(topic: str, nowhere: Iterable["flow.Place | str"]) -> list[str]:
    """Some of them, places first."""
    places = sorted(place for place in nowhere if not isinstance(place, str))
    names = sorted(name for name in nowhere if isinstance(name, str))
    return [*(f"{topic}/{part}/{offset}" for part, offset in places), *names][:KEPT_PLACES]


def _kept(lake: LakeResource, before_ms: int) -> list[dict[str, Any]]:
    """Hours before these, as they were last seen; none if the table has another shape."""
    if not lake.fits(FLOW):
        return []
    return lake.ask(FLOW.name, f"select * from asked where hour_began_ms < {before_ms}")  # noqa: S608 - a number


def _shown(table: "pa.Table") -> dict[str, Any]:
    """The newest hours as a person reads them, and sums over all."""
    shown = {
        "on_topic": "Kafka",
        "unread": "unread",
        "in_bronze": "bronze",
        "copies": "copies",
        "in_silver": "silver",
        "in_gold": "gold",
        "in_service": "service",
        "silver_cents": "silver, R$",
        "gold_cents": "gold, R$",
    }
    order = [("hour_began_ms", "descending"), ("topic", "ascending")]
    lines = [
        f"| hour, UTC | topic | {' | '.join(shown.values())} | explained |",
        "|---|---|" + "--:|" * len(shown) + "---|",
    ]
    for row in table.sort_by(order).slice(0, SHOWN_HOURS * len(TOPICS)).to_pylist():
        cells = [_cell(name, row[name]) for name in shown]
        said = "yes" if row["is_explained"] else "**no**"
        lines.append(f"| {_instant(row['hour_began_ms'])} | {row['topic']} | {' | '.join(cells)} | {said} |")
    import pyarrow.compute as pc

    totals = {name: pc.sum(table[name]).as_py() or 0 for name in TOTALS}
    return {
        "newest_hours": dg.MetadataValue.md("\n".join(lines)),
        "hours_unexplained": table.num_rows - (pc.sum(table["is_explained"]).as_py() or 0),
        **totals,
    }


def _cell(name: str, value: int | None) -> str:
    if value is None:
        return ""
    return f"{value / 100:,.2f}" if name.endswith("_cents") else f"{value:,}"


def _instant(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
