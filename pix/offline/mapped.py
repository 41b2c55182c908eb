"""What a mapping's labels make of payments: a verdict for each, and the labels that follow from it.

Pure: frames in, lazy frames out. A fraud becomes an *accepted* label known when the mapping says it was
reported, at the latest at the import, since the file says so; a dismissal likewise. A legitimate payment gets
no label, because that is what an honest one looks like; an unknown one gets none either and is marked, so that
its silence is not taken for honesty.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pix.contracts import DAY_MS, label_from, label_id
from pix.offline.conversion import RowToPayment, instant_text, missing_columns
from pix.offline.mapping import LabelTable, Mapping
from pix.offline.mapping_checks import MappingProblem

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# More keys than this are joined by a shuffle, not sent whole to every worker.
MAX_BROADCAST = 500_000
# The strongest verdict wins where several rows speak of one payment.
RANKS = {"legitimate": 0, "dismissed": 1, "unknown": 2, "fraud": 3}
KINDS = {"fraud": "accepted", "dismissed": "dismissed"}
LABELS = (
    "label_id string, end_to_end_id string, tenant string, kind string, fraud_type string, effective_at_ms bigint, "
    "known_at_ms bigint, source string"
)
LABEL_SCHEMA = pa.schema(
    [(name, pa.int64() if kind == "bigint" else pa.string()) for name, kind in (p.split() for p in LABELS.split(", "))]
)


@dataclass(frozen=True, slots=True)
class Joined:
    """Payments with their verdict, and rows of the second table that speak of no payment."""

    payments: "DataFrame"
    strays: "DataFrame"


def require_columns(mapping: Mapping, columns: Sequence[str], label_columns: Sequence[str] | None) -> None:
    """Check that the tables have what the mapping names.

    Raises:
        MappingProblem: They have not.
    """
    found = missing_columns(mapping.columns(), columns) + missing_columns(mapping.label_columns(), label_columns or ())
    if found:
        raise MappingProblem(*found)
    # Constants are converted here, once, so that a wrong one is told before any row is read.
    RowToPayment(mapping, columns, "any")


def with_verdicts(payments: "DataFrame", verdicts: "DataFrame", labels: LabelTable) -> Joined:
    """Payments judged by the rows of a second table.

    Args:
        payments: Parsed rows with the tokens ``key_1`` and perhaps ``key_2`` of whom to look for.
        verdicts: Good rows of the second table: ``key``, ``verdict``, and what ``silver/history_refused`` wants.
        labels: What the mapping says about them.
    """
    from pyspark.sql import functions as f

    ranked = verdicts.groupBy("key").agg(f.max(_rank(f.col("verdict"))).alias("rank"))
    if verdicts.count() <= MAX_BROADCAST:
        ranked = f.broadcast(ranked)
    whose = ("key_1", "key_2") if labels.accounts in ("either", "both") else ("key_1",)
    judged = payments
    for place in whose:
        judged = judged.join(
            ranked.select(f.col("key").alias(place), f.col("rank").alias(f"rank_{place}")), place, "left"
        )
    found = [f.coalesce(f"rank_{place}", f.lit(RANKS[labels.unlisted])) for place in whose]
    rank = found[0] if len(found) == 1 else (f.least if labels.accounts == "both" else f.greatest)(*found)
    named = judged.withColumn("verdict", _verdict(rank)).drop(*(f"rank_{place}" for place in whose))
    if labels.per == "account":
        # An account without payments is no mistake.
        return Joined(named, verdicts.limit(0))
    keys = payments.select(f.col("key_1").alias("key")).distinct()
    strays = verdicts.join(keys, "key", "left_anti").withColumns(
        {"reason": f.lit("label_without_payment"), "errors": f.lit("[]")}
    )
    return Joined(named, strays)


def _rank(verdict: "Column") -> "Column":
    from pyspark.sql import functions as f

    pairs = [part for name, rank in RANKS.items() for part in (f.lit(name), f.lit(rank))]
    return f.create_map(*pairs)[verdict]


def _verdict(rank: "Column") -> "Column":
    from pyspark.sql import functions as f

    return f.array(*[f.lit(name) for name in RANKS])[rank]


def labels_of(judged: "DataFrame", labels: LabelTable, *, source: str, now_ms: int) -> "DataFrame":
    """The labels of frauds and dismissals.

    Args:
        judged: Payments with their verdict.
        labels: What the mapping says about them.
        source: Who says so: the name of the history.
        now_ms: Time of the import.
    """
    said = judged.where(judged["verdict"].isin(*KINDS))
    narrow = said.select("tenant", "end_to_end_id", "event_time_ms", "verdict")
    return narrow.mapInArrow(_label_rows(labels, source, now_ms), LABELS)


def _label_rows(
    labels: LabelTable, source: str, now_ms: int
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    delay_ms = int(labels.reporting_delay_days * DAY_MS)

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [_label(row, labels.fraud_type, source, delay_ms, now_ms) for row in batch.to_pylist()]
            yield pa.RecordBatch.from_pylist(rows, LABEL_SCHEMA)

    return run


def _label(row: dict[str, Any], fraud_type: str, source: str, delay_ms: int, now_ms: int) -> dict[str, Any]:
    effective_ms = row["event_time_ms"]
    content = {
        "end_to_end_id": row["end_to_end_id"],
        "kind": KINDS[row["verdict"]],
        "fraud_type": fraud_type if row["verdict"] == "fraud" else None,
        "effective_at": instant_text(effective_ms),
        "known_at": instant_text(min(effective_ms + delay_ms, now_ms)),
        "source": source,
    }
    label = label_from({**content, "label_id": label_id(content)})
    return {
        "label_id": label.label_id,
        "end_to_end_id": label.end_to_end_id,
        "tenant": row["tenant"],
        "kind": label.kind,
        "fraud_type": label.fraud_type,
        "effective_at_ms": label.effective_at,
        "known_at_ms": label.known_at,
        "source": label.source,
    }
