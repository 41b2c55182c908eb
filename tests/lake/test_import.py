"""Importing tables by a mapping: formats, archives, labels of every kind, repetition, refusals."""

import csv
import io
import json
import tarfile
import zipfile
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pix.contracts import history_tenant
from pix.offline import history, inbox, mapping, sources
from pix.offline.inbox import NothingToImport
from pix.offline.mapping import TableSource
from pix.offline.mapping_checks import MappingProblem
from pix.offline.preview import preview
from pix.offline.sources import UnreadableFile
from pix.offline.tables import HISTORY_PAYMENTS

NOW_MS = 1_780_315_200_000
FIELDS = """
payments:
  fields:
    end_to_end_id: {derived: true, ispb: "99999999"}
    initiated_at: {column: day, unit: days, start: "2026-01-01T00:00:00Z"}
    amount_cents: {column: value, unit: reais}
    payer_account: {column: source, template: "99999999-0001-{}"}
    payee_account: {column: target, template: "99999999-0001-{}"}
    payer_age_years: age
"""
IN_FILE = """
labels:
  per: payment
  column: fraud
  values: {"1": fraud, "0": legitimate, "?": unknown, "c": dismissed}
  reporting_delay_days: 10
  fraud_type: SCAM
"""
COLUMNS = ("source", "target", "value", "day", "age", "fraud")
ROWS = [
    ("1", "2", "10.00", "1", "30", "1"),
    ("2", "3", "10.50", "2", "", "0"),
    ("3", "3", "11.00", "3", "31", "0"),  # pays itself
    ("3", "1", "0.001", "3", "31", "0"),  # a tenth of a centavo
    ("1", "3", "12.00", "4", "32", "?"),
    ("2", "1", "13.00", "5", "33", "c"),
    ("2", "1", "13.00", "5", "33", "x"),  # the mapping does not say what x means
    ("1", "2", "14.00", "148", "34", "1"),  # reported only after the import
]


def csv_text(columns, rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def imported(spark, messages, folder, source, text, name="bank", before=None, number=1):
    deposit = inbox.deposit(folder / "inbox", source, name, mapping.parse(text))
    before = before if before is not None else spark.createDataFrame([], HISTORY_PAYMENTS.ddl)
    return history.read(
        spark,
        deposit,
        history.files_of(deposit),
        number,
        before=before,
        keyring=messages.KEYRING,
        now_ms=NOW_MS,
    )


def errors_by_row(result):
    rows = result.refused.orderBy("row_number").collect()
    return [(row.row_number, [(each["field"], each["reason"]) for each in json.loads(row.errors)]) for row in rows]


@pytest.fixture
def bank(tmp_path):
    path = tmp_path / "bank.csv"
    path.write_text(csv_text(COLUMNS, ROWS))
    return path


def test_rows_become_payments_or_are_refused_with_number_and_reason(spark, tmp_path, messages, bank):
    result = imported(spark, messages, tmp_path, bank, FIELDS + IN_FILE)
    taken = {row.row_number: row for row in result.payments.collect()}
    assert sorted(taken) == [2, 3, 6, 7, 9]
    first = json.loads(taken[2].payment)
    assert (first["amount_cents"], first["payer_age_years"], first["tenant"]) == (1_000, 30, "default@bank")
    assert first["initiated_at_ms"] == taken[2].event_time_ms == 1_767_312_000_000
    assert taken[2].end_to_end_id.startswith("E99999999202601020000")
    assert "payer_age_years" not in json.loads(taken[3].payment)
    assert "99999999-0001" not in "".join(row.payment for row in taken.values())
    assert errors_by_row(result) == [
        (4, [("payee_account", "must differ from payer_account")]),
        (5, [("amount_cents", "must be reais with at most two decimals")]),
        (8, [("labels.column", "is not among the mapping's values")]),
    ]
    (sealed,) = [row.payload for row in result.refused.collect() if row.row_number == 8]
    assert json.loads(messages.KEYRING.open(sealed))["fraud"] == "x"
    (ledger,) = result.imports.collect()
    assert (ledger.payments, ledger.labels, ledger.refused, ledger.repeated) == (5, 3, 3, 0)


def test_labels_are_known_after_the_delay_and_at_the_import_at_the_latest(spark, tmp_path, messages, bank):
    result = imported(spark, messages, tmp_path, bank, FIELDS + IN_FILE)
    ids = {row.end_to_end_id: row for row in result.payments.collect()}
    found = {ids[row.end_to_end_id].row_number: row for row in result.labels.collect()}
    day = messages.DAY_MS
    assert {number: (row.kind, row.fraud_type) for number, row in found.items()} == {
        2: ("accepted", "SCAM"),
        7: ("dismissed", None),
        9: ("accepted", "SCAM"),
    }
    assert found[2].known_at_ms == found[2].effective_at_ms + 10 * day
    assert found[9].known_at_ms == NOW_MS < found[9].effective_at_ms + 10 * day
    assert {row.tenant for row in found.values()} == {"default@bank"}
    silence = {row.row_number: row.silence_is_honest for row in ids.values()}
    assert silence == {2: True, 3: True, 6: False, 7: True, 9: True}


def test_without_labels_no_silence_is_honest(spark, tmp_path, messages, bank):
    result = imported(spark, messages, tmp_path, bank, FIELDS)
    assert {row.silence_is_honest for row in result.payments.collect()} == {False}
    assert result.labels.count() == 0


def test_parquet_gives_the_same_payments_as_csv(spark, tmp_path, messages, bank, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_ROWS", 3)
    numbers = [int(row[4]) if row[4] else None for row in ROWS]
    columns = dict(zip(COLUMNS, zip(*ROWS, strict=True), strict=True))
    table = pa.table({**columns, "value": [float(row[2]) for row in ROWS], "age": numbers})
    pq.write_table(table, tmp_path / "bank.parquet", row_group_size=5)
    by_csv = imported(spark, messages, tmp_path / "a", bank, FIELDS + IN_FILE)
    by_parquet = imported(spark, messages, tmp_path / "b", tmp_path / "bank.parquet", FIELDS + IN_FILE)

    def facts(result):
        rows = result.payments.orderBy("row_number").collect()
        return [{k: v for k, v in json.loads(row.payment).items() if k != "end_to_end_id"} for row in rows]

    assert facts(by_parquet) == facts(by_csv)
    assert [row.row_number for row in by_parquet.payments.orderBy("row_number").collect()] == [1, 2, 5, 6, 8]
    assert [number for number, _ in errors_by_row(by_parquet)] == [3, 4, 7]


def test_repeated_rows_and_a_file_that_grew(spark, tmp_path, messages, bank):
    first = imported(spark, messages, tmp_path, bank, FIELDS + IN_FILE)
    grown = tmp_path / "grown.csv"
    grown.write_text(bank.read_text() + "1,2,99.00,6,40,0\n")
    again = imported(spark, messages, tmp_path, grown, FIELDS + IN_FILE, before=first.payments.persist(), number=2)
    assert [row.row_number for row in again.payments.collect()] == [10]
    assert again.imports.collect()[0].repeated == 5
    assert [row.reason for row in again.refused.collect()] == ["invalid_fields"] * 3


ACCOUNTS = """
labels:
  file: accounts.csv
  per: account
  key: number
  accounts: {whose}
  column: is_bad
  values: {{"1": fraud, "0": legitimate}}
  unlisted: unknown
  reporting_delay_days: 0
"""


@pytest.mark.parametrize(
    ("whose", "frauds", "unknown"),
    [("payer", {2, 6}, {7}), ("payee", {7}, set()), ("either", {2, 6, 7}, set()), ("both", set(), {7})],
)
def test_accounts_are_labelled_in_a_table_of_theirs(spark, tmp_path, messages, whose, frauds, unknown):
    rows = [("1", "2", "10", "1", "", ""), ("2", "3", "10", "2", "", ""), ("2", "3", "11", "2", "", ""),
            ("3", "2", "11", "3", "", ""), ("1", "3", "12", "4", "", ""), ("9", "1", "13", "5", "", "")]  # fmt: skip
    (tmp_path / "bank.csv").write_text(csv_text(COLUMNS, rows))
    (tmp_path / "accounts.csv").write_text("number,is_bad,since\n1,1,7\n2,0,-1\n3,0,-1\n7,1,3\n")
    result = imported(spark, messages, tmp_path, tmp_path / "bank.csv", FIELDS + ACCOUNTS.format(whose=whose))
    ids = {row.end_to_end_id: row.row_number for row in result.payments.collect()}
    assert {ids[row.end_to_end_id] for row in result.labels.collect()} == frauds
    assert {row.row_number for row in result.payments.collect() if not row.silence_is_honest} == unknown
    assert result.refused.count() == 0


def test_payments_are_labelled_in_a_table_of_theirs(spark, tmp_path, messages):
    text = (
        FIELDS
        + """
labels: {file: labels.csv, per: payment, key: id, matches: id, column: verdict, values: {bad: fraud},
         unlisted: legitimate, reporting_delay_days: 1}
"""
    )
    rows = [("1", "2", "10", "1", "", "a"), ("2", "3", "10", "2", "", "b")]
    (tmp_path / "bank.csv").write_text(csv_text((*COLUMNS[:5], "id"), rows))
    (tmp_path / "labels.csv").write_text("id,verdict\nb,bad\nz,bad\na,odd\n")
    result = imported(spark, messages, tmp_path, tmp_path / "bank.csv", text)
    ids = {row.end_to_end_id: row.row_number for row in result.payments.collect()}
    assert [ids[row.end_to_end_id] for row in result.labels.collect()] == [3]
    assert {row.silence_is_honest for row in result.payments.collect()} == {True}
    refused = [(row.row_number, row.reason) for row in result.refused.orderBy("row_number").collect()]
    assert refused == [(3, "label_without_payment"), (4, "invalid_fields")]


def test_histories_share_no_token(spark, tmp_path, messages, bank):
    one, two, live = (
        imported(spark, messages, tmp_path, bank, FIELDS + IN_FILE, name=name) for name in ("a", "b", "live")
    )
    accounts = [
        {json.loads(row.payment)[f"{side}_account"] for row in result.payments.collect() for side in ("payer", "payee")}
        for result in (one, two, live)
    ]
    assert [len(each) for each in accounts] == [3, 3, 3]
    assert len(set().union(*accounts)) == 9
    assert {row.tenant for row in two.payments.collect()} == {history_tenant("default", "b")}
    assert {row.tenant for row in live.payments.collect()} == {"default"}


def archive(path, members: dict[str, str]):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as target:
            for name, text in members.items():
                target.writestr(name, text)
        return path
    with tarfile.open(path, "w:gz") as target:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            target.addfile(entry, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize("name", ["bank.tgz", "bank.tar.gz", "bank.zip"])
def test_a_member_of_an_archive_is_read_and_never_extracted_by_its_path(tmp_path, name):
    text = csv_text(COLUMNS, ROWS)
    source = archive(tmp_path / name, {"../../evil/rows.csv": text, "other.csv": "x\n", "a/b/other.txt": ""})
    chosen = mapping.parse(FIELDS.replace("payments:", "payments:\n  member: rows.csv") + IN_FILE)
    found = inbox.deposit(tmp_path / "home" / "inbox", source, "bank", chosen)
    assert found.payments.read_text() == text
    assert found.payments.parent == found.folder
    assert found.payments.name == "payments.csv"
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file() and path != source]
    assert all(path.parts[:2] == ("home", "inbox") for path in written)
    assert not (tmp_path.parent / "evil").exists()


def test_an_archive_says_what_it_holds(tmp_path):
    source = archive(tmp_path / "bank.zip", {"a/rows.csv": "x\n", "b/rows.csv": "x\n"})
    for text, told in (
        (FIELDS, r"is an archive: name the member in payments.member; it holds a/rows.csv, b/rows.csv"),
        (FIELDS.replace("payments:", "payments:\n  member: rows.csv"), "has 2 members 'rows.csv'"),
        (FIELDS.replace("payments:", "payments:\n  member: cols.csv"), "has no member 'cols.csv'"),
    ):
        with pytest.raises(NothingToImport, match=told):
            inbox.deposit(tmp_path / "inbox", source, "bank", mapping.parse(text))
    assert not list((tmp_path / "inbox").iterdir())
    (tmp_path / "broken.zip").write_text("no zip")
    with pytest.raises(NothingToImport, match=r"broken.zip cannot be unpacked"):
        inbox.deposit(tmp_path / "inbox", tmp_path / "broken.zip", "bank", mapping.parse(FIELDS))


def test_a_column_that_is_not_there_is_told_before_any_row_is_read(tmp_path, bank):
    text = FIELDS.replace("column: value", "column: amount")
    deposit = inbox.deposit(tmp_path / "inbox", bank, "bank", mapping.parse(text))
    with pytest.raises(MappingProblem, match="amount_cents.column: the table has no column 'amount'; it has source"):
        history.files_of(deposit)


def rows_in(path, **table):
    chosen = TableSource(**table)
    found = sources.index_table(path, chosen)
    return found.columns, [row for block in found.blocks for row in sources.rows_of(found, block, chosen)]


def test_quoted_line_ends_keep_rows_whole_and_numbers_true(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 4)
    path = tmp_path / "x.csv"
    path.write_text('\ufeffa;b\n1;"two\nlines; ""quoted"""\n\n3;4\n' + "".join(f"{n};x\n" for n in range(6, 40)))
    columns, rows = rows_in(path, delimiter=";")
    assert columns == ("a", "b")
    assert rows[:2] == [(2, ["1", 'two\nlines; "quoted"']), (5, ["3", "4"])]
    assert [number for number, _ in rows[2:]] == list(range(6, 40))


def test_files_that_are_not_what_they_should_be(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 16)
    monkeypatch.setattr(sources, "MAX_BLOCK_BYTES", 64)
    for text, told in (
        ("", "has no header"),
        ("a,b,a\n", "names the column 'a' more than once"),
        ('a,b\n1,"open\n' + "x,y\n" * 50, "a quote opened after line 2 is not closed"),
    ):
        (tmp_path / "x.csv").write_text(text)
        with pytest.raises(UnreadableFile, match=told):
            rows_in(tmp_path / "x.csv")
    assert len(rows_in(tmp_path / "x.csv", quote="")[1]) == 51
    (tmp_path / "x.parquet").write_text("no parquet")
    with pytest.raises(UnreadableFile, match=r"x.parquet is no Parquet file"):
        rows_in(tmp_path / "x.parquet")


def test_latin_1_and_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("a,b\n1,ação\n".encode("latin-1"))
    assert rows_in(path, encoding="latin-1")[1] == [(2, ["1", "ação"])]
    assert rows_in(path)[1] == [(2, ["1", "a\udce7\udce3o"])]


def test_a_preview_shows_masked_payments_and_what_would_be_refused(bank):
    found = preview(bank, "bank", mapping.parse(FIELDS + IN_FILE), now_ms=NOW_MS)
    assert (found.rows, found.payments) == (8, 6)
    assert found.verdicts == {"fraud": 2, "legitimate": 3, "unknown": 1, "dismissed": 1, "refused": 1}
    assert [number for number, _ in found.refused] == [4, 5]
    assert "99999999-0001" not in json.dumps(found.examples)
    assert found.examples[0]["amount_cents"] == 1_000


def test_payments_after_the_import_are_refused(spark, tmp_path, messages):
    late = (NOW_MS - int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)) // messages.DAY_MS + 1
    (tmp_path / "bank.csv").write_text(csv_text(COLUMNS, [("1", "2", "1", str(late), "", "0")]))
    result = imported(spark, messages, tmp_path, tmp_path / "bank.csv", FIELDS + IN_FILE)
    assert errors_by_row(result) == [(2, [("initiated_at", "lies after the import")])]
