import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.br import cnpj as other_cnpj
from stdnum.br import cpf as other_cpf

from pix.identifiers import (
    MAX_KEY_CHARACTERS,
    PIX_KEY_SHAPES,
    AccountReference,
    EndToEnd,
    cnpj,
    cpf,
    end_to_end_minute_ms,
    has_key_shape,
    make_end_to_end_id,
    parse_account,
    parse_end_to_end_id,
    pix_key_type,
    valid_cnpj,
    valid_cpf,
    valid_ispb,
    valid_tax_id,
)

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


@given(cpf_bases, cnpj_bases)
def test_another_library_computes_the_same_check_digits(cpf_base, cnpj_base):
    assert cpf(cpf_base)[9:] == other_cpf._calc_check_digits(cpf_base)
    assert cnpj(cnpj_base)[12:] == other_cnpj.calc_check_digits(cnpj_base)


@given(st.text("0123456789", min_size=11, max_size=11) | st.text(CAPITALS_AND_DIGITS, min_size=14, max_size=14))
def test_what_we_take_the_other_library_takes(text):
    if valid_tax_id(text):
        assert (other_cpf if len(text) == 11 else other_cnpj).is_valid(text)


@pytest.mark.parametrize("text", ["123.456.789-09", " 12345678909\n", "１２３４５６７８９０９", "11111111111"])
def test_the_other_library_is_too_lenient_for_a_door(text):
    assert other_cpf.is_valid(text)
    assert not valid_cpf(text)


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


@given(
    st.text(CAPITALS_AND_DIGITS, min_size=8, max_size=8),
    st.integers(0, LAST_MS),
    st.text(ALPHANUMERIC, min_size=11, max_size=11),
)
def test_the_parts_of_an_id_come_back(ispb, at_ms, suffix):
    written = make_end_to_end_id(ispb, at_ms, suffix)
    assert parse_end_to_end_id(written) == EndToEnd(ispb, at_ms // 60_000 * 60_000, suffix)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("00000000", True),
        ("12ABC345", True),
        ("1234567", False),
        ("12abc345", False),
        ("１2345678", False),
        ("12345678\n", False),
    ],
)
def test_ispb(text, valid):
    assert valid_ispb(text) == valid


KEYS = {
    "12345678909": "CPF",
    "12ABC34501DE35": "CNPJ",
    "00000000000191": "CNPJ",
    "+5511987654321": "PHONE",
    "+12025550123": "PHONE",
    "maria.silva@example.com": "EMAIL",
    "+5511987654321@example.com": "EMAIL",
    "x@localhost": "EMAIL",
    "123e4567-e89b-42d3-a456-426614174000": "EVP",
}


@pytest.mark.parametrize(("text", "kind"), KEYS.items())
def test_every_type_of_pix_key(text, kind):
    assert pix_key_type(text) == kind
    assert [other for other in PIX_KEY_SHAPES if has_key_shape(text, other)] == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12345678900",
        "11987654321",
        "5511987654321",
        "+0511987654321",
        "+55 11 98765-4321",
        "+5511９87654321",
        "123.456.789-09",
        "12abc34501de35",
        "12ABC34501DE36",
        "Maria@example.com",
        "maria%silva@example.com",
        "maria@-example.com",
        "maria@example..com",
        "maria@exämple.com",
        "maria@@example.com",
        "123E4567-E89B-42D3-A456-426614174000",
        "123e4567e89b42d3a456426614174000",
        "maria@example.com\n",
        "a" * 66 + "@example.com",
    ],
)
def test_what_is_no_pix_key(text):
    assert pix_key_type(text) is None


def test_a_key_of_the_greatest_length():
    longest = "a" * (MAX_KEY_CHARACTERS - len("@example.com")) + "@example.com"
    assert len(longest) == 77
    assert pix_key_type(longest) == "EMAIL"


@given(st.text(ALPHANUMERIC.lower() + "+@.-", max_size=90))
def test_a_key_has_at_most_one_type(text):
    kinds = [kind for kind in PIX_KEY_SHAPES if has_key_shape(text, kind)]
    assert len(kinds) <= 1
    assert pix_key_type(text) in (*kinds, None)


def test_the_parts_of_an_account():
    assert parse_account("12345678-0001-1234567") == AccountReference("12345678", "0001", "1234567")


@pytest.mark.parametrize("text", ["", "1234567-0001-1", "12345678-001-1", "12345678-0001-", "12345678-0001-12X",
                                  "12345678-0001-12345678901234", "12345678-0001-١", "12345678-0001-1\n"])  # fmt: skip
def test_what_is_no_account(text):
    with pytest.raises(ValueError, match="ISPB-branch-number"):
        parse_account(text)
