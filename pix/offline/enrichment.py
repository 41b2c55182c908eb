"""What a payment's own facts say when read: time in Brasília, holidays, places, its institution, ages. No state.

Everything follows from the row itself and from three lists: the calendar of the package ``holidays``, the states of
Brazil, and ``psps.csv`` beside this module. Features are elsewhere (``pix.features``); this is for whoever reads the
lake.
"""

import csv
import json
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pix.contracts import DAY_MS, HOUR_MS
from pix.features import BRASILIA_OFFSET_MS
from pix.municipalities import REGIONS, SHAPE, STATES
from pix.offline.declaration import Column

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column as Expression
    from pyspark.sql import DataFrame

PSPS_FILE = Path(__file__).parent / "psps.csv"
YEARS = range(1970, 2101)
"""Years whose holidays are known here."""
EPOCH = date(1970, 1, 1)
WORKING_DAYS = 5
# The first of January 1970 was a Thursday, three days after a Monday.
EPOCH_SINCE_MONDAY = 3


# Column of the result -> the fact whose age it is.
AGES = {
    "key_age_days": "key_created_at_ms",
    "key_ownership_days": "key_owned_since_ms",
    "payer_account_age_days": "payer_account_opened_at_ms",
    "payee_account_age_days": "payee_account_opened_at_ms",
}

COLUMNS: tuple[Column, ...] = (
    Column("event_hour", "int", "Hour of the event time in Brasília, 0 to 23."),
    Column("event_weekday", "int", "Day of the week in Brasília, 1 Monday to 7 Sunday."),
    Column("holiday", "string", "National holiday on the event's day in Brasília; null if there is none."),
    Column("state_holiday", "string", "Holiday of the payer's state on that day that is no national one."),
    Column(
        "is_business_day",
        "boolean",
        f"Monday to Friday and no national holiday; null before {YEARS.start} and from {YEARS.stop} on. "
        "Carnival and Corpus Christi, on which banks are closed, are no holidays by law.",
    ),
    Column("payer_state", "string", "State in which the payer lives, two letters; null where unknown."),
    Column("payer_region", "string", "Region of that state, such as Northeast."),
    Column("device_state", "string", "State in which the device is; null where unknown."),
    Column("device_region", "string", "Region of that state."),
    Column("initiator_ispb", "string", "ISPB of the institution that started the payment, from its id."),
    Column("initiator_psp", "string", "That institution's name; null if the ISPB is not in the list."),
    Column("key_age_days", "bigint", "Whole days since the Pix key was created; negative if that was later."),
    Column("key_ownership_days", "bigint", "Whole days since its owner has it; negative if that was later."),
    Column("payer_account_age_days", "bigint", "Whole days since the payer's account was opened, likewise."),
    Column("payee_account_age_days", "bigint", "Whole days since the payee's account was opened, likewise."),
    Column("fraud_markers_lag_ms", "bigint", "How old the counters of fraud markers were at the event."),
)
"""What ``enriched`` adds."""


class Holidays(NamedTuple):
    """Holidays of one day.

    Attributes:
        national: Their names, pt-BR; several are joined by ``; ``. None if there is none.
        of_states: State -> names of its holidays that are no national ones.
    """

    national: str | None
    of_states: Mapping[str, str]


def enriched(payments: "DataFrame") -> "DataFrame":
    """The same rows with ``COLUMNS``.

    Args:
        payments: Columns of ``pix.offline.tables.payment_columns()`` and ``event_time_ms``.
    """
    from pyspark.sql import functions as f

    local_ms = f.col("event_time_ms") + f.lit(BRASILIA_OFFSET_MS)
    day = _whole(local_ms, DAY_MS)
    placed = payments.withColumns(
        {
            "event_hour": _whole(f.pmod(local_ms, f.lit(DAY_MS)), HOUR_MS).cast("int"),
            "event_weekday": (f.pmod(day + f.lit(EPOCH_SINCE_MONDAY), f.lit(7)) + f.lit(1)).cast("int"),
            **_places("payer"),
            **_places("device"),
            "initiator_ispb": f.substring("end_to_end_id", 2, 8),
        }
    )
    calendar = f.broadcast(payments.sparkSession.createDataFrame(_calendar_table()))
    known = day.between(_day_number(date(YEARS.start, 1, 1)), _day_number(date(YEARS.stop, 1, 1)) - 1)
    joined = placed.join(calendar, day == f.col("_day"), "left").withColumns(
        {
            "state_holiday": f.col("_of_states")[f.col("payer_state")],
            "is_business_day": f.when(known, (f.col("event_weekday") <= WORKING_DAYS) & f.col("holiday").isNull()),
            "initiator_psp": _named(psps(), f.col("initiator_ispb")),
            **{name: _whole(f.col("event_time_ms") - f.col(fact), DAY_MS) for name, fact in AGES.items()},
            "fraud_markers_lag_ms": f.col("event_time_ms") - f.col("fraud_markers_watermark_ms"),
        }
    )
    return joined.select(*payments.columns, *[f.col(column.name).cast(column.type) for column in COLUMNS])


@cache
def calendar() -> Mapping[date, Holidays]:
    """The days of ``YEARS`` that are a holiday somewhere in Brazil. About 5,000, made in a third of a second."""
    import holidays
    from holidays.constants import HOLIDAY_NAME_DELIMITER

    # Their names would else come in the language of the process's environment.
    national = holidays.country_holidays("BR", years=YEARS, language="pt_BR")
    of_states: dict[date, dict[str, str]] = {}
    for state in STATES.values():
        for day, names in holidays.country_holidays("BR", subdiv=state, years=YEARS, language="pt_BR").items():
            own = [name for name in _names(names) if name not in _names(national.get(day))]
            if own:
                of_states.setdefault(day, {})[state] = HOLIDAY_NAME_DELIMITER.join(own)
    days = sorted({*national, *of_states})
    return {day: Holidays(national.get(day), of_states.get(day, {})) for day in days}


@cache
def psps() -> Mapping[str, str]:
    """ISPB -> name of the institution."""
    lines = PSPS_FILE.read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {row["ispb"]: row["name"] for row in rows}


def _names(joined: str | None) -> list[str]:
    from holidays.constants import HOLIDAY_NAME_DELIMITER

    return joined.split(HOLIDAY_NAME_DELIMITER) if joined else []


def _day_number(day: date) -> int:
    return (day - EPOCH) // timedelta(days=1)


@cache
def _calendar_table() -> "pa.Table":
    import pyarrow as pa

    found = calendar()
    return pa.table(
        {
            "_day": pa.array([_day_number(day) for day in found], pa.int64()),
            "holiday": pa.array([of_day.national for of_day in found.values()], pa.string()),
            "_of_states": pa.array(
                [list(of_day.of_states.items()) for of_day in found.values()], pa.map_(pa.string(), pa.string())
            ),
        }
    )


def _whole(span_ms: "Expression", unit_ms: int) -> "Expression":
    """How many whole units a span has, rounded down, below zero, too."""
    from pyspark.sql import functions as f

    # Instants lie within 10^15 ms (pix.contracts), where a double's rounding cannot bridge a millisecond.
    return f.floor(span_ms / f.lit(unit_ms))


def _places(whose: str) -> "dict[str, Expression]":
    """State and region of a municipality."""
    from pyspark.sql import functions as f

    code = f.col(f"{whose}_municipality")
    state = f.when(code.rlike(SHAPE), _named(STATES, f.substring(code, 1, 2)))
    return {
        f"{whose}_state": state,
        f"{whose}_region": f.when(state.isNotNull(), _named(REGIONS, f.substring(code, 1, 1))),
    }


def _named(names: Mapping[str, str], key: "Expression") -> "Expression":
    """The name of a key, null if it has none."""
    from pyspark.sql import functions as f

    # One literal, which Spark folds: made of a literal per word it takes longer to plan and to run.
    return f.from_json(f.lit(json.dumps(dict(names))), "map<string,string>")[key]
