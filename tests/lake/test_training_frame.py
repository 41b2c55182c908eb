"""The training set: mature, point-in-time, and without payments that could not become fraud."""

import json

from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.offline import training_frame
from pix.offline.tables import LABELS_SILVER, PAYMENT_FEATURES, PAYMENTS_SILVER, TRAINING_SET

DAY_MS = 86_400_000
NOW_MS = 1_780_315_200_000


def frames(spark, messages, cases):
    """(number, age in days, outcome, labels as (kind, known days ago, is_fraud_after))."""
    features, payments, labels = [], [], []
    for number, age, outcome, said in cases:
        at_ms, identity = NOW_MS - age * DAY_MS, messages.identity(number)
        vector = [float(number)] * (len(FEATURE_NAMES) - 1) + [None]
        features.append((identity, "default", "live", at_ms, vector, None, FINGERPRINT, None))
        values = dict.fromkeys(PAYMENTS_SILVER.names) | messages.record(number, at_ms=at_ms)["payment"]
        values |= {"event_time_ms": at_ms, "source": "live", "outcome": outcome, "active_call": True}
        payments.append(tuple(values[name] for name in PAYMENTS_SILVER.names))
        for kind, days_ago, after in said:
            known_ms = NOW_MS - days_ago * DAY_MS
            content = json.dumps([number, kind, days_ago])
            labels.append((content, identity, "default", kind, None, known_ms, known_ms, known_ms, "med", after))
    return (
        spark.createDataFrame(features, PAYMENT_FEATURES.ddl),
        spark.createDataFrame(payments, PAYMENTS_SILVER.ddl),
        spark.createDataFrame(labels, LABELS_SILVER.ddl),
    )


def test_rows_are_mature_and_labelled_as_known(spark, messages):
    cases = [
        (1, 30, "allowed", []),
        (2, 30, "allowed", [("accepted", 20, True)]),
        (3, 30, "allowed", [("accepted", 20, True), ("reversed", 10, False)]),
        (4, 30, "allowed", [("accepted", -1, True)]),  # known tomorrow
        (5, 2, "allowed", [("accepted", 1, True)]),  # too young
        (6, 30, "attempted", []),  # blocked: its silence says nothing
        (7, 30, "attempted", [("confirmed", 3, True)]),
        (8, 30, "allowed", [("contested", 3, False)]),
    ]
    frame = training_frame.build(*frames(spark, messages, cases), as_of_ms=NOW_MS, maturity_ms=7 * DAY_MS)
    assert frame.columns == TRAINING_SET.names
    found = {int(row.end_to_end_id[-3:]): row for row in frame.collect()}
    assert {number: row.is_fraud for number, row in found.items()} == {
        1: False,
        2: True,
        3: False,
        4: False,
        7: True,
        8: False,
    }
    assert found[2][FEATURE_NAMES[0]] == 2.0
    assert found[2][FEATURE_NAMES[-1]] is None
    assert (found[2].raw_amount_cents, found[2].raw_active_call, found[2].raw_hour) == (1_002, True, 12)
    assert not any("account" in name and "opened" not in name for name in frame.columns if name.startswith("raw_"))


def test_features_of_another_declaration_are_left_out(spark, messages):
    features, payments, labels = frames(spark, messages, [(1, 30, "allowed", [])])
    from pyspark.sql import functions as f

    old = features.withColumn("fingerprint", f.lit("old"))
    assert training_frame.build(old, payments, labels, as_of_ms=NOW_MS, maturity_ms=0).count() == 0
