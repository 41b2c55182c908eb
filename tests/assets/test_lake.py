"""The lake resource: declared columns, one writer, whole imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fraud_assets import imports
from fraud_assets.lake import LakeResource, MissingTable, TableBusy, WrongSchema
from fraud_assets.resources import HomeResource
from pix.clock import epoch_ms
from pix.offline import history, inbox
from pix.offline.declaration import Column, Table
from pix.offline.tables import HISTORY_IMPORTS, HISTORY_LABELS, HISTORY_PAYMENTS, HISTORY_REFUSED

PLACES = Table("silver/places", "One place.", (Column("name", "string"), Column("number", "int")))
IMPORTED = (HISTORY_PAYMENTS.name, HISTORY_LABELS.name, HISTORY_REFUSED.name, HISTORY_IMPORTS.name)
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def lake(place, tmp_path):
    return place(tmp_path).lake


def rows(lake: LakeResource, *values):
    return lake.spark.createDataFrame(list(values), PLACES.ddl)


def test_a_missing_table_says_what_to_do(lake):
    with pytest.raises(MissingTable, match=r"bronze/pix_decisions does not exist .* `sentinela up`"):
        lake.read("bronze/pix_decisions")


def test_writes_report_rows_and_version(lake):
    first = lake.overwrite(PLACES, rows(lake, ("a", 1), ("b", 2)), note={"bronze/x": 4})
    assert (first.rows, first.version) == (2, 0)
    assert lake.note(PLACES.name) == {"bronze/x": 4}
    second = lake.replace(PLACES, rows(lake, ("c", 2), ("d", 3)), where="number >= 2")
    assert (second.rows, second.version) == (3, 1)
    assert lake.read(PLACES.name, version=0).count() == 2


def test_columns_may_come_in_any_order_but_not_in_another_type(lake):
    frame = rows(lake, ("a", 1))
    assert lake.overwrite(PLACES, frame.select("number", "name")).rows == 1
    with pytest.raises(WrongSchema, match="number: declared int, got bigint"):
        lake.overwrite(PLACES, frame.withColumn("number", frame.number.cast("bigint")))


def test_a_second_writer_is_told_who_the_first_is(lake):
    lock = Path(lake.locks) / "lake-silver-places"
    code = "import sys; from pathlib import Path; from pix.locks import hold; hold(Path(sys.argv[1])); print(); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        other.stdout.readline()
        hurried = lake.model_copy(update={"patience_seconds": 0.0})
        with pytest.raises(TableBusy, match=f"process {other.pid} is writing silver/places"):
            hurried.overwrite(PLACES, rows(lake))
    finally:
        other.communicate(b"\n")
    assert lake.overwrite(PLACES, rows(lake)).rows == 0


def test_two_imports_at_once_take_turns(lake):
    code = "import sys; from pathlib import Path; from pix.locks import hold; hold(Path(sys.argv[1])); print(); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(lake.locks) / "history-import")],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        other.stdout.readline()
        hurried = lake.model_copy(update={"patience_seconds": 0.0})
        with pytest.raises(TableBusy, match=f"process {other.pid} is importing"), imports.only_import(hurried):
            pass
    finally:
        other.communicate(b"\n")
    with imports.only_import(lake):
        pass


def test_a_table_without_its_columns_does_not_stay_in_the_way(place, tmp_path):
    made = place(tmp_path)
    (tmp_path / "bank.csv").write_text("a,b\n1,2\n")
    fields = {"end_to_end_id": "id", "initiated_at": {"column": "when", "unit": "iso"}}
    fields |= {"amount_cents": {"column": "a", "unit": "reais"}, "payer_account": "a", "payee_account": "b"}
    config = {"file": str(tmp_path / "bank.csv"), "history": "bank", "mapping": {"payments": {"fields": fields}}}
    result = made.run(*IMPORTED, config={"ops": {"imported_history": {"config": config}}})
    (sentence,) = made.told(result).values()
    assert "payments.fields.end_to_end_id.column: the table has no column 'id'; it has a, b" in sentence
    assert not [path for path in (made.settings.root / "inbox").rglob("*") if path.is_file()]
    assert made.run(*IMPORTED).success


class DiesBeforePayments(LakeResource):
    """A lake whose writer is killed when it comes to the payments."""

    def replace(self, table, frame, *, where):
        if table is HISTORY_PAYMENTS:
            raise KeyboardInterrupt
        return super().replace(table, frame, where=where)


def test_a_torn_import_is_replaced_by_the_next_one(place, tmp_path):
    made = place(tmp_path)
    home = HomeResource.of(made.settings)
    payment = {
        "end_to_end_id": "E12345678202611210930abcdefghijk",
        "initiated_at": "2026-11-21T09:30:00Z",
        "amount_cents": 1,
        "payer_account": "12345678-0001-1",
        "payee_account": "12345678-0001-2",
    }
    (tmp_path / "payments.jsonl").write_text(f"{{broken\n{json.dumps(payment)}\n{{worse\n")
    waiting, now_ms = inbox.deposit(home.inbox, tmp_path, "jan", None), epoch_ms()
    with pytest.raises(KeyboardInterrupt):
        imports.import_one(
            DiesBeforePayments.of(made.settings), home, waiting, history.files_of(waiting), now_ms=now_ms
        )
    assert made.lake.rows(HISTORY_REFUSED.name) == 2
    assert made.lake.rows(HISTORY_IMPORTS.name) == 1
    assert imports.committed(made.lake) == (0, set())
    assert waiting.payments.exists()
    assert made.run(*IMPORTED).success
    assert [made.lake.rows(name) for name in IMPORTED] == [1, 0, 2, 1]
    assert imports.committed(made.lake)[0] == 1
    assert not waiting.folder.exists()


def test_an_import_without_a_single_payment_happened(place, tmp_path):
    made = place(tmp_path)
    (tmp_path / "payments.jsonl").write_text("{broken\n")
    for name in ("jan", "feb"):
        inbox.deposit(HomeResource.of(made.settings).inbox, tmp_path, name, None)
        assert made.run(*IMPORTED).success
    refused = made.lake.read(HISTORY_REFUSED.name).collect()
    assert {row.history: row.import_number for row in refused} == {"jan": 1, "feb": 2}
