"""Every column of the lake is in the data dictionary, once, and the page says what the declarations say."""

from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable

from fraud_assets.__main__ import PAGE, lake_tables
from fraud_assets.external import policies_table
from fraud_streaming.bronze_tables import create_tables
from pix.contracts.tokenised import TOKEN_KINDS
from pix.features import FEATURE_NAMES
from pix.offline import enrichment
from pix.offline.declaration import Column, Table
from pix.offline.dictionary import (
    CLASSES,
    PSEUDONYM,
    SHEETS,
    NoSheet,
    bronze_tables,
    columns,
    kept,
    meaning,
    sheet_name,
    sheets,
    unused,
    writer,
)
from pix.offline.dictionary_page import page
from pix.offline.retention import IMPORTED_AT, Retention
from pix.offline.tables import DECISIONS_SILVER, PAYMENTS_SILVER, TRAINING_SET
from serving import policy_archive

TABLES = {table.name: table for table in lake_tables()}


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(lake_tables()), "run `make contracts`"


@pytest.mark.parametrize("name", TABLES)
def test_every_column_has_a_sheet_and_a_meaning(name):
    table = TABLES[name]
    for column in columns(table):
        assert SHEETS[sheet_name(table, column)].personal in CLASSES
        assert meaning(table, column)
    assert writer(table)


def test_no_sheet_is_unused():
    assert unused(lake_tables(), enrichment.COLUMNS) == set()
    assert unused([DECISIONS_SILVER], enrichment.COLUMNS) >= {"silver/quarantine.kind", "p05", "features/runs"}


def test_the_training_set_lists_what_is_no_feature():
    listed = [column.name for column in columns(TRAINING_SET)]
    assert [name for name in TRAINING_SET.names if name not in FEATURE_NAMES] == listed
    assert sheet_name(TRAINING_SET, Column("raw_purpose", "string")) == "purpose"


def test_a_column_without_a_sheet_is_told_with_where_to_add_it():
    table = replace(PAYMENTS_SILVER, columns=(*PAYMENTS_SILVER.columns, Column("shoe_size", "int", "Of the payer.")))
    with pytest.raises(NoSheet, match="`shoe_size` of silver/payments .* SHEETS in pix/offline/dictionary.py"):
        page([table])
    with pytest.raises(NoSheet, match="`action` of silver/payments has no description"):
        page([replace(table, columns=(Column("action", "string"),))])
    with pytest.raises(NoSheet, match="silver/new has no retention; add it to RETENTION"):
        page([Table("silver/new", "One.", (Column("action", "string", "What was done."),))])
    with pytest.raises(NoSheet, match="`day` has two fact sheets"):
        sheets(("none", "date", "day"), ("attribute", "date", "day"))


def test_whatever_is_a_token_is_a_pseudonym():
    assert {SHEETS[name].personal for name in TOKEN_KINDS} == {PSEUDONYM}


@pytest.mark.parametrize("name", TABLES)
def test_retention_can_be_followed(name):
    table = TABLES[name]
    kinds = {column.name: column.type for column in table.columns}
    rules = kept(table)
    assert rules
    for rule in rules:
        assert rule.reason
        assert {name.partition(".")[0] for name in rule.emptied} <= set(kinds)
        if rule.days is None:
            assert rules == (Retention(None, None, rule.reason),)
        elif rule.since == IMPORTED_AT:
            assert "import_number" in kinds
        else:
            assert kinds[rule.since] == "date" or (rule.since.endswith("_ms") and kinds[rule.since] == "bigint")
    # Columns are emptied first, and rows go later, once.
    assert [bool(rule.emptied) for rule in rules] == [True] * (len(rules) - 1) + [False]
    assert [rule.days for rule in rules] == sorted(rule.days for rule in rules)


def test_sealed_content_goes_before_anything_else():
    days = [
        rule.days
        for table in TABLES.values()
        for rule in kept(table)
        if any(SHEETS[sheet_name(table, column)].personal == "sealed" for column in columns(table))
        and (rule.emptied or len(kept(table)) == 1)
    ]
    assert days == [90, 90, 90]


def test_tables_of_other_writers_are_as_declared(tmp_path: Path):
    lake = str(tmp_path)
    create_tables(lake)
    policy_archive.keep(lake, "rules: []", 7)
    for table in (*bronze_tables().values(), policies_table()):
        names = {"integer": "int", "long": "bigint"}
        written = DeltaTable(f"{lake}/{table.name}").schema().fields
        assert [(field.name, names.get(field.type.type, field.type.type)) for field in written] == [
            (column.name, column.type) for column in table.columns
        ]
