"""The challenger scores what was decided, changes nothing of it, and never makes a decision wait."""

import threading
from dataclasses import replace
from itertools import cycle

import numpy as np
import traffic
from traffic import NOW_MS, StubbornModel, arrival, message

from pix import topics
from pix.contracts import ShadowScore, parse_json_object
from serving.outcomes import Done
from serving.pipeline import DecisionPipeline
from serving.records import parse_record
from serving.shadow import Shadow

CHALLENGER = StubbornModel(shift=-18.0, identity={"name": "hand", "version": "2", "sha256": "1" * 64})


class Slow(StubbornModel):
    """Waits until it is told to go on."""

    go = threading.Event()

    def raw_score(self, vector):
        assert self.go.wait(20)
        return super().raw_score(vector)


class Taken(list):
    """What was sent, by key and value."""

    def send(self, key: str, value: bytes) -> None:
        self.append((key, value))


def shadowed(challenger: object, taken: Taken, dropped: list[int], room: int = 100) -> tuple[DecisionPipeline, Shadow]:
    shadow = Shadow(
        challenger=lambda: challenger,  # type: ignore[arg-type,return-value]
        send=taken.send, dropped=lambda: dropped.append(1), now_ms=lambda: NOW_MS, room=room,
    )  # fmt: skip
    return replace(traffic.pipeline(model=StubbornModel()), shadow=shadow.offer), shadow


def decided(pipeline: DecisionPipeline, count: int) -> list[bytes]:
    done = [pipeline.decide(message(n, amount_cents=100 + n), arrival(NOW_MS, n)) for n in range(count)]
    assert all(isinstance(one, Done) for one in done)
    return [one.record for one in done if isinstance(one, Done)]


def test_every_decided_payment_is_scored_by_both_and_the_decision_is_the_same():
    taken, dropped = Taken(), []
    pipeline, shadow = shadowed(CHALLENGER, taken, dropped)
    records = decided(pipeline, 30)
    shadow.close()
    assert records == decided(traffic.pipeline(model=StubbornModel()), 30)
    scores = [ShadowScore.model_validate(parse_json_object(value)) for _, value in taken]
    assert [key for key, _ in taken] == [score.end_to_end_id for score in scores]
    for record, score in zip(map(parse_record, records), scores, strict=True):
        assert (score.tenant, score.end_to_end_id) == (record["tenant"], record["end_to_end_id"])
        assert score.raw_score == record["raw_score"] + 2.0
        assert (record["model"]["version"], score.model.version) == ("1", "2")
    assert dropped == []


def test_a_repeated_payment_is_scored_once():
    taken = Taken()
    pipeline, shadow = shadowed(CHALLENGER, taken, [])
    decided(pipeline, 3)
    decided(pipeline, 3)
    shadow.close()
    assert len(taken) == 3


def test_a_slow_challenger_drops_its_own_scores_and_delays_no_decision():
    taken, dropped, slow = Taken(), [], Slow()
    pipeline, shadow = shadowed(slow, taken, dropped, room=5)
    assert len(decided(pipeline, 40)) == 40
    slow.go.set()
    shadow.close()
    assert len(taken) + len(dropped) == 40
    assert len(taken) in (5, 6)


def test_a_score_that_cannot_be_sent_is_counted_and_the_next_one_goes():
    sent, dropped = [], []

    def send(key: str, _: bytes) -> None:
        if not dropped:
            raise BufferError("queue full")
        sent.append(key)

    shadow = Shadow(challenger=lambda: CHALLENGER, send=send, dropped=lambda: dropped.append(1), now_ms=lambda: NOW_MS)  # type: ignore[arg-type,return-value]
    pipeline = replace(traffic.pipeline(model=StubbornModel()), shadow=shadow.offer)
    decided(pipeline, 3)
    shadow.close()
    assert (len(sent), len(dropped)) == (2, 1)


def test_without_a_challenger_nothing_waits_or_is_sent():
    taken, dropped = Taken(), []
    pipeline, shadow = shadowed(None, taken, dropped, room=1)
    decided(pipeline, 5)
    shadow.close()
    assert (list(taken), dropped) == ([], [])


def test_scores_reach_a_topic_that_bronze_keeps():
    assert topics.SHADOW in topics.ALL
    assert topics.bronze_table(topics.SHADOW) == "bronze/pix_shadow"


def test_a_decision_is_of_one_model_however_fast_champions_change():
    """Between any two questions another champion may have gone live."""
    changing = cycle([StubbornModel(), CHALLENGER])
    pipeline = replace(traffic.pipeline(), champion=lambda: next(changing))
    for record in map(parse_record, decided(pipeline, 6)):
        model = StubbornModel() if record["model"]["version"] == "1" else CHALLENGER
        assert record["raw_score"] == model.raw_score(np.array(record["features"][:1]))
        assert record["fraud_probability"] == model.probability(record["raw_score"])
