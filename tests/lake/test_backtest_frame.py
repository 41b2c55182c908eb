"""A past as a backtest sees it: labels held back until their delay is over, and what nobody knows."""

import json

import pytest

from pix.contracts import DAY_MS
from pix.offline import backtest_frame
from pix.offline.tables import HISTORY_LABELS, HISTORY_PAYMENTS


@pytest.fixture
def payments(spark, messages):
    """Five payments of one moment; silence about the fifth means nothing."""
    rows = [
        (messages.identity(n), "default", messages.NOON_MS, json.dumps(messages.record(n)["payment"]), n != 5)
        for n in range(1, 6)
    ]
    values = [("jan", 1, "sha", n, *row) for n, row in enumerate(rows, 1)]
    return spark.createDataFrame(values, HISTORY_PAYMENTS.ddl)


@pytest.fixture
def labels(spark, messages):
    def make(*said):
        """(payment, kind, known so many days after it)."""
        rows = []
        for number, kind, days in said:
            row = dict.fromkeys(HISTORY_LABELS.names) | {"history": "jan", "import_number": 1, "tenant": "default"}
            row |= {"label_id": f"{number}-{kind}", "end_to_end_id": messages.identity(number), "kind": kind}
            at_ms = messages.NOON_MS + int(days * DAY_MS)
            row |= {"effective_at_ms": at_ms, "known_at_ms": at_ms, "source": "med", "fraud_type": "SCAM"}
            rows.append(tuple(row[name] for name in HISTORY_LABELS.names))
        return spark.createDataFrame(rows, HISTORY_LABELS.ddl)

    return make


def days_known(frame, messages):
    return {row.end_to_end_id: (row.known_at_ms - messages.NOON_MS) / DAY_MS for row in frame.collect()}


def test_no_label_is_known_before_its_delay_is_over(payments, labels, messages):
    found = backtest_frame.delayed(labels((1, "accepted", 0.5), (2, "accepted", 9)), payments, 7 * DAY_MS)
    assert found.columns == HISTORY_LABELS.names
    assert days_known(found, messages) == {messages.identity(1): 7, messages.identity(2): 9}


def test_labels_that_wait_for_the_same_moment_keep_their_order(payments, labels):
    for first, second, is_fraud in (("accepted", "reversed", False), ("reversed", "accepted", True)):
        said = backtest_frame.delayed(labels((1, first, 1), (1, second, 2)), payments, 7 * DAY_MS)
        (found,) = backtest_frame.facts(payments.where("row_number = 1"), said).collect()
        assert found.is_fraud == is_fraud


def test_labels_moved_inside_the_delay_change_nothing(payments, labels):
    early, late = (
        backtest_frame.delayed(labels((1, "accepted", days), (3, "accepted", 9)), payments, 7 * DAY_MS)
        for days in (0.1, 6.9)
    )
    vectors = [sorted(backtest_frame.vectors(payments, each).collect()) for each in (early, late)]
    assert vectors[0] == vectors[1]
    known = [
        sorted((row.end_to_end_id, row.fraud_known_at_ms) for row in backtest_frame.facts(payments, each).collect())
        for each in (early, late)
    ]
    assert known[0] == known[1]


def test_what_nobody_knows_is_null(payments, labels, messages):
    said = labels((1, "accepted", 8), (2, "contested", 8), (3, "accepted", 8), (3, "reversed", 9))
    found = backtest_frame.facts(payments, backtest_frame.delayed(said, payments, DAY_MS))
    rows = {row.end_to_end_id: row for row in found.collect()}
    own = [rows[messages.identity(n)] for n in range(1, 6)]
    assert [row.is_fraud for row in own] == [True, None, False, False, None]
    assert [row.row_number for row in own] == [1, 2, 3, 4, 5]
    assert own[2].cleared_at_ms == messages.NOON_MS + 9 * DAY_MS
    assert own[0].raw_amount_cents == 1_001
