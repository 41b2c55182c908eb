import dataclasses

import pandas as pd
import pytest

from quality.errors import SentLogUnreadable
from quality.reconciliation import SentLine, read_sent_log, reconcile

SENT_AT = "2026-11-21T12:30:00+00:00"


def line(identity, body, amount=100, **more):
    return SentLine(end_to_end_id=identity, amount_cents=amount, body_sha256=body, sent_at=SENT_AT, **more)


def token_of(body):
    return {f"k1:{body}", f"k2:{body}"}


def gold(*rows):
    return pd.DataFrame(rows, columns=["end_to_end_id", "amount_cents", "body_token"])


def quarantine(*rows):
    return pd.DataFrame(rows, columns=["end_to_end_id", "body_token", "reason", "topic", "partition", "offset"])


SENT = [line("E1", "a"), line("E2", "b"), line("E3", "c"), line(None, "junk", None)]
GOLD = gold(("E1", 100, "k1:a"), ("E2", 100, "k2:b"), ("E3", 100, "k1:c"))
JUNK = (None, "k1:junk", "not JSON", "pix.dlq", 0, 17)
QUARANTINE = quarantine(JUNK)


def test_everything_decided_once_or_quarantined_balances():
    found = reconcile(SENT, GOLD, QUARANTINE, token_of)
    assert found.line() == "sent=4 decided=3 quarantined=1 lost=0 duplicated=0 mismatched=0"
    assert found.ok


@pytest.mark.parametrize(
    ("change", "line_", "example"),
    [
        (
            {"gold": GOLD[1:]},
            "sent=4 decided=2 quarantined=1 lost=1 duplicated=0 mismatched=0",
            ("lost", "E1"),
        ),
        (
            {"quarantine": QUARANTINE[:0]},
            "sent=4 decided=3 quarantined=0 lost=1 duplicated=0 mismatched=0",
            ("lost", "junk"),
        ),
        (
            {"gold": pd.concat([GOLD, GOLD[1:2]])},
            "sent=4 decided=3 quarantined=1 lost=0 duplicated=1 mismatched=0",
            ("duplicated", "E2"),
        ),
        (
            {"gold": GOLD.assign(amount_cents=[100, 100, 101])},
            "sent=4 decided=2 quarantined=1 lost=0 duplicated=0 mismatched=1",
            ("mismatched", "E3"),
        ),
        (
            {"gold": GOLD.assign(body_token=["k1:other", "k2:b", "k1:c"])},
            "sent=4 decided=2 quarantined=1 lost=0 duplicated=0 mismatched=1",
            ("mismatched", "E1"),
        ),
        (
            {"gold": GOLD.assign(body_token=[None, "k2:b", "k1:c"])},
            "sent=4 decided=2 quarantined=1 lost=0 duplicated=0 mismatched=1",
            ("mismatched", "E1"),
        ),
        (
            {"quarantine": quarantine(JUNK, JUNK)},
            "sent=4 decided=3 quarantined=1 lost=0 duplicated=1 mismatched=0",
            ("duplicated", "pix.dlq-0-17"),
        ),
        (
            {"quarantine": quarantine(JUNK, ("E1", "k1:a", "late", "pix.dlq", 0, 18))},
            "sent=4 decided=3 quarantined=1 lost=0 duplicated=1 mismatched=0",
            ("duplicated", "k1:a"),
        ),
    ],
    ids=[
        "deleted gold row",
        "deleted quarantine row",
        "duplicated gold row",
        "changed amount",
        "changed body",
        "body without token",
        "quarantined twice",
        "in both tables",
    ],
)
def test_each_planted_fault_is_counted_and_named(change, line_, example):
    found = reconcile(SENT, **{"gold": GOLD, "quarantine": QUARANTINE, **change}, token_of=token_of)
    assert found.line() == line_
    assert not found.ok
    which, name = example
    assert found.examples[which] == [name]


def test_attempts_for_one_body_are_one_item():
    found = reconcile([*SENT, *SENT, line("E1", "a")], GOLD, QUARANTINE, token_of)
    assert found.line() == "sent=4 decided=3 quarantined=1 lost=0 duplicated=0 mismatched=0"


def test_another_body_under_a_known_id_is_an_item_of_its_own():
    other = line("E1", "forged", 999)
    in_quarantine = quarantine(JUNK, ("E1", "k1:forged", "same id, other body", "pix.dlq", 0, 18))
    assert reconcile([*SENT, other], GOLD, in_quarantine, token_of).line() == (
        "sent=5 decided=3 quarantined=2 lost=0 duplicated=0 mismatched=0"
    )
    assert reconcile([*SENT, other], GOLD, QUARANTINE, token_of).mismatched == 1


@pytest.mark.parametrize("withdrawal", [{"refused": 422}, {"unanswered": True}])
def test_a_withdrawn_claim_counts_only_if_it_is_found_anyway(withdrawal):
    attempt = line("E9", "z")
    withdrawn = dataclasses.replace(attempt, **withdrawal)
    assert reconcile([*SENT, attempt, withdrawn], GOLD, QUARANTINE, token_of).sent == 4
    assert reconcile([*SENT, withdrawn], GOLD, QUARANTINE, token_of).sent == 4
    found = pd.concat([GOLD, gold(("E9", 100, "k1:z"))])
    assert reconcile([*SENT, attempt, withdrawn], found, QUARANTINE, token_of).decided == 4
    wrong_amount = pd.concat([GOLD, gold(("E9", 7, "k1:z"))])
    assert reconcile([*SENT, attempt, withdrawn], wrong_amount, QUARANTINE, token_of).mismatched == 1


def test_an_attempt_that_was_not_withdrawn_keeps_the_claim():
    attempt = line("E9", "z")
    withdrawn = dataclasses.replace(attempt, unanswered=True)
    assert reconcile([attempt, withdrawn, attempt], GOLD, QUARANTINE, token_of).lost == 1
    assert reconcile([withdrawn, attempt, attempt], GOLD, QUARANTINE, token_of).lost == 1


def test_a_conflict_refused_over_rest_is_no_mismatch():
    other = line("E1", "forged", 999)
    refused = dataclasses.replace(other, refused=409)
    assert reconcile([*SENT, other, refused], GOLD, QUARANTINE, token_of).line() == (
        "sent=4 decided=3 quarantined=1 lost=0 duplicated=0 mismatched=0"
    )


def test_without_a_log_duplicates_are_still_found():
    found = reconcile([], pd.concat([GOLD, GOLD[:1]]), QUARANTINE, token_of)
    assert found.line() == "sent=0 decided=0 quarantined=0 lost=0 duplicated=1 mismatched=0"


def test_empty_tables_lose_everything():
    assert reconcile(SENT, gold(), quarantine(), token_of).lost == 4


def test_rows_without_an_origin_are_not_one_origin():
    rest = [(None, f"k1:{i}", "422", None, None, None) for i in range(3)]
    again = (None, "k1:x", "not JSON", "pix.dlq", 1, 4)
    found = reconcile([], GOLD, quarantine(*rest, again, again), token_of)
    assert found.examples["duplicated"] == ["pix.dlq-1-4"]


REDRIVEN_COLUMNS = [*QUARANTINE.columns, "redriven_at_ms"]


def redriven(*rows):
    return pd.DataFrame(rows, columns=REDRIVEN_COLUMNS)


def test_a_redriven_message_counts_where_it_ended():
    again = ("E1", "k1:a", "invalid_fields", "pix.transactions", 0, 18, 1_795_000_000_000)
    junk, junk_again = (*JUNK, 1_795_000_000_000), (None, "k1:junk", "not JSON", "pix.dlq", 0, 40, None)
    found = reconcile(SENT, GOLD, redriven(again, junk, junk_again), token_of)
    assert found.line() == "sent=4 decided=3 quarantined=1 lost=0 duplicated=0 mismatched=0"
    # Sent again and neither decided nor refused: the row does not hide that.
    assert reconcile(SENT, GOLD, redriven(again, junk), token_of).examples["lost"] == ["junk"]
    # A copy of the same message that nobody sent again still stands in both tables.
    left = ("E1", "k1:a", "invalid_fields", "pix.transactions", 0, 19, None)
    assert reconcile(SENT, GOLD, redriven(again, left, junk_again), token_of).examples["duplicated"] == ["k1:a"]


def test_a_log_is_read_up_to_its_last_complete_line():
    text = (
        '{"end_to_end_id":"E1","amount_cents":100,"body_sha256":"a","sent_at":"t","via":"rest"}\n'
        '{"end_to_end_id":"E1","amount_cents":100,"body_sha256":"a","sent_at":"t","refused":422}\n'
        '{"end_to_end_id":"E2","amo'
    )
    first, second = read_sent_log(text)
    assert (first.withdraws, second.withdraws) == (False, True)
    with pytest.raises(SentLogUnreadable, match="line 3"):
        read_sent_log(text + "\n")
    assert read_sent_log("") == []
