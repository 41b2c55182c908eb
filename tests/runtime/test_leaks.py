"""The search for clear identifiers sees them in every kind of file that a home holds."""

import gzip
import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentinela import leaks

PAYMENT = {
    "payer_tax_id": "12345678909",
    "payee_tax_id": "12ABC34501DE35",
    "pix_key": "cliente.1f@example.com",
    "payer_account": "12345678-0001-1234567",
    "payee_account": "87654321-0001-7654321",
}
HOLE_BYTES = 1 << 34


@pytest.fixture
def needles(tmp_path: Path) -> dict[bytes, str]:
    sent = tmp_path / "payments.jsonl"
    sent.write_text(json.dumps(PAYMENT) + "\nnot json\n")
    return leaks.clear_identifiers([sent])


def found(path: Path, needles: dict[bytes, str]) -> set[str]:
    result = leaks.Searched(len(needles))
    leaks._search_file(path, "here", needles, result)
    assert result.unread == {}
    return result.found.get("here", set())


def test_identifiers_are_named_by_what_they_are(needles: dict[bytes, str]) -> None:
    assert needles == {
        b"12345678909": "CPF",
        b"12ABC34501DE35": "CNPJ",
        b"cliente.1f@example.com": "EMAIL",
        b"12345678-0001-1234567": "ACCOUNT",
        b"87654321-0001-7654321": "ACCOUNT",
    }


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('"payer":"12345678909",', "CPF"),
        ("tax id 12ABC34501DE35 refused", "CNPJ"),
        ("mail <cliente.1f@example.com>.", "EMAIL"),
        ("default|account|12345678-0001-1234567|", "ACCOUNT"),
    ],
)
def test_a_clear_identifier_is_found(needles: dict[bytes, str], tmp_path: Path, text: str, kind: str) -> None:
    log = tmp_path / "service.log"
    log.write_text("x" * (leaks.CHUNK_BYTES - 5) + " " + text)
    assert found(log, needles) == {kind}
    with gzip.open(tmp_path / "log.gz", "wt") as file:
        file.write(text)
    assert found(tmp_path / "log.gz", needles) == {kind}
    with zipfile.ZipFile(tmp_path / "model.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside", text)
    assert found(tmp_path / "model.zip", needles) == {kind}
    # Values that touch each other without being one word: a column's bytes lie end to end.
    for values in ([[{"a": text}], [], None], ["1", text, None], [b"1", text.encode(), None]):
        pq.write_table(pa.table({"n": [1, 2, 3], "column": values}), tmp_path / "t.parquet")
        assert found(tmp_path / "t.parquet", needles) == {kind}


@pytest.mark.parametrize(
    "text", ["1712345678909", "0.1234567890", "***.456.789-**", "k1:abcdef", "someone@example.com"]
)
def test_what_is_no_clear_identifier_is_not_found(needles: dict[bytes, str], tmp_path: Path, text: str) -> None:
    (tmp_path / "log").write_text(text)
    assert found(tmp_path / "log", needles) == set()


def test_a_hole_is_not_read_and_hides_nothing(needles: dict[bytes, str], tmp_path: Path) -> None:
    with (tmp_path / "data.mdb").open("wb") as file:
        file.write(b"start ")
        file.seek(HOLE_BYTES)
        file.write(b" 12345678909 ")
        file.truncate(2 * HOLE_BYTES)
    result = leaks.Searched(len(needles))
    leaks._search_file(tmp_path / "data.mdb", "store", needles, result)
    assert result.found == {"store": {"CPF"}}
    assert result.bytes < leaks.CHUNK_BYTES


def test_a_long_word_does_not_take_its_square(needles: dict[bytes, str], tmp_path: Path) -> None:
    """Base64 without an end: with a pattern tried at every place this would run for hours, not be slower."""
    (tmp_path / "sealed").write_bytes(b"A" * 4_000_000 + b" 12345678909")
    assert found(tmp_path / "sealed", needles) == {"CPF"}
