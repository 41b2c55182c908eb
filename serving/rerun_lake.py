"""What the lake says of decisions: records as they were published, folds, bases, policies, labels. Only read.

Without Spark, and only the rows that a question needs. A table is read at the version that it had when it was first
asked for, so that one re-run sees one lake; ``versions`` tells which.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from pix import topics
from pix.contracts import DecisionRecord, InvalidMessage, canonical_json, parse_json_object
from pix.engines.layout import STATE_LAYOUT
from pix.logged import LoggedFold, ReferenceChange, folds_of_decision, folds_of_record
from pix.store.interface import Stored
from serving.base import TABLE as BASE
from serving.policy_archive import TABLE as POLICIES
from serving.policy_archive import version_of
from serving.rerun_errors import BrokenRecord, EvidenceAway

if TYPE_CHECKING:
    from deltalake import DeltaTable

DECISIONS, FOLDS = topics.bronze_table(topics.DECISIONS), topics.bronze_table(topics.FOLDS)
SILVER, LABELS = "silver/decisions", "silver/labels"
MAX_RECORD_BYTES = 2**20
FEW = 12
"""So many texts are looked for by the lake's engine; more of them by one pass over everything."""
_ID = re.compile(r'"end_to_end_id":"([^"]*)"')
_KEY = re.compile(r'"key":"([^"]*)"')
_PLACE = ("topic", "partition", "offset", "timestamp_ms", "ingested_at_ms", "value")
_LABEL = ("label_id", "kind", "fraud_type", "effective_at_ms", "known_at_ms", "source", "is_fraud_after")


class Decided(NamedTuple):
    """A decision, as much as it takes to choose some."""

    tenant: str
    end_to_end_id: str
    action: str
    mode: str


@dataclass(frozen=True, slots=True)
class Published:
    """A record as it was taken from Kafka.

    Attributes:
        topic: Its topic.
        partition: Partition there.
        offset: Offset there.
        timestamp_ms: Kafka's time of it.
        ingested_at_ms: When bronze took it.
        value: Its bytes, as text.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    ingested_at_ms: int
    value: str

    def content(self) -> dict[str, Any]:
        """The decision record.

        Raises:
            BrokenRecord: It is none, by the contract; or its bytes are not those that a service writes.
        """
        where = f"{self.topic} partition {self.partition} offset {self.offset}"
        try:
            content = parse_json_object(self.value.encode(), MAX_RECORD_BYTES)
            DecisionRecord.model_validate_json(self.value)
        except InvalidMessage as broken:
            raise BrokenRecord(f"{where} is no decision record: {broken}") from broken
        except ValidationError as broken:
            first = broken.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise BrokenRecord(f"{where} is no decision record: {field}: {first['msg']}") from broken
        if canonical_json(content).decode() != self.value:
            raise BrokenRecord(f"{where} is not written as services write records: its bytes were changed")
        return content


class Evidence:
    """One lake, as an auditor: read, never written."""

    def __init__(self, lake_root: str) -> None:
        """Begin with nothing read.

        Args:
            lake_root: Root of the Delta tables.
        """
        # delta-rs calls S3 by its own name.
        self._root = lake_root.replace("s3a://", "s3://", 1)
        self._tables: dict[str, DeltaTable | None] = {}
        self._bases: dict[int, DeltaTable] = {}

    @property
    def versions(self) -> dict[str, int]:
        """Table -> Delta version that was read."""
        read = {name: table.version() for name, table in self._tables.items() if table is not None and name != BASE}
        return read | {f"{BASE}@{imports}": table.version() for imports, table in self._bases.items()}

    def published(self, ids: Collection[str]) -> dict[str, list[Published]]:
        """EndToEndId -> its records on ``pix.decisions``, in the order they were published; of any tenant.

        Raises:
            EvidenceAway: Nothing was ever taken from the topic.
        """
        found: dict[str, list[Published]] = {}
        where = _any_of([f'"end_to_end_id":"{identity}"' for identity in ids])
        for row in _rows(self._required(DECISIONS), _PLACE, where):
            match = _ID.search(row[-1])
            if match and match[1] in ids:
                found.setdefault(match[1], []).append(Published(*row))
        return {identity: sorted(records, key=_place) for identity, records in found.items()}

    def folds(self, keys: Collection[str]) -> dict[str, dict[int, LoggedFold]]:
        """Key -> number -> the fold that got it, for all that was ever folded into these states.

        Raises:
            EvidenceAway: Bronze is not there, or a fold is of a build that cannot be replayed.
        """
        found: dict[str, dict[int, LoggedFold]] = {key: {} for key in keys}
        # A pair's key is made of its accounts'.
        tokens = {key.split("|", 2)[2] for key in keys if "|pair|" not in key}
        where = _any_of(sorted(tokens))
        for name, read in ((DECISIONS, folds_of_decision), (FOLDS, folds_of_record)):
            table = self._required(name) if name == DECISIONS else self._table(name)
            for (value,) in _rows(table, ("value",), where) if table else ():
                if found.keys().isdisjoint(_KEY.findall(value)):
                    continue
                for fold in _read(value, read):
                    if fold.key in found and not isinstance(fold.what, ReferenceChange):
                        found[fold.key].setdefault(fold.got, fold)
        return found

    def base(self, imports: int, keys: Collection[str]) -> dict[str, Stored]:
        """Key -> the state that the history of so many imports left; only keys that have one.

        Raises:
            EvidenceAway: That base is not in the lake any more, or its states are of another layout.
        """
        if imports == 0:
            return {}
        if imports not in self._bases:
            self._bases[imports] = self._base_of(imports)
        listed = ", ".join(f"'{_quoted(key)}'" for key in keys)
        rows = _rows(self._bases[imports], ("key", "number", "blob"), f"key in ({listed})")
        return {key: Stored(number, bytes(blob)) for key, number, blob in rows}

    def _base_of(self, imports: int) -> "DeltaTable":
        from deltalake import DeltaTable

        newest, unread = self._table(BASE), ""
        for version in range(newest.version(), -1, -1) if newest else ():
            try:
                table = DeltaTable(f"{self._root}/{BASE}", version=version)
                told = set(_rows(table, ("import_number", "layout"), None))
            except Exception as gone:  # delta-rs and DataFusion have no error in common
                # Of each base the newest version is kept, others are cleared away.
                unread = unread or f"; version {version}, the newest of those that cannot be read: {gone}"
                continue
            if max((number for number, _ in told), default=0) == imports:
                if {layout for _, layout in told} != {STATE_LAYOUT}:
                    raise _base_away(imports, f"version {version} has states of another layout than {STATE_LAYOUT}")
                return table
        raise _base_away(imports, f"no version of it holds so many{unread}")

    def policy(self, version: str) -> tuple[str, str] | None:
        """The policy's text under this version, and the version that its bytes really have; None if there is none."""
        table = self._table(POLICIES)
        where = f"version = '{_quoted(version)}'"
        found = {text for (text,) in _rows(table, ("text",), where)} if table else set()
        # One that belongs there, if there are several: whoever adds a wrong one hides no right one.
        hashed = sorted((version_of(text), text) for text in found)
        right = [pair for pair in hashed if pair[0] == version]
        chosen = (right or hashed)[:1]
        return (chosen[0][1], chosen[0][0]) if chosen else None

    def labels(self, tenant: str, end_to_end_id: str) -> list[dict[str, Any]]:
        """The payment's labels, oldest first, as far as silver has them."""
        table = self._table(LABELS)
        where = f"end_to_end_id = '{_quoted(end_to_end_id)}' and tenant = '{_quoted(tenant)}'"
        rows = [dict(zip(_LABEL, row, strict=True)) for row in _rows(table, _LABEL, where)] if table else []
        return sorted(rows, key=lambda row: (row["known_at_ms"], row["label_id"]))

    def decided(self, since_ms: int = 0) -> Iterator[Decided]:
        """Every decision since a time, epoch milliseconds.

        Raises:
            EvidenceAway: Silver was never made.
        """
        for row in _rows(self._required(SILVER), Decided._fields, f"decided_at_ms >= {since_ms}"):
            yield Decided(*row)

    def _required(self, name: str) -> "DeltaTable":
        table = self._table(name)
        if table is None:
            how = "start the streams with `sentinela up`" if name.startswith("bronze/") else f"materialise {name} first"
            raise EvidenceAway(f"{name} is not in the lake at {self._root}: {how}")
        return table

    def _table(self, name: str) -> "DeltaTable | None":
        from deltalake import DeltaTable

        if name not in self._tables:
            path = f"{self._root}/{name}"
            self._tables[name] = DeltaTable(path) if DeltaTable.is_deltatable(path) else None
        return self._tables[name]


def _base_away(imports: int, why: str) -> EvidenceAway:
    return EvidenceAway(
        f"the states that {imports} imports of history left are not to be had from {BASE}: {why}; restore its older "
        "versions from a backup, or compare with features/payment_features, which folds history again"
    )


def _rows(table: "DeltaTable", names: Iterable[str], where: str | None) -> Iterator[tuple[Any, ...]]:
    import pyarrow as pa

    names = list(names)
    also = "value is not null" if "value" in names else None
    predicate = " and ".join(f"({part})" for part in (where, also) if part) or None
    for batch in pa.RecordBatchReader.from_stream(table.scan(columns=names, predicate=predicate)):
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _any_of(texts: Collection[str]) -> str | None:
    """Rows whose value holds one of a few texts; where there are more, it is quicker to look at every row here."""
    if len(texts) > FEW:
        return None
    return " or ".join(f"value like '%{_quoted(text)}%'" for text in texts)


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _read(value: str, folds_of: Any) -> list[LoggedFold]:
    try:
        content: Mapping[str, Any] = json.loads(value)
    except ValueError:
        # Whoever reads behind this fold finds a gap.
        return []
    try:
        return list(folds_of(content))
    except (ValueError, KeyError, TypeError) as broken:
        raise EvidenceAway(f"a record in bronze cannot be replayed by this build: {broken}") from broken


def _place(record: Published) -> tuple[int, int]:
    return record.partition, record.offset
