"""Bronze to silver and gold on hand-made rows."""

import json
import random

import pytest

from pix import topics
from pix.deadletter import Origin, dead_letter, redriven_note
from pix.offline import gold, silver
from pix.offline.quarantine import quarantine
from pix.offline.tables import (
    DECISIONS_GOLD,
    DECISIONS_SILVER,
    HISTORY_IMPORTS,
    HISTORY_LABELS,
    HISTORY_PAYMENTS,
    HISTORY_REFUSED,
    LABELS_SILVER,
    PAYMENTS_SILVER,
    QUARANTINE_SILVER,
    SHADOW_SILVER,
)
from pix.tokens import Keyring


def rows(frame, *order):
    return [row.asDict() for row in frame.orderBy(*order).collect()]


def decisions_topic(bronze, messages, *values, **place):
    return bronze(*[messages.bronze_row(topics.DECISIONS, n, value, **place) for n, value in enumerate(values)])


def decided_from(bronze, messages, *values):
    return silver.decisions(silver.decision_records(decisions_topic(bronze, messages, *values)))


def no_imports(spark):
    return [spark.createDataFrame([], table.ddl) for table in (HISTORY_REFUSED, HISTORY_IMPORTS)]


def test_the_first_record_of_an_id_is_the_decision(bronze, messages):
    first, other = messages.record(1), messages.record(1, action="BLOCK")
    frame = decided_from(bronze, messages, first, first, other, messages.record(2))
    found = rows(frame, "end_to_end_id")
    assert frame.columns == DECISIONS_SILVER.names
    assert [(row["end_to_end_id"], row["action"], row["decision_offset"]) for row in found] == [
        (messages.identity(1), "ALLOW", 0),
        (messages.identity(2), "ALLOW", 3),
    ]
    one = found[0]
    assert json.loads(one["record"]) == first
    assert (one["amount_cents"], one["model_version"], one["rule_hits"], one["reason_codes"]) == (
        1_001,
        "3",
        ["big"],
        ["new_payee"],
    )
    assert (one["origin_kind"], one["origin_partition"], one["origin_offset"]) == ("kafka", 2, 1)


def test_a_challengers_score_stands_beside_the_champions(bronze, messages):
    def score(number, raw_score, version="4"):
        return {
            "end_to_end_id": messages.identity(number),
            "tenant": "default",
            "model": {"name": "pix_fraud", "version": version, "sha256": version * 2},
            "raw_score": raw_score,
            "fraud_probability": 0.5,
            "scored_at_ms": 7,
        }

    sent = [score(1, 0.125), score(1, 0.125), score(1, 2.5, "5"), score(2, 1.0), "not json", {}]
    scores = bronze(*[messages.bronze_row(topics.SHADOW, n, value) for n, value in enumerate(sent)])
    decided = decided_from(bronze, messages, messages.record(1))
    frame = silver.shadow_scores(scores, decided)
    assert frame.columns == SHADOW_SILVER.names
    found = [
        (
            row["end_to_end_id"],
            row["model_version"],
            row["raw_score"],
            row["champion_version"],
            row["champion_raw_score"],
        )
        for row in rows(frame, "end_to_end_id", "model_version")
    ]
    assert found == [
        (messages.identity(1), "4", 0.125, "3", -1.0986),
        (messages.identity(1), "5", 2.5, "3", -1.0986),
        (messages.identity(2), "4", 1.0, None, None),
    ]


def test_a_degraded_record_has_no_model_and_no_probability(bronze, messages):
    degraded = messages.record(1, mode="degraded:model", model=None, fraud_probability=None, raw_score=None)
    (row,) = rows(decided_from(bronze, messages, degraded), "end_to_end_id")
    assert (row["mode"], row["model_version"], row["fraud_probability"]) == ("degraded:model", None, None)


def test_later_different_records_are_superseded_and_identical_ones_collapse(spark, bronze, messages):
    first, other = messages.record(1), messages.record(1, action="BLOCK")
    records = decisions_topic(bronze, messages, first, first, other, "not json")
    decided = silver.decisions(silver.decision_records(records))
    found = rows(quarantine(bronze(), records, decided, *no_imports(spark)), "offset")
    assert [(row["kind"], row["reason"], row["offset"]) for row in found] == [
        ("superseded", "superseded", 2),
        ("unreadable", "unreadable_record", 3),
    ]
    assert found[0]["body_token"] == "k1:body1"


@pytest.mark.parametrize(("most_contested", "most_listed"), [(0, 1_000), (1_000, 1_000), (1_000, 2)])
def test_new_records_meet_the_known_ones_as_if_all_had_come_at_once(
    bronze, messages, monkeypatch, most_contested, most_listed
):
    monkeypatch.setattr(silver, "MOST_CONTESTED", most_contested)
    monkeypatch.setattr(silver, "MOST_LISTED", most_listed)
    draw = random.Random(7)
    values = [messages.record(draw.randint(1, 25), draw.choice(["ALLOW", "BLOCK"])) for _ in range(60)]
    sent = [messages.bronze_row(topics.DECISIONS, n, value, partition=n % 3) for n, value in enumerate(values)]
    sent += [messages.bronze_row(topics.DECISIONS, 90 + n, text) for n, text in enumerate(["", "{}", "not JSON"])]
    # The first record may come last.
    draw.shuffle(sent)
    before, new = bronze(*sent[:30]), bronze(*sent[30:])
    known = silver.decisions(silver.decision_records(before))
    found = silver.merged_decisions(known, new, silver.decided_ids(new))
    assert found.columns == DECISIONS_SILVER.names
    once = silver.decisions(silver.decision_records(bronze(*sent)))
    assert rows(found, "end_to_end_id") == rows(once, "end_to_end_id")


def test_a_dead_letter_counts_once_per_origin(spark, bronze, messages):
    letter = {
        "reason": "invalid_fields",
        "errors": [{"field": "amount_cents", "reason": "must be positive"}],
        "origin": {"topic": "pix.transactions", "partition": 1, "offset": 9},
        "received_at_ms": messages.NOON_MS,
        "end_to_end_id": messages.identity(4),
        "body_token": "k1:x",
        "payload": "k1:sealed",
        "payload_bytes": 10,
    }
    dlq = bronze(*[messages.bronze_row(topics.DLQ, offset, letter) for offset in (0, 1)])
    refused = spark.createDataFrame([("jan", 1, "sha", 7, None, "not_json", "[]", "k1:y", "k1:z")], HISTORY_REFUSED.ddl)
    imported = [("jan", 1, "sha", None, None, 0, 0, 1, 0, messages.NOON_MS)]
    imports = spark.createDataFrame(imported, HISTORY_IMPORTS.ddl)
    decided = silver.decisions(silver.decision_records(bronze()))
    frame = quarantine(dlq, bronze(), decided, refused, imports)
    found = rows(frame, "kind")
    assert frame.columns == QUARANTINE_SILVER.names
    assert [(row["kind"], row["topic"], row["partition"], row["offset"]) for row in found] == [
        ("dead_letter", "pix.transactions", 1, 9),
        ("history", None, None, 7),
    ]
    assert json.loads(found[0]["errors"]) == letter["errors"]


def test_a_redriven_letter_says_when_and_where_to_and_the_next_one_where_from(spark, bronze, messages):
    def letter(offset, redriven_from=None):
        return dead_letter(
            reason="invalid_fields",
            errors=[],
            origin=Origin(topics.TRANSACTIONS, 1, offset),
            received_at_ms=messages.NOON_MS,
            end_to_end_id=None,
            raw=b"{}",
            keyring=Keyring(1, {1: b"1" * 32}),
            redriven_from=redriven_from,
        ).value.decode()

    def note(offset, at_ms, to):
        return redriven_note(
            origin=Origin(topics.TRANSACTIONS, 1, offset),
            received_at_ms=messages.NOON_MS,
            body_token="k1:x",
            to=Origin(topics.TRANSACTIONS, 1, to),
            at_ms=at_ms,
        ).value.decode()

    # The note about 7 lost its letter; that of 3 was sent twice.
    said = [letter(3), letter(4), note(3, 10, 5), note(7, 10, 6), note(3, 20, 8), letter(5, Origin("t", 0, 3))]
    dlq = bronze(*[messages.bronze_row(topics.DLQ, offset, value) for offset, value in enumerate(said)])
    decided = silver.decisions(silver.decision_records(bronze()))
    found = rows(quarantine(dlq, bronze(), decided, *no_imports(spark)), "offset")
    assert [(row["kind"], row["offset"]) for row in found] == [
        ("dead_letter", 3),
        ("dead_letter", 4),
        ("dead_letter", 5),
    ]
    assert [(row["redriven_at_ms"], row["redriven_to"], row["redriven_from"]) for row in found] == [
        (20, "pix.transactions/1/8", None),
        (None, None, None),
        (None, None, "t/0/3"),
    ]
    # The day of the letter is written again, whenever the note came.
    late = bronze(messages.bronze_row(topics.DLQ, 9, note(3, messages.NOON_MS + 40 * messages.DAY_MS, 5)))
    assert [row["day"] for row in silver.arrival_days(late).collect()] == [found[0]["arrival_day"]]


def history_frame(spark, messages, *numbers):
    values = [
        (
            "jan",
            1,
            "sha",
            n,
            messages.identity(n),
            "default",
            messages.NOON_MS,
            json.dumps(messages.record(n)["payment"]),
            None,
        )
        for n in numbers
    ]
    return spark.createDataFrame(values, HISTORY_PAYMENTS.ddl)


def test_an_id_that_has_a_decision_is_not_history(spark, bronze, messages):
    decided = decided_from(bronze, messages, messages.record(1, action="BLOCK"))
    frame = silver.payments(decided, silver.undecided(history_frame(spark, messages, 1, 2), decided))
    assert frame.columns == PAYMENTS_SILVER.names
    found = rows(frame, "end_to_end_id")
    assert [(row["source"], row["history"], row["outcome"], row["amount_cents"]) for row in found] == [
        ("live", None, "attempted", 1_001),
        ("history", "jan", "allowed", 1_002),
    ]
    assert found[1]["payer_account"].startswith("k1:")


def labels_frame(spark, bronze, messages, *live, letters=()):
    topic = bronze(*[messages.bronze_row(topics.LABELS, n, value) for n, value in enumerate(live)])
    refused = bronze(*[messages.bronze_row(topics.DLQ, n, value) for n, value in enumerate(letters)])
    return silver.labels(topic, spark.createDataFrame([], HISTORY_LABELS.ddl), refused)


def test_a_label_is_known_when_it_was_received_at_the_earliest(spark, bronze, messages):
    early = messages.label(1, "accepted", messages.NOON_MS - messages.DAY_MS)
    late = messages.label(1, "reversed", messages.NOON_MS + messages.DAY_MS)
    frame = labels_frame(spark, bronze, messages, early, early, late, None)
    assert frame.columns == LABELS_SILVER.names
    assert [(row["kind"], row["known_at_ms"], row["is_fraud_after"]) for row in rows(frame, "known_at_ms")] == [
        ("accepted", messages.NOON_MS, True),
        ("reversed", messages.NOON_MS + messages.DAY_MS, False),
    ]


def test_a_label_that_the_job_refused_is_no_label_and_an_orphan_is_one(spark, bronze, messages):
    said = [messages.label(n, "accepted", messages.NOON_MS) for n in (1, 2, 3, 4)]
    reasons = ["invalid_fields", "payment_unknown", "not_json"]
    origins = [(topics.LABELS, 0), (topics.LABELS, 1), (topics.TRANSACTIONS, 2)]
    letters = [
        json.dumps({"reason": reason, "errors": [], "origin": {"topic": topic, "partition": 0, "offset": offset}})
        for reason, (topic, offset) in zip(reasons, origins, strict=True)
    ]
    # The refused one was delivered again later, and taken.
    frame = labels_frame(spark, bronze, messages, *said, said[0], letters=letters[:1])
    assert len(rows(frame, "end_to_end_id")) == len(said)
    frame = labels_frame(spark, bronze, messages, *said, letters=[*letters, None])
    kept = [row["end_to_end_id"] for row in rows(frame, "end_to_end_id")]
    assert kept == [messages.identity(n) for n in (2, 3, 4)]


def test_contested_changes_nothing(spark, bronze, messages):
    hour = 3_600_000
    found = labels_frame(
        spark,
        bronze,
        messages,
        messages.label(1, "contested", messages.NOON_MS + hour),
        messages.label(2, "accepted", messages.NOON_MS + hour),
        messages.label(2, "contested", messages.NOON_MS + 2 * hour),
    )
    known = {row["end_to_end_id"]: row["is_fraud"] for row in rows(gold.newest_labels(found), "end_to_end_id")}
    assert known == {messages.identity(1): None, messages.identity(2): True}


def test_gold_has_one_row_per_decision_with_its_outcome(spark, bronze, messages):
    decided = decided_from(bronze, messages, *(messages.record(n) for n in (1, 2, 3)))
    labels = labels_frame(
        spark, bronze, messages, messages.label(1, "accepted", messages.NOON_MS), messages.label(2, "dismissed", 0)
    )
    frame = gold.decisions(decided, labels, messages.NOON_MS)
    assert frame.columns == DECISIONS_GOLD.names
    assert [(row["is_fraud"], row["label_kind"]) for row in rows(frame, "end_to_end_id")] == [
        (True, "accepted"),
        (False, "dismissed"),
        (None, None),
    ]


def test_gold_says_what_became_of_reviews(spark, bronze, messages):
    """By a verdict before the deadline, by the policy at the deadline, or nothing yet."""
    minute = 60_000

    def held(number, action="BLOCK_AND_REVIEW", minutes=30):
        hold = {"expires_at": messages.iso(messages.NOON_MS + minutes * minute), "outcome": "BLOCK"}
        return messages.record(number, action, hold=hold)

    def closing(number, kind, minutes):
        said = {"source": "analyst", "review": {"closed_by": "ana", "note": "vista"}}
        return messages.label(number, kind, messages.NOON_MS + minutes * minute, **said)

    sent = [messages.record(1), held(2), held(3), held(4, "REVIEW", 40), held(5, minutes=90)]
    decided = decided_from(
        bronze, messages, *sent, messages.record(6, "REVIEW", messages.NOON_MS + 60 * minute, hold=None)
    )
    later = messages.label(3, "confirmed", messages.NOON_MS + 50 * minute, source="analyst")
    labels = labels_frame(spark, bronze, messages, closing(2, "dismissed", 29), closing(4, "confirmed", 39), later)
    columns = ("status", "verdict", "closed_by", "ended_at_ms", "outcome")
    found = [
        [row[f"review_{name}"] for name in columns]
        for row in rows(gold.decisions(decided, labels, messages.NOON_MS + 60 * minute + 5), "end_to_end_id")
    ]
    assert found == [
        [None] * 5,
        ["closed", "dismissed", "ana", messages.NOON_MS + 29 * minute, "ALLOW"],
        ["expired", None, None, messages.NOON_MS + 30 * minute, "BLOCK"],
        ["closed", "confirmed", "ana", messages.NOON_MS + 39 * minute, None],
        ["open", None, None, None, None],
        ["open", None, None, None, None],
    ]
    (said,) = rows(labels.where("kind = 'dismissed'"), "label_id")
    assert (said["closed_by"], said["note"]) == ("ana", "vista")


def test_daily_kpis_count_by_the_day_in_brasilia(spark, bronze, messages):
    night = messages.NOON_MS + 14 * 3_600_000  # 02:00Z of the next day is still the same day in Brasília
    decided = decided_from(
        bronze,
        messages,
        messages.record(1),
        messages.record(2, "REVIEW"),
        messages.record(3, "BLOCK", at_ms=night),
        messages.record(4, "BLOCK_AND_REVIEW", at_ms=night),
    )
    labels = labels_frame(spark, bronze, messages, *(messages.label(n, "accepted", night) for n in (1, 3)))
    (day,) = rows(gold.daily_kpis(gold.hourly_kpis(gold.decisions(decided, labels, messages.NOON_MS))), "day")
    assert str(day["day"]) == "2026-06-01"
    assert (day["payments"], day["allowed"], day["reviewed"], day["held"], day["blocked"]) == (4, 1, 1, 1, 1)
    assert (day["review_rate"], day["block_rate"]) == (0.5, 0.5)
    assert (day["frauds_known"], day["frauds_caught"], day["frauds_missed"]) == (2, 1, 1)
    assert (day["caught_cents"], day["missed_cents"]) == (1_003, 1_001)
    assert (day["alerts"], day["alerts_judged"], day["alert_precision"]) == (3, 1, 1.0)
    assert (day["stopped_honest"], day["stopped_honest_cents"], day["friction_rate"]) == (1, 1_004, 0.25)


def test_a_profile_sums_up_one_side_of_an_account(spark, bronze, messages):
    day = messages.DAY_MS
    sent = [messages.record(1, at_ms=messages.NOON_MS - 40 * day), messages.record(2, "BLOCK"), messages.record(3)]
    for one in sent:
        one["payment"] |= {"payer_account": "k1:payer", "payee_account": "k1:payee"}
    sent[0]["payment"] |= {"payer_person_type": "PJ"}
    sent[2]["payment"] |= {"payee_account": "k1:other"}
    decided = decided_from(bronze, messages, *sent)
    payments = silver.payments(decided, silver.undecided(history_frame(spark, messages), decided))
    labels = labels_frame(spark, bronze, messages, messages.label(3, "accepted", messages.NOON_MS))
    (found,) = rows(gold.profiles(payments, labels, "payer"), "account")
    assert found == {
        "account": "k1:payer",
        "tenant": "default",
        "person_type": "PJ",
        "account_type": None,
        "payments": 3,
        "amount_cents": 3_006,
        "largest_cents": 1_003,
        "first_payment_ms": messages.NOON_MS - 40 * day,
        "last_payment_ms": messages.NOON_MS,
        "active_days": 2,
        "counterparties": 2,
        "payments_d30": 2,
        "amount_d30_cents": 2_005,
        "stopped": 1,
        "frauds": 1,
        "fraud_cents": 1_003,
    }
    assert [row["payments"] for row in rows(gold.profiles(payments, labels, "payee"), "account")] == [1, 2]


def test_an_empty_lake_gives_empty_tables(spark, bronze):
    decided = silver.decisions(silver.decision_records(bronze()))
    history = spark.createDataFrame([], HISTORY_PAYMENTS.ddl)
    labels = silver.labels(bronze(), spark.createDataFrame([], HISTORY_LABELS.ddl), bronze())
    assert silver.payments(decided, history).count() == 0
    assert gold.daily_kpis(gold.hourly_kpis(gold.decisions(decided, labels, 0))).count() == 0
