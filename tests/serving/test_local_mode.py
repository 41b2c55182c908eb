"""Test accounts force each action where everything is local, and nowhere else; probes say why."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_by_hand import HandBroker, api, opened
from documented import ApiClient
from starlette.testclient import TestClient
from traffic import POLICY, StubbornModel, body

from pix.contracts import DecisionRecord, parse_json_object
from pix.settings import Settings
from pix.store.interface import Store
from pix.store.memory import MemoryStore
from serving.front import Front
from serving.http import create_app
from serving.policy import ACTIONS, TEST_ACCOUNT, InvalidPolicy, load_policy
from serving.problems import PROBLEM_TYPES
from serving.replay import Replay
from serving.trial_accounts import TEST_ACCOUNTS

# Starlette's client tells the application the server's name and the caller's.
LOOPBACK = {"base_url": "http://127.0.0.1", "client": ("127.0.0.1", 50_000)}


@pytest.fixture
def local(store: MemoryStore, kafka: HandBroker) -> Iterator[ApiClient]:
    model = StubbornModel(shift=20.0)
    with opened(api(store, kafka, model=model, test_accounts=TEST_ACCOUNTS), **LOOPBACK) as client:
        yield client


def test_every_action_has_an_account() -> None:
    assert sorted(TEST_ACCOUNTS.values()) == sorted(ACTIONS)


@pytest.mark.parametrize(("account", "action"), TEST_ACCOUNTS.items())
def test_a_test_account_forces_its_action_and_says_so(
    local: ApiClient, kafka: HandBroker, account: str, action: str
) -> None:
    """Whatever the model says: this one would block everything."""
    assert local.post("/decisions", json=body(1)).json()["action"] == "BLOCK"
    forced = local.post("/decisions", json=body(2, payee_account=account)).json()
    assert (forced["action"], forced["rule_hits"][-1]) == (action, TEST_ACCOUNT)
    dry = local.post("/decisions:dry-run", json=body(3, payee_account=account)).json()
    assert (dry["action"], dry["rule_hits"][-1]) == (action, TEST_ACCOUNT)
    (result,) = local.post("/decisions:batch", json={"payments": [body(4, payee_account=account)]}).json()["results"]
    assert (result["decision"]["action"], result["decision"]["rule_hits"][-1]) == (action, TEST_ACCOUNT)
    for message in kafka.taken:
        DecisionRecord.model_validate(parse_json_object(message.value, 10**6))


def test_forced_decisions_rebuild_the_store_like_any_other(
    local: ApiClient, store: MemoryStore, kafka: HandBroker
) -> None:
    for number, account in enumerate([*TEST_ACCOUNTS, *TEST_ACCOUNTS], 1):
        local.post("/decisions", json=body(number, payee_account=account, device_id="phone"))
    outcomes = [json.loads(message.value)["outcome"] for message in kafka.taken]
    assert outcomes == ["allowed", "allowed", "attempted", "attempted"] * 2
    fresh: Store = MemoryStore()
    replay = Replay(fresh, 0)
    replay.take([(message.topic, message.value) for message in kafka.taken])
    replay.fold()
    assert fresh.states() == store.states()


@pytest.mark.parametrize(
    ("opening", "headers", "accounts"),
    [
        ({"base_url": "http://10.0.0.7", "client": ("127.0.0.1", 1)}, {}, TEST_ACCOUNTS),
        ({"base_url": "http://127.0.0.1", "client": ("10.0.0.8", 1)}, {}, TEST_ACCOUNTS),
        ({"base_url": "http://localhost.example"}, {}, TEST_ACCOUNTS),
        (LOOPBACK, {"X-Forwarded-For": "127.0.0.1"}, TEST_ACCOUNTS),
        (LOOPBACK, {"Forwarded": "for=10.0.0.8"}, TEST_ACCOUNTS),
        (LOOPBACK, {}, {}),
    ],
)
def test_outside_local_mode_a_test_account_is_an_account(
    store: MemoryStore,
    kafka: HandBroker,
    opening: dict[str, object],
    headers: dict[str, str],
    accounts: dict[str, str],
) -> None:
    app = api(store, kafka, model=StubbornModel(shift=20.0), test_accounts=accounts)
    with opened(app, **opening) as client:
        for number, account in enumerate(TEST_ACCOUNTS, 1):
            sent = body(number, payee_account=account)
            answer = client.post("/decisions", json=sent, headers=headers).json()
            (result,) = client.post("/decisions:batch", json={"payments": [sent]}, headers=headers).json()["results"]
            assert (answer["action"], answer["rule_hits"]) == ("BLOCK", [])
            assert result["decision"] == answer


@pytest.mark.parametrize(
    ("given", "offered"),
    [
        ({}, True),
        ({"test_accounts": False}, False),
        ({"kafka_bootstrap": "broker:9092"}, False),
        ({"store_url": "redis://store:6379/0"}, False),
        ({"lake_root": "s3a://bucket/prefix"}, False),
        ({"mlflow_uri": "https://mlflow.example"}, False),
        ({"serving_url": "https://decisions.example"}, False),
    ],
)
def test_a_home_with_parts_of_somebody_else_offers_none(
    given: dict[str, object], offered: bool, tmp_path: Path
) -> None:
    assert Settings(home=tmp_path, **given).offers_test_accounts is offered  # type: ignore[arg-type]


def test_no_rule_may_pass_for_a_test_account(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    rules = "rules:\n  - {name: test_account, when: amount_reais > 1.0, action: BLOCK}\n"
    path.write_text(POLICY.text.replace("rules:\n", rules, 1))
    with pytest.raises(InvalidPolicy, match="test_account is kept"):
        load_policy(path)


class AwayKeeper:
    """A store that cannot be used, and why."""

    problem: str | None = "the online store is empty, but the lake or the logs are not"
    is_ready = False


def test_the_probes_say_why_not(store: MemoryStore, kafka: HandBroker) -> None:
    app = create_app()
    probed = ApiClient(Front(app, app))
    assert probed.get("/livez").json() == {"status": "alive"}
    assert probed.get("/readyz").json()["detail"] == "the service is starting"
    app.state.running = api(store, kafka).state.running
    assert probed.get("/readyz").json() == {"status": "ready"}
    app.state.running.keeper = AwayKeeper()
    answer = probed.get("/readyz")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/not-ready")
    assert answer.json()["detail"] == AwayKeeper.problem
    assert answer.headers["cache-control"] == "no-store"
    assert probed.get("/livez").status_code == 200


def test_the_front_page_leads_to_the_documents() -> None:
    app = create_app()
    client = TestClient(Front(app, app), follow_redirects=False)
    assert client.get("/").headers["location"] == "/v1/docs"
    assert client.get("/docs.json").headers["location"] == "/v1/openapi.json"
    assert client.post("/readyz").status_code == 405


def test_the_address_of_a_problem_type_says_what_it_means() -> None:
    app = create_app()
    client = TestClient(Front(app, app))
    for kind in PROBLEM_TYPES:
        told = client.get(kind.address)
        assert (told.status_code, kind.meaning in told.text, kind.retry in told.text) == (200, True, True)


@pytest.mark.parametrize(
    "path", ["/schema.json", "/healthz", "/openapi.json", "/static_content/x", "/v1", "/v1x", "//v1/"]
)
def test_nothing_else_outside_the_version_tells_what_runs_here(path: str) -> None:
    app = create_app()
    client = TestClient(Front(app, app))
    # What is passed on is refused behind: the service is starting. Metrics are told by then.
    assert (client.get("/v1/policy").status_code, client.get("/metrics").status_code) == (503, 200)
    told = client.get("http://testserver" + path)
    assert (told.status_code, told.json()["type"]) == (404, "/problems/not-found")


def test_a_path_with_a_line_end_is_a_path_that_is_none() -> None:
    app = create_app()
    client = TestClient(Front(app, app))
    told = client.post("/v1/reviews/a%0Ab:dismiss", json={})
    assert (told.status_code, told.json()["type"]) == (503, "/problems/starting")
    assert told.headers["X-Request-Id"]
    assert client.post("/a%0Ab").json()["type"] == "/problems/starting"
