"""What the service would answer for a decision again, beside gold: the last stage of ``quality.flow``.

The online store's records are what a repeated request gets. They are held against gold by their ids and by all of
their bytes; of both 64 bits of a SHA-256 are kept, so that eight days of a million decisions fit in memory.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from fraud_assets import flow_rows as rows
from fraud_assets.flow_rows import BRONZE, Counts, Pins
from pix import topics
from pix.offline.runs import beyond
from pix.store.interface import RECORD_LIFE_MS
from quality.flow import HOUR_MS, Hours, Place, Stage, Tally

STAGE = "service"
FORGOTTEN, AHEAD = "forgotten", "ahead"
# As ``serving.outcomes.decision_id`` makes ids in the store.
DECISION = re.compile(r"([^|]*)\|decision\|([^|]*)")
ID_IN_SQL = "concat(tenant, '|decision|', end_to_end_id)"
AMOUNT = re.compile(rows.AMOUNT[topics.DECISIONS].encode())
DECIDED = re.compile(rb'"decided_at_ms":\s*(\d+)')
NO_RECORD = -1

Marks = npt.NDArray[np.uint64]
"""The first 64 bits of SHA-256 digests."""


def mark(content: bytes) -> int:
    """As ``_marks`` has it of the same content."""
    return int.from_bytes(sha256(content).digest()[:8], "little")


@dataclass(frozen=True)
class Expected:
    """Gold's decisions of some hours, in the order of their ids' marks.

    Attributes:
        ids: Marks of their ids in the store.
        bodies: Of the records that decided; 0 where silver has none.
        hours: Index of each one's hour.
        partitions: Of their places on ``pix.decisions``.
        offsets: Likewise.
        cents: Amounts.
        decided_ms: When each was decided, epoch milliseconds.
    """

    ids: Marks
    bodies: Marks
    hours: Counts
    partitions: Counts
    offsets: Counts
    cents: Counts
    decided_ms: Counts

    def place(self, at: int) -> Place:
        """Where one of them is on ``pix.decisions``."""
        return int(self.partitions[at]), int(self.offsets[at])

    def find(self, id_mark: int) -> int | None:
        """Index of an id; None if gold does not have it."""
        at = int(np.searchsorted(self.ids, np.uint64(id_mark)))
        return at if at < len(self.ids) and int(self.ids[at]) == id_mark else None


@dataclass(frozen=True)
class Answer:
    """A record of the service that gold does not have.

    Attributes:
        name: Tenant and EndToEndId.
        body: Mark of its bytes.
        decided_ms: Epoch milliseconds.
        cents: Its amount.
    """

    name: str
    body: int
    decided_ms: int
    cents: int


@dataclass(frozen=True)
class Answers:
    """The service's records beside those expected.

    Attributes:
        cents: Amount of each expected one's record; ``NO_RECORD`` where there is none.
        others: Indices of expected ones whose record says something else.
        more: Id in the store -> record that gold does not have.
    """

    cents: Counts
    others: set[int] = field(default_factory=set)
    more: dict[str, Answer] = field(default_factory=dict)


@dataclass(frozen=True)
class Elsewhere:
    """Records that are on their way to gold.

    Attributes:
        ids: Marks of ids that silver has.
        bodies: Marks of records that bronze or Kafka has beyond what silver was made from.
        unpublished: Ids in the store that Kafka did not take yet.
    """

    ids: Marks
    bodies: Marks
    unpublished: frozenset[str]

    def has(self, record_id: str, answer: Answer) -> bool:
        """Whether a record is among them."""
        return record_id in self.unpublished or bool(
            np.isin(np.uint64(answer.body), self.bodies) or np.isin(np.uint64(mark(record_id.encode())), self.ids)
        )


def expected(pins: Pins, hours: Hours) -> Expected:
    """Gold's decisions of these hours, with the records that silver had of them."""
    partition, offset, _ = rows.IN_SILVER[topics.DECISIONS]
    query = (
        f"select g.{partition} as p, g.{offset} as o, sha256({ID_IN_SQL}) as id, sha256(s.record) as body, "  # noqa: S608
        "g.amount_cents as cents, g.decided_at_ms as decided "
        f"from (select * from gold where {rows.since(hours, partition, offset)}) g "
        f"left join (select {partition} as p, {offset} as o, record from silver) s "
        f"on g.{partition} = s.p and g.{offset} = s.o"
    )
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    silver = pins.silver_of(rows.GOLD)
    for batch in pins.read(query, gold=rows.GOLD, silver=silver) if silver is not None else ():
        hour = np.zeros(len(batch["p"]), np.int64)
        for part in np.unique(batch["p"]).tolist():
            chosen = batch["p"] == part
            hour[chosen] = hours.of(part, batch["o"][chosen])
        marks = _marks(batch["id"]), _marks(batch["body"])
        parts.append((*marks, hour, *(batch[name] for name in ("p", "o", "cents", "decided"))))
    if not parts:
        marks, nothing = (np.zeros(0, np.uint64),) * 2, np.zeros(0, np.int64)
        return Expected(*marks, nothing, nothing, nothing, nothing, nothing)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Expected(*(column[order] for column in columns))


def held(records: Iterable[tuple[str, bytes]], gold: Expected, since_ms: int) -> Answers:
    """The service's records of decisions, beside gold's.

    Args:
        records: Id in the store and bytes; a later one of an id counts.
        gold: What to hold them against.
        since_ms: Records that gold does not have are of interest if they were decided from then on.
    """
    found = Answers(np.full(len(gold.ids), NO_RECORD, np.int64))
    for record_id, record in records:
        named = DECISION.fullmatch(record_id)
        if named is None:
            continue
        at, body = gold.find(mark(record_id.encode())), mark(record)
        if at is not None:
            found.cents[at] = _number(AMOUNT, record)
            found.others.discard(at)
            if int(gold.bodies[at]) not in (0, body) or found.cents[at] != gold.cents[at]:
                found.others.add(at)
        elif (decided_ms := _number(DECIDED, record)) >= since_ms:
            found.more[record_id] = Answer("/".join(named.groups()), body, decided_ms, _number(AMOUNT, record))
    return found


def elsewhere(pins: Pins, unpublished: Iterable[str], unread: Iterable[bytes | None]) -> Elsewhere:
    """Records on their way to gold.

    Args:
        pins: The lake.
        unpublished: Ids of records that Kafka did not take yet.
        unread: Messages of ``pix.decisions`` that bronze does not have, read after the ids before.
    """
    waiting = frozenset(unpublished)
    tail = np.array([mark(value) for value in unread if value is not None], np.uint64)
    newer = beyond(pins.ends(rows.SILVER, BRONZE[topics.DECISIONS]), "partition", "offset").replace("`", '"')
    bronze = _asked(pins, f"select sha256(value) as m from asked where {newer}", BRONZE[topics.DECISIONS])  # noqa: S608
    silver = _asked(pins, f"select sha256({ID_IN_SQL}) as m from asked", rows.SILVER)  # noqa: S608
    return Elsewhere(silver, np.concatenate([tail, bronze]), waiting)


def stages(
    gold: Expected, service: Answers, hours: Hours, on_its_way: Callable[[], Elsewhere], now_ms: int
) -> list[Stage]:
    """The service's stage of each hour.

    Args:
        gold: Gold's decisions.
        service: The service's records.
        hours: The hours.
        on_its_way: Asked only if the service has records that gold has not.
        now_ms: Epoch milliseconds; a record that is older than its life may be forgotten.
    """
    is_there = service.cents != NO_RECORD
    is_past = ~is_there & (gold.decided_ms <= now_ms - RECORD_LIFE_MS)
    nowhere: dict[int, list[Place | str]] = {}
    for at in [*np.flatnonzero(~is_there & ~is_past).tolist(), *service.others]:
        nowhere.setdefault(int(gold.hours[at]), []).append(gold.place(at))
    known, leading = on_its_way() if service.more else None, []
    more_hours = [_hour(answer, hours) for answer in service.more.values()]
    for hour, (record_id, answer) in zip(more_hours, service.more.items(), strict=True):
        if known is not None and known.has(record_id, answer):
            leading.append((hour, answer.cents))
        else:
            nowhere.setdefault(hour, []).append(answer.name)
    counted, more_cents = len(hours.began_ms), [answer.cents for answer in service.more.values()]
    here = _tallies([*gold.hours[is_there], *more_hours], [*service.cents[is_there], *more_cents], counted)
    forgotten = _tallies(gold.hours[is_past], gold.cents[is_past], counted)
    ahead = _tallies([hour for hour, _ in leading], [cents for _, cents in leading], counted)
    return [
        Stage(
            STAGE,
            here[hour],
            {why: each for why, each in ((FORGOTTEN, forgotten[hour]), (AHEAD, Tally() - ahead[hour])) if each},
            tuple(nowhere.get(hour, ())),
        )
        for hour in range(counted)
    ]


def _hour(answer: Answer, hours: Hours) -> int:
    return min(max((answer.decided_ms - hours.began_ms[0]) // HOUR_MS, 0), len(hours.began_ms) - 1)


def _tallies(hours: npt.ArrayLike, cents: npt.ArrayLike, many: int) -> list[Tally]:
    rows_of, cents_of = np.zeros(many, np.int64), np.zeros(many, np.int64)
    at = np.asarray(hours, np.int64)
    np.add.at(rows_of, at, 1)
    np.add.at(cents_of, at, np.asarray(cents, np.int64))
    return [Tally(*both) for both in zip(rows_of.tolist(), cents_of.tolist(), strict=True)]


def _asked(pins: Pins, query: str, table: str) -> Marks:
    if not pins.has(table):
        return np.zeros(0, np.uint64)
    return np.concatenate([np.zeros(0, np.uint64), *(_marks(batch["m"]) for batch in pins.read(query, asked=table))])


def _marks(digests: npt.NDArray[Any]) -> Marks:
    """First 64 bits of each; 0 for null."""
    joined = b"".join(digest[:8] if digest is not None else bytes(8) for digest in digests)
    return np.frombuffer(joined, "<u8").astype(np.uint64)


def _number(pattern: re.Pattern[bytes], record: bytes) -> int:
    found = pattern.search(record)
    return int(found[1]) if found else 0
