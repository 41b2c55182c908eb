"""Masks show what the Central Bank's manual shows, and no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix.identifiers import cnpj, cpf
from pix.masking import mask_account, mask_cnpj, mask_cpf, mask_pix_key, mask_tax_id


@pytest.mark.parametrize(
    ("mask", "clear", "shown"),
    [
        (mask_cpf, "12345678909", "***.456.789-**"),
        (mask_cnpj, "12345678000195", "**.345.678/0001-**"),
        (mask_cnpj, "12ABC34501DE35", "**.ABC.345/01DE-**"),
        (mask_tax_id, "12345678909", "***.456.789-**"),
        (mask_tax_id, "12ABC34501DE35", "**.ABC.345/01DE-**"),
        (mask_pix_key, "12345678909", "***.456.789-**"),
        (mask_pix_key, "12ABC34501DE35", "**.ABC.345/01DE-**"),
        (mask_pix_key, "maria.silva@example.com", "m***@example.com"),
        (mask_pix_key, "m@example.com", "m***@example.com"),
        (mask_pix_key, "+5511987654321", "+55 11 *****-4321"),
        (mask_pix_key, "+551133334444", "+55 11 ****-4444"),
        (mask_pix_key, "+12025550123", "+***23"),
        (mask_pix_key, "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-42d3-a456-426614174000"),
        (mask_account, "12345678-0001-1234567", "12345678-0001-***67"),
        (mask_account, "12345678-0001-1234", "12345678-0001-***"),
    ],
)
def test_masks(mask, clear, shown):
    assert mask(clear) == shown


@pytest.mark.parametrize("mask", [mask_cpf, mask_cnpj, mask_tax_id, mask_pix_key, mask_account])
@pytest.mark.parametrize("text", ["", "12345678900", "k1:abcdefghijklmnopqrstuvwxyzABCDEF", "maria silva"])
def test_what_is_not_the_identifier_is_an_error_that_does_not_repeat_it(mask, text):
    with pytest.raises(ValueError, match="masked|written") as refusal:
        mask(text)
    assert not text or text not in str(refusal.value)


@given(st.text("0123456789", min_size=9, max_size=9).filter(lambda base: base != base[0] * 9))
def test_a_masked_tax_id_hides_its_ends(base):
    person = cpf(base)
    assert mask_cpf(person).count("*") == 5
    assert mask_cpf(person).replace(".", "")[3:9] == person[3:9]
    company = cnpj(base + "001")
    assert mask_cnpj(company)[:2] == mask_cnpj(company)[-2:] == "**"
