"""The HTTP contract, on the real application with a store in memory and a hand-written broker."""

import json
from collections.abc import Sequence

import pytest
from api_by_hand import HandBroker, api, opened, trimmed
from documented import ApiClient
from traffic import NOW_MS, account, body, label, rfc3339

from pix.store.errors import StoreError
from pix.store.interface import CommitResult, Fold, Message, QueueChange
from pix.store.memory import MemoryStore


def test_the_smallest_payment_of_the_contract(client: ApiClient, kafka: HandBroker, store: MemoryStore) -> None:
    answer = client.post("/decisions", json=body(1))
    assert answer.status_code == 200
    content = answer.json()
    assert sorted(content) == sorted(
        [
            "end_to_end_id", "action", "fraud_probability", "reasons", "rule_hits", "hold", "model",
            "feature_fingerprint", "policy_version", "mode", "decided_at", "trace_id",
        ]
    )  # fmt: skip
    assert json.loads(kafka.taken[0].value)["end_to_end_id"] == content["end_to_end_id"]
    trimmed(client)
    assert store.unpublished(NOW_MS + 1, 10) == []


def test_the_same_payment_again_is_answered_with_the_same_bytes(client: ApiClient, kafka: HandBroker) -> None:
    first, again = (client.post("/decisions", json=body(1)) for _ in range(2))
    assert first.content == again.content
    assert len(kafka.taken) == 1


def test_a_delivery_is_deferred_while_kafka_is_away(client: ApiClient, kafka: HandBroker, store: MemoryStore) -> None:
    kafka.is_away = True
    answer = client.post("/decisions", json=body(1))
    assert (answer.status_code, answer.headers["sentinela-delivery"]) == (200, "deferred")
    assert len(store.unpublished(NOW_MS + 1, 10)) == 1
    kafka.is_away = False
    again = client.post("/decisions", json=body(1))
    assert again.content == answer.content
    assert "sentinela-delivery" not in again.headers
    trimmed(client)
    assert store.unpublished(NOW_MS + 1, 10) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"amount_cents": -1}, "amount_cents"),
        ({"amount_cents": 0}, "amount_cents"),
        ({"amount_cents": 1.5}, "amount_cents"),
        ({"amount_cents": True}, "amount_cents"),
        ({"amount_cents": "100"}, "amount_cents"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"initiated_at": "2026-11-21T09:30:15"}, "initiated_at"),
        ({"initiated_at": rfc3339(NOW_MS + 61_000)}, "initiated_at"),
        ({"initiated_at": rfc3339(NOW_MS - 8 * 86_400_000)}, "initiated_at"),
        ({"payer_tax_id": "52998224724"}, "payer_tax_id"),
        ({"payer_tax_id": "٥٢٩٩٨٢٢٤٧٢٥"}, "payer_tax_id"),
        ({"payee_account": account(1)}, "payee_account"),
        ({"end_to_end_id": "E1234567820261399123000000000001"}, "end_to_end_id"),
    ],
)
def test_a_broken_field_is_named(client: ApiClient, kafka: HandBroker, fields: dict[str, object], field: str) -> None:
    answer = client.post("/decisions", json=body(1, **fields))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert kafka.taken == []


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b"[]", 400),
        (b'{"amount_cents": NaN}', 400),
        (b'{"a":' * 100_000, 413),
        (b'{"a":' * 3_000, 400),
        (b'{"amount_cents": 1, "amount_cents": 2}', 422),
        (b'"\xff"', 400),
    ],
)
def test_what_is_not_a_payment_is_refused(client: ApiClient, content: bytes, status: int) -> None:
    answer = client.post("/decisions", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["status"] == status


def test_conflicts_keys_and_media_types(client: ApiClient) -> None:
    client.post("/decisions", json=body(1))
    assert client.post("/decisions", json=body(1, amount_cents=7)).status_code == 409
    assert client.post("/decisions", json=body(2), headers={"Authorization": "Bearer no"}).status_code == 401
    assert client.post("/decisions", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415


def test_a_batch_answers_each_in_order(client: ApiClient, kafka: HandBroker) -> None:
    payments = [body(1), body(2, amount_cents=-5), body(1, amount_cents=9), body(3)]
    results = client.post("/decisions:batch", json={"payments": payments}).json()["results"]
    assert [result["status"] for result in results] == [200, 422, 409, 200]
    assert results[1]["problem"]["errors"][0]["field"] == "amount_cents"
    assert len(kafka.taken) == 2
    assert results[0]["decision"] == client.post("/decisions", json=body(1)).json()


@pytest.mark.parametrize("prefer", ["return=minimal", 'respond-async, return="minimal"; a=b', "RETURN = minimal"])
def test_whoever_prefers_it_is_told_only_what_became_of_each(client: ApiClient, prefer: str) -> None:
    payments = {"payments": [body(1), body(2, amount_cents=-5), body(1, amount_cents=9)]}
    answer = client.post("/decisions:batch", json=payments, headers={"Prefer": prefer})
    assert answer.headers["preference-applied"] == "return=minimal"
    results = answer.json()["results"]
    assert results[0] == {"status": 200}
    assert [result["problem"]["status"] for result in results[1:]] == [422, 409]


@pytest.mark.parametrize("prefer", ["return=representation", "wait=10", "minimal"])
def test_other_preferences_change_nothing(client: ApiClient, prefer: str) -> None:
    answer = client.post("/decisions:batch", json={"payments": [body(1)]}, headers={"Prefer": prefer})
    assert "preference-applied" not in answer.headers
    assert answer.json()["results"][0]["decision"]["action"]


class Contested(MemoryStore):
    """A store in which one payment loses every race for a while."""

    def __init__(self, unlucky: object) -> None:
        super().__init__()
        self.unlucky = str(unlucky)

    def commit(
        self, message: Message, folds: Sequence[Fold], generation: int, change: QueueChange | None = None
    ) -> CommitResult:
        if self.unlucky and message.record_id.endswith(self.unlucky):
            raise StoreError("another one was quicker, again and again")
        return super().commit(message, folds, generation, change)


def test_a_payer_is_not_decided_past_a_payment_that_could_not_be() -> None:
    payments = [body(1, payer_account=account(1)), body(2, payer_account=account(1)), body(3, payer_account=account(9))]
    store, kafka = Contested(payments[0]["end_to_end_id"]), HandBroker()
    client = opened(api(store, kafka))
    results = client.post("/decisions:batch", json={"payments": payments}).json()["results"]
    assert [result["status"] for result in results] == [503, 503, 200]
    assert results[1]["problem"]["type"].endswith("earlier-undecided")
    store.unlucky = ""
    results = client.post("/decisions:batch", json={"payments": payments}).json()["results"]
    assert [result["status"] for result in results] == [200, 200, 200]
    decided = [json.loads(message.value)["end_to_end_id"] for message in kafka.taken]
    assert decided == [payments[place]["end_to_end_id"] for place in (2, 0, 1)]


def test_a_batch_keeps_the_origin(client: ApiClient, kafka: HandBroker) -> None:
    place = {"topic": "pix.transactions", "partition": 3, "offset": 17}
    origin = {**place, "received_at_ms": NOW_MS - 5, "body_sha256": "a" * 64}
    client.post("/decisions:batch", json={"payments": [body(1)], "origins": [origin]})
    record = json.loads(kafka.taken[0].value)
    assert record["origin"] == {"kind": "kafka", **place}
    assert (record["received_at_ms"], record["event_time_ms"]) == (NOW_MS - 5, NOW_MS - 5)


@pytest.mark.parametrize("content", [{}, {"payments": []}, {"payments": [1]}, {"payments": [{}], "origins": []}])
def test_a_batch_that_is_none_is_refused(client: ApiClient, content: dict[str, object]) -> None:
    assert client.post("/decisions:batch", json=content).status_code == 422


def test_labels_fold_through_the_service(client: ApiClient, kafka: HandBroker) -> None:
    client.post("/decisions", json=body(1))
    fields = label(str(body(1)["end_to_end_id"]), "accepted", NOW_MS).model_dump(exclude_none=True)
    fields |= {name: rfc3339(fields[name]) for name in ("effective_at", "known_at")}
    unknown = {**fields, "end_to_end_id": body(9)["end_to_end_id"]}
    items = [{"label": fields, "received_at_ms": NOW_MS}, {"label": unknown, "received_at_ms": NOW_MS}]
    results = client.post("/labels:fold", json={"labels": items}).json()["results"]
    assert [result["status"] for result in results] == [422, 422]
    from pix.contracts import label_id

    for item in items:
        item["label"].pop("tenant")  # type: ignore[union-attr]
        item["label"]["label_id"] = label_id(item["label"])  # type: ignore[index,arg-type]
    results = client.post("/labels:fold", json={"labels": items}).json()["results"]
    assert [result["status"] for result in results] == [200, 404]
    assert results[0]["fold"]["change"] == 1
    assert kafka.taken[-1].topic == "pix.folds"


@pytest.mark.parametrize(
    ("known_ms", "received_ms", "field"),
    [
        (NOW_MS + 60_001, NOW_MS, "known_at"),
        (NOW_MS, NOW_MS + 60_001, "received_at_ms"),
        (NOW_MS + 60_000, NOW_MS, None),
        (NOW_MS, NOW_MS + 60_000, None),
    ],
)
def test_a_label_from_the_future_is_refused(
    client: ApiClient, kafka: HandBroker, known_ms: int, received_ms: int, field: str | None
) -> None:
    """It would move the clocks of its payment's accounts there, and they would forget everything before."""
    client.post("/decisions", json=body(1))
    fields = label(str(body(1)["end_to_end_id"]), "accepted", known_ms).model_dump(
        exclude={"tenant", "fraud_type", "review"}
    )
    content = fields | {name: rfc3339(fields[name]) for name in ("effective_at", "known_at")}
    (result,) = client.post(
        "/labels:fold", json={"labels": [{"label": content, "received_at_ms": received_ms}]}
    ).json()["results"]
    assert [error["field"] for error in result.get("problem", {"errors": []})["errors"]] == ([field] if field else [])
    assert [taken.topic for taken in kafka.taken[1:]] == ([] if field else ["pix.folds"])


def test_the_store_and_the_model_are_shown(client: ApiClient) -> None:
    client.post("/decisions", json=body(1))
    trimmed(client)
    assert client.get("/store").json() == {
        "generation": 0,
        "layout": client.get("/store").json()["layout"],
        "states": 4,
        "unpublished": 0,
        "problem": None,
        "generations": [],
        "mode": "normal",
        "outage": None,
        "warnings": [],
        "breakers": {"store": "closed", "broker": "closed"},
    }
    assert client.get("/model").json()["model"]["version"] == "1"


@pytest.mark.parametrize("item", [{"label": [1], "received_at_ms": 1}, {"label": {}}, {"received_at_ms": 1}])
def test_a_label_item_that_is_none_is_refused_by_itself(client: ApiClient, item: dict[str, object]) -> None:
    results = client.post("/labels:fold", json={"labels": [item]}).json()["results"]
    assert results[0]["status"] == 422
    assert results[0]["problem"]["errors"][0]["field"] == "labels"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/decisions", 405)])
def test_routes_that_are_not_there_answer_a_problem(client: ApiClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
