"""Rows of the lake as ``quality.flow`` compares them: read by delta-rs, a batch at a time, without Spark.

Each table is opened once and read at that version, later stages before earlier ones: what comes meanwhile is at an
earlier stage only, where it counts as not yet taken.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fraud_assets import notes
from fraud_assets.lake import LakeResource
from pix import topics
from pix.offline.days import day_at, listed, widened
from pix.offline.runs import beyond
from pix.offline.tables import DECISIONS_GOLD, DECISIONS_SILVER, QUARANTINE_SILVER
from quality.flow import HOUR_MS, Delta, Hours, Offsets, Place, Tally

if TYPE_CHECKING:
    from deltalake import DeltaTable

SILVER, GOLD, QUARANTINE = DECISIONS_SILVER.name, DECISIONS_GOLD.name, QUARANTINE_SILVER.name
BRONZE = {topic: topics.bronze_table(topic) for topic in (topics.TRANSACTIONS, topics.DECISIONS, topics.DLQ)}
NOTHING = "select 0 as p, 0 as o, 0 as n, 0 as cents where false"
CHUNK = 500
PLACE = ('"partition"', '"offset"')
# Canonical JSON has neither blanks nor nested objects in a payment or an origin, and escapes quotes within texts.
AMOUNT = {
    topics.TRANSACTIONS: r'"amount_cents":\s*(\d+)',
    topics.DECISIONS: r'"payment":\s*\{[^}]*"amount_cents":\s*(\d+)',
}
ORIGIN, DIGEST = r'"origin":\s*(\{[^}]*\})', r'"payment_digest":\s*"([0-9a-f]+)"'
IN_SILVER = {
    topics.TRANSACTIONS: ("origin_partition", "origin_offset", f"origin_topic = '{topics.TRANSACTIONS}'"),
    topics.DECISIONS: ("decision_partition", "decision_offset", "true"),
}
"""Topic -> columns of the place of its message in silver and gold, and which rows have one."""

Counts = npt.NDArray[np.int64]


class Pins:
    """The lake's tables as they were at one time."""

    def __init__(self, lake: LakeResource) -> None:
        """Open them, the last stage first."""
        names = (GOLD, QUARANTINE, SILVER, *BRONZE.values())
        self._logs = {name: lake.log(name) if lake.exists(name) else None for name in names}
        self.notes = {name: notes.newest(log) if log is not None else None for name, log in self._logs.items()}

    def read(self, query: str, **tables: "str | DeltaTable | None") -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Batches of a query over these tables, by their names in it, as columns."""
        import pyarrow as pa
        from deltalake import QueryBuilder

        builder = QueryBuilder()
        for name, table in tables.items():
            log = self._logs[table] if isinstance(table, str) else table
            if log is not None:
                builder = builder.register(name, log)
        for batch in builder.execute(query):
            found = pa.record_batch(batch)
            yield {
                name: column.to_numpy(zero_copy_only=False)
                for name, column in zip(found.schema.names, found.columns, strict=True)
            }

    def rows(self, query: str, **tables: "str | DeltaTable | None") -> list[tuple[Any, ...]]:
        """The few rows of a query, as values of Python."""
        return [
            row
            for batch in self.read(query, **tables)
            for row in zip(*(column.tolist() for column in batch.values()), strict=True)
        ]

    def has(self, table: str) -> bool:
        """Whether the table is there."""
        return self._logs[table] is not None

    def ends(self, table: str, source: str) -> Offsets:
        """Up to where a table's note says that it was made from a bronze table."""
        return notes.ends_of(self.notes[table], source)

    def bronze_ends(self, topic: str) -> dict[int, int]:
        """Partition -> greatest offset in bronze."""
        if not self.has(BRONZE[topic]):
            return {}
        return dict(self.rows('select "partition", max("offset") from asked group by 1', asked=BRONZE[topic]))

    def silver_of(self, table: str) -> "DeltaTable | None":
        """silver/decisions as a table saw it that is made from it; None if it saw none."""
        from deltalake import DeltaTable

        now, seen = self._logs[SILVER], (self.notes[table] or {}).get("made_from", {}).get(SILVER)
        if now is None or seen is None or not self.has(table):
            return None
        if notes.changes(now, seen).days == frozenset():
            return now
        return DeltaTable(now.table_uri, version=seen)


def firsts_in_bronze(pins: Pins, topic: str, times_ms: tuple[int, ...]) -> dict[int, list[int]]:
    """Partition -> for each time the first offset in bronze of that time or later; more than any if there is none."""
    if not pins.has(BRONZE[topic]):
        return {}
    query = (
        f'select "partition", timestamp_ms / {HOUR_MS} as hour, min("offset") from asked '  # noqa: S608 - numbers
        f"where timestamp_ms >= {times_ms[0]} group by 1, 2"
    )
    none = np.iinfo(np.int64).max
    found: dict[int, list[int]] = {partition: [none] * len(times_ms) for partition in pins.bronze_ends(topic)}
    for partition, hour, offset in pins.rows(query, asked=BRONZE[topic]):
        found[partition][hour - times_ms[0] // HOUR_MS] = offset
    return found


def newest_in_bronze(pins: Pins, topic: str) -> int:
    """Greatest time of a topic's messages in bronze, epoch milliseconds; −1 if it has none."""
    if not pins.has(BRONZE[topic]):
        return -1
    (row,) = pins.rows("select coalesce(max(timestamp_ms), -1) from asked", asked=BRONZE[topic])
    return int(row[0])


@dataclass
class Compared:
    """Two stages of a topic side by side, by hour.

    Attributes:
        before: Rows and amounts of the earlier stage, by hour.
        after: Of the later one.
        waiting: Of those of the earlier one that the later one was not made from yet.
        distinct: Partition -> places of the earlier stage that its log has, by hour.
        expired: Rows of the earlier stage that its log has no more.
        strange: Places that the earlier stage has twice, or its log never had.
        deltas: Places that differ otherwise.
    """

    before: tuple[Counts, Counts]
    after: tuple[Counts, Counts]
    waiting: tuple[Counts, Counts]
    distinct: dict[int, Counts]
    expired: Counts
    strange: list[Delta] = field(default_factory=list)
    deltas: list[Delta] = field(default_factory=list)


@dataclass(frozen=True)
class Bounds:
    """Where a topic's partitions begin and end, and which offsets cannot be at the next stage yet.

    Attributes:
        low: First offset that Kafka still has.
        end: Its next one.
        later: First offset that the next stage was not made from; every one where it is not named.
    """

    low: Offsets
    end: Offsets
    later: Offsets


def compared(batches: Iterable[Mapping[str, npt.NDArray[Any]]], hours: Hours, bounds: Bounds) -> Compared:
    """Count a full join of two stages on their places: columns p, o, and rows and cents of before and after."""
    many = len(hours.began_ms)

    def counts() -> tuple[Counts, Counts]:
        return np.zeros(many, np.int64), np.zeros(many, np.int64)

    distinct = {partition: np.zeros(many, np.int64) for partition in hours.firsts}
    found = Compared(counts(), counts(), counts(), distinct, np.zeros(many, np.int64))
    for batch in batches:
        for partition in np.unique(batch["p"]).tolist():
            of_partition = batch["p"] == partition
            _count(found, partition, {name: column[of_partition] for name, column in batch.items()}, hours, bounds)
    return found


def _count(found: Compared, part: int, rows: Mapping[str, npt.NDArray[Any]], hours: Hours, bounds: Bounds) -> None:
    offsets, hour = rows["o"], hours.of(part, rows["o"])
    low, end, later = (of.get(part, 0) for of in (bounds.low, bounds.end, bounds.later))
    is_before, is_waiting = rows["bn"] > 0, (rows["an"] == 0) & (offsets >= later)
    for totals, kind, chosen in (
        (found.before, "b", is_before),
        (found.after, "a", rows["an"] > 0),
        (found.waiting, "b", is_waiting),
    ):
        for total, column in zip(totals, ("n", "c"), strict=True):
            np.add.at(total, hour[chosen], rows[kind + column][chosen])
    np.add.at(found.distinct[part], hour[is_before & (offsets >= low) & (offsets < end)], 1)
    np.add.at(found.expired, hour[is_before & (offsets < low)], rows["bn"][is_before & (offsets < low)])
    is_strange = is_before & ((rows["bn"] > 1) | (offsets >= end))
    differs = ((rows["bn"] != rows["an"]) | (rows["bc"] != rows["ac"])) & ~is_waiting
    for chosen, deltas in ((is_strange, found.strange), (differs, found.deltas)):
        columns = (offsets, hour, *(rows[name] for name in ("bn", "bc", "an", "ac")))
        for offset, index, *held in zip(*(column[chosen].tolist() for column in columns), strict=True):
            deltas.append(Delta((part, offset), index, Tally(*held[:2]), Tally(*held[2:])))


JOIN = (
    "select cast(coalesce(b.p, a.p) as bigint) as p, coalesce(b.o, a.o) as o, "
    "coalesce(b.n, 0) as bn, coalesce(b.cents, 0) as bc, coalesce(a.n, 0) as an, coalesce(a.cents, 0) as ac "
    "from ({before}) b full join ({after}) a on b.p = a.p and b.o = a.o"
)


def bronze_and_silver(pins: Pins, topic: str, hours: Hours, bounds: Bounds) -> Compared:
    """A topic's messages in bronze beside the decisions in silver that came of them, or are them."""
    cents = f"cast(regexp_match(value, '{AMOUNT[topic]}')[1] as bigint)"
    before = _places("before", (*PLACE, "true"), hours, cents) if pins.has(BRONZE[topic]) else ""
    after = _places("after", IN_SILVER[topic], hours, "amount_cents") if pins.has(SILVER) else ""
    query = JOIN.format(before=before or NOTHING, after=after or NOTHING)
    return compared(pins.read(query, before=BRONZE[topic], after=SILVER), hours, bounds)


def silver_and_gold(pins: Pins, topic: str, hours: Hours) -> Compared:
    """silver/decisions, as gold/decisions saw it, beside the latter."""
    then = pins.silver_of(GOLD)
    before = _places("before", IN_SILVER[topic], hours, "amount_cents") if then is not None else NOTHING
    after = _places("after", IN_SILVER[topic], hours, "amount_cents") if pins.has(GOLD) else NOTHING
    everywhere = dict.fromkeys(hours.firsts, np.iinfo(np.int64).max)
    batches = pins.read(JOIN.format(before=before, after=after), before=then, after=GOLD)
    return compared(batches, hours, Bounds({}, everywhere, everywhere))


def _places(table: str, place: tuple[str, str, str], hours: Hours, cents: str) -> str:
    partition, offset, where = place
    return (
        f"select {partition} as p, {offset} as o, count(*) as n, sum({cents}) as cents from {table} "  # noqa: S608
        f"where {where} and {since(hours, partition, offset)} group by 1, 2"
    )


def since(hours: Hours, partition: str, offset: str) -> str:
    """SQL that is true of places in these hours, or later."""
    each = [f"({partition} = {part} and {offset} >= {firsts[0]})" for part, firsts in sorted(hours.firsts.items())]
    return f"({' or '.join(each) or 'false'})"


def missing_in_bronze(pins: Pins, topic: str, ranges: Mapping[int, tuple[int, int]]) -> Iterator[Place]:
    """Offsets from the first up to, not including, the second of each partition that bronze does not have."""
    for part, (first, end) in ranges.items():
        query = f'select "offset" from asked where "partition" = {part} and "offset" >= {first} and "offset" < {end}'  # noqa: S608
        there = pins.rows(query, asked=BRONZE[topic]) if pins.has(BRONZE[topic]) else []
        for offset in np.setdiff1d(np.arange(first, end), np.array([row[0] for row in there], np.int64)).tolist():
            yield part, offset


def quarantined(pins: Pins, topic: str, hours: Hours) -> dict[Place, str]:
    """Place of a topic's message -> why it is in quarantine."""
    if not pins.has(QUARANTINE):
        return {}
    where = f"topic = '{topic}' and {since(hours, *PLACE)}"
    rows = pins.rows(f'select "partition", "offset", kind from asked where {where}', asked=QUARANTINE)  # noqa: S608
    return {(int(part), int(offset)): kind for part, offset, kind in rows}


@dataclass(frozen=True)
class Message:
    """What a message in bronze says of the decision that it belongs to.

    Attributes:
        identity: Tenant and EndToEndId.
        event_ms: The payment's time, or its initiation; the decision's day is that one, or one beside it.
        body: What a decision of the same content has: the record itself, or the payment's digest.
    """

    identity: tuple[str, str]
    event_ms: int
    body: str


def messages(pins: Pins, topic: str, places: Sequence[Place]) -> Iterator[dict[Place, Message]]:
    """The readable ones of some places of bronze, a chunk at a time."""
    for start in range(0, len(places), CHUNK):
        chunk = places[start : start + CHUNK]
        where = _at(chunk, *PLACE)
        query = f'select "partition", "offset", value from asked where {where}'  # noqa: S608 - numbers
        rows = pins.rows(query, asked=BRONZE[topic])
        read = {(part, offset): _message(topic, value) for part, offset, value in rows}
        yield {place: message for place, message in read.items() if message is not None}


def decided_when(pins: Pins, table: str, places: Sequence[Place]) -> set[Place]:
    """Those of some places of ``pix.decisions`` that were decisions in silver when a table was made from it."""
    then, found = pins.silver_of(table), set[Place]()
    for start in range(0, len(places) if then is not None else 0, CHUNK):
        where = _at(places[start : start + CHUNK], "decision_partition", "decision_offset")
        found.update(pins.rows(f"select decision_partition, decision_offset from asked where {where}", asked=then))  # noqa: S608
    return found


def _at(places: Sequence[Place], partition: str, offset: str) -> str:
    return " or ".join(
        f"({partition} = {part} and {offset} in ({', '.join(str(o) for p, o in places if p == part)}))"
        for part in sorted({part for part, _ in places})
    )


def _message(topic: str, value: str | None) -> Message | None:
    try:
        said = json.loads(value or "")
        identity, is_record = (said["tenant"], said["end_to_end_id"]), topic == topics.DECISIONS
        at_ms = said["event_time_ms" if is_record else "initiated_at_ms"]
    except (ValueError, KeyError, TypeError):
        return None
    text = value or ""
    return Message(identity, at_ms, text if is_record else sha256(text.encode()).hexdigest())


def decided_alike(pins: Pins, topic: str, found: Mapping[Place, Message]) -> tuple[set[Place], set[Place]]:
    """Places of messages that say what silver has of their payment, and of those that say something else of it."""
    if not found or not pins.has(SILVER):
        return set(), set()
    what = "record" if topic == topics.DECISIONS else "payment_digest"
    ids = ", ".join("'" + message.identity[1].replace("'", "''") + "'" for message in found.values())
    days = listed(widened({day_at(message.event_ms) for message in found.values()}, 1))
    query = f"select tenant, end_to_end_id, {what} from asked where event_day in ({days}) and end_to_end_id in ({ids})"  # noqa: S608
    held = {(tenant, identity): body for tenant, identity, body in pins.rows(query, asked=SILVER)}
    alike = {place for place, message in found.items() if held.get(message.identity) == message.body}
    return alike, {place for place, message in found.items() if message.identity in held} - alike


@dataclass(frozen=True)
class Tail:
    """What the logs say that silver and quarantine were not made from yet.

    Attributes:
        origins: Places of ``pix.transactions`` that were decided or refused.
        digests: Of payments that were decided.
    """

    origins: frozenset[Place]
    digests: frozenset[str]


def tail(pins: Pins, unread: Iterable[bytes | None]) -> Tail:
    """Read it, in bronze beyond what silver and quarantine were made from.

    Args:
        pins: The lake.
        unread: Messages of ``pix.decisions`` and ``pix.dlq`` that bronze does not have yet.
    """
    said = [_said(value.decode(errors="replace")) for value in unread if value is not None]
    for topic, reader in ((topics.DECISIONS, SILVER), (topics.DLQ, QUARANTINE)):
        if not pins.has(BRONZE[topic]):
            continue
        newer = beyond(pins.ends(reader, BRONZE[topic]), "partition", "offset").replace("`", '"')
        matches = ", ".join(f"regexp_match(value, '{pattern}')[1]" for pattern in (ORIGIN, DIGEST))
        said += pins.rows(f"select {matches} from asked where {newer}", asked=BRONZE[topic])  # noqa: S608
    origins = [json.loads(origin) for origin, _ in said if origin]
    ours = {(o["partition"], o["offset"]) for o in origins if o.get("topic") == topics.TRANSACTIONS}
    return Tail(frozenset(ours), frozenset(digest for _, digest in said if digest))


def _said(text: str) -> tuple[str | None, str | None]:
    origin, digest = re.search(ORIGIN, text), re.search(DIGEST, text)
    return origin and origin[1], digest and digest[1]
