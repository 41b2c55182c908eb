"""Importing past payments: every line is taken, refused with its reason, or known already."""

import json

import pytest

from pix.contracts import history_tenant
from pix.offline import history, inbox, sources
from pix.offline.names import UnusableName, history_of, is_live, usable
from pix.offline.tables import HISTORY_LABELS, HISTORY_PAYMENTS, HISTORY_REFUSED


def write(folder, payments, labels=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("payments.jsonl", payments), ("labels.jsonl", labels)):
        if lines is not None:
            (folder / name).write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))


def imported(spark, messages, inbox_folder, before=None, number=1, now_ms=None):
    (found,) = inbox.waiting(inbox_folder)
    return history.read(
        spark,
        found,
        history.files_of(found),
        number,
        before=before if before is not None else spark.createDataFrame([], HISTORY_PAYMENTS.ddl),
        keyring=messages.KEYRING,
        now_ms=now_ms or messages.NOON_MS + messages.DAY_MS,
    )


def test_an_empty_inbox_has_nothing_to_import(tmp_path):
    assert inbox.waiting(tmp_path / "none") == []


def test_a_folder_with_an_unusable_name_is_named(tmp_path, messages):
    write(tmp_path / "my history" / "a", [messages.payment(1)])
    with pytest.raises(UnusableName, match="'my history'"):
        inbox.waiting(tmp_path)


def test_blocks_cover_every_line_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 64)
    path = tmp_path / "payments.jsonl"
    path.write_bytes(b"".join(b"line %d\n" % n for n in range(50)) + b"without newline")
    found = sources.index(path)
    assert len(found.blocks) > 3
    lines = [line for block in found.blocks for line in sources.lines_of(path, block)]
    assert lines == [(n + 1, b"line %d" % n) for n in range(50)] + [(51, b"without newline")]


def test_payments_are_tokenised_and_broken_lines_refused(spark, tmp_path, messages):
    lines = [messages.payment(1), "{broken", messages.payment(2, amount_cents=-1), "", messages.payment(3)]
    write(tmp_path / "jan" / "1", lines)
    result = imported(spark, messages, tmp_path)
    assert result.payments.columns == HISTORY_PAYMENTS.names
    assert result.refused.columns == HISTORY_REFUSED.names
    taken = result.payments.orderBy("row_number").collect()
    assert [(row.row_number, row.end_to_end_id, row.history, row.import_number) for row in taken] == [
        (1, messages.identity(1), "jan", 1),
        (5, messages.identity(3), "jan", 1),
    ]
    assert "12345678-0001" not in taken[0].payment
    assert {row.tenant for row in taken} == {"default@jan"}
    refused = result.refused.orderBy("row_number").collect()
    assert [(row.row_number, row.reason, row.end_to_end_id) for row in refused] == [
        (2, "not_json", None),
        (3, "invalid_fields", messages.identity(2)),
    ]
    assert json.loads(refused[1].errors)[0]["field"] == "amount_cents"
    assert json.loads(messages.KEYRING.open(refused[1].payload))["amount_cents"] == -1


def test_a_repeated_payment_is_known_and_another_one_under_its_id_is_refused(spark, tmp_path, messages):
    write(tmp_path / "a" / "jan" / "1", [messages.payment(1), messages.payment(1), messages.payment(1, amount_cents=5)])
    first = imported(spark, messages, tmp_path / "a")
    assert first.payments.count() == 1
    assert [row.reason for row in first.refused.collect()] == ["other_payment_under_known_id"]
    write(tmp_path / "b" / "jan" / "1", [messages.payment(1), messages.payment(2), messages.payment(1, amount_cents=6)])
    second = imported(spark, messages, tmp_path / "b", before=first.payments, number=2)
    assert [row.end_to_end_id for row in second.payments.collect()] == [messages.identity(2)]
    assert [(row.row_number, row.reason) for row in second.refused.collect()] == [(3, "other_payment_under_known_id")]


def test_only_labels_of_this_import_that_are_known_are_taken(spark, tmp_path, messages):
    known = messages.label(1, "accepted", messages.NOON_MS)
    future = messages.label(1, "reversed", messages.NOON_MS + 9 * messages.DAY_MS)
    stray = messages.label(7, "accepted", messages.NOON_MS)
    forged = {**known, "kind": "rejected"}
    write(tmp_path / "jan" / "1", [messages.payment(1)], [known, known, future, stray, forged])
    result = imported(spark, messages, tmp_path)
    assert result.labels.columns == HISTORY_LABELS.names
    assert [(row.label_id, row.kind) for row in result.labels.collect()] == [(known["label_id"], "accepted")]
    refused = result.refused.orderBy("row_number").collect()
    assert [(row.row_number, row.reason) for row in refused] == [
        (3, "label_not_known_yet"),
        (4, "label_without_payment"),
        (5, "invalid_fields"),
    ]


@pytest.mark.parametrize("name", ["", "Jan", "jan.2026", "-jan", "default@jan", "j" * 33])
def test_names_that_no_history_can_have(name):
    with pytest.raises(UnusableName, match="1 to 32 of a-z"):
        usable(name)


def test_histories_share_no_account_and_live_is_the_past_of_the_live_traffic(spark, tmp_path, messages):
    found = {}
    for name in ("live", "bank", "bank-2"):
        write(tmp_path / name / name / "1", [messages.payment(1)], [messages.label(1, "accepted", messages.NOON_MS)])
        result = imported(spark, messages, tmp_path / name)
        (payment,), (label,) = result.payments.collect(), result.labels.collect()
        assert label.tenant == payment.tenant == history_tenant("default", name)
        found[name] = json.loads(payment.payment)["payer_account"]
    assert len(set(found.values())) == 3
    assert found["live"] == messages.record(1)["payment"]["payer_account"]
    rows = spark.createDataFrame([("default",), ("default@bank",), ("default@bank|account|k1:x",)], "tenant string")
    assert [row[0] for row in rows.select(is_live("tenant")).collect()] == [True, False, False]
    assert [row[0] for row in rows.limit(2).select(history_of("tenant")).collect()] == ["live", "bank"]


def test_a_folder_without_labels_says_nothing_by_its_silence(spark, tmp_path, messages):
    for name, labels, honest in (("with", [], True), ("without", None, False)):
        write(tmp_path / name / "jan" / "1", [messages.payment(1)], labels)
        (row,) = imported(spark, messages, tmp_path / name).payments.collect()
        assert row.silence_is_honest is honest
