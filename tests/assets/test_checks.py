"""Each guard fails when its fault is planted."""

import json

import dagster as dg
import numpy as np
import pytest

from fraud_assets.silver import BRONZE_DECISIONS, BRONZE_DLQ
from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.offline.declaration import Table
from pix.offline.tables import BRONZE_COLUMNS, DECISIONS_SILVER, HISTORY_PAYMENTS, PAYMENT_FEATURES, PAYMENTS_SILVER

BRONZE = Table(BRONZE_DECISIONS, "One message.", BRONZE_COLUMNS)


def record(number: int, action: str = "ALLOW") -> str:
    identity = {"end_to_end_id": f"E{number}", "tenant": "default"}
    payment = {**identity, "amount_cents": 5}
    return json.dumps(
        {**identity, "event_time_ms": 1_790_000_000_000, "action": action, "outcome": "allowed", "payment": payment}
    )


@pytest.fixture
def made(place, tmp_path):
    return place(tmp_path)


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {found.check_name: found.passed for found in result.get_asset_check_evaluations()}


def write(made, table: Table, *rows):
    made.lake.overwrite(table, made.lake.spark.createDataFrame(list(rows), table.ddl))


def bronze_row(offset: int, value: str | None) -> tuple:
    return "pix.decisions", 0, offset, 1, None, value, None, None, 1


def test_every_bronze_decision_is_in_silver_or_quarantine(made):
    write(
        made, BRONZE, *[bronze_row(n, value) for n, value in enumerate([record(1), record(1, "BLOCK"), "?", record(2)])]
    )
    write(made, Table(BRONZE_DLQ, "One message.", BRONZE_COLUMNS))
    # Records of three fields break many promises of silver; here only where they went is looked at.
    made.run("silver/decisions")
    name = "every_bronze_decision_is_in_silver_or_quarantine"
    assert verdicts(made.run("silver/quarantine"))[name]
    kept = made.lake.read(DECISIONS_SILVER.name).where("end_to_end_id = 'E1'").localCheckpoint()
    made.lake.overwrite(DECISIONS_SILVER, kept, note=made.lake.note(DECISIONS_SILVER.name))
    assert not verdicts(made.run("silver/quarantine"))[name]


@pytest.mark.parametrize(("changed", "equal"), [(0.0, True), (5e-324, False)])
def test_online_equals_offline_to_the_last_bit(made, changed, equal):
    from fraud_assets.feature_checks import online_equals_offline

    here = {"features": vector(0.0), "logged": vector(changed), "logged_fingerprint": FINGERPRINT}
    write_vectors(
        made,
        {"end_to_end_id": "E1", **here},
        {"end_to_end_id": "E2", "features": vector(np.nan), "source": "history"},
        {"end_to_end_id": "E3", **here, "logged": bytearray(8), "logged_fingerprint": "older"},
        {"end_to_end_id": "E4", **here, "logged": vector(7.0), "fingerprint": "older"},
    )
    found = online_equals_offline(lake=made.lake)
    assert found.passed is equal
    assert (found.metadata["compared"].value, found.metadata["left_aside"].value) == (1, 1)
    assert found.metadata["by_feature"].value == ({} if equal else {FEATURE_NAMES[-1]: 1})


def vector(last: float) -> bytearray:
    return bytearray(np.array([1.5] * (len(FEATURE_NAMES) - 1) + [last]).tobytes())


def write_vectors(made, *rows):
    plain = dict.fromkeys(PAYMENT_FEATURES.names) | {"tenant": "default", "source": "live", "fingerprint": FINGERPRINT}
    plain |= {"carried": 0, "logged_carried": 0, "batch": 1}
    write(made, PAYMENT_FEATURES, *[tuple((plain | row).values()) for row in rows])


@pytest.mark.parametrize(("logged", "name"), [(3, "carried.payer_flagged"), (0, "carried.payee_flagged")])
def test_a_carried_fact_that_differs_is_a_mismatch_by_its_name(made, logged, name):
    from fraud_assets.feature_checks import online_equals_offline

    same = {"features": vector(0.0), "logged": vector(0.0), "logged_fingerprint": FINGERPRINT}
    write_vectors(made, {"end_to_end_id": "E1", **same, "carried": 2, "logged_carried": logged})
    found = online_equals_offline(lake=made.lake)
    assert not found.passed
    assert found.metadata["by_feature"].value == {name: 1}


def test_a_payment_with_two_vectors_is_found(made):
    from fraud_assets.feature_checks import vectors_are_unique

    write_vectors(made, *[{"end_to_end_id": "E1", "features": vector(0.0)}] * 2)
    assert not vectors_are_unique(lake=made.lake).passed


def test_promises_of_a_table_are_its_checks(made):
    amounts = {"amount_cents": -5, "initiation": "FAX", "pix_key": "maria@example.com"}
    columns = dict.fromkeys(HISTORY_PAYMENTS.names) | {"history": "h", "event_time_ms": 1_700_000_000_000}
    payment = {"end_to_end_id": "E1", "tenant": "default", "payer_account": "k1:a", "payee_account": "k1:a", **amounts}
    columns |= {"end_to_end_id": "E1", "tenant": "default", "payment": json.dumps(payment)}
    write(made, HISTORY_PAYMENTS, tuple(columns.values()))
    write(made, DECISIONS_SILVER)
    by_name = {each.check_name: each for each in made.run(PAYMENTS_SILVER.name).get_asset_check_evaluations()}
    red = {name for name, each in by_name.items() if not each.passed}
    assert {"amounts_are_possible", "nobody_pays_himself", "other_words_are_known"} <= red
    assert by_name["other_words_are_known"].severity == dg.AssetCheckSeverity.WARN
    assert by_name["amounts_are_possible"].severity == dg.AssetCheckSeverity.ERROR
    assert by_name["amounts_are_possible"].blocking
    assert not by_name["other_words_are_known"].blocking
    assert by_name["amounts_are_possible"].description == "1 of 1 in amount_cents (1 rows counted, 1 sampled)"
    assert by_name["amounts_are_possible"].metadata["rows_counted"].value == 1
    kept = str([each.metadata for each in by_name.values()]) + str(made.lake.ask("quality/unexpected", ALL))
    assert "like aaaaa@aaaaaaa.aaa" in kept
    assert "maria" not in kept


ALL = "select * from asked"
