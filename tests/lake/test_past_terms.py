"""What retention takes is missed by nobody: figures, imports, past decisions, and days that are made anew."""

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from fraud_assets import care_work, gold, imports
from fraud_assets.__main__ import lake_tables
from fraud_assets.care_needs import needs
from fraud_assets.lake import LakeResource
from pix.clock import epoch_ms
from pix.contracts import DAY_MS
from pix.engines.layout import STATE_LAYOUT
from pix.offline.care import CARE, Care, NoCare, care_of, due, gone_before, terms
from pix.offline.days import begin_ms
from pix.offline.declaration import Table
from pix.offline.retention import RETENTION, TEN_YEARS
from pix.offline.tables import BASE_STATES, HISTORY_IMPORTS, HISTORY_PAYMENTS, HISTORY_REFUSED, HOURLY_KPIS
from pix.settings import Settings
from serving.rerun_errors import EvidenceAway
from serving.rerun_lake import Evidence

NOW_MS = 1_795_300_000_000
AT_ONCE = Care(travel_days=0, small_files=2, why="A test cannot wait.")


@pytest.fixture
def lake(tmp_path: Path) -> LakeResource:
    return LakeResource.of(Settings(home=tmp_path))


def test_rows_without_a_time_of_their_own_age_with_their_import():
    imports = {1: NOW_MS - 91 * DAY_MS, 2: NOW_MS - 89 * DAY_MS, 3: NOW_MS - (TEN_YEARS + 1) * DAY_MS}
    found = due(HISTORY_REFUSED, NOW_MS, imports)
    assert [each.where for each in found] == [
        "import_number in (3)",
        'import_number in (1, 3) and "payload" is not null',
    ]
    assert due(HISTORY_REFUSED, NOW_MS, {2: imports[2]}) == []


def test_a_past_decision_finds_its_base_among_versions_that_are_gone(lake):
    for imports_there in (1, 2, 2, 3):
        content = {"key": ["k"], "number": [imports_there], "blob": [b"state"], "layout": [STATE_LAYOUT]}
        count = pa.array([imports_there], pa.int32())
        write_deltalake(lake.address(BASE_STATES.name), pa.table({**content, "import_number": count}), mode="overwrite")
    need, at_ms = needs(lake, {BASE_STATES.name: BASE_STATES}, dict), epoch_ms() + 1_000
    done = care_work.clear(lake, BASE_STATES, AT_ONCE, need, now_ms=at_ms, imports={}, dry_run=False)
    assert sorted(done.kept_versions) == [0, 2, 3]
    with pytest.raises(Exception, match=r"(?i)not found|No files|metadata"):
        lake.ask(BASE_STATES.name, "select key from asked", version=1)
    evidence = Evidence(lake.root)
    assert [evidence.base(number, {"k"})["k"].number for number in (1, 2, 3)] == [1, 2, 3]
    with pytest.raises(EvidenceAway, match=r"no version of it holds so many; version 1, the newest of those"):
        evidence.base(4, {"k"})


def test_figures_outlive_the_decisions_that_they_were_counted_of(lake):
    kinds = {"bigint": pa.int64(), "int": pa.int32(), "double": pa.float64(), "date": pa.date32()}
    schema = pa.schema([(column.name, kinds[column.type]) for column in HOURLY_KPIS.columns])
    days = [date(2016, 3, 4), date(2026, 3, 4)]
    counted = [pa.Table.from_pylist([{"day": day, "hour": 7, "payments": 1}], schema) for day in days]
    write_deltalake(lake.address(HOURLY_KPIS.name), counted[0])
    assert gold.with_earlier(lake, counted[1], now_ms=NOW_MS)["day"].to_pylist() == days
    assert gold.with_earlier(lake, counted[1], now_ms=NOW_MS - 300 * DAY_MS)["day"].to_pylist() == days[1:]


def test_an_import_whose_payments_are_gone_is_not_taken_again(lake):
    def import_number(number: int, table: Table, **more: Any) -> None:
        row = {"history": ["live"], "import_number": pa.array([number], pa.int32()), "file_sha256": [f"file{number}"]}
        write_deltalake(lake.address(table.name), pa.table({**row, **more}), mode="append")

    for number in (1, 2):
        import_number(number, HISTORY_IMPORTS, payments=[5])
    import_number(2, HISTORY_PAYMENTS)
    assert imports.committed(lake) == (2, {("live", "file1"), ("live", "file2")})


def test_no_rows_outlive_what_they_are_made_from():
    """A table is made anew from what is upstream; what had gone there would be lost here."""
    import dagster as dg

    from fraud_assets import definitions

    # These keep by themselves what is upstream no more (`_whole_from`, `describe_days`, `_with_earlier`, `_kept`).
    keep = {"quality/flow", "features/statistics", "gold/hourly_kpis", "gold/daily_kpis"}
    graph = definitions.build(Settings()).resolve_asset_graph()
    shorter = {}
    for name in RETENTION.keys() - keep:
        parents = graph.get(dg.AssetKey(name.split("/"))).parent_keys
        for source, days in terms("/".join(parent.path) for parent in parents).items():
            own = terms([name]).get(name)
            # Without a term of its own a table is replaced whole, from what there is.
            if own is not None and days < own:
                shorter[name, source] = (own, days)
    assert shorter == {}


def test_every_table_is_looked_after_or_left_alone_by_decision():
    assert CARE.keys() == {table.name for table in lake_tables()}
    assert {name for name, care in CARE.items() if care is None} == {"silver/policies"}
    with pytest.raises(NoCare, match="silver/new has no care; add it to CARE"):
        care_of("silver/new")


def test_of_days_before_a_term_rows_may_be_gone():
    assert begin_ms(gone_before(400, NOW_MS)) > NOW_MS - 400 * DAY_MS
    assert begin_ms(gone_before(400, NOW_MS)) - DAY_MS <= NOW_MS - 400 * DAY_MS
