"""What analysts and MED say is in the next training set: from messages on Kafka to the rows that are learnt from."""

import numpy as np

from pix import topics
from pix.contracts import LIVE_HISTORY
from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.offline import silver, training_frame
from pix.offline.tables import HISTORY_LABELS, HISTORY_PAYMENTS, PAYMENT_FEATURES

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def asked(drawn):
    return {"propensity": 0.02, "instead_of": "BLOCK", "drawn": drawn}


def learnt(spark, bronze, messages, records, labels, *, as_of_ms):
    """Payment -> its row, of what the topics have."""
    decided_rows = [messages.bronze_row(topics.DECISIONS, n, each) for n, each in enumerate(records)]
    decided = silver.decisions(silver.decision_records(bronze(*decided_rows))).cache()
    said_rows = [messages.bronze_row(topics.LABELS, n, each) for n, each in enumerate(labels)]
    said = silver.labels(bronze(*said_rows), spark.createDataFrame([], HISTORY_LABELS.ddl), bronze())
    payments = silver.payments(decided, spark.createDataFrame([], HISTORY_PAYMENTS.ddl)).cache()
    vector = bytearray(np.zeros(len(FEATURE_NAMES)).tobytes())
    known = {"tenant": "default", "source": "live", "features": vector, "fingerprint": FINGERPRINT}
    features = spark.createDataFrame(
        [
            tuple({**dict.fromkeys(PAYMENT_FEATURES.names), **known, **place}.values())
            for place in (
                {"end_to_end_id": each["end_to_end_id"], "event_time_ms": each["event_time_ms"]} for each in records
            )
        ],
        PAYMENT_FEATURES.ddl,
    )
    rows = training_frame.matured(
        features, payments, said, decided, history=LIVE_HISTORY, as_of_ms=as_of_ms, maturity_ms=7 * DAY_MS
    )
    strata = [training_frame.Stratum(**row.asDict()) for row in training_frame.strata(rows).collect()]
    frame = training_frame.with_facts(
        training_frame.labelled(rows), features, payments, history=LIVE_HISTORY, honest_weight=1.0, strata=strata
    )
    return {int(row.end_to_end_id[-3:]): row for row in frame.collect()}


def test_what_analysts_and_med_say_is_learnt_next(spark, bronze, messages):
    noon = messages.NOON_MS
    review = {"source": "analyst", "review": {"closed_by": "ana", "note": "vista"}}
    records = [
        messages.record(1),
        messages.record(2, "BLOCK_AND_REVIEW"),
        messages.record(3, "BLOCK_AND_REVIEW"),
        messages.record(4, "REVIEW", control_group=asked(True)),
        messages.record(5, "BLOCK", control_group=asked(False)),
        messages.record(6, "BLOCK"),
        messages.record(7),
    ]
    labels = [
        messages.label(2, "dismissed", noon + HOUR_MS, **review),
        messages.label(3, "confirmed", noon + HOUR_MS, **review),
        messages.label(1, "accepted", noon + 8 * DAY_MS),
    ]
    week, fortnight = noon + 7 * DAY_MS, noon + 14 * DAY_MS
    before = learnt(spark, bronze, messages, records, labels, as_of_ms=week)
    after = learnt(spark, bronze, messages, records, labels, as_of_ms=fortnight)
    stopped_unknown = {5, 6}
    assert before.keys() == after.keys() == set(range(1, 8)) - stopped_unknown
    classes = {number: row.label_class for number, row in after.items()}
    assert classes == {1: "fraud", 2: "cleared", 3: "fraud", 4: "honest", 7: "honest"}
    # MED's answer was not known a week after the payment.
    assert {number: row.label_class for number, row in before.items()} == {**classes, 1: "honest"}
    assert (after[1].fraud_known_at_ms, after[3].fraud_known_at_ms) == (noon + 8 * DAY_MS, noon + HOUR_MS)
    assert after[2].cleared_at_ms == noon + HOUR_MS
    # What chance let go on stands for what the score stopped, not for what a rule did.
    assert {number: row.weight for number, row in after.items()} == {1: 1.0, 2: 1.0, 3: 1.0, 4: 2.0, 7: 1.0}
