"""Silver to gold: what people and reports read."""

from typing import Any

import dagster as dg

from fraud_assets.declared import ARROW_KINDS, keys_of, table_asset
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from pix.offline import gold
from pix.offline.tables import DAILY_KPIS, DECISIONS_GOLD, DECISIONS_SILVER, LABELS_SILVER


@dg.asset(**table_asset(DECISIONS_GOLD), deps=keys_of(DECISIONS_SILVER, LABELS_SILVER))
@told
def decisions(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One decided payment with what became known about it."""
    read = lake.versions(DECISIONS_SILVER.name, LABELS_SILVER.name)
    frame = gold.decisions(lake.read(DECISIONS_SILVER.name), lake.read(LABELS_SILVER.name))
    return lake.overwrite(DECISIONS_GOLD, frame, note=read).result()


@dg.asset(
    **table_asset(DAILY_KPIS, ARROW_KINDS, pii="none"), deps=keys_of(DECISIONS_GOLD), io_manager_key="small_tables"
)
@told
def daily_kpis(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One day of decisions in Brasília: how many, what was done, what was caught and missed."""
    table = gold.daily_kpis(lake.read(DECISIONS_GOLD.name)).toArrow()
    return dg.MaterializeResult(value=table, metadata={"dagster/row_count": table.num_rows})
