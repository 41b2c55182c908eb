import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix.identifiers import cnpj, cpf, end_to_end_minute_ms, make_end_to_end_id, valid_cnpj, valid_cpf

CAPITALS_AND_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALPHANUMERIC = CAPITALS_AND_DIGITS + "abcdefghijklmnopqrstuvwxyz"
LAST_MS = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)

cpf_bases = st.text("0123456789", min_size=9, max_size=9).filter(lambda base: base != base[0] * 9)
cnpj_bases = st.text(CAPITALS_AND_DIGITS, min_size=12, max_size=12).filter(lambda base: base != base[0] * 12)


def test_published_vectors():
    assert cpf("123456789") == "12345678909"
    assert cnpj("12ABC34501DE") == "12ABC34501DE35"
    assert valid_cnpj("12ABC34501DE35")
    assert valid_cnpj("00000000000191")


@given(cpf_bases, st.integers(0, 10), st.integers(1, 9))
def test_one_wrong_digit_breaks_a_cpf(base, place, change):
    good = cpf(base)
    wrong = good[:place] + str((int(good[place]) + change) % 10) + good[place + 1 :]
    assert valid_cpf(good)
    # Remainders 0 and 1 share the check digit 0, so a base digit may hide; a check digit never does.
    assert place < 9 or not valid_cpf(wrong)


@given(cnpj_bases, st.integers(12, 13), st.integers(1, 9))
def test_one_wrong_check_digit_breaks_a_cnpj(base, place, change):
    good = cnpj(base)
    wrong = good[:place] + str((int(good[place]) + change) % 10) + good[place + 1 :]
    assert valid_cnpj(good)
    assert not valid_cnpj(wrong)


@pytest.mark.parametrize(
    "text",
    ["", "1234567890", "111.444.777-35", "11111111111", "1234567890９", "١٢٣٤٥٦٧٨٩٠٩", "12345678909\n"],
)
def test_not_a_cpf(text):
    assert not valid_cpf(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12abc34501de35",
        "12ABC34501DE3A",
        "12.ABC.345/01DE-35",
        "00000000000000",
        "12ABC34501DE３５",
        "12ABC34501DE35\n",
    ],
)
def test_not_a_cnpj(text):
    assert not valid_cnpj(text)


@pytest.mark.parametrize("base", ["12345678", "1234567890", "12345678a", "111111111"])
def test_cpf_of_a_bad_base_is_refused(base):
    with pytest.raises(ValueError, match="got"):
        cpf(base)


@given(
    st.text(CAPITALS_AND_DIGITS, min_size=8, max_size=8),
    st.integers(0, LAST_MS),
    st.text(ALPHANUMERIC, min_size=11, max_size=11),
)
def test_end_to_end_id_keeps_its_minute(ispb, at_ms, suffix):
    written = make_end_to_end_id(ispb, at_ms, suffix)
    assert re.fullmatch(r"E[0-9A-Z]{8}[0-9]{12}[A-Za-z0-9]{11}", written)
    assert end_to_end_minute_ms(written) == at_ms // 60_000 * 60_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "E12345678202613211230abcdefghijk",
        "E12345678202602301230abcdefghijk",
        "E12345678202611212430abcdefghijk",
        "E12345678202611211260abcdefghijk",
        "E12345678000011211230abcdefghijk",
        "E12345678２０２６11211230abcdefghijk",
        "D12345678202611211230abcdefghijk",
        "E12345678202611211230abcdefghij",
    ],
)
def test_an_id_without_a_real_minute_is_refused(text):
    with pytest.raises(ValueError, match="EndToEndId"):
        end_to_end_minute_ms(text)


def test_bad_parts_make_no_end_to_end_id():
    with pytest.raises(ValueError, match="ISPB"):
        make_end_to_end_id("1234567", 0, "abcdefghijk")
    with pytest.raises(ValueError, match="eleven"):
        make_end_to_end_id("12345678", 0, "abcdefghij-")
