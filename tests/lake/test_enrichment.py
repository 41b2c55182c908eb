"""What payments say when read: known days, places, institutions and ages, and the package's calendar as referee."""

import random
from datetime import UTC, date, datetime, timedelta

import holidays
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix.contracts import DAY_MS
from pix.municipalities import REGIONS, STATES
from pix.offline.enrichment import COLUMNS, EPOCH, YEARS, calendar, enriched, psps
from pix.offline.tables import payment_columns
from pix.simulator.population import MUNICIPALITIES
from pix.simulator.published import PSPS

SAO_PAULO, RIO, BELO_HORIZONTE, SALVADOR = "3550308", "3304557", "3106200", "2927408"
SCHEMA = ", ".join(f"{column.name} {column.type}" for column in payment_columns()) + ", event_time_ms bigint"
FACTS = tuple(column.name for column in payment_columns())


def ms(year: int, month: int, day: int, hour: int = 15, minute: int = 0) -> int:
    """A time in UTC."""
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) * 1000


@pytest.fixture(scope="module")
def read(spark):
    """One enriched row for each payment given, in their order."""

    def rows(*payments: dict) -> list[dict]:
        numbered = [
            tuple({"end_to_end_id": f"E99999999202606011200{number:011d}", **payment}.get(name) for name in FACTS)
            + (payment["event_time_ms"],)
            for number, payment in enumerate(payments)
        ]
        frame = enriched(spark.createDataFrame(numbered, SCHEMA))
        assert frame.columns == [*FACTS, "event_time_ms", *(column.name for column in COLUMNS)]
        assert [kind for _, kind in frame.dtypes[-len(COLUMNS) :]] == [column.type for column in COLUMNS]
        found = [row.asDict() for row in frame.collect()]
        assert len(found) == len(payments)
        return sorted(found, key=lambda row: row["end_to_end_id"][-11:])

    return rows


DAYS = [
    # Event time in UTC, payer's municipality -> hour, weekday, holiday, of the state, is a day of business.
    ((2026, 4, 21), SAO_PAULO, (12, 2, "Tiradentes", None, False)),
    ((2026, 4, 21), BELO_HORIZONTE, (12, 2, "Tiradentes", "Execução de Tiradentes", False)),
    ((2026, 7, 9), SAO_PAULO, (12, 4, None, "Revolução Constitucionalista", True)),
    ((2026, 7, 9), SALVADOR, (12, 4, None, None, True)),
    ((2026, 7, 9), None, (12, 4, None, None, True)),
    # Carnival: customary nearly everywhere, a holiday by law in Rio.
    ((2026, 2, 17), SAO_PAULO, (12, 2, None, None, True)),
    ((2026, 2, 17), RIO, (12, 2, None, "Carnaval", True)),
    # National since 2024, before in some states only.
    ((2023, 11, 20), RIO, (12, 1, None, "Consciência Negra", True)),
    ((2023, 11, 20), SALVADOR, (12, 1, None, None, True)),
    ((2024, 11, 20), SALVADOR, (12, 3, "Dia Nacional de Zumbi e da Consciência Negra", None, False)),
    ((2024, 2, 29), SAO_PAULO, (12, 4, None, None, True)),
    ((2024, 3, 1), SAO_PAULO, (12, 5, None, None, True)),
    ((2026, 6, 6), SAO_PAULO, (12, 6, None, None, False)),
    ((2026, 6, 7), SAO_PAULO, (12, 7, None, None, False)),
    # A day begins at three in UTC: the last minute of Christmas Eve, the first of Christmas, its last.
    ((2026, 12, 25, 2, 59), SAO_PAULO, (23, 4, None, None, True)),
    ((2026, 12, 25, 3, 0), SAO_PAULO, (0, 5, "Natal", None, False)),
    ((2026, 12, 26, 2, 59), SAO_PAULO, (23, 5, "Natal", None, False)),
    # The edges of the calendar, and beyond them.
    ((1970, 1, 1, 3, 0), SAO_PAULO, (0, 4, "Confraternização Universal", None, False)),
    ((1970, 1, 1, 2, 59), SAO_PAULO, (23, 3, None, None, None)),
    ((2101, 1, 1, 2, 59), SAO_PAULO, (23, 5, None, None, True)),
    ((2101, 1, 1, 3, 0), SAO_PAULO, (0, 6, None, None, None)),
    ((1960, 2, 29, 23, 30), SAO_PAULO, (20, 1, None, None, None)),
]


def test_a_day_is_told_as_it_was_in_brasilia(read):
    found = read(*[{"event_time_ms": ms(*at), "payer_municipality": place} for at, place, _ in DAYS])
    names = ("event_hour", "event_weekday", "holiday", "state_holiday", "is_business_day")
    assert [tuple(row[name] for name in names) for row in found] == [told for _, _, told in DAYS]


def test_hours_and_weekdays_are_those_of_the_calendar(read):
    draw = random.Random(11)
    times = [draw.randrange(ms(1900, 1, 1), ms(2200, 1, 1)) for _ in range(500)]
    local = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at, hours=-3) for at in times]
    found = read(*[{"event_time_ms": at} for at in times])
    assert [(row["event_hour"], row["event_weekday"]) for row in found] == [(at.hour, at.isoweekday()) for at in local]


PLACES = [
    (SAO_PAULO, "SP", "Southeast"),
    (SALVADOR, "BA", "Northeast"),
    ("5300108", "DF", "Centre-West"),
    ("4314902", "RS", "South"),
    ("1302603", "AM", "North"),
    (None, None, None),
    # No state has 19, and these are no codes of municipalities.
    ("1900000", None, None),
    ("9999999", None, None),
    ("35", None, None),
    ("35503081", None, None),
    ("355030X", None, None),
    ("", None, None),
]


def test_places_are_states_and_regions(read):
    found = read(
        *[
            {"event_time_ms": ms(2026, 6, 1), "payer_municipality": payer, "device_municipality": device}
            for (payer, *_), (device, *_) in zip(PLACES, reversed(PLACES), strict=True)
        ]
    )
    assert [[row["payer_state"], row["payer_region"]] for row in found] == [told for _, *told in PLACES]
    assert [[row["device_state"], row["device_region"]] for row in reversed(found)] == [told for _, *told in PLACES]


def test_the_id_names_the_institution(read):
    ispbs = ["18236120", "00000000", "60701190", "12345678"]
    ids = [f"E{ispb}202606011200{number:011d}" for number, ispb in enumerate(ispbs)]
    found = read(*[{"event_time_ms": ms(2026, 6, 1), "end_to_end_id": one} for one in ids])
    assert [(row["initiator_ispb"], row["initiator_psp"]) for row in found] == list(
        zip(ispbs, ["Nubank", "Banco do Brasil", "Itaú Unibanco", None], strict=True)
    )


def test_facts_become_ages_at_the_event(read):
    at = ms(2026, 6, 1)
    known, younger, unknown = read(
        {
            "event_time_ms": at,
            "key_created_at_ms": at,
            "key_owned_since_ms": at - 3 * DAY_MS + 1,
            "payer_account_opened_at_ms": at - DAY_MS,
            "payee_account_opened_at_ms": at - 365 * DAY_MS,
            "fraud_markers_watermark_ms": at - 1_234,
        },
        {
            "event_time_ms": at,
            "key_created_at_ms": at + 1,
            "key_owned_since_ms": at + 3 * DAY_MS,
            "payer_account_opened_at_ms": at + DAY_MS + 1,
            "payee_account_opened_at_ms": -(10**14),
            "fraud_markers_watermark_ms": at + 5,
        },
        {"event_time_ms": at},
    )
    names = [column.name for column in COLUMNS[-5:]]
    assert [known[name] for name in names] == [0, 2, 1, 365, 1_234]
    assert [younger[name] for name in names] == [-1, -3, -2, (at + 10**14) // DAY_MS, -5]
    assert [unknown[name] for name in names] == [None] * 5


days = st.dates(date(YEARS.start, 1, 1), date(YEARS.stop - 1, 12, 31))


@given(st.one_of(days, st.sampled_from(sorted(calendar()))), st.sampled_from(sorted(STATES.values())))
def test_a_states_holidays_and_the_nations_are_the_packages_and_share_none(day, state):
    found = calendar().get(day)
    national = set(found.national.split("; ")) if found and found.national else set()
    own = set(found.of_states[state].split("; ")) if found and state in found.of_states else set()
    asked = holidays.country_holidays("BR", subdiv=state, years=day.year, language="pt_BR").get(day)
    asked_national = holidays.country_holidays("BR", years=day.year, language="pt_BR").get(day)
    assert national == set(asked_national.split("; ") if asked_national else ())
    assert national | own == set(asked.split("; ") if asked else ())
    assert not national & own


def test_every_state_of_brazil_is_here_and_every_place_and_institution_of_the_simulator():
    # The package also has the city of São Paulo, by its whole name.
    subdivisions = holidays.country_holidays("BR").subdivisions
    assert sorted(STATES.values()) == sorted(name for name in subdivisions if len(name) == 2)
    assert {code[0] for code in STATES} == set(REGIONS)
    towns = [code for of_region in MUNICIPALITIES.values() for code in of_region]
    assert all(code[:2] in STATES for code in towns)
    assert {ispb for ispb, _ in PSPS} <= set(psps())
    assert all(len(ispb) == 8 and ispb.isdigit() and name for ispb, name in psps().items())
    assert date(1970, 1, 1) == EPOCH
