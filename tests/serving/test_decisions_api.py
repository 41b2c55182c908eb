"""What callers ask of decisions: again, beforehand, and with a verdict of their own."""

import json
import math

import numpy as np
import pytest
from api_by_hand import HandBroker, HandModels, api, opened, trimmed
from documented import ApiClient
from traffic import NOW_MS, POLICY, Clock, StubbornModel, account, body, rfc3339

from pix import topics
from pix.contracts import DAY_MS, parse_label
from pix.engines.kernel import Vector
from pix.features import FINGERPRINT
from pix.store.interface import RECORD_LIFE_MS
from pix.store.memory import MemoryStore

ID = str(body(1)["end_to_end_id"])


class EveryFeature(StubbornModel):
    """Its score is another one as soon as one feature is."""

    def raw_score(self, vector: Vector) -> float:
        return math.fsum(self.contributions(vector))

    def probability(self, raw_score: float) -> float:
        return 0.5 + math.atan(raw_score) / 4

    def contributions(self, vector: Vector) -> list[float]:
        return np.sin(np.arange(len(vector)) + np.nan_to_num(vector, nan=0.5)).tolist()


class ShortMemory(MemoryStore):
    """A store whose records have expired."""

    def forget_records(self) -> None:
        with self._lock:
            self._records.clear()


def test_a_decision_is_read_as_it_was_answered(client: ApiClient) -> None:
    given = client.post("/decisions", json=body(1))
    assert client.get(f"/decisions/{ID}").content == given.content
    assert client.get(f"/decisions/{ID}?tenant=default").content == given.content


def test_a_decision_that_waits_for_kafka_is_published_before_it_is_read(
    client: ApiClient, kafka: HandBroker, store: MemoryStore
) -> None:
    kafka.is_away = True
    client.post("/decisions", json=body(1))
    assert client.get(f"/decisions/{ID}").headers["sentinela-delivery"] == "deferred"
    kafka.is_away = False
    # As after its trial.
    client.app.state.running.breakers.broker.close()  # type: ignore[attr-defined]
    assert "sentinela-delivery" not in client.get(f"/decisions/{ID}").headers
    assert [json.loads(message.value)["end_to_end_id"] for message in kafka.taken] == [ID]
    assert (kafka.taken[0].topic, kafka.taken[0].key) == (
        topics.DECISIONS,
        json.loads(kafka.taken[0].value)["payment"]["payer_account"],
    )
    trimmed(client)
    assert store.unpublished(NOW_MS + 1, 1) == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{ID[:-1]}9", 404),
        (f"{ID}?tenant=other", 404),
        (f"{ID}?tenant=a&tenant=b", 422),
        (f"{ID}?tennant=other", 422),
        (f"{ID}?tenant=A%27--", 422),
        ("x", 404),
        ("%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404),
        ("E%0d%0aSet-Cookie:%20a=b", 404),
        ("' OR 1=1 --", 404),
        ("E" * 5_000, 404),
        ("٥٢٩", 404),
    ],
)
def test_what_was_not_decided_is_not_found(client: ApiClient, path: str, status: int) -> None:
    client.post("/decisions", json=body(1))
    answer = client.get(f"/decisions/{path}")
    assert answer.status_code == status
    if status == 404 and "?" not in path and "%2f" not in path:
        assert answer.json()["type"] == "/problems/unknown-decision"
        assert "8 days" in answer.json()["detail"]
        assert "sentinela decision" in answer.json()["detail"]


def test_the_days_that_the_problem_names_are_those_of_the_store() -> None:
    assert RECORD_LIFE_MS == 8 * DAY_MS


def test_a_dry_run_is_what_would_be_decided_and_leaves_nothing(kafka: HandBroker, store: MemoryStore) -> None:
    """Same features: the model's score is made of every one of them."""
    with opened(api(store, kafka, model=EveryFeature())) as client:
        for number in range(1, 6):
            client.post("/decisions", json=body(number, device_id="phone", payee_account=account(number + 1)))
        before, taken = store.states(), len(kafka.taken)
        payment = body(9, device_id="phone", amount_cents=77_700)
        dry = client.post("/decisions:dry-run", json=payment).json()
        trimmed(client)
        assert (store.states(), len(kafka.taken), store.unpublished(NOW_MS + 1, 10)) == (before, taken, [])
        assert client.get(f"/decisions/{payment['end_to_end_id']}").status_code == 404
        real = client.post("/decisions", json=payment).json()
    assert dry.pop("dry_run") is True
    assert dry.pop("trace_id") != real.pop("trace_id")
    assert dry == real
    assert real["fraud_probability"] is not None


def test_a_dry_run_of_what_was_decided_is_refused(client: ApiClient) -> None:
    client.post("/decisions", json=body(1))
    assert client.post("/decisions:dry-run", json=body(1)).json()["type"] == "/problems/conflict"
    assert client.post("/decisions:dry-run", json=body(2, amount_cents=0)).status_code == 422


def test_feedback_is_a_label_once_kafka_has_it(store: MemoryStore, kafka: HandBroker) -> None:
    clock, verdict = Clock(), {"kind": "confirmed", "fraud_type": "SCAM"}
    with opened(api(store, kafka, clock=clock)) as client:
        decided = client.post("/decisions", json=body(1)).json()
        first = client.post(f"/decisions/{ID}/feedback", json=verdict)
        clock.now_ms += DAY_MS
        again = client.post(f"/decisions/{ID}/feedback", json=verdict)
    assert (first.status_code, again.content) == (202, first.content)
    sent = kafka.taken[-1]
    assert (sent.topic, sent.key, sent.value) == (topics.LABELS, ID, first.content)
    label = parse_label(sent.value)
    assert (label.kind, label.fraud_type, label.source, label.end_to_end_id) == ("confirmed", "SCAM", "analyst", ID)
    assert rfc3339(label.known_at) == decided["decided_at"]


def test_feedback_that_kafka_did_not_take_is_not_acknowledged(client: ApiClient, kafka: HandBroker) -> None:
    client.post("/decisions", json=body(1))
    kafka.is_away = True
    answer = client.post(f"/decisions/{ID}/feedback", json={"kind": "dismissed"})
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/not-delivered")
    kafka.is_away = False
    assert client.post(f"/decisions/{ID}/feedback", json={"kind": "dismissed"}).status_code == 202


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"kind": "accepted"}, "kind"),
        ({}, "kind"),
        ({"kind": "confirmed", "fraud_type": "scam"}, "fraud_type"),
        ({"kind": "confirmed", "known_at": "2026-11-21"}, "known_at"),
        ({"kind": "confirmed", "known_at": rfc3339(NOW_MS + 61_000)}, "known_at"),
        ({"kind": "confirmed", "source": "me"}, "source"),
    ],
)
def test_feedback_is_parsed_strictly(client: ApiClient, content: dict[str, object], field: str) -> None:
    client.post("/decisions", json=body(1))
    answer = client.post(f"/decisions/{ID}/feedback", json=content)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_feedback_on_what_was_never_decided_is_not_found(client: ApiClient, store: MemoryStore) -> None:
    assert client.post(f"/decisions/{ID}/feedback", json={"kind": "confirmed"}).status_code == 404
    assert client.post("/decisions/x/feedback", json={"kind": "confirmed"}).status_code == 404
    store.load_base(1, [(f"default|payment|{ID}", 1, b"x")])
    # An imported payment was decided elsewhere.
    assert client.post(f"/decisions/{ID}/feedback", json={"kind": "confirmed"}).status_code == 404


def test_feedback_comes_weeks_later_too(kafka: HandBroker) -> None:
    store, clock = ShortMemory(), Clock()
    with opened(api(store, kafka, clock=clock)) as client:
        client.post("/decisions", json=body(1))
        clock.now_ms += 30 * DAY_MS
        store.forget_records()
        answer = client.post(f"/decisions/{ID}/feedback", json={"kind": "confirmed"})
        assert [error["field"] for error in answer.json()["errors"]] == ["known_at"]
        told = {"kind": "confirmed", "known_at": rfc3339(clock.now_ms)}
        assert client.post(f"/decisions/{ID}/feedback", json=told).status_code == 202


def test_a_verdict_that_was_withdrawn_is_not_silently_lost(client: ApiClient) -> None:
    """Sent again it would be the same label, and labels count once."""
    client.post("/decisions", json=body(1))
    verdicts = [{"kind": "confirmed"}, {"kind": "dismissed"}]
    for verdict in verdicts:
        label = client.post(f"/decisions/{ID}/feedback", json=verdict).json()
        client.post("/labels:fold", json={"labels": [{"label": label, "received_at_ms": NOW_MS}]})
    answer = client.post(f"/decisions/{ID}/feedback", json=verdicts[0])
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/withdrawn-verdict")
    assert client.post(f"/decisions/{ID}/feedback", json=verdicts[1]).status_code == 202
    anew = {**verdicts[0], "known_at": rfc3339(NOW_MS + 1)}
    label = client.post(f"/decisions/{ID}/feedback", json=anew).json()
    folded = client.post("/labels:fold", json={"labels": [{"label": label, "received_at_ms": NOW_MS}]}).json()
    assert folded["results"][0]["fold"]["change"] == 1


def test_model_and_policy_are_shown(client: ApiClient) -> None:
    assert client.get("/model").json() == {**HandModels().described(), "feature_fingerprint": FINGERPRINT}
    shown = client.get("/policy").json()
    assert (shown["version"], shown["text"], shown["thresholds"]) == (POLICY.version, POLICY.text, POLICY.thresholds)
    assert [rule["name"] for rule in shown["rules"]] == [rule.name for rule in POLICY.rules]
    assert client.post("/decisions", json=body(1)).json()["policy_version"] == shown["version"]
