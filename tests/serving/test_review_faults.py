"""Two analysts, dying workers, lost stores: a review is closed once, its label published once, the queue the same."""

import asyncio
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from site_by_hand import Lake, Site, keeper, past
from traffic import NOW_MS, Clock, StubbornModel, account, arrival, label, message, pipeline, rfc3339
from written_logs import flushed

from pix import topics
from pix.contracts import MINUTE_MS, canonical_json, label_id, parse_label
from pix.engines.kernel import Vector
from pix.engines.layout import STATE_LAYOUT
from pix.store.interface import Message, QueueChange, Store, open_store
from pix.store.memory import MemoryStore
from serving.breakers import Breakers
from serving.comparison import Comparison, compare
from serving.degraded import decide_by_rules
from serving.delivery import Delivery
from serving.metrics import Meters
from serving.outcomes import Done
from serving.pipeline import DecisionPipeline
from serving.reconciling import Reconciler
from serving.review_queue import ReviewQueue, Verdict
from serving.review_replay import ReviewReplay
from serving.reviews import LAST, closing_label, opened

ANALYSTS = Path(__file__).parent / "analysts.py"


class Proportional(StubbornModel):
    """The probability is the amount in millions of reais."""

    def raw_score(self, vector: Vector) -> float:
        return float(vector[0]) / 10**6

    def probability(self, raw_score: float) -> float:
        return min(raw_score, 1.0)


@pytest.fixture(params=["lmdb", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "lmdb":
        return f"lmdb://{tmp_path / 'store'}"
    address: str = request.getfixturevalue("valkey")
    redis.Redis.from_url(address).flushdb()
    return address


@pytest.fixture
def site(url: str) -> Iterator[Site]:
    made = Site(open_store(url, STATE_LAYOUT))
    yield made
    made.store.close()


def decider(site: Site) -> DecisionPipeline:
    return pipeline(site.store, site.clock, Proportional())


def decided(site: Site, number: int, probability: float, **fields: object) -> str:
    """Decide a payment that the model gives this probability; its id."""
    cents = round(probability * 10**8)
    sent = message(number, site.clock.now_ms, amount_cents=cents, payee_account=account(number + 1), **fields)
    assert isinstance(decider(site).decide(sent, arrival(site.clock.now_ms, number)), Done)
    return sent.end_to_end_id


def labels(site: Site) -> list[dict[str, Any]]:
    found = [value for (topic, _), values in site.logs.topics.items() if topic == topics.LABELS for value in values]
    return [json.loads(value) for value in found]


def whole(store: Store) -> list[tuple[str, bytes]]:
    """Every place of the queue with what stands there."""
    return store.queue("", LAST, 10**6)


@dataclass
class Worked:
    """A store whose reviews analysts in other processes closed: together, or dying."""

    site: Site
    met: list[str]
    died: list[str]
    told: list[list[Any]]


@pytest.fixture(scope="module")
def worked(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Worked]]:
    """Both stores, worked by one program: most of its time is its imports."""
    # A database of its own: the other tests empty theirs.
    urls = {"lmdb": f"lmdb://{tmp_path_factory.mktemp('worked')}", "valkey": f"{valkey.removesuffix('/0')}/3"}
    made, asked = dict[str, Worked](), dict[str, Any]()
    for name, url in urls.items():
        site = Site(open_store(url, STATE_LAYOUT))
        ids = [decided(site, number, 0.5) for number in range(1, 24)]
        flushed(site.store, site.logs)
        made[name], asked[url] = Worked(site, ids[:20], ids[20:], []), {"meet": ids[:20], "die": ids[20:]}
    command = [sys.executable, ANALYSTS, str(NOW_MS)]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        url, *told = json.loads(line)
        next(made[name] for name in urls if urls[name] == url).told.append(told)
    yield made
    for each in made.values():
        each.site.store.close()


@pytest.mark.parametrize("name", ["lmdb", "valkey"])
def test_two_analysts_close_each_review_once(worked: dict[str, Worked], name: str) -> None:
    told = worked[name].told
    winners = {end_to_end_id: who for who, end_to_end_id, is_first, _ in told if is_first}
    assert sum(is_first for *_, is_first, _ in told) == len(winners) == len(worked[name].met)
    # Whoever came second was told who was first.
    assert all(closed_by == winners[end_to_end_id] for _, end_to_end_id, _, closed_by in told)
    assert len(told) == 2 * len(winners)
    waiting = worked[name].site.store.unpublished(2**62, 1_000)
    labelled = [json.loads(each.value) for each in waiting if json.loads(each.value)["end_to_end_id"] in winners]
    assert {each["end_to_end_id"]: each["review"]["closed_by"] for each in labelled} == winners
    assert len(labelled) == len(winners)


class HandKafka:
    """Takes everything into the logs."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def publish(self, messages: Sequence[Message], timeout_seconds: float) -> list[str]:  # noqa: ARG002
        self._site.logs.publish(list(messages))
        return [message.record_id for message in messages]


@pytest.mark.parametrize("name", ["lmdb", "valkey"])
def test_a_label_outlives_the_worker_that_closed_its_review(worked: dict[str, Worked], name: str) -> None:
    site, died = worked[name].site, worked[name].died
    assert labels(site) == []
    # Another worker: whoever comes now is second, and the sweep brings the labels out.
    outcome = ReviewQueue(site.store, site.clock).close("default", died[0], Verdict("dismissed", "carla"))
    assert outcome.review.closing.closed_by == "ana"  # type: ignore[union-attr]
    sweeper = Delivery(site.store, HandKafka(site), Breakers().broker, Meters.unread())
    for _ in range(2):
        asyncio.run(sweeper.sweep(site.clock.now_ms + 1, 0))
    told = [each for each in labels(site) if each["end_to_end_id"] in died]
    assert sorted(each["end_to_end_id"] for each in told) == sorted(died)
    assert {each["kind"] for each in told} == {"confirmed"}
    folding = [decider(site).fold_label(parse_label(canonical_json(each)), NOW_MS) for each in told]
    assert all(isinstance(each, Done) for each in folding)


def live(site: Site, seed: int, first: int, payments: int) -> None:
    """Payments of every action, some decided without the store, some reviews closed, some past their deadline."""
    draw, queue = random.Random(seed), ReviewQueue(site.store, site.clock)
    made: list[str] = []
    for number in range(first, first + payments):
        site.clock.now_ms += draw.choice([1, MINUTE_MS, 5 * MINUTE_MS])
        probability = draw.choice([0.05, 0.2, 0.5, 0.5, 0.9])
        if draw.random() < 0.15:
            without_store(site, number, amount=draw.choice([10_000, 10**6]))
        else:
            made.append(decided(site, number, probability))
        if draw.random() < 0.4 and made:
            said = Verdict(draw.choice(["confirmed", "dismissed"]), "ana", draw.choice([None, "vista"]))
            queue.close("default", draw.choice(made), said)
        if draw.random() < 0.3:
            flushed(site.store, site.logs)
            # Others write labels, too, and not all of them are labels.
            other = label(draw.choice(made), "accepted", site.clock.now_ms) if made else None
            values = [
                b'{"closed_by"',
                b'{"review":{"closed_by":"x"}}',
                *([other.model_dump_json().encode()] if other else []),
            ]
            site.logs.publish([Message("", topics.LABELS, "k", value, 0) for value in values])
    flushed(site.store, site.logs)
    Reconciler(site.store, site.logs, site.clock).run()
    flushed(site.store, site.logs)
    queue.settle()


def without_store(site: Site, number: int, amount: int) -> str:
    """Decide a payment without the store, as a worker does during an outage; in Kafka at once."""
    new_phone = {"device_id": f"new-{number}", "device_registered_at": rfc3339(site.clock.now_ms - MINUTE_MS)}
    sent = message(number, site.clock.now_ms, amount_cents=amount, payee_account=account(number + 1), **new_phone)
    made = decider(site)
    record = decide_by_rules(made, made.seen(sent, arrival(site.clock.now_ms, number))).record
    payer = json.loads(record)["payment"]["payer_account"]
    site.logs.publish([Message("", topics.DECISIONS, payer, record, site.clock.now_ms)])
    return sent.end_to_end_id


def test_a_lost_queue_is_rebuilt_the_same(site: Site, url: str, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    lake.write(past(1, 20).rows, 1)
    keeper(site, lake).look()
    live(site, 5, 1, 60)
    site.logs.ingest()
    live(site, 6, 100, 20)
    before = whole(site.store)
    statuses = {json.loads(content)["status"] for _, content in before}
    modes = {json.loads(content)["mode"] for _, content in before}
    assert (statuses, modes) == ({"open", "closed", "expired"}, {"normal", "degraded:store"})
    # A rebuild beside what is there changes nothing of it.
    site.build(past(1, 20))
    assert whole(site.store) == before
    site.store.close()
    if url.startswith("lmdb"):
        shutil.rmtree(tmp_path / "store")
    else:
        redis.Redis.from_url(url).flushdb()
    site.store = open_store(url, STATE_LAYOUT)
    keeper(site, lake, name="next").look()
    assert whole(site.store) == before


def test_a_verdict_that_a_failover_lost_is_said_again(site: Site, tmp_path: Path) -> None:
    """The entry is as it was before the verdict, which the logs have; no number of a state tells."""
    keeper(site, Lake(tmp_path / "lake")).look()
    made = decided(site, 1, 0.5)
    before = site.store.queued([f"default|{made}"])
    queue = ReviewQueue(site.store, site.clock)
    closed, _ = queue.close("default", made, Verdict("confirmed", "ana"))  # type: ignore[misc]
    flushed(site.store, site.logs)
    lost = opened(json.loads(decision_of(site, made)))
    assert lost is not None
    assert lost.entry().content == before[f"default|{made}"]
    assert site.store.change_queue([QueueChange(closed.entry(), lost.entry())]) == 1
    other = keeper(site, Lake(tmp_path / "lake"), name="promoted")
    other.look()
    assert queue.get("default", made) == closed
    assert len(site.store.generations()) == 1


def decision_of(site: Site, end_to_end_id: str) -> bytes:
    return site.store.snapshot(f"default|decision|{end_to_end_id}", []).record or b""


def test_a_degraded_decision_is_queued_with_its_fold_and_once() -> None:
    site = Site(MemoryStore(), clock=Clock())
    made = without_store(site, 1, 10**6)
    queue = ReviewQueue(site.store, site.clock)
    assert queue.get("default", made) is None
    reconciler = Reconciler(site.store, site.logs, site.clock)
    assert reconciler.run() == 1
    found = queue.get("default", made)
    assert found is not None
    assert (found.mode, found.fraud_probability, found.status) == ("degraded:store", None, "open")
    queue.close("default", made, Verdict("dismissed", "ana"))
    after = whole(site.store)
    site.store.remember("reconciled", b"{}")
    assert (reconciler.run(), whole(site.store)) == (0, after)


def test_where_an_id_was_decided_twice_the_review_is_that_of_the_decision_without_the_store() -> None:
    """Decided and committed, the answer lost, its record never published; then decided by another worker by rules."""
    site = Site(MemoryStore(), clock=Clock())
    made = decided(site, 1, 0.5)
    queue = ReviewQueue(site.store, site.clock)
    held = queue.get("default", made)
    assert held is not None
    assert held.action == "BLOCK_AND_REVIEW"
    site.clock.now_ms += 1
    assert without_store(site, 1, round(0.5 * 10**8)) == made
    Reconciler(site.store, site.logs, site.clock).run()
    by_rules = queue.get("default", made)
    assert by_rules is not None
    assert (by_rules.action, by_rules.mode) == ("REVIEW", "degraded:store")
    flushed(site.store, site.logs)
    scratch = MemoryStore()
    replay = ReviewReplay(site.clock())
    for messages in site.logs.tail({}, site.logs.ends()):
        replay.take(messages)
    replay.restore(scratch)
    assert whole(scratch) == whole(site.store)


def test_only_an_analysts_label_that_is_one_closes_a_review() -> None:
    site = Site(MemoryStore(), clock=Clock())
    made = decided(site, 1, 0.5)
    review = opened(json.loads(decision_of(site, made)))
    assert review is not None
    good = closing_label(review, "confirmed", "ana", NOW_MS, None, None)
    forged = {name: value for name, value in good.items() if name != "label_id"} | {"source": "med"}
    wrong = [
        canonical_json({**good, "note": "changed"}),
        canonical_json({**forged, "label_id": label_id(forged)}),
        canonical_json(good)[:-1],
    ]
    for value, status in [*((each, "open") for each in wrong), (canonical_json(good), "closed")]:
        replay = ReviewReplay(NOW_MS)
        replay.take([(topics.LABELS, value)])
        replay.restore(site.store)
        found = ReviewQueue(site.store, site.clock).get("default", made)
        assert found is not None
        assert found.status == status


def test_the_comparison_finds_reviews_that_are_lost_or_open_again(tmp_path: Path) -> None:
    site = Site(MemoryStore(STATE_LAYOUT), clock=Clock())
    keeper(site, Lake(tmp_path / "lake")).look()
    kept, lost, reopened = (decided(site, number, 0.5) for number in (1, 2, 3))
    queue = ReviewQueue(site.store, site.clock)
    was_open = queue.get("default", reopened)
    closed, _ = queue.close("default", reopened, Verdict("confirmed", "ana"))  # type: ignore[misc]
    flushed(site.store, site.logs)

    def found() -> Comparison:
        return compare(site.store, site.logs, lambda _: past(1, 0), now_ms=site.clock(), sleep=lambda _: None)

    assert found().ok, found().examples
    gone = queue.get("default", lost)
    assert gone is not None
    assert was_open is not None
    planted = [QueueChange(gone.entry(), None), QueueChange(closed.entry(), was_open.entry())]
    assert site.store.change_queue(planted) == 2
    seen = found()
    assert (seen.ok, seen.reviews_differing, seen.equal) == (False, 2, seen.keys)
    assert sorted(seen.examples) == [
        f"default|{lost}: not in the queue",
        f"default|{reopened}: open in the queue, closed by a label",
    ]
    assert kept not in "".join(seen.examples)
