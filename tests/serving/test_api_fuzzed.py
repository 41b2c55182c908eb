"""Schemathesis over the OpenAPI document: what it allows is taken, what it forbids is refused, without surprises."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from api_by_hand import KEY, HandBroker, api
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from traffic import NOW_MS, TAX_IDS, account, body, rfc3339

from pix.contracts import INSTANT_FIELDS
from pix.contracts.fields import TENANT_SHAPE
from pix.identifiers import END_TO_END_SHAPE
from pix.store.memory import MemoryStore
from serving import limits
from serving.front import Front
from serving.openapi import document

KNOWN = str(body(1)["end_to_end_id"])
MINUTE = KNOWN[9:21]
NOW = rfc3339(NOW_MS)
HELD_CENTS = 3_000_000
"""So much that the model by hand has it looked at."""
# They order builds of a store that this service does not have; test_keeper.py has the one that does.
LEFT_OUT = ("/store:rebuild", "/store:roll-back", "/docs", "/openapi.json", "/livez", "/readyz", "/metrics")
COVERED = sorted(set(document()["paths"]) - set(LEFT_OUT))


def livened(payment: dict[str, Any], mark: str) -> dict[str, Any]:
    """A payment that keeps the schema, with the rules that no schema can say: check digits, days, the clock."""
    given = payment["end_to_end_id"]
    made = {**payment, "initiated_at": NOW, "end_to_end_id": f"{given[:9]}{MINUTE}{mark}{given[22:]}"}
    if made["payer_account"] == made["payee_account"]:
        made["payee_account"] = account(2)
    for name in made.keys() & INSTANT_FIELDS.keys():
        made[name] = made[name] and NOW
    for name in made.keys() & {"payer_tax_id", "payee_tax_id"}:
        made[name] = made[name] and TAX_IDS[0]
    # For JSON Schema 1.0 is an integer; for the contract it is a float.
    made = {name: int(value) if isinstance(value, float) else value for name, value in made.items()}
    if made.get("pix_key") is not None:
        made |= {"pix_key": "+5511987654321", "pix_key_type": "PHONE", "initiation": "DICT"}
    return made


def allowed(case: Case, is_known: bool) -> Case:
    """What the document allows, with what only the contracts say besides."""
    path, content = case.operation.path, case.body
    if path in ("/decisions", "/decisions:dry-run"):
        case.body = livened(content, "d" if path.endswith("dry-run") else "p")
    if path == "/decisions:batch":
        size = len(content["payments"])
        if "origins" in content:
            case.body = {**content, "origins": [*content["origins"], *[{}] * size][:size]}
    if path.endswith("/feedback") and content.get("known_at"):
        case.body = {**content, "known_at": NOW}
    if path.endswith((":confirm", ":dismiss")) and content.get("note"):
        # No schema says which numbers name somebody.
        case.body = {**content, "note": "vista"}
    if path == "/reviews" and case.query:
        # Only a list gives cursors.
        case.query.pop("cursor", None)
    return known(case) if is_known or path.startswith("/reviews/") else case


def known(case: Case) -> Case:
    """About the decision that exists, where nothing is wrong with the id in the path: there, 404 hides the rest."""
    if re.fullmatch(END_TO_END_SHAPE, str(case.path_parameters.get("end_to_end_id"))):
        case.path_parameters["end_to_end_id"] = KNOWN
        if "tenant" in case.query and re.fullmatch(TENANT_SHAPE, str(case.query["tenant"])):
            case.query["tenant"] = "default"
    return case


@pytest.fixture
def whole(store: MemoryStore, kafka: HandBroker, monkeypatch: pytest.MonkeyPatch) -> Starlette:
    # So many calls without a key would else be told to wait, which is right and not what is asked here.
    monkeypatch.setattr(limits, "ATTEMPTS_AT_ONCE", 10**6)
    behind = api(store, kafka)
    made = Starlette(routes=[Mount("/v1", behind)])
    made.add_middleware(Front, app=behind)
    sent = body(1, amount_cents=HELD_CENTS)
    assert TestClient(made, headers=KEY).post("/v1/decisions", json=sent).json()["action"] == "BLOCK_AND_REVIEW"
    return made


def called(cases: st.SearchStrategy[Case], examples: int, answered: Counter[tuple[str, int]]) -> None:
    """Call each case and hold its answer against the document."""

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def call(case: Case) -> None:
        # No mount lets a line break through: whoever has the service mounted answers that.
        assume(not any("\n" in str(value) for value in (case.path_parameters or {}).values()))
        answered[case.operation.path, case.call_and_validate(headers=KEY).status_code] += 1

    call()


@pytest.mark.parametrize("examples", [16, pytest.param(200, marks=[pytest.mark.faults, pytest.mark.timeout(900)])])
def test_the_api_keeps_its_document(
    whole: Starlette, examples: int, record_property: Callable[[str, object], None]
) -> None:
    answered: Counter[tuple[str, int]] = Counter()
    for result in schema_of(whole).get_all_operations():
        operation = result.ok()
        # Of a request without body or parameters one example is all, and nothing can be wrong with it.
        has_content = bool(operation.body or operation.path_parameters or operation.query)
        called(st.builds(allowed, operation.as_strategy(), st.booleans()), examples if has_content else 1, answered)
        if has_content:
            called(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE).map(known), examples, answered)
    good = sum(count for (_, status), count in answered.items() if status < 300)
    record_property("runs", answered.total())
    record_property("figures", f"{good} answered 2xx, 5xx 0, undocumented 0")
    assert {path for path, _ in answered} == set(COVERED)
    assert good >= answered.total() / 3, answered


def schema_of(whole: Starlette) -> BaseSchema:
    """The document as the service hands it out, ready to be called."""
    told = TestClient(whole).get("/v1/openapi.json").json()
    # No payments can be generated from rules between fields; ``livened`` keeps them.
    del told["components"]["schemas"]["Payment"]["allOf"]
    schema = schemathesis.openapi.from_dict(told)
    schema.app = whole
    return schema.include(path=COVERED)
