"""Late data: who notices it, and what happens then.

The rule: a day is closed when an event a day past its end is in silver (``pix.offline.days.ALLOWED_LATENESS_MS``). A
record that reaches bronze for a closed day is late. The sensor sees it within a minute and has the lake brought up to
date; the run opens that day again, reports its partition as made anew, and so what is downstream of the day and not
in that run is shown as stale. Labels of old payments are no late data: they are expected to come for 80 days, and the
nightly run takes them.
"""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg

from fraud_assets.automation import refresh_lake_job
from fraud_assets.daily import partition_of
from fraud_assets.lake import LakeResource
from fraud_assets.silver import BRONZE_DECISIONS, NEWEST_EVENT
from pix.features import BRASILIA_OFFSET_MS
from pix.offline.days import ALLOWED_LATENESS_MS, begin_ms, day_at
from pix.offline.runs import beyond
from pix.offline.tables import DECISIONS_SILVER

MOST_OF_A_TAG = 250


@dg.sensor(job=refresh_lake_job, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def late_data_sensor(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult | dg.SkipReason:
    """Have a closed day made again when a record for it reached bronze."""
    newest = lake.ask(DECISIONS_SILVER.name, NEWEST_EVENT)
    if not newest or newest[0]["at_ms"] is None:
        return dg.SkipReason("silver has no decisions yet, so no day is closed")
    looked = {int(part): last for part, last in json.loads(context.cursor or "{}").items()}
    ends = lake.ends(BRONZE_DECISIONS)
    cursor = json.dumps(ends)
    if ends == looked:
        return dg.SkipReason("nothing came since the last look")
    if not looked:
        # Everything that ever came would be read; silver was made from that, and counted what was late then.
        return dg.SensorResult(skip_reason="the first look: from here on", cursor=cursor)
    late = late_rows(lake, looked, closed_before_ms=begin_ms(day_at(newest[0]["at_ms"] - ALLOWED_LATENESS_MS)))
    if not late:
        return dg.SensorResult(skip_reason="nothing late came", cursor=cursor)
    reason = ", ".join(f"{many} of {day}" for day, many in sorted(late.items()))
    today = partition_of(datetime.fromtimestamp(time.time(), UTC))
    request = dg.RunRequest(
        run_key=f"late:{cursor}", partition_key=today, tags={"reason": f"late decisions: {reason}"[:MOST_OF_A_TAG]}
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor)


def late_rows(lake: LakeResource, looked: Mapping[int, int], *, closed_before_ms: int) -> dict[str, int]:
    """Day -> records of bronze beyond some offsets whose event lies before a time.

    Only what came since is read, without Spark: the time is cut out of the record's text.
    """
    at_ms = """cast(regexp_match(value, '"event_time_ms": ?([0-9]{1,15})')[1] as bigint)"""
    came = beyond(looked, "partition", "offset").replace("`", '"')
    query = f"""select cast(to_date(to_timestamp_millis(at_ms + {BRASILIA_OFFSET_MS})) as string) as day, count(*) as n
        from (select {at_ms} as at_ms from asked where {came}) where at_ms < {closed_before_ms} group by 1"""  # noqa: S608 - numbers
    return {row["day"]: row["n"] for row in lake.ask(BRONZE_DECISIONS, query)}
