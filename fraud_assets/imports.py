"""Past payments enter here: folders in ``<home>/inbox`` become silver history, each file once."""

import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets.declared import table_spec
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource, Written
from fraud_assets.resources import HomeResource
from pix.offline.tables import HISTORY_LABELS, HISTORY_PAYMENTS, HISTORY_REFUSED

if TYPE_CHECKING:
    from pix.offline.history import History

Result = dg.MaterializeResult[Any]

# Payments last: an import whose payments are not there did not happen, and the next one replaces its rest.
IN_ORDER_OF_COMMIT = (HISTORY_REFUSED, HISTORY_LABELS, HISTORY_PAYMENTS)


@dg.multi_asset(
    name="imported_history",
    specs=[table_spec(HISTORY_PAYMENTS), table_spec(HISTORY_LABELS), table_spec(HISTORY_REFUSED, pii="sealed")],
    pool="silver_history",
)
@told
def imported_history(
    context: dg.AssetExecutionContext, lake: LakeResource, home: HomeResource
) -> tuple[Result, Result, Result]:
    """Past payments and their labels, as they were imported; an empty inbox imports nothing."""
    from pix.offline import history

    known = lake.read_or_empty(HISTORY_PAYMENTS).select("file_sha256").distinct().collect()
    waiting = history.waiting(home.inbox, {row.file_sha256 for row in known})
    for folder in waiting:
        context.log.info("importing history %s: %s", folder.name, folder.payments.path)
        import_one(lake, home, folder, now_ms=time.time_ns() // 1_000_000)
    names = [folder.name for folder in waiting]
    tables = (HISTORY_PAYMENTS, HISTORY_LABELS, HISTORY_REFUSED)
    payments, labels, refused = (lake.unchanged(table).result(imported_now=names) for table in tables)
    return payments, labels, refused


def import_one(lake: LakeResource, home: HomeResource, folder: "History", *, now_ms: int) -> list[Written]:
    """Import one history under the next number; whole, or not at all."""
    from pix.offline import history

    before = lake.read_or_empty(HISTORY_PAYMENTS)
    number = (before.agg({"import_number": "max"}).collect()[0][0] or 0) + 1
    imported = history.read(lake.spark, folder, number, before=before, keyring=home.keyring(), now_ms=now_ms)
    frames = (imported.refused, imported.labels, imported.payments)
    where = f"import_number >= {number}"
    return [lake.replace(table, frame, where=where) for table, frame in zip(IN_ORDER_OF_COMMIT, frames, strict=True)]
