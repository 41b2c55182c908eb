"""Mappings: what they may say, and how each mistake is told before a row is read."""

import pytest

from pix.contracts import PaymentMessage
from pix.offline import mapping
from pix.offline.conversion import RowToPayment
from pix.offline.mapping_checks import MappingProblem, kinds

MINIMAL = """
payments:
  fields:
    end_to_end_id: {derived: true, ispb: "99999999"}
    initiated_at: {column: when, unit: iso}
    amount_cents: {column: amount, unit: reais}
    payer_account: from
    payee_account: {column: to, template: "12345678-0001-{}"}
"""
LABELS = """
labels:
  per: payment
  column: fraud
  values: {1: fraud, 0: legitimate}
  reporting_delay_days: 7
"""


def problems(text: str) -> dict[str, str]:
    with pytest.raises(MappingProblem) as told:
        mapping.parse(text)
    return {each.path: each.reason for each in told.value.mistakes}


def test_a_mapping_is_parsed_once_and_survives_storage():
    parsed = mapping.parse(MINIMAL + LABELS)
    assert parsed.payments.fields["payer_account"].column == "from"
    assert parsed.labels.values == {"1": "fraud", "0": "legitimate"}
    assert mapping.from_content(parsed.canonical()) == parsed
    assert parsed.columns() == {
        "when": "payments.fields.initiated_at.column",
        "amount": "payments.fields.amount_cents.column",
        "from": "payments.fields.payer_account.column",
        "to": "payments.fields.payee_account.column",
        "fraud": "labels.column",
    }


def test_a_dagster_configuration_means_what_the_yaml_means():
    fields = {
        "end_to_end_id": {"derived": True, "ispb": "99999999"},
        "initiated_at": {"column": "when", "unit": "iso"},
        "amount_cents": {"column": "amount", "unit": "reais"},
        "payer_account": "from",
        "payee_account": {"column": "to", "template": "12345678-0001-{}"},
    }
    labels = {
        "per": "payment",
        "column": "fraud",
        "values": {1: "fraud", 0: "legitimate"},
        "reporting_delay_days": 7,
    }
    assert mapping.from_content({"payments": {"fields": fields}, "labels": labels}) == mapping.parse(MINIMAL + LABELS)


@pytest.mark.parametrize(
    ("old", "new", "path", "reason"),
    [
        ("payer_account: from", "payer_acount: from", "payments.fields.payer_acount", "is no field of a payment"),
        ("payer_account: from", "", "payments.fields.payer_account", "is required"),
        (
            "unit: reais",
            "unit: euros",
            "payments.fields.amount_cents.unit",
            "'euros' is not one of reais, centavos",
        ),
        ("unit: reais", "unit: iso", "payments.fields.amount_cents.unit", "'iso' is not one of reais, centavos"),
        (", unit: reais", "", "payments.fields.amount_cents.unit", "is required, one of reais, centavos"),
        ("unit: iso", "unit: days", "payments.fields.initiated_at.start", "they need it"),
        (
            "unit: iso",
            "unit: days, start: 2025-01-01",
            "payments.fields.initiated_at.start",
            "with an offset or a zone",
        ),
        ("unit: iso", "unit: iso, zone: Mars/North", "payments.fields.initiated_at.zone", "no IANA time zone"),
        ("ispb:", "isbp:", "payments.fields.end_to_end_id", "isbp: no such option; there are column, constant"),
        ('ispb: "99999999"', "ispb: 12", "payments.fields.end_to_end_id.ispb", "pattern"),
        ("-{}", "-", "payments.fields.payee_account.template", "one {} in it"),
        ("payer_account: from", "payer_account: {unit: reais}", "payments.fields.payer_account", "needs one of column"),
        ("1: fraud", "1: fraudulent", "labels.values.1", "'fraudulent' is not one of 'fraud', 'legitimate'"),
        ("per: payment", "per: person", "labels.per", "'person' is not one of 'payment', 'account'"),
        ("per: payment", "per: account", "labels.accounts", "is required per account"),
        ("reporting_delay_days: 7", "", "labels.reporting_delay_days", "is required"),
        ("reporting_delay_days: 7", "reporting_delay_days: soon", "labels.reporting_delay_days", "valid number"),
        ("column: fraud", "column: amount", "payments.fields.amount_cents.column", "must never be an input"),
        ("payments:", "payments:\n  sheet: 1", "payments", "sheet: no such option; there are member, format"),
        ("per: payment", "per: payment\n  per: payment", "mapping", "per is given twice"),
    ],
)
def test_each_mistake_is_told_with_its_path(old, new, path, reason):
    text = MINIMAL + LABELS
    assert old in text
    told = problems(text.replace(old, new))
    assert reason in told[path], told


def test_all_mistakes_are_told_at_once():
    text = MINIMAL.replace("unit: reais", "unit: iso").replace("payer_account: from", "payer_age_years: {unit: reais}")
    assert set(problems(text)) == {
        "payments.fields.amount_cents.unit",
        "payments.fields.payer_account",
        "payments.fields.payer_age_years",
        "payments.fields.payer_age_years.unit",
    }


def test_choices_and_constants_are_checked_against_the_contract():
    told = problems(MINIMAL + "    initiation: {column: kind, values: {pix: PIX}}\n")
    assert "'PIX' is not one of MANU, DICT" in told["payments.fields.initiation.values.pix"]
    parsed = mapping.parse(MINIMAL + "    payer_age_years: {constant: young}\n")
    with pytest.raises(MappingProblem, match="payer_age_years.constant: 'young' must be a whole number"):
        RowToPayment(parsed, ["when", "amount", "from", "to"], "bank")


def test_a_column_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(MappingProblem, match="payee_account.column: the table has no column 'to'; it has when, amount"):
        RowToPayment(mapping.parse(MINIMAL), ["when", "amount", "from", "too"], "bank")


def test_every_field_of_the_contract_has_a_kind():
    assert kinds().keys() == PaymentMessage.model_fields.keys()
