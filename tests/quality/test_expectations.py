import pandas as pd
import pytest

from quality.errors import UnknownSuite
from quality.expectations import SUITES, columns_of, suite_of, validate

NOW_MS = 1_795_250_000_000


def payments(**changes):
    rows = pd.DataFrame(
        {
            "end_to_end_id": [f"E12345678202611211230abcdefghi{i:02d}" for i in range(4)],
            "tenant": "default",
            "source": ["live", "live", "history", "history"],
            "history": [None, None, "first", "first"],
            "event_time_ms": NOW_MS,
            "amount_cents": [1, 200, 30_000, 4_000_000],
            "payer_account": [f"k1:payer{i}" for i in range(4)],
            "payee_account": [f"k1:payee{i}" for i in range(4)],
            "initiation": ["MANU", None, "QRDN", "DICT"],
        }
    )
    return rows.assign(**changes)


def decisions(**changes):
    rows = pd.DataFrame(
        {
            "end_to_end_id": [f"E{i}" for i in range(4)],
            "tenant": "default",
            "action": ["ALLOW", "REVIEW", "BLOCK", "BLOCK_AND_REVIEW"],
            "fraud_probability": [0.0, 0.4, 1.0, None],
            "mode": ["normal", "normal", "normal", "degraded:model"],
            "model_version": ["3", "3", "3", None],
            "policy_version": "p1",
            "amount_cents": [1, 200, 30_000, 4_000_000],
            "event_time_ms": NOW_MS,
            "decided_at_ms": NOW_MS,
            "is_fraud": pd.array([True, None, None, False], dtype="boolean"),
        }
    )
    return rows.assign(**changes)


def failing(frame, table):
    return {outcome.name: outcome for outcome in validate(frame, suite_of(table)) if not outcome.passed}


@pytest.mark.parametrize(("frame", "table"), [(payments(), "silver/payments"), (decisions(), "gold/decisions")])
def test_good_rows_keep_every_promise_and_so_does_an_empty_table(frame, table):
    assert failing(frame, table) == {}
    assert failing(frame.head(0), table) == {}
    assert [outcome.name for outcome in validate(frame, suite_of(table))] == [e.name for e in SUITES[table]]


@pytest.mark.parametrize(
    ("broken", "names"),
    [
        ({"end_to_end_id": ["E12345678202611211230abcdefghi00"] * 4}, {"payments_are_unique"}),
        ({"end_to_end_id": ["x", *payments()["end_to_end_id"][1:]]}, {"ids_are_end_to_end_ids"}),
        ({"amount_cents": [0, 1, 2, 3]}, {"amounts_are_positive"}),
        ({"amount_cents": [1.5, 1, 2, 3]}, {"amounts_are_whole_centavos"}),
        ({"amount_cents": pd.array([1, None, 2, 3], dtype="Int64")}, {"amounts_are_present"}),
        ({"amount_cents": [1.0, None, 2.0, 3.0]}, {"amounts_are_present"}),
        ({"amount_cents": pd.array([1, None, 2, 3], dtype="Int32")}, {"amounts_are_present"}),
        ({"payer_account": ["12345678-0001-1234567", "k1:a", "k1:b", "k2:c"]}, {"payers_are_tokens"}),
        ({"payee_account": ["k1:payer0", "k1:a", "k1:b", "k2:c"]}, {"nobody_pays_himself"}),
        ({"payee_account": [None, "k1:a", "k1:b", "k2:c"]}, {"payees_are_present"}),
        ({"source": ["imported", "live", "history", "history"]}, {"sources_are_known"}),
        ({"history": [None, None, None, "first"]}, {"history_names_its_import"}),
        ({"event_time_ms": [NOW_MS // 1000] * 4}, {"event_times_are_milliseconds"}),
        ({"initiation": ["CASH", None, None, None]}, {"initiations_are_known"}),
    ],
)
def test_each_broken_promise_of_payments_is_found_alone(broken, names):
    assert set(failing(payments(**broken), "silver/payments")) == names


@pytest.mark.parametrize(
    ("broken", "names"),
    [
        ({"end_to_end_id": ["E1", "E1", "E2", "E3"]}, {"decisions_are_unique"}),
        ({"action": ["ALLOW", "MAYBE", "BLOCK", "BLOCK"]}, {"actions_are_known"}),
        ({"fraud_probability": [0.1, 1.1, 0.2, None]}, {"probabilities_lie_in_0_1"}),
        ({"fraud_probability": [0.1, None, 0.2, None]}, {"normal_decisions_have_a_probability"}),
        ({"model_version": ["3", None, "3", None]}, {"normal_decisions_name_their_model"}),
        ({"mode": ["normal", "normal", "broken", "degraded:store"]}, {"modes_are_known"}),
        ({"policy_version": [None, "p", "p", "p"]}, {"policies_are_named"}),
        ({"decided_at_ms": [0, NOW_MS, NOW_MS, NOW_MS]}, {"decision_times_are_milliseconds"}),
    ],
)
def test_each_broken_promise_of_decisions_is_found_alone(broken, names):
    assert set(failing(decisions(**broken), "gold/decisions")) == names


def test_an_outcome_says_how_many_and_which():
    found = failing(payments(amount_cents=[-5, -5, 0, 3]), "silver/payments")["amounts_are_positive"]
    assert (found.unexpected_count, found.severity) == (3, "critical")
    assert found.sample == ("-5", "0")
    assert found.observed == "3 of 4 rows break it"
    himself = failing(payments(payee_account=payments()["payer_account"]), "silver/payments")
    assert himself["nobody_pays_himself"].sample[0] == "k1:payer0"


def test_a_missing_column_fails_its_expectations():
    found = failing(decisions().drop(columns="mode"), "gold/decisions")
    assert found["modes_are_known"].observed == "the table has no column mode"
    assert "normal_decisions_have_a_probability" in found


def test_suites_name_their_columns_and_an_unknown_table_is_refused():
    assert "is_fraud" not in columns_of(suite_of("gold/decisions"))
    with pytest.raises(UnknownSuite, match="silver/payments"):
        suite_of("gold/other")
