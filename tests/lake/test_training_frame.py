"""The training set: mature, point-in-time, and without payments that could not become fraud."""

import json

import numpy as np

from pix.contracts import LIVE_HISTORY, history_tenant
from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.offline import training_frame
from pix.offline.tables import LABELS_SILVER, PAYMENT_FEATURES, PAYMENTS_SILVER, TRAINING_SET

DAY_MS = 86_400_000
NOW_MS = 1_780_315_200_000


def frames(spark, messages, cases, tenant="default"):
    """(number, age in days, outcome or unknown, labels as (kind, known days ago, is_fraud_after))."""
    features, payments, labels = [], [], []
    for number, age, outcome, said in cases:
        at_ms, identity = NOW_MS - age * DAY_MS, messages.identity(number)
        vector = np.array([float(number)] * (len(FEATURE_NAMES) - 1) + [np.nan]).tobytes()
        row = dict.fromkeys(PAYMENT_FEATURES.names) | {"end_to_end_id": identity, "tenant": tenant, "source": "live"}
        row |= {"event_time_ms": at_ms, "features": bytearray(vector), "fingerprint": FINGERPRINT}
        features.append(tuple(row.values()))
        values = dict.fromkeys(PAYMENTS_SILVER.names) | messages.record(number, at_ms=at_ms)["payment"]
        values |= {"tenant": tenant, "event_time_ms": at_ms, "source": "live", "active_call": True}
        values |= {"outcome": outcome.replace("unknown", "allowed"), "silence_is_honest": outcome != "unknown"}
        payments.append(tuple(values[name] for name in PAYMENTS_SILVER.names))
        for kind, days_ago, after in said:
            known_ms = NOW_MS - days_ago * DAY_MS
            label = dict.fromkeys(LABELS_SILVER.names) | {"end_to_end_id": identity, "tenant": tenant, "kind": kind}
            label |= dict.fromkeys(("effective_at_ms", "known_at_ms", "recorded_at_ms"), known_ms)
            label |= {"label_id": json.dumps([number, kind, days_ago]), "source": "med", "is_fraud_after": after}
            labels.append(tuple(label.values()))
    return (
        spark.createDataFrame(features, PAYMENT_FEATURES.ddl),
        spark.createDataFrame(payments, PAYMENTS_SILVER.ddl),
        spark.createDataFrame(labels, LABELS_SILVER.ddl),
    )


def decided(spark, rows=()):
    """(tenant, id, mode) as silver/decisions has them."""
    return spark.createDataFrame(list(rows), "tenant string, end_to_end_id string, mode string")


def labelled(*tables, history=LIVE_HISTORY, maturity_ms=0):
    rows = training_frame.matured(*tables, history=history, as_of_ms=NOW_MS, maturity_ms=maturity_ms)
    return training_frame.labelled(rows)


def built(features, payments, labels, decisions=None, *, history=LIVE_HISTORY, maturity_ms=0):
    decisions = decisions or decided(features.sparkSession)
    known = labelled(features, payments, labels, decisions, history=history, maturity_ms=maturity_ms)
    return training_frame.with_facts(known, features, payments, history=history, honest_weight=1.0)


def test_rows_are_mature_and_labelled_as_known(spark, messages):
    cases = [
        (1, 30, "allowed", []),
        (2, 30, "allowed", [("accepted", 20, True)]),
        (3, 30, "allowed", [("accepted", 20, True), ("reversed", 10, False)]),
        (4, 30, "allowed", [("accepted", -1, True)]),  # known tomorrow
        (5, 2, "allowed", [("accepted", 1, True)]),  # too young
        (6, 30, "attempted", []),  # blocked: its silence says nothing
        (7, 30, "attempted", [("confirmed", 3, True)]),
        (8, 30, "allowed", [("contested", 3, False)]),  # nobody knows yet
        (9, 30, "unknown", []),  # nobody would have said
        (10, 30, "unknown", [("accepted", 3, True)]),
        (11, 30, "allowed", [("contested", 9, False), ("rejected", 8, False)]),
        (12, 30, "attempted", [("dismissed", 8, False)]),
    ]
    frame = built(*frames(spark, messages, cases), maturity_ms=7 * DAY_MS)
    assert frame.columns == TRAINING_SET.names
    found = {int(row.end_to_end_id[-3:]): row for row in frame.collect()}
    assert {number: row.is_fraud for number, row in found.items()} == {
        1: False,
        2: True,
        3: False,
        4: False,
        7: True,
        10: True,
        11: False,
        12: False,
    }
    classes = {number: row.label_class for number, row in found.items()}
    assert classes == dict.fromkeys((1, 4), "honest") | dict.fromkeys((2, 7, 10), "fraud") | dict.fromkeys(
        (3, 11, 12), "cleared"
    )
    since = {n: (row.fraud_known_at_ms, row.cleared_at_ms) for n, row in found.items() if row.label_class != "honest"}
    ago = {days: NOW_MS - days * DAY_MS for days in (3, 8, 10, 20)}
    assert since[2] == (ago[20], None)
    assert since[3] == (ago[20], ago[10])
    assert since[7] == since[10] == (ago[3], None)
    assert since[11] == since[12] == (None, ago[8])
    assert found[2][FEATURE_NAMES[0]] == 2.0
    assert found[2][FEATURE_NAMES[-1]] is None
    assert (found[2].raw_amount_cents, found[2].raw_active_call, found[2].raw_hour) == (1_002, True, 12)
    accounts = [name for name in frame.columns if name.startswith("raw_") and "account" in name]
    assert all(name.endswith(("_account_opened_at_ms", "_account_type")) for name in accounts)


def test_features_of_another_declaration_are_left_out(spark, messages):
    features, payments, labels = frames(spark, messages, [(1, 30, "allowed", [])])
    from pyspark.sql import functions as f

    old = features.withColumn("fingerprint", f.lit("old"))
    assert built(old, payments, labels).count() == 0


def test_decisions_without_states_are_not_learnt_from(spark, messages):
    """Their vectors say that the store was away; the same payment without such a decision is learnt from."""
    tables = frames(spark, messages, [(number, 30, "allowed", []) for number in (1, 2, 3, 4)])
    modes = {1: "normal", 2: "degraded:store", 3: "degraded:model", 4: "degraded:store"}
    rows = [("other" if n == 4 else "default", messages.identity(n), mode) for n, mode in modes.items()]
    found = {int(row.end_to_end_id[-3:]) for row in built(*tables, decided(spark, rows)).collect()}
    assert found == {1, 3, 4}


def test_histories_are_learnt_from_apart(spark, messages):
    live = frames(spark, messages, [(1, 30, "allowed", []), (2, 30, "allowed", [("accepted", 3, True)])])
    tenant = history_tenant("default", "amlsim")
    other = frames(spark, messages, [(1, 30, "allowed", [("accepted", 3, True)])], tenant)
    both = [mine.unionByName(theirs) for mine, theirs in zip(live, other, strict=True)]
    found = {
        name: [(row.history, int(row.end_to_end_id[-3:]), row.is_fraud) for row in built(*both, history=name).collect()]
        for name in (LIVE_HISTORY, "amlsim")
    }
    assert sorted(found["live"]) == [("live", 1, False), ("live", 2, True)]
    assert found["amlsim"] == [("amlsim", 1, True)]


def test_a_sample_keeps_what_somebody_spoke_of_and_the_same_others_each_time(spark, messages):
    cases = [(number, 30, "allowed", []) for number in range(1, 901)]
    cases += [(number, 30, "allowed", [("accepted", 20, True)]) for number in range(901, 911)]
    cases += [(number, 30, "allowed", [("rejected", 20, False)]) for number in range(911, 921)]
    features, payments, labels = frames(spark, messages, cases)
    known = labelled(features, payments, labels, decided(spark))

    def ids(share, seed):
        rows = training_frame.sampled(known, share, seed=seed).select("end_to_end_id", "label_class").collect()
        return {row.end_to_end_id for row in rows if row.label_class == "honest"}, len(rows)

    third, rows = ids(1 / 3, 7)
    assert rows == len(third) + 20
    assert 240 < len(third) < 360
    assert ids(1 / 3, 7)[0] == third
    assert ids(1 / 3, 8)[0] != third
    assert third < ids(0.5, 7)[0]
    assert ids(1.0, 7)[1] == 920
    assert ids(0.0, 7)[1] == 20
    facts = training_frame.with_facts(known, features, payments, history=LIVE_HISTORY, honest_weight=2.5)
    weights = {(row.label_class, row.weight) for row in facts.select("label_class", "weight").distinct().collect()}
    assert weights == {("honest", 2.5), ("fraud", 1.0), ("cleared", 1.0)}


def test_a_control_group_stands_for_the_stopped_that_nobody_knows(spark, messages):
    """Weights sum to all that is old enough, as far as anybody was let go on who stands for it."""
    fraud, honest, cleared = [("accepted", 20, True)], [], [("dismissed", 20, False)]
    cases = {
        # Asked to block, one in fifty let go on: two were, and of seven stopped ones six are unknown.
        1: ("allowed", fraud, ("BLOCK", 0.02, True)),
        2: ("allowed", honest, ("BLOCK", 0.02, True)),
        **{number: ("attempted", [], ("BLOCK", 0.02, False)) for number in range(3, 9)},
        9: ("attempted", fraud, ("BLOCK", 0.02, False)),
        # Asked to hold: analysts answered all but one.
        10: ("allowed", cleared, ("BLOCK_AND_REVIEW", 0.02, True)),
        11: ("attempted", cleared, ("BLOCK_AND_REVIEW", 0.02, False)),
        12: ("attempted", [], ("BLOCK_AND_REVIEW", 0.02, False)),
        # Nobody was let go on with this chance, so nobody stands for the stopped one.
        13: ("attempted", [], ("BLOCK", 0.05, False)),
        # Stopped by a rule, so that chance was not asked.
        14: ("attempted", [], None),
        **dict.fromkeys(range(15, 25), ("allowed", honest, None)),
    }
    features, payments, labels = frames(spark, messages, [(n, 30, *case[:2]) for n, case in cases.items()])
    drawn = [("default", messages.identity(n), "normal", *(c[2] or (None,) * 3)) for n, c in cases.items()]
    columns = ("control_instead_of string", "control_propensity double", "control_drawn boolean")
    decisions = spark.createDataFrame(
        drawn, ", ".join(("tenant string", "end_to_end_id string, mode string", *columns))
    )
    rows = training_frame.matured(
        features, payments, labels, decisions, history=LIVE_HISTORY, as_of_ms=NOW_MS, maturity_ms=0
    )
    strata = sorted(training_frame.Stratum(**row.asDict()) for row in training_frame.strata(rows).collect())
    assert [(each.instead_of, each.propensity, each.known, each.unknown, each.weight) for each in strata] == [
        ("BLOCK", 0.02, 2, 6, 4.0),
        ("BLOCK", 0.05, 0, 1, 1.0),
        ("BLOCK_AND_REVIEW", 0.02, 1, 1, 2.0),
    ]
    known = training_frame.labelled(rows)
    facts = training_frame.with_facts(
        known, features, payments, history=LIVE_HISTORY, honest_weight=1.0, strata=strata
    ).select("end_to_end_id", "weight")
    weights = {int(row.end_to_end_id[-3:]): row.weight for row in facts.collect()}
    assert {number: weight for number, weight in weights.items() if weight != 1.0} == {1: 4.0, 2: 4.0, 10: 2.0}
    assert weights.keys() == {1, 2, 9, 10, 11, *range(15, 25)}
    assert sum(weights.values()) == len(cases) - len({13, 14})
    none_sampled = training_frame.sampled(known, 0.0, seed=7)
    assert {int(row.end_to_end_id[-3:]) for row in none_sampled.collect()} == {1, 2, 9, 10, 11}
