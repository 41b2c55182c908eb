"""What a run over the live log folds: what no run before has seen, and no file of the past is opened for it."""

import sqlite3

import pyarrow as pa
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.lake import LakeResource
from pix.offline import runs
from pix.offline.declaration import Column, Table

PARTITIONS = st.integers(0, 6)
OFFSETS = st.dictionaries(PARTITIONS, st.integers(0, 9), max_size=5)
ROWS = st.lists(st.tuples(PARTITIONS, st.integers(0, 12)), max_size=40)


@given(OFFSETS, ROWS)
def test_beyond_is_what_the_offsets_do_not_cover(offsets, rows):
    table = sqlite3.connect(":memory:")
    table.execute("create table log (p int, o int)")
    table.executemany("insert into log values (?, ?)", rows)
    found = table.execute(f"select p, o from log where {runs.beyond(offsets, 'p', 'o')}").fetchall()  # noqa: S608 - our own words
    assert sorted(found) == sorted((p, o) for p, o in rows if o > offsets.get(p, -1))


def test_a_sorted_table_keeps_ranges_in_files_apart(spark, tmp_path):
    columns = tuple(Column(name, "bigint") for name in ("partition", "offset"))
    table = Table("silver/sorted", "One record.", columns, rows_a_file=100)
    lake = LakeResource(root=str(tmp_path), locks=str(tmp_path / "locks"), tmp=str(tmp_path / "tmp"))
    rows = spark.range(1_000).selectExpr("id % 2 as `partition`", "id div 2 as `offset`").repartition(2)
    lake.overwrite(table, rows.sortWithinPartitions("partition", "offset"))
    files = pa.table(DeltaTable(lake.path(table.name)).get_add_actions(flatten=True)).to_pylist()
    assert len(files) >= 10
    assert all(file["num_records"] <= 100 for file in files)
    newest = runs.beyond({0: 480, 1: 480}, "partition", "offset")
    assert lake.read(table.name).where(newest).count() == 2 * 19
    opened = [file for file in files if file["max.offset"] > 480]
    assert len(opened) < len(files) / 2
