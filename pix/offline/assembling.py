"""The second pass, in a Spark worker: what the entities of a payment said becomes its feature vector.

Rows of ``pix.offline.shapes.STAGE`` in, any number of whole payments at a time; ``FEATURES`` out. A payment of
which some role has no answer gets no vector.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pix.engines import kernel
from pix.engines.layout import FLAGGED_BY, INTEGERS, LAYOUTS, READ_AT
from pix.features import FACT_NAMES, FEATURES, MISSING, ROLES
from pix.offline import packing
from pix.offline.columns import ROLE_NAMES, Integers, integers
from pix.offline.shapes import ALONE
from pix.offline.shapes import FEATURES as VECTORS

PAYMENTS_AT_ONCE = 4_096
PAYER_FLAGGED, PAYEE_FLAGGED = 1, 2
"""Bits of ``carried``."""
_OF_PAYER = ["identity", "time_ms", "at_ms", "logged", "logged_by", "carried"]


def features_by_payment(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One row per payment whose every role was answered."""
    held = [batch for batch in batches if batch.num_rows]
    if not held:
        return
    rows = pa.concat_batches(held)
    payment = rows["identity"].dictionary_encode().indices.to_numpy().astype(np.int64)
    order = np.argsort(payment, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(payment[order])) + 1, len(order))
    for start in range(0, len(ends), PAYMENTS_AT_ONCE):
        chosen = order[int(ends[start - 1]) if start else 0 : int(ends[min(start + PAYMENTS_AT_ONCE, len(ends)) - 1])]
        place = payment[chosen]
        grid_row = np.cumsum(np.append(True, place[1:] != place[:-1])) - 1
        yield _vectors(rows, chosen, grid_row)


def _vectors(rows: pa.RecordBatch, chosen: Integers, grid_row: Integers) -> pa.RecordBatch:
    """The vectors of some payments; ``grid_row`` numbers the payment of each chosen row."""
    grid = np.full((int(grid_row[-1]) + 1, INTEGERS), MISSING, np.int64)
    role, found = integers(rows["role"])[chosen], np.zeros(len(grid), np.int64)
    for place, name in enumerate(ROLE_NAMES):
        of_role = np.flatnonzero(role == place)
        packed = rows["blob"].take(pa.array(chosen[of_role]))
        width = len(LAYOUTS[ROLES[name]].reads)
        packing.unpack(packed, grid_row[of_role], READ_AT[name], width, grid)
        found[grid_row[of_role]] |= 1 << place
    # A decision that read no state has no role at all.
    payer = np.flatnonzero((role == ROLE_NAMES.index("payer_account")) | (role == ALONE))
    packing.unpack(rows["facts"].take(pa.array(chosen[payer])), grid_row[payer], 0, len(FACT_NAMES), grid)
    whole = found[grid_row[payer]] == integers(rows["roles"])[chosen[payer]]
    payer = payer[whole]
    return _rows(rows.select(_OF_PAYER).take(pa.array(chosen[payer])), grid[grid_row[payer]])


def _rows(payers: pa.RecordBatch, grid: Integers) -> pa.RecordBatch:
    vectors = kernel.evaluate(grid)
    width = len(FEATURES) * vectors.itemsize
    ends = np.arange(1, len(vectors) + 1, dtype=np.int64) * width
    # An EndToEndId holds no bar; a tenant may come with anything that its door allows.
    parts = pc.split_pattern(payers["identity"], "|", max_splits=1, reverse=True)
    return VECTORS.batch(
        len(vectors),
        end_to_end_id=pc.list_element(parts, 1) if len(parts) else pa.array([], pa.string()),
        tenant=pc.list_element(parts, 0) if len(parts) else pa.array([], pa.string()),
        event_time_ms=payers["time_ms"],
        folded_at_ms=payers["at_ms"],
        features=packing.binary(ends, np.frombuffer(vectors.tobytes(), np.uint8)),
        logged=payers["logged"],
        logged_fingerprint=payers["logged_by"],
        carried=_flagged(grid, "payer_account", PAYER_FLAGGED) + _flagged(grid, "payee_account", PAYEE_FLAGGED),
        logged_carried=payers["carried"],
    )


def _flagged(grid: Integers, role: str, bit: int) -> Integers:
    flags: Integers = np.where(grid[:, READ_AT[role] + FLAGGED_BY] > 0, bit, 0)
    return flags
