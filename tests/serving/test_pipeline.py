"""One decision per payment, whatever races; labels fold once."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from traffic import NOW_MS, Clock, StubbornModel, account, arrival, label, message, pipeline

from pix.contracts import DAY_MS
from pix.engines.events import account_key
from pix.engines.layout import STATE_LAYOUT
from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.store.interface import LIVE_NUMBERS, Store, open_store
from pix.store.memory import MemoryStore
from serving.outcomes import Conflict, Done, FoldedBefore, UnknownPayment
from serving.records import answer
from serving.replay import Replay


def decided(outcome: object) -> dict[str, object]:
    assert isinstance(outcome, Done)
    content: dict[str, object] = json.loads(outcome.record)
    return content


def test_a_decision_carries_what_it_rests_on() -> None:
    record = decided(pipeline(model=StubbornModel()).decide(message(1, device_id="phone"), arrival(NOW_MS)))
    assert record["action"] == "ALLOW"
    assert record["feature_fingerprint"] == FINGERPRINT
    assert record["mode"] == "normal"
    assert record["model"] == {"name": "hand", "version": "1", "sha256": "0" * 64}
    assert set(record["states"]) == {"payer_account", "payee_account", "pair", "device"}
    assert all(state["read"] == 0 and state["got"] == NOW_MS for state in record["states"].values())
    assert len(record["features"]) == len(FEATURE_NAMES)


def test_no_clear_identifier_is_kept() -> None:
    clear = {"payer_tax_id": "52998224725", "pix_key": "maria@example.com", "device_id": "phone-77"}
    outcome = pipeline().decide(message(1, **clear), arrival(NOW_MS))
    assert isinstance(outcome, Done)
    for value in (*clear.values(), account(1), account(2)):
        assert value.encode() not in outcome.record


def test_the_next_payment_reads_what_this_one_folded() -> None:
    decider = pipeline()
    first = decided(decider.decide(message(1), arrival(NOW_MS)))
    second = decided(decider.decide(message(2), arrival(NOW_MS)))
    assert {role: s["read"] for role, s in second["states"].items()} == {
        role: s["got"] for role, s in first["states"].items()
    }
    assert second["features"][FEATURE_NAMES.index("pair_count_90d")] == 1.0


def test_the_same_payment_again_gets_the_same_bytes() -> None:
    decider = pipeline()
    first, again = (decider.decide(message(1), arrival(NOW_MS + n)) for n in range(2))
    assert isinstance(first, Done)
    assert isinstance(again, Done)
    assert again.record == first.record
    # The first one is told from what was concluded, the second one from its record.
    assert first.public is not None
    assert again.public is None
    assert answer(again) == answer(first)


def test_an_unpublished_record_is_published_again_and_a_published_one_not() -> None:
    store = MemoryStore()
    decider = pipeline(store)
    first = decider.decide(message(1), arrival(NOW_MS))
    assert isinstance(first, Done)
    assert first.message is not None
    again = decider.decide(message(1), arrival(NOW_MS))
    assert isinstance(again, Done)
    assert again.message is not None
    assert (again.message.key, again.message.value) == (first.message.key, first.message.value)
    store.published([first.message.record_id])
    assert decider.decide(message(1), arrival(NOW_MS)) == Done(first.record, None)


def test_the_same_id_with_another_body_changes_nothing() -> None:
    store = MemoryStore()
    decider = pipeline(store)
    decider.decide(message(1), arrival(NOW_MS))
    before = store.states()
    assert isinstance(decider.decide(message(1, amount_cents=999), arrival(NOW_MS)), Conflict)
    assert store.states() == before


def test_a_hundred_concurrent_copies_are_one_decision(tmp_path: Path) -> None:
    store = open_store(f"lmdb://{tmp_path / 'store'}", "test")
    decider = pipeline(store, model=StubbornModel())
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda n: decider.decide(message(1), arrival(NOW_MS + n)), range(100)))
    assert len({decided(o)["trace_id"] for o in outcomes}) == 1
    assert len({o.record for o in outcomes if isinstance(o, Done)}) == 1
    numbers = [stored.number for key, stored in store.states().items() if "|account|" in key]
    assert numbers == [numbers[0]] * 2


def test_a_race_on_the_payee_repeats_only_the_fold() -> None:
    store, clock = MemoryStore(), Clock()
    slow = pipeline(store, clock)
    fast = pipeline(store, clock)
    commit = store.commit
    raced = []

    def commit_after_another(*arguments):  # type: ignore[no-untyped-def]
        if not raced:
            raced.append(True)
            store.commit = commit  # type: ignore[method-assign]
            fast.decide(message(2, payer_account=account(3)), arrival(NOW_MS))
        return commit(*arguments)

    store.commit = commit_after_another  # type: ignore[method-assign]
    record = decided(slow.decide(message(1), arrival(NOW_MS)))
    payee = record["states"]["payee_account"]
    assert (payee["read"], payee["got"]) == (0, NOW_MS + 1)
    assert record["features"][FEATURE_NAMES.index("payee_in_count_1h")] == 0.0
    assert store.states()[payee["key"]].number == NOW_MS + 1


def test_a_held_payment_counts_as_an_attempt_only() -> None:
    store = MemoryStore()
    decider = pipeline(store, model=StubbornModel(shift=20.0))
    assert decided(decider.decide(message(1), arrival(NOW_MS)))["action"] == "BLOCK"
    second = decided(decider.decide(message(2), arrival(NOW_MS)))
    assert second["features"][FEATURE_NAMES.index("payer_count_1h")] == 1.0
    assert second["features"][FEATURE_NAMES.index("payer_count_30d")] == 0.0
    assert second["reasons"][0]["code"] == "AMOUNT"
    assert set(second["reasons"][0]["text"]) == {"pt-BR", "en"}


def test_without_a_model_the_rules_decide() -> None:
    record = decided(pipeline().decide(message(1), arrival(NOW_MS)))
    assert (record["mode"], record["fraud_probability"], record["model"]) == ("degraded:model", None, None)


def test_a_confirmed_fraud_moves_the_payee_and_a_reversal_moves_it_back() -> None:
    store, clock = MemoryStore(), Clock()
    decider = pipeline(store, clock)
    identity = str(decided(decider.decide(message(1), arrival(NOW_MS)))["end_to_end_id"])
    frauds = FEATURE_NAMES.index("payee_frauds_90d")
    seen = []
    for number, kind in enumerate(["contested", "accepted", "accepted", "reversed"], 2):
        clock.now_ms += 1_000
        decider.fold_label(label(identity, kind, clock.now_ms), clock.now_ms)
        record = decided(decider.decide(message(number, clock.now_ms), arrival(clock.now_ms)))
        seen.append(record["features"][frauds])
    assert seen == [0.0, 1.0, 1.0, 0.0]


def test_a_label_folds_once() -> None:
    store = MemoryStore()
    decider = pipeline(store)
    identity = str(decided(decider.decide(message(1), arrival(NOW_MS)))["end_to_end_id"])
    accepted = label(identity, "accepted", NOW_MS)
    first, again = decider.fold_label(accepted, NOW_MS), decider.fold_label(accepted, NOW_MS + 5)
    assert isinstance(first, Done)
    assert isinstance(again, Done)
    assert first.record == again.record


@pytest.mark.parametrize("is_rebuilt", [False, True])
def test_a_label_delivered_again_after_its_record_expired_folds_nothing(is_rebuilt: bool) -> None:
    """``pix.labels`` is read from its beginning."""
    store, clock = MemoryStore(STATE_LAYOUT), Clock()
    decider = pipeline(store, clock)
    logged = [decider.decide(message(1), arrival(NOW_MS))]
    identity = str(decided(logged[0])["end_to_end_id"])
    known = [label(identity, kind, NOW_MS + at) for at, kind in enumerate(["accepted", "reversed", "contested"])]
    logged += [decider.fold_label(each, each.known_at) for each in known]
    before = store.states()
    clock.now_ms += 9 * DAY_MS
    without = _without_records(store, logged, is_rebuilt=is_rebuilt)
    assert without.states() == before
    later = pipeline(without, clock)
    for each in [*known, *known]:
        assert isinstance(later.fold_label(each, each.known_at), FoldedBefore)
    assert without.states() == before
    assert isinstance(later.fold_label(label(identity, "accepted", NOW_MS + 9), NOW_MS + 9), Done)


def _without_records(store: Store, logged: list[object], *, is_rebuilt: bool) -> Store:
    """The same states in a store of its own, where no record is kept any more."""
    fresh = MemoryStore(STATE_LAYOUT)
    if not is_rebuilt:
        fresh.load_base(0, [(key, found.number, found.blob or b"") for key, found in store.states().items()])
        return fresh
    replay = Replay(fresh, 0)
    replay.take([(done.message.topic, done.record) for done in logged if isinstance(done, Done) and done.message])
    assert replay.fold() > len(logged)
    return fresh


def test_a_label_without_its_payment_is_told_apart() -> None:
    assert isinstance(pipeline().fold_label(label(message(1).end_to_end_id, "accepted", NOW_MS), 0), UnknownPayment)


def test_a_payment_of_the_imported_history_is_not_decided_again() -> None:
    store = MemoryStore()
    store.load_base(1, [(f"default|payment|{message(1).end_to_end_id}", 1, b"x")])
    assert isinstance(pipeline(store).decide(message(1), arrival(NOW_MS)), Conflict)


def test_the_first_live_number_follows_a_base() -> None:
    store = MemoryStore()
    decider = pipeline(store)
    key = account_key("default", decided(decider.decide(message(1), arrival(NOW_MS)))["payment"]["payer_account"])
    blob = store.states()[key].blob
    fresh = MemoryStore()
    fresh.load_base(1, [(key, 7, blob or b"")])
    record = decided(pipeline(fresh).decide(message(2, NOW_MS + DAY_MS), arrival(NOW_MS + DAY_MS)))
    state = record["states"]["payer_account"]
    assert (state["read"], record["generation"]) == (7, 1)
    assert state["got"] == NOW_MS >= LIVE_NUMBERS


@pytest.mark.parametrize("kind", ["rejected", "dismissed", "reversed"])
def test_clearing_what_was_never_fraud_folds_nothing(kind: str) -> None:
    decider = pipeline()
    identity = str(decided(decider.decide(message(1), arrival(NOW_MS)))["end_to_end_id"])
    assert decided(decider.fold_label(label(identity, kind, NOW_MS), NOW_MS))["states"] == {}


def test_a_label_moves_every_entity_of_its_payment() -> None:
    store = MemoryStore()
    decider = pipeline(store)
    own = {"payer_tax_id": "52998224725", "payee_tax_id": "52998224725", "device_id": "phone"}
    decision = decided(decider.decide(message(1, **own), arrival(NOW_MS)))
    assert decision["states"]["payer_person"] == decision["states"]["payee_person"]
    fold = decided(decider.fold_label(label(str(decision["end_to_end_id"]), "accepted", NOW_MS), NOW_MS))
    assert {role: state["read"] for role, state in fold["states"].items()} == {
        role: state["got"] for role, state in decision["states"].items()
    }
    again = decided(decider.decide(message(2, **own), arrival(NOW_MS)))
    for name in ("payee_frauds_7d", "payer_frauds_30d", "pair_frauds_90d", "device_frauds_90d",
                 "payer_person_frauds_90d", "payee_person_frauds_30d"):  # fmt: skip
        assert again["features"][FEATURE_NAMES.index(name)] == 1.0, name
    # One payment between one person's accounts is one event of that person.
    assert again["features"][FEATURE_NAMES.index("payer_person_count_1h")] == 1.0
    assert again["features"][FEATURE_NAMES.index("payee_person_in_count_1h")] == 1.0


def test_a_contest_is_counted_once_and_for_good() -> None:
    decider, seen = pipeline(), []
    identity = str(decided(decider.decide(message(1), arrival(NOW_MS)))["end_to_end_id"])
    for number, kind in enumerate(["contested", "contested", "rejected"], 2):
        decider.fold_label(label(identity, kind, NOW_MS + number), NOW_MS)
        record = decided(decider.decide(message(number), arrival(NOW_MS + number)))
        seen.append([record["features"][FEATURE_NAMES.index(f"payee_{what}_7d")] for what in ("contests", "frauds")])
    assert seen == [[1.0, 0.0]] * 3
