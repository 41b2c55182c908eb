"""The analysts' queue as its callers meet it: what is in it, in which order, and who closes what."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from api_by_hand import HandBroker, api, opened, trimmed
from deltalake import write_deltalake
from documented import ApiClient
from hypothesis import given, settings
from hypothesis import strategies as st
from traffic import KEYRING, NOW_MS, Clock, StubbornModel, account, body, label, pipeline, rfc3339

from pix import topics
from pix.contracts import MINUTE_MS, parse_label
from pix.engines.kernel import Vector
from pix.identifiers import cpf
from pix.store.interface import RECORD_LIFE_MS, QueueChange
from pix.store.memory import MemoryStore
from serving.payee_payments import PayeeReader
from serving.review_queue import ReviewQueue, Verdict
from serving.reviews import LAST, Review, read

MILLION = 10**8
"""A million reais in centavos, of which the model by hand is certain."""
DAY_HOLD_MS = 30 * MINUTE_MS
ANALYSTS = ("review", "decide", "feedback")
KEYS: dict[str, dict[str, object]] = {
    "ana": {"owner": "ana", "scopes": ANALYSTS, "tenants": ("default",)},
    "bruno": {"owner": "bruno", "scopes": ANALYSTS, "tenants": ("default",)},
    "ana-elsewhere": {"owner": "ana", "scopes": ANALYSTS, "tenants": ("other",)},
}


class Proportional(StubbornModel):
    """The probability is the amount in millions of reais."""

    def raw_score(self, vector: Vector) -> float:
        return float(vector[0]) / 10**6

    def probability(self, raw_score: float) -> float:
        return min(raw_score, 1.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(kafka: HandBroker, store: MemoryStore, clock: Clock) -> Iterator[ApiClient]:
    with opened(api(store, kafka, clock=clock, model=Proportional(), keys=KEYS)) as client:
        yield client


def decided(client: ApiClient, number: int, probability: float, at_ms: int = NOW_MS, **fields: object) -> str:
    """Decide a payment that the model gives this probability; its id."""
    payment = body(number, at_ms, amount_cents=round(probability * MILLION), payee_account=account(number + 1))
    answer = client.post("/decisions", json=payment | fields)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["end_to_end_id"])


def ids(client: ApiClient, query: str = "") -> list[str]:
    return [review["end_to_end_id"] for review in client.get(f"/reviews{query}").json()["reviews"]]


def labels(kafka: HandBroker) -> list[dict[str, Any]]:
    return [json.loads(each.value) for each in kafka.taken if each.topic == topics.LABELS]


def as_caller(client: ApiClient, key: str) -> None:
    """Whoever has one of ``KEYS``."""
    client.headers["Authorization"] = f"Bearer {key}"


def test_what_asks_for_a_person_is_queued_and_nothing_else(client: ApiClient, clock: Clock) -> None:
    made = [decided(client, number, probability) for number, probability in enumerate((0.05, 0.2, 0.5, 0.9), 1)]
    clock.now_ms += 60_000
    page = client.get("/reviews").json()
    assert (page["as_of"], page["next_cursor"]) == ("2026-11-18T11:07:40.000+00:00", None)
    # The payment that waits comes first: its half hour ends before the other one's day.
    held, went_on = page["reviews"]
    assert [held["end_to_end_id"], went_on["end_to_end_id"]] == [made[2], made[1]]
    assert (held["action"], held["outcome_at_expiry"], held["seconds_left"]) == ("BLOCK_AND_REVIEW", "BLOCK", 29 * 60)
    assert (went_on["action"], went_on["outcome_at_expiry"]) == ("REVIEW", "ALLOW")
    assert (held["fraud_probability"], held["expected_loss_cents"]) == (0.5, MILLION // 4)
    decision = client.get(f"/decisions/{made[2]}").json()
    assert (held["reasons"], held["expires_at"]) == (decision["reasons"], decision["hold"]["expires_at"])
    assert held["reasons"][0]["text"].keys() == {"pt-BR", "en"}


def test_the_greatest_expected_loss_comes_first_and_an_unknown_one_last(
    kafka: HandBroker, store: MemoryStore, clock: Clock
) -> None:
    with opened(api(store, kafka, clock=clock, model=Proportional())) as client:
        made = [decided(client, number, probability) for number, probability in enumerate((0.2, 0.5, 0.3), 1)]
    without_model = api(store, kafka)
    without_model.state.running = replace(without_model.state.running, pipeline=pipeline(store, clock))
    with opened(without_model) as client:
        # Rules alone, on amounts greater than any of those.
        new_phone = {"device_id": "new", "device_registered_at": rfc3339(NOW_MS - 60_000)}
        unknown = [decided(client, number, probability, **new_phone) for number, probability in ((8, 2.0), (9, 3.0))]
        page = client.get("/reviews?sort=expected_loss").json()["reviews"]
        assert [each["end_to_end_id"] for each in page] == [made[1], made[2], made[0], unknown[1], unknown[0]]
        assert [each["expected_loss_cents"] for each in page[3:]] == [None, None]


def test_a_review_is_shown_with_its_payment_and_whom_it_shares_something_with(client: ApiClient) -> None:
    person = cpf("123456789")
    first = decided(client, 1, 0.5, device_id="phone", payee_tax_id=person)
    same_payee = decided(client, 2, 0.2, payer_account=account(77), payee_account=account(2))
    # A mule: whom the first one paid pays on.
    passes_on = decided(client, 3, 0.3, payer_account=account(2), payee_tax_id=cpf("987654321"))
    same_person = decided(client, 4, 0.3, payer_account=account(78), payee_tax_id=person)
    decided(client, 5, 0.3, payer_account=account(79))
    allowed = decided(client, 6, 0.05, payer_account=account(1), device_id="phone")
    client.post(f"/reviews/{same_payee}:dismiss", json={})
    case = client.get(f"/reviews/{first}").json()
    assert case["payment"]["payee_account"] == case["payee_account"] == KEYRING.token("default", "account", account(2))
    assert person not in json.dumps(case)
    assert account(2) not in json.dumps(case)
    related = {each["end_to_end_id"]: each for each in case["related"]}
    assert {name: each["shares"] for name, each in related.items()} == {
        same_payee: ["payee_account"],
        passes_on: ["payee_account"],
        same_person: ["payee_person"],
    }
    assert related[same_payee]["status"] == "closed"
    assert client.get(f"/reviews/{allowed}").json()["type"] == "/problems/unknown-review"
    assert client.get("/reviews/x").status_code == 404


def test_a_verdict_closes_once_and_is_a_label_that_folds(client: ApiClient, kafka: HandBroker, clock: Clock) -> None:
    made = decided(client, 1, 0.5)
    clock.now_ms += 5 * MINUTE_MS
    as_caller(client, "ana")
    said = {"fraud_type": "SCAM", "note": "a cliente não reconhece o pagamento"}
    closed = client.post(f"/reviews/{made}:confirm", json=said)
    assert (closed.json()["status"], closed.json()["outcome"]) == ("closed", "BLOCK")
    assert closed.json()["closing"]["closed_by"] == "ana"
    (told,) = labels(kafka)
    assert (told["kind"], told["source"], told["known_at"]) == ("confirmed", "analyst", closed.json()["ended_at"])
    assert told["review"] == {"closed_by": "ana", "note": said["note"]}
    # Her answer was lost: the same again is answered the same, and makes no second label.
    clock.now_ms += 1_000
    again = client.post(f"/reviews/{made}:confirm", json=said)
    assert again.json() == closed.json()
    as_caller(client, "bruno")
    for verb, content in (("confirm", said), ("dismiss", {})):
        refused = client.post(f"/reviews/{made}:{verb}", json=content).json()
        assert (refused["type"], refused["status"]) == ("/problems/review-closed", 409)
        assert refused["detail"] == f"it was closed before: confirmed by ana at {closed.json()['ended_at']}"
    assert len(labels(kafka)) == 1
    parsed = parse_label(kafka.taken[-1].value)
    decider = client.app.state.running.pipeline  # type: ignore[attr-defined]
    folded = json.loads(decider.fold_label(parsed, clock.now_ms).record)
    assert (folded["fold_id"], folded["change"]) == (told["label_id"], 1)
    as_caller(client, "ana")
    case = client.get(f"/reviews/{made}").json()
    assert (case["counts_as_fraud"], case["closing"]["note"]) == (True, said["note"])
    assert (ids(client), ids(client, "?status=closed")) == ([], [made])


def test_a_verdict_on_a_payment_that_went_on_has_no_outcome(client: ApiClient) -> None:
    made = decided(client, 1, 0.2)
    closed = client.post(f"/reviews/{made}:dismiss", json={}).json()
    assert (closed["outcome"], closed["closing"]["verdict"]) == (None, "dismissed")


def test_at_its_deadline_a_review_takes_the_declared_outcome(
    client: ApiClient, kafka: HandBroker, store: MemoryStore, clock: Clock
) -> None:
    made = decided(client, 1, 0.5)
    clock.now_ms += DAY_HOLD_MS - 1
    assert client.get(f"/reviews/{made}").json()["status"] == "open"
    clock.now_ms += 1
    expired = client.get(f"/reviews/{made}").json()
    deadline = "2026-11-18T11:36:40.000+00:00"
    assert (expired["status"], expired["outcome"], expired["ended_at"]) == ("expired", "BLOCK", deadline)
    refused = client.post(f"/reviews/{made}:dismiss", json={}).json()
    assert refused["type"] == "/problems/review-expired"
    assert refused["detail"].startswith(f"it expired at {deadline} and took the outcome BLOCK")
    assert (ids(client), ids(client, "?status=expired"), labels(kafka)) == ([], [made], [])
    # What a later verdict is for.
    assert client.post(f"/decisions/{made}/feedback", json={"kind": "dismissed"}).status_code == 202
    assert len(labels(kafka)) == 1
    assert client.get(f"/reviews/{made}").json()["status"] == "expired"
    clock.now_ms += RECORD_LIFE_MS + 1
    queue = ReviewQueue(store, clock)
    assert (queue.settle(), store.queue("", LAST, 9)) == (1, [])
    assert client.get(f"/reviews/{made}").json()["type"] == "/problems/unknown-review"


def test_a_deadline_counts_before_anybody_wrote_it_down(client: ApiClient, store: MemoryStore, clock: Clock) -> None:
    """No worker settles: lists and verdicts go by the time all the same."""
    made = decided(client, 1, 0.5)
    clock.now_ms += DAY_HOLD_MS
    queue = ReviewQueue(store, clock)
    assert read(store.queued([f"default|{made}"])[f"default|{made}"]).status == "open"
    assert queue.close("default", made, Verdict("confirmed", "ana")).review.status == "expired"  # type: ignore[union-attr]
    client.app.state.running.reviews = NeverSettles(store, clock)  # type: ignore[attr-defined]
    assert (ids(client), ids(client, "?sort=expected_loss")) == ([], [])


class NeverSettles(ReviewQueue):
    """As if too much were overdue to be moved at once."""

    def settle(self) -> int:
        return 0


def test_a_label_waits_in_the_outbox_while_kafka_is_away(
    client: ApiClient, kafka: HandBroker, store: MemoryStore
) -> None:
    made = decided(client, 1, 0.5)
    trimmed(client)
    kafka.is_away = True
    answer = client.post(f"/reviews/{made}:confirm", json={})
    assert (answer.status_code, answer.headers["sentinela-delivery"]) == (200, "deferred")
    assert client.post(f"/reviews/{made}:confirm", json={}).headers["sentinela-delivery"] == "deferred"
    (waiting,) = store.unpublished(2**62, 9)
    assert (waiting.topic, waiting.key) == (topics.LABELS, made)
    kafka.is_away = False
    client.app.state.running.breakers.broker.close()  # type: ignore[attr-defined]
    assert "sentinela-delivery" not in client.post(f"/reviews/{made}:confirm", json={}).headers
    trimmed(client)
    assert (len(labels(kafka)), store.unpublished(2**62, 9)) == (1, [])


@pytest.mark.parametrize(
    "note",
    [
        f"o CPF é {cpf('123456789')}",
        "123.456.789-09",
        "12.ABC.345/01DE-35",
        "ligou de (11) 98765-4321",
        "maria@example.com",
        "123e4567-e89b-12d3-a456-426614174000",
        account(1_234_567),
        "a\x00b",
        "a\u202eb",
        "",
        "a" * 501,
    ],
)
def test_a_note_names_nobody(client: ApiClient, kafka: HandBroker, note: str) -> None:
    made = decided(client, 1, 0.5)
    refused = client.post(f"/reviews/{made}:confirm", json={"note": note})
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["note"]
    assert not note or note not in refused.text
    assert (ids(client), labels(kafka)) == ([made], [])
    fine = {"note": f"ver {made}, 21/11/2026 às 10h30:\nR$ 1.234.567,89 em 3 parcelas"}
    assert client.post(f"/reviews/{made}:confirm", json=fine).status_code == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?state=open", ""),
        ("?status=done", "status"),
        ("?sort=amount", "sort"),
        ("?limit=0", "limit"),
        ("?limit=201", "limit"),
        ("?limit=1e2", "limit"),
        ("?tenant=A", "tenant"),
        ("?status=open&status=closed", "status"),
        ("?cursor=", "cursor"),
        ("?cursor=%E2%82%AC", "cursor"),
        ("?cursor=b3BlbnxkZWFkbGluZXx4", "cursor"),
        ("?limit=0&sort=x", "sort"),
    ],
)
def test_a_list_that_is_none_is_refused_by_name(client: ApiClient, query: str, field: str) -> None:
    refused = client.get(f"/reviews{query}")
    assert refused.status_code == 422
    assert field in [error["field"] for error in refused.json()["errors"]]


def test_a_cursor_belongs_to_its_list(client: ApiClient) -> None:
    made = [decided(client, number, 0.5, NOW_MS) for number in range(1, 4)]
    first = client.get("/reviews?limit=2").json()
    assert len(first["reviews"]) == 2
    rest = client.get(f"/reviews?limit=2&cursor={first['next_cursor']}").json()
    assert [each["end_to_end_id"] for each in first["reviews"] + rest["reviews"]] == sorted(made)
    assert rest["next_cursor"] is None
    for other in ("sort=expected_loss", "status=closed"):
        assert client.get(f"/reviews?{other}&cursor={first['next_cursor']}").status_code == 422


def test_tenants_see_their_own_reviews(client: ApiClient) -> None:
    ours, theirs = decided(client, 1, 0.5), decided(client, 2, 0.5, tenant="other")
    assert (ids(client), ids(client, "?tenant=other")) == ([ours], [theirs])
    as_caller(client, "ana-elsewhere")
    assert (client.get("/reviews").status_code, ids(client, "?tenant=other")) == (403, [theirs])
    assert client.get(f"/reviews/{ours}").status_code == 403
    assert client.post(f"/reviews/{ours}:confirm", json={}).status_code == 403
    assert client.get(f"/reviews/{ours}?tenant=other").status_code == 404
    assert client.post(f"/reviews/{theirs}:confirm?tenant=other", json={}).status_code == 200


def test_what_the_payee_got_is_read_from_the_lake(client: ApiClient, tmp_path: Path) -> None:
    made = decided(client, 1, 0.5)
    reader = PayeeReader(str(tmp_path))
    client.app.state.running.payee_payments = reader.of  # type: ignore[attr-defined]
    nothing = client.get(f"/reviews/{made}").json()["payee_payments"]
    assert (nothing["payments"], nothing["as_of"], "never materialised" in nothing["problem"]) == ([], None, True)
    payee, other = (KEYRING.token("default", "account", account(number)) for number in (2, 99))
    rows = [(number, payee, "default") for number in range(25)] + [(30, other, "default"), (31, payee, "other")]
    payments = [
        {
            "end_to_end_id": str(body(number)["end_to_end_id"]),
            "tenant": tenant,
            # What is not to be shown is the newest.
            "event_time_ms": NOW_MS + (number if number > 25 else -number) * MINUTE_MS,
            "amount_cents": number + 1,
            "payer_account": other,
            "payee_account": account_token,
            "source": "history" if number % 2 else "live",
            "outcome": "allowed",
        }
        for number, account_token, tenant in rows
    ]
    write_deltalake(f"{tmp_path}/silver/payments", pa.Table.from_pylist(payments))
    known = {"end_to_end_id": payments[2]["end_to_end_id"], "tenant": "default", "action": "ALLOW", "is_fraud": True}
    write_deltalake(f"{tmp_path}/gold/decisions", pa.Table.from_pylist([known]))
    found = client.get(f"/reviews/{made}").json()["payee_payments"]
    assert (found["problem"], len(found["payments"])) == (None, 20)
    assert [each["amount_cents"] for each in found["payments"]] == list(range(1, 21))
    assert found["as_of"].startswith("20")
    assert [(each["action"], each["is_fraud"]) for each in found["payments"][1:3]] == [(None, None), ("ALLOW", True)]
    (tmp_path / "silver/payments/_delta_log/00000000000000000000.json").write_text("no log")
    broken = client.get(f"/reviews/{made}").json()["payee_payments"]
    assert (broken["payments"], "cannot be read" in broken["problem"]) == ([], True)


def test_a_label_of_somebody_else_closes_nothing(client: ApiClient, clock: Clock) -> None:
    made = decided(client, 1, 0.5)
    decider = client.app.state.running.pipeline  # type: ignore[attr-defined]
    decider.fold_label(label(made, "accepted", clock.now_ms), clock.now_ms)
    case = client.get(f"/reviews/{made}").json()
    assert (case["status"], case["counts_as_fraud"]) == ("open", True)


def review(number: int, loss: int | None, minutes: int | None) -> Review:
    """A review that was decided in this order."""
    return Review(
        tenant="default",
        end_to_end_id=str(body(number)["end_to_end_id"]),
        action="REVIEW",
        mode="normal",
        decided_at_ms=NOW_MS + number,
        amount_cents=10**6,
        fraud_probability=None if loss is None else loss / 10**6,
        reasons=[],
        rule_hits=[],
        keys={"payer_account": "default|account|k"},
        payer_account="k",
        payee_account="k",
        expires_at_ms=None if minutes is None else NOW_MS + minutes * MINUTE_MS,
        outcome_at_expiry=None if minutes is None else "ALLOW",
    )


reviews = st.tuples(st.none() | st.integers(0, 5), st.none() | st.integers(-3, 5))
deeds = st.tuples(st.sampled_from(["close", "open", "wait", "settle"]), st.integers(0, 30))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(reviews, max_size=25),
    st.lists(deeds, max_size=12),
    st.sampled_from(["deadline", "expected_loss"]),
    st.integers(1, 7),
)
def test_whoever_follows_the_pages_meets_each_that_stays_once(
    given: list[tuple[int | None, int | None]], doing: list[tuple[str, int]], sort: str, limit: int
) -> None:
    store, clock = MemoryStore(), Clock()
    queue = ReviewQueue(store, clock)
    there = [review(number, *each) for number, each in enumerate(given)]
    store.change_queue(QueueChange(None, each.entry()) for each in there)
    begun = {each.id for each in there if each.at(NOW_MS).status == "open"}
    seen: list[Review] = []
    closed, after, left = set[str](), None, list(doing)
    while True:
        page = queue.page("default", "open", sort, limit, after)
        assert len(page.reviews) == limit or page.after is None
        seen += page.reviews
        after = page.after
        if after is None:
            break
        for deed, choice in left[:2]:
            if deed == "close" and there:
                chosen = there[choice % len(there)]
                outcome = queue.close("default", chosen.end_to_end_id, Verdict("dismissed", "ana"))
                closed |= {chosen.id} if isinstance(outcome, tuple) else set()
            elif deed == "open":
                there.append(review(len(there) + 100, choice % 6, choice % 9 - 3))
                store.change_queue([QueueChange(None, there[-1].entry())])
            elif deed == "wait":
                clock.now_ms += choice * MINUTE_MS // 10
            else:
                queue.settle()
        left = left[2:]
    met = [each.id for each in seen]
    assert len(met) == len(set(met))
    stayed = {each.id for each in there if each.id in begun - closed and each.at(clock.now_ms).status == "open"}
    assert stayed <= set(met)
    ranks = [
        (each.expires_at_ms or NOW_MS * 2, each.decided_at_ms)
        if sort == "deadline"
        else (each.expected_loss_cents is None, -(each.expected_loss_cents or 0))
        for each in seen
    ]
    assert ranks == sorted(ranks)
