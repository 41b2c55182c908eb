"""What a policy would have done to payments that were decided: their logged vectors and scores, judged again.

Read from silver/decisions by columns: of the records only what the policy reads is parsed. What is known as fraud
comes from gold/decisions. Decisions that a test account forced follow from no policy, and vectors of other features
mean something else: both are left out and counted.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast, get_args, get_type_hints

from pix.contracts import Payment
from pix.features import FINGERPRINT
from serving.policy import ACTIONS, TEST_ACCOUNT, Case, Policy, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

DECISIONS, LABELLED = "silver/decisions", "gold/decisions"
EXAMPLES = 3
SAY_EVERY = 20_000
PARSED_AT_ONCE_BYTES = 64 * 1024 * 1024
COLUMNS = (
    "tenant", "end_to_end_id", "action", "fraud_probability", "amount_cents", "rule_hits", "decided_at_ms", "record",
)  # fmt: skip


class NoDecisions(Exception):
    """The lake holds no decisions of that time; says what to do."""


@dataclass(slots=True)
class Sum:
    """Payments and what they are worth.

    Attributes:
        payments: How many.
        cents: Their sum, centavos.
    """

    payments: int = 0
    cents: int = 0

    def add(self, cents: int) -> None:
        """Count one more."""
        self.payments += 1
        self.cents += cents

    def told(self) -> dict[str, int]:
        """As JSON takes it."""
        return {"payments": self.payments, "amount_cents": self.cents}


@dataclass(slots=True)
class Hits:
    """How often a rule or list hit, and what is known of those payments.

    Attributes:
        all: Payments that it hits now.
        before: How many it hit when they were decided.
        frauds: Those of ``all`` that are known as fraud.
        honest: Those that are known as honest.
    """

    all: Sum = field(default_factory=Sum)
    before: int = 0
    frauds: Sum = field(default_factory=Sum)
    honest: Sum = field(default_factory=Sum)

    def told(self) -> dict[str, object]:
        """As JSON takes it."""
        known = {"known_frauds": self.frauds.told(), "known_honest": self.honest.told()}
        return {**self.all.told(), "hits_when_decided": self.before, **known}


@dataclass(slots=True)
class DryRun:
    """What a policy would have changed.

    Attributes:
        decisions: All that were judged again.
        forced: Decisions of test accounts, left out.
        foreign: Decisions over other features than this build's, left out.
        first_ms, last_ms: When the first and the last of them was decided.
        changes: (action then, action now) -> those that differ.
        examples: (action then, action now) -> some of their ids.
        hits: Rule or list -> its hits.
        segments: Segment -> how many were judged by its thresholds.
        frauds: (stopped then, stopped now) -> payments that are known as fraud; stopped is any action but ALLOW.
        honest: (stopped then, stopped now) -> payments that are known as honest.
        failed: Rule or segment -> how often its condition had no value.
    """

    decisions: Sum = field(default_factory=Sum)
    forced: int = 0
    foreign: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    changes: dict[tuple[str, str], Sum] = field(default_factory=dict)
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    hits: dict[str, Hits] = field(default_factory=dict)
    segments: Counter[str] = field(default_factory=Counter)
    frauds: dict[tuple[bool, bool], Sum] = field(default_factory=dict)
    honest: dict[tuple[bool, bool], Sum] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)

    def take(self, row: "Row", verdict: Verdict) -> None:
        """Count one decision that was judged again."""
        self.decisions.add(row.cents)
        self.first_ms = row.decided_at_ms if self.first_ms is None else min(self.first_ms, row.decided_at_ms)
        self.last_ms = row.decided_at_ms if self.last_ms is None else max(self.last_ms, row.decided_at_ms)
        change = (row.action, verdict.action)
        if row.action != verdict.action:
            self.changes.setdefault(change, Sum()).add(row.cents)
            examples = self.examples.setdefault(change, [])
            if len(examples) < EXAMPLES:
                examples.append(row.end_to_end_id)
        if verdict.segment is not None:
            self.segments[verdict.segment] += 1
        self.failed.update(verdict.failed)
        if row.is_fraud is not None:
            stopped = (row.action != ACTIONS[0], verdict.action != ACTIONS[0])
            (self.frauds if row.is_fraud else self.honest).setdefault(stopped, Sum()).add(row.cents)
        for name in row.rule_hits:
            self.hits.setdefault(name, Hits()).before += 1
        for name in verdict.rule_hits:
            hit = self.hits.setdefault(name, Hits())
            hit.all.add(row.cents)
            if row.is_fraud is not None:
                (hit.frauds if row.is_fraud else hit.honest).add(row.cents)

    def changed(self) -> Sum:
        """All that differ."""
        return Sum(sum(s.payments for s in self.changes.values()), sum(s.cents for s in self.changes.values()))

    def stopped(self, known: Mapping[tuple[bool, bool], Sum]) -> tuple[Sum, Sum, Sum]:
        """Of payments known as one or the other: all, those stopped when they were decided, those stopped now."""

        def total(wanted: Callable[[tuple[bool, bool]], bool]) -> Sum:
            found = [each for stopped, each in known.items() if wanted(stopped)]
            return Sum(sum(each.payments for each in found), sum(each.cents for each in found))

        return total(lambda _: True), total(lambda stopped: stopped[0]), total(lambda stopped: stopped[1])

    def told(self) -> dict[str, object]:
        """As JSON takes it."""
        known = {}
        for name, sums in (("known_frauds", self.frauds), ("known_honest", self.honest)):
            every, then, now = self.stopped(sums)
            known[name] = {**every.told(), "stopped_when_decided": then.told(), "stopped": now.told()}
        changes = [
            {"from": then, "to": now, **each.told(), "examples": self.examples[then, now]}
            for (then, now), each in sorted(self.changes.items())
        ]
        return {
            "decisions": self.decisions.told(),
            "of_test_accounts": self.forced,
            "of_other_features": self.foreign,
            "first_decided_at_ms": self.first_ms,
            "last_decided_at_ms": self.last_ms,
            "changed": self.changed().told(),
            "changes": changes,
            "hits": {name: hits.told() for name, hits in sorted(self.hits.items())},
            "segments": dict(self.segments),
            **known,
            "without_value": dict(self.failed),
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One decision of the lake."""

    tenant: str
    end_to_end_id: str
    action: str
    cents: int
    rule_hits: Sequence[str]
    decided_at_ms: int
    is_fraud: bool | None


def dry_run(
    policy: Policy, lake_root: str, *, since_ms: int, until_ms: int, say: Callable[[str], None] = lambda _: None
) -> DryRun:
    """Judge logged decisions again.

    Args:
        policy: The one to try.
        lake_root: Root of the Delta tables.
        since_ms: Decisions from then on, epoch milliseconds.
        until_ms: And before then.
        say: Told of the progress.

    Raises:
        NoDecisions: There are none.
    """
    where = f"decided_at_ms >= {since_ms} and decided_at_ms < {until_ms}"
    labels = _labels(lake_root, where)
    say(f"{len(labels):,} of these payments are known as fraud or honest")
    others = _batches(lake_root, f"{where} and feature_fingerprint <> '{FINGERPRINT}'", "tenant")
    found, done = DryRun(foreign=sum(batch.num_rows for batch in others)), 0
    for batch in _batches(lake_root, f"{where} and feature_fingerprint = '{FINGERPRINT}'", *COLUMNS):
        for row, case in _cases(policy, batch, labels):
            if TEST_ACCOUNT in row.rule_hits:
                found.forced += 1
            else:
                found.take(row, policy.judge(case))
        done += batch.num_rows
        if done // SAY_EVERY != (done - batch.num_rows) // SAY_EVERY:
            say(f"judged {done:,} decisions")
    if not done and not found.foreign:
        raise NoDecisions(
            f"{lake_root}/{DECISIONS} has no decisions of that time; give another --since or --until, or bring the "
            "lake up to date (refresh_lake_job in Dagster)"
        )
    return found


def _cases(
    policy: Policy, batch: "pa.RecordBatch", labels: Mapping[tuple[str, str], bool]
) -> Iterator[tuple[Row, Case]]:
    places, fields = _read_by(policy)
    features, facts = _parsed(batch["record"], places, fields)
    columns = [batch[name].to_pylist() for name in COLUMNS[:-1]]
    for number, values in enumerate(zip(*columns, strict=True)):
        tenant, name, action, probability, cents, hits, decided_at_ms = values
        row = Row(tenant, name, action, cents, hits, decided_at_ms, labels.get((tenant, name)))
        # Only what the policy reads is there; a policy asks for both by name or place.
        known = cast(Sequence[float | None], {place: column[number] for place, column in features.items()})
        payment = cast(Payment, SimpleNamespace(**{fact: column[number] for fact, column in facts.items()}))
        yield row, Case(probability, known, payment, decided_at_ms)


def _read_by(policy: Policy) -> tuple[list[int], list[str]]:
    """Places of the features, and fields of the payment, that a policy reads."""
    conditions = [*(rule.condition for rule in policy.rules), *(segment.condition for segment in policy.segments)]
    places = {place for condition in conditions for _, place in condition.features}
    fields = {name for condition in conditions for name in condition.fields}
    fields |= {name for found in policy.lists.values() for name, _ in found.by_field}
    return sorted(places), sorted(fields)


def _parsed(
    records: "pa.Array", places: Sequence[int], fields: Sequence[str]
) -> tuple[dict[int, list[float | None]], dict[str, list[Any]]]:
    """Columns of the features and of the payment's fields, out of the records' JSON."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.json as pj

    kinds, hints = {int: pa.int64(), bool: pa.bool_(), str: pa.string()}, get_type_hints(Payment)
    types = {name: kinds[(get_args(hints[name]) or (hints[name],))[0]] for name in fields}
    # A struct needs a field, even if the policy reads none.
    payment = pa.struct([(name, types.get(name, pa.string())) for name in (*fields, "end_to_end_id")])
    wanted = pa.schema([("features", pa.list_(pa.float64())), ("payment", payment)])
    lines = pa.py_buffer("\n".join(records.to_pylist()).encode())
    options = pj.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
    table = pj.read_json(
        pa.BufferReader(lines), pj.ReadOptions(block_size=PARSED_AT_ONCE_BYTES), parse_options=options
    ).combine_chunks()
    vectors, payments = table["features"], table["payment"]
    features = {place: pc.list_element(vectors, place).to_pylist() for place in places}
    return features, {name: pc.struct_field(payments, name).to_pylist() for name in fields}


def _batches(lake_root: str, where: str, *columns: str) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    table = _table(lake_root, DECISIONS)
    if table is not None:
        found = pa.RecordBatchReader.from_stream(table.scan(columns=list(columns), predicate=where))
        yield from (batch for batch in found if batch.num_rows)


def _labels(lake_root: str, where: str) -> dict[tuple[str, str], bool]:
    """(tenant, id) -> whether it was a fraud, for payments of which that is known."""
    import pyarrow as pa

    table = _table(lake_root, LABELLED)
    if table is None:
        return {}
    columns = ["tenant", "end_to_end_id", "is_fraud"]
    known = pa.table(table.scan(columns=columns, predicate=f"is_fraud is not null and {where}"))
    tenants, names, frauds = (known[column].to_pylist() for column in columns)
    return dict(zip(zip(tenants, names, strict=True), frauds, strict=True))


def _table(lake_root: str, name: str) -> Any:
    from deltalake import DeltaTable

    path = f"{lake_root.replace('s3a://', 's3://', 1)}/{name}"
    return DeltaTable(path) if DeltaTable.is_deltatable(path) else None
