"""One row per table and day, a page and a picture."""

import base64

import pytest

from quality.scorecard import BROKEN, DAYS_SHOWN, GOOD, SCORECARD, WARNED, markdown, picture, score


@pytest.fixture
def scored(lake, ask, rows):
    def found(table, *, days_later=99):
        now_ms = rows.NOON_MS + days_later * rows.DAY_MS
        return score(table, ask, columns=lake.types(table.name), now_ms=now_ms, today=rows.day_of(now_ms))

    return found


def past(row, rows, days, per_day=20):
    return [row(1_000 * day + n, rows.NOON_MS + day * rows.DAY_MS) for day in range(days) for n in range(per_day)]


def test_a_day_is_broken_warned_or_good(rows, write, scored):
    at = [rows.NOON_MS + day * rows.DAY_MS for day in range(3)]
    table = write(
        "silver/decisions",
        rows.decision(1, at[0], amount_cents=-1),
        rows.decision(2, at[1], policy_version="p"),
        rows.decision(3, at[2]),
    )
    found = scored(table)
    assert [row["verdict"] for row in found] == [BROKEN, WARNED, GOOD]
    assert [row["broken"] for row in found] == ["amounts_are_possible", "texts_have_their_shape", ""]
    assert [(row["broken_critical"], row["broken_warning"]) for row in found] == [(1, 0), (0, 1), (0, 0)]
    assert {row["day"]: row["rows"] for row in found} == {rows.day_of(at_ms): 1 for at_ms in at}
    assert found[0]["silence_hours"] == pytest.approx(24, abs=0.01)
    assert found[2]["silence_hours"] == pytest.approx(97 * 24, abs=0.01)


def test_a_day_that_lost_its_rows_is_broken_where_models_learn_and_unusual_elsewhere(rows, write, scored):
    def thin(row):
        return [*past(row, rows, 20), row(999_999, rows.NOON_MS + 20 * rows.DAY_MS)]

    decided = scored(write("silver/decisions", *thin(rows.decision)))
    table = write("silver/payments", *thin(rows.payment))
    learnt = scored(table)
    assert (learnt[-1]["verdict"], decided[-1]["verdict"]) == (BROKEN, WARNED)
    assert learnt[-1]["volume_score"] < -7
    assert "volume: 2026-06-21: 1 rows, usually 13 to 27" in learnt[-1]["unusual"]
    assert {row["verdict"] for row in learnt[:-1]} == {GOOD}
    assert learnt[3]["volume_score"] is None
    assert scored(table, days_later=20)[-1]["verdict"] == GOOD


def test_what_is_asked_of_the_table_is_told_on_its_newest_day(rows, write, scored):
    write("silver/decisions", *past(rows.decision, rows, 3, 1))
    assert [row["broken"] for row in scored(write("gold/decisions", *past(rows.decision, rows, 2, 1)))] == [
        *("", "newest_rows_of_its_source_are_there")
    ]


def test_tables_without_days_have_one_row_and_long_ones_their_newest_days(rows, write, scored):
    refused = {"history": "bank", "import_number": 1, "file_sha256": "a" * 64, "row_number": 1, "reason": "x"}
    (row,) = scored(write("silver/history_refused", refused))
    assert (row["day"], row["rows"], row["verdict"]) == (None, 1, GOOD)
    assert len(scored(write("silver/decisions", *past(rows.decision, rows, 70, 1)))) == DAYS_SHOWN
    assert scored(write("silver/decisions")) == []


def test_the_page_and_the_picture_are_small_and_say_what_is_bad(rows, write, scored):
    found = scored(write("silver/decisions", *past(rows.decision, rows, 40), rows.decision(7_000_000, amount_cents=0)))
    page = markdown(found)
    assert "| silver/decisions | 2026-07-10 | 20 |" in page
    assert "1 of 40 days are not good." in page
    assert "| silver/decisions | 2026-06-01 | broken | amounts_are_possible |" in page
    drawn = picture(found)
    assert len(drawn) < 100_000
    assert base64.b64decode(drawn.partition("base64,")[2].rstrip(")")).startswith(b"\x89PNG")
    assert SCORECARD.arrow(found).column_names == SCORECARD.names
    assert SCORECARD.arrow([]).num_rows == 0
    assert "0 of 0 days" in markdown([])
    assert picture([]).startswith("![")
