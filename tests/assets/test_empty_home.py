"""Everything on a home without data: what can be made is made, what cannot says what to do."""

import pytest

from fraud_assets.silver import BRONZE_DECISIONS
from pix.offline.declaration import Table
from pix.offline.tables import BRONZE_COLUMNS, DECISIONS_SILVER


@pytest.fixture(scope="module")
def empty(place, tmp_path_factory):
    made = place(tmp_path_factory.mktemp("empty"))
    return made, made.run()


def test_everything_stops_at_the_training_set_with_what_to_do(empty):
    made, result = empty
    assert made.told(result) == {
        "features__training_set": "no payment of the history 'live' has a matured label: import one "
        "(`sentinela import FILE --history live`) or run `make demo`"
    }


def test_the_lake_is_there_without_rows(empty):
    made, _ = empty
    for name in ("silver/history_payments", "silver/payments", "silver/quarantine", "gold/decisions"):
        assert made.lake.rows(name) == 0
    assert made.newest("serving/store_base")["generation"] == 0


def test_a_missing_input_is_named_with_what_to_do(place, tmp_path):
    made = place(tmp_path)
    result = made.run("gold/decisions")
    assert made.told(result) == {
        "gold__decisions": f"silver/decisions does not exist in {made.settings.lake}: materialise silver/decisions "
        "first (in Dagster, or `make demo` for everything)"
    }


def test_bronze_that_is_gone_does_not_empty_silver(place, tmp_path):
    made = place(tmp_path)
    row = dict.fromkeys(DECISIONS_SILVER.names) | {"end_to_end_id": "E1", "tenant": "default"}
    frame = made.lake.spark.createDataFrame([tuple(row.values())], DECISIONS_SILVER.ddl)
    made.lake.overwrite(DECISIONS_SILVER, frame)
    result = made.run("silver/decisions")
    assert made.told(result)["silver__decisions"].endswith("start the streams with `sentinela up`")
    assert made.lake.rows(DECISIONS_SILVER.name) == 1


def test_bronze_that_never_began_is_empty(place, tmp_path):
    made = place(tmp_path)
    assert made.run("silver/decisions").success
    bronze = Table(BRONZE_DECISIONS, "One message.", BRONZE_COLUMNS)
    made.lake.overwrite(bronze, made.lake.empty(bronze))
    assert made.run("silver/decisions").success
