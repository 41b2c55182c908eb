"""The quality of the lake at a glance: a scorecard of every table and day, and the rows that broke promises."""

from typing import Any

import dagster as dg

from fraud_assets.asking import asking
from fraud_assets.declared import ARROW_KINDS, keys_of, table_asset, table_spec
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from pix.clock import epoch_ms
from pix.offline.days import day_at
from quality.scorecard import BROKEN, GOOD, SCORECARD, markdown, picture, score
from quality.suites import covered
from quality.unexpected import UNEXPECTED

unexpected_rows = table_spec(UNEXPECTED)


# It has a job of its own: in a run together with its tables, a red check would stop it on the day it is needed most.
@dg.asset(**table_asset(SCORECARD, ARROW_KINDS), deps=keys_of(*covered()), io_manager_key="small_tables")
@told
def scorecard(lake: LakeResource) -> dg.MaterializeResult[Any]:
    """One day of one table: how many rows it has, which promises it breaks, how far from usual it is."""
    now_ms, ask = epoch_ms(), asking(lake)
    rows = []
    for table in covered().values():
        if lake.exists(table.name):
            columns = lake.types(table.name)
            rows += score(table, ask, columns=columns, now_ms=now_ms, today=day_at(now_ms))
    verdicts = [row["verdict"] for row in rows]
    return dg.MaterializeResult(
        value=SCORECARD.arrow(rows),
        metadata={
            "dagster/row_count": len(rows),
            "good": verdicts.count(GOOD),
            "broken": verdicts.count(BROKEN),
            "scorecard": dg.MetadataValue.md(markdown(rows)),
            "days": dg.MetadataValue.md(picture(rows)),
        },
    )
