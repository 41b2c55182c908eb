"""Bronze to silver: what happened, typed, once each, by the day. When a day is written is `fraud_assets.daily`'s."""

from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets import notes
from fraud_assets.daily import Daily, News, daily_asset, keep
from fraud_assets.declared import keys_of
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from pix import topics
from pix.contracts import DAY_MS
from pix.offline import silver
from pix.offline.care import EXPIRED
from pix.offline.days import ALLOWED_LATENESS_MS, Days, begin_ms, day_at, day_of, widened, within, within_ms
from pix.offline.declaration import Table
from pix.offline.runs import beyond
from pix.offline.tables import (
    BRONZE_COLUMNS,
    DECISIONS_SILVER,
    HISTORY_IMPORTS,
    HISTORY_LABELS,
    HISTORY_PAYMENTS,
    HISTORY_REFUSED,
    LABELS_SILVER,
    PAYMENTS_SILVER,
    QUARANTINE_SILVER,
    SHADOW_SILVER,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BRONZE_DECISIONS = topics.bronze_table(topics.DECISIONS)
BRONZE_LABELS = topics.bronze_table(topics.LABELS)
BRONZE_DLQ = topics.bronze_table(topics.DLQ)
BRONZE_FOLDS = topics.bronze_table(topics.FOLDS)
BRONZE_SHADOW = topics.bronze_table(topics.SHADOW)
# Records of one id are at most two days apart: their ids' minute is the same, and at most 12 hours and a minute from
# either's event time.
SAME_ID_DAYS = 2
# How much earlier than the event Kafka's time of a record may be, if clocks differ.
CLOCKS_MS = DAY_MS
NEWEST_EVENT = "select max(event_time_ms) as at_ms from asked"


def bronze(lake: LakeResource, table: str, *, version: int | None = None) -> "DataFrame":
    """A bronze table; without rows as long as the streams of this home never ran.

    Bronze that is gone after decisions were made is a loss, not a beginning: silver must not be emptied.

    Raises:
        fraud_assets.lake.MissingTable: The table is gone.
    """
    if lake.exists(table) or lake.rows(DECISIONS_SILVER.name):
        # A row whose time is over is a place, and no message any more.
        return lake.read(table, version=version).where(f"reason is null or reason <> '{EXPIRED}'")
    return lake.empty(Table(table, "One message of the topic.", BRONZE_COLUMNS))


class _Read:
    """A bronze table as it is now, and what of it came since a note. It grows meanwhile, so it is read by version."""

    def __init__(self, lake: LakeResource, table: str) -> None:
        self.table = table
        version = lake.version(table) if lake.exists(table) else None
        self.rows = bronze(lake, table, version=version)
        self.ends: notes.Ends = lake.ends(table, version=version)

    def since(self, note: notes.Note | None) -> "DataFrame | None":
        """Rows that a note does not cover; None if there are none."""
        known = notes.ends_of(note, self.table)
        return self.rows.where(beyond(known, "partition", "offset")) if known != self.ends else None


def _note_of(*read: _Read, **said: Any) -> notes.Note:
    return {"read": {each.table: {str(part): end for part, end in sorted(each.ends.items())} for each in read}, **said}


@dg.asset(**daily_asset(DECISIONS_SILVER), deps=keys_of(BRONZE_DECISIONS))
@told
def decisions(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One decided payment: the first record of its id on pix.decisions.

    A day is closed when an event a day past its end is known; a row that comes later is late: it opens its day again,
    is counted, and what is downstream of that day is stale until it is made again.
    """
    source = _Read(lake, BRONZE_DECISIONS)
    found: list[DataFrame] = []

    def news(note: notes.Note | None) -> News:
        new = None if note is None else source.since(note)
        if new is None:
            return News(None if note is None else frozenset(), _note_of(source))
        found.append(silver.decided_ids(new).persist())
        days, arrivals, late = _decided_days(lake, found[0])
        return News(days, _note_of(source), late, {"arrivals": arrivals})

    def anew(days: Days) -> "DataFrame":
        if days is None:
            return silver.decisions(silver.decision_records(source.rows))
        near = widened(days, SAME_ID_DAYS)
        since = source.rows.where(f"timestamp_ms >= {begin_ms(min(near)) - CLOCKS_MS}")
        candidates = silver.decision_records(since).where(within("event_day", near))
        return silver.decisions(candidates).where(within("event_day", days))

    def merged(days: frozenset[date], note: notes.Note) -> "DataFrame":
        known = lake.read(DECISIONS_SILVER.name).where(within("event_day", days))
        new = source.since(note)
        return known if new is None else silver.merged_decisions(known, new, found[0])

    try:
        return keep(context, lake, Daily(DECISIONS_SILVER, news, anew, merged))
    finally:
        for ids in found:
            ids.unpersist()


def _decided_days(lake: LakeResource, found: "DataFrame") -> tuple[frozenset[date], list[str], dict[str, Any]]:
    """Event days that new records concern, arrival days of records that they may replace, and what came late.

    Args:
        lake: Has silver/decisions.
        found: ``silver.decided_ids`` of the new records.
    """
    rows = silver.days_of(found)
    if not rows:
        return frozenset(), [], {}
    near = lake.read(DECISIONS_SILVER.name).where(within("event_day", widened(rows, SAME_ID_DAYS)))
    same = near.join(found.select(*silver.IDENTITY).distinct(), [*silver.IDENTITY], "left_semi")
    known = same.select("event_day", day_of("published_at_ms")).distinct().collect()
    (newest,) = lake.ask(DECISIONS_SILVER.name, NEWEST_EVENT)
    late = {}
    if newest["at_ms"] is not None:
        open_from = day_at(newest["at_ms"] - ALLOWED_LATENESS_MS)
        late = {day: many for day, many in rows.items() if day < open_from}
    said = {"late_rows": sum(late.values()), "days_opened_again": ", ".join(str(day) for day in sorted(late)) or "none"}
    days = frozenset(rows) | {row[0] for row in known}
    return days, sorted({str(row[1]) for row in known}), said


@dg.asset(**daily_asset(PAYMENTS_SILVER), deps=keys_of(DECISIONS_SILVER, HISTORY_PAYMENTS))
@told
def payments(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One payment, decided here or imported from the past; an id that has a decision is not history."""
    version = lake.version(DECISIONS_SILVER.name)
    decided = lake.read(DECISIONS_SILVER.name, version=version)
    history = lake.read_or_empty(HISTORY_PAYMENTS)
    imported = newest_import(lake, HISTORY_PAYMENTS)
    said = {"made_from": {DECISIONS_SILVER.name: version}, "imported": imported}

    def news(note: notes.Note | None) -> News:
        if note is None:
            return News(None, said)
        changed = notes.changes(lake.log(DECISIONS_SILVER.name), note["made_from"][DECISIONS_SILVER.name]).days
        if changed is None:
            return News(None, said)
        days = set(changed)
        if imported > note["imported"]:
            new = history.where(f"import_number > {note['imported']}")
            days |= silver.days_of(new.select(day_of("event_time_ms").alias("day"))).keys()
        if imported and changed:
            ids = decided.where(within("event_day", changed)).select(*silver.IDENTITY)
            replaced = history.join(ids, [*silver.IDENTITY], "left_semi")
            days |= silver.days_of(replaced.select(day_of("event_time_ms").alias("day"))).keys()
        return News(frozenset(days), said)

    def anew(days: Days) -> "DataFrame":
        past = history.where(within_ms("event_time_ms", days)).where(within(day_of("event_time_ms"), days))
        undecided = silver.undecided(past, decided) if imported else past
        return silver.payments(decided.where(within("event_day", days)), undecided)

    return keep(context, lake, Daily(PAYMENTS_SILVER, news, anew))


def newest_import(lake: LakeResource, table: Table) -> int:
    """Number of the newest import that a table has rows of; 0 if it has none."""
    found = lake.ask(table.name, "select max(import_number) as newest from asked")
    return int(found[0]["newest"] or 0) if found else 0


@dg.asset(**daily_asset(LABELS_SILVER), deps=keys_of(BRONZE_LABELS, BRONZE_DLQ, HISTORY_LABELS))
@told
def labels(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One label of a payment, live or imported: what it says, since when that is true, while it was the newest known.

    A day is that of the payments, so a label that comes weeks later opens their day again.
    """
    said, letters = _Read(lake, BRONZE_LABELS), _Read(lake, BRONZE_DLQ)
    history = lake.read_or_empty(HISTORY_LABELS)
    note_now = _note_of(said, letters, imported=newest_import(lake, HISTORY_LABELS))

    def news(note: notes.Note | None) -> News:
        if note is None:
            return News(None, note_now)
        new = said.since(note), letters.since(note)
        if note_now["imported"] == note["imported"] and new == (None, None):
            return News(frozenset(), note_now)
        days = silver.label_days(
            said.rows.limit(0) if new[0] is None else new[0],
            history.where(f"import_number > {note['imported']}"),
            letters.rows.limit(0) if new[1] is None else new[1],
            said.rows,
        )
        return News(frozenset(days), note_now)

    def anew(days: Days) -> "DataFrame":
        return silver.labels(said.rows, history, letters.rows, days)

    return keep(context, lake, Daily(LABELS_SILVER, news, anew))


@dg.asset(
    **daily_asset(QUARANTINE_SILVER),
    # After silver/decisions, so that it covers at least the bronze that those came from.
    deps=keys_of(BRONZE_DLQ, BRONZE_DECISIONS, HISTORY_REFUSED, HISTORY_IMPORTS, DECISIONS_SILVER),
)
@told
def quarantine(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One message or imported line that did not become a decision or a payment, and why."""
    from pix.offline.quarantine import elsewhere
    from pix.offline.quarantine import quarantine as rows_of

    letters = _Read(lake, BRONZE_DLQ)
    version, source_note = lake.version(DECISIONS_SILVER.name), lake.note(DECISIONS_SILVER.name) or {}
    decided = lake.read(DECISIONS_SILVER.name, version=version)
    # Records that came after silver/decisions was made are not missing there.
    seen = notes.ends_of(source_note, BRONZE_DECISIONS)
    records = bronze(lake, BRONZE_DECISIONS).where(f"not {beyond(seen, 'partition', 'offset')}")
    refused, imports = lake.read_or_empty(HISTORY_REFUSED), lake.read_or_empty(HISTORY_IMPORTS)
    note_now = {
        "read": {**_note_of(letters)["read"], BRONZE_DECISIONS: {str(part): end for part, end in seen.items()}},
        "made_from": {DECISIONS_SILVER.name: version},
        "imported": newest_import(lake, HISTORY_IMPORTS),
    }

    def news(note: notes.Note | None) -> News:
        if note is None:
            return News(None, note_now)
        since = notes.changes(lake.log(DECISIONS_SILVER.name), note["made_from"][DECISIONS_SILVER.name])
        if since.days is None:
            return News(None, note_now)
        days = {
            date.fromisoformat(day) for commit in since.notes for day in commit.get("aside", {}).get("arrivals", [])
        }
        new = letters.since(note)
        if new is not None:
            days |= silver.days_of(silver.arrival_days(new)).keys()
        before = notes.ends_of(note, BRONZE_DECISIONS)
        if seen != before:
            rest = elsewhere(records.where(beyond(before, "partition", "offset")), decided)
            days |= silver.days_of(rest.select(day_of("timestamp_ms").alias("day"))).keys()
        if note_now["imported"] > note["imported"]:
            new_imports = imports.where(f"import_number > {note['imported']}")
            days |= silver.days_of(new_imports.select(day_of("imported_at_ms").alias("day"))).keys()
        return News(frozenset(days), note_now)

    def anew(days: Days) -> "DataFrame":
        return rows_of(letters.rows, records, decided, refused, imports, days)

    return keep(context, lake, Daily(QUARANTINE_SILVER, news, anew))


@dg.asset(**daily_asset(SHADOW_SILVER), deps=keys_of(BRONZE_SHADOW, DECISIONS_SILVER))
@told
def shadow_scores(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One challenger's score of one decided payment, beside the champion's."""
    # A home that is older than the topic has decisions and no such table, until its bronze stream starts again.
    has_some = lake.exists(BRONZE_SHADOW)
    version = lake.version(DECISIONS_SILVER.name)
    source = _Read(lake, BRONZE_SHADOW) if has_some else None
    scores = source.rows if source else lake.empty(Table(BRONZE_SHADOW, "None.", BRONZE_COLUMNS))
    note_now = _note_of(*([source] if source else []), made_from={DECISIONS_SILVER.name: version})

    def news(note: notes.Note | None) -> News:
        if note is None:
            return News(None, note_now)
        days = set[date]()
        new = source.since(note) if source else None
        if new is not None:
            ids = new.selectExpr("get_json_object(value, '$.end_to_end_id') as id").where("id is not null")
            days |= silver.days_of(silver.payment_days(ids)).keys()
        if version != note["made_from"][DECISIONS_SILVER.name]:
            # Their decisions may have come since.
            alone = lake.distinct(SHADOW_SILVER.name, "payment_day", where="champion_version is null")
            days |= {day for (day,) in alone}
        return News(frozenset(days), note_now)

    def anew(days: Days) -> "DataFrame":
        near = lake.read(DECISIONS_SILVER.name, version=version)
        decided = near if days is None else near.where(within("event_day", widened(days, 1)))
        return silver.shadow_scores(scores, decided, days)

    return keep(context, lake, Daily(SHADOW_SILVER, news, anew))
