"""The offline engine's passes one after the other in this process: what Spark's workers do, without Spark."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pix.engines import kernel
from pix.features import FINGERPRINT
from pix.offline import assembling, eventing, replaying
from pix.offline.shapes import READ
from quality.parity import ParityReport, no_rows, of_rows, report_of


def of_log(records: Sequence[bytes], folds: Sequence[bytes]) -> list[pa.RecordBatch]:
    """Vectors of all decisions of a store without a base."""
    asked = pa.array([True] * len(records))
    decided = pa.record_batch({"record": [record.decode() for record in records], "asked": asked})
    labelled = pa.record_batch({"value": pa.array([fold.decode() for fold in folds], pa.string())})
    events = [*eventing.of_decisions([decided]), *eventing.of_folds([labelled])]
    return list(_vectors(replaying.live_by_key(events, current=0)))


def of_history(payments: pa.Table) -> dict[str, tuple[float | None, ...]]:
    """Vectors of imported payments.

    Args:
        payments: event_time_ms, import_number, payment, labels (JSON list or null).
    """
    events = eventing.of_history(payments.combine_chunks().to_batches(), {})
    found: dict[str, tuple[float | None, ...]] = {}
    for batch in _vectors(replaying.history_by_key(events, with_states=False)):
        blobs = batch["features"].to_pylist()
        vectors = (kernel.listed(np.frombuffer(blob)) for blob in blobs)
        found |= dict(zip(batch["end_to_end_id"].to_pylist(), vectors, strict=True))
    return found


def _vectors(stage: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = pa.Table.from_batches(list(stage))
    yield from assembling.features_by_payment(rows.filter(pc.equal(rows["what"], READ)).to_batches())


def parity(vectors: Iterable[pa.RecordBatch]) -> ParityReport:
    """The report of the check ``online_equals_offline``."""
    ours = [batch for batch in vectors if set(batch["logged_fingerprint"].to_pylist()) == {FINGERPRINT}]
    return sum((report_of(report) for batch in of_rows(ours) for report in batch["report"].to_pylist()), no_rows())
