"""The analyst's commands against a service over HTTP, as text in two languages and as one document."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from api_by_hand import HandBroker, api
from starlette.applications import Starlette
from starlette.routing import Mount
from traffic import Clock, StubbornModel, account, body
from typer.testing import CliRunner, Result

from pix.contracts import HOUR_MS, canonical_json, parse_payment
from pix.store.memory import MemoryStore
from sentinela.cli import build
from sentinela.errors import SentinelaError
from sentinela.review_page import left, money, shown
from serving.outcomes import Arrival

HELD = str(body(1)["end_to_end_id"])
PAID = str(body(2)["end_to_end_id"])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock) -> Iterator[None]:
    """A service with one payment that waits and one that went on, and a home that leads to it."""
    app = api(MemoryStore(), HandBroker(), clock=clock, model=StubbornModel())
    for number, cents in ((1, 3_000_000), (2, 1_000_000)):
        sent = body(number, amount_cents=cents, payee_account=account(9), device_id="phone")
        how = Arrival(clock(), "0" * 64, {"kind": "rest", "client": "local"}, "0" * 32)
        app.state.running.pipeline.decide(parse_payment(canonical_json(sent)), how)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=[Mount("/v1", app)]), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "api-key").write_text("key\n")
    monkeypatch.setenv("SENTINELA_HOME", str(tmp_path))
    monkeypatch.setenv("SENTINELA_SERVING_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
    yield
    server.should_exit = True
    thread.join()
    listening.close()


def said(*words: str) -> Result:
    return CliRunner().invoke(build(), ["review", *words])


def test_an_analyst_works_the_queue(clock: Clock) -> None:
    clock.now_ms += 18 * 60_000
    listed = said("list").stdout.splitlines()
    assert listed[0].split()[:3] == ["PRAZO", "PAGAMENTO", "SITUAÇÃO"]
    assert listed[1].lstrip().startswith(f"12 min  {HELD}  retido")
    assert "R$ 30.000,00" in listed[1]
    assert listed[1].endswith("O valor chama atenção nesta situação.")
    assert listed[2].startswith(f"23 h 42 min  {PAID}  seguiu")
    document = json.loads(said("list", "--sort", "expected_loss", "--json").stdout)
    assert [each["end_to_end_id"] for each in document["reviews"]] == [HELD, PAID]
    case = said("show", HELD, "--lang", "en").stdout
    assert f"Review {HELD}: open, held" in case
    assert "Deadline: 2026-11-18 08:36:40 (12 min); at the deadline without a verdict, the payment is blocked" in case
    assert "The amount stands out in this situation." in case
    assert "this service reads no lake" in case
    assert f"  {PAID}  2026-11-18 08:06:40" in case
    assert "(device, payee's account, payer's account)" in case
    closed = said("confirm", HELD, "--note", "cliente não reconhece", "--fraud-type", "SCAM")
    assert closed.exit_code == 0, closed.output
    assert "fraude confirmada (SCAM) por local em 18/11/2026 08:24:40" in closed.stdout
    assert "Resultado: o pagamento é bloqueado" in closed.stdout
    assert "nenhuma revisão" in said("list", "--status", "expired").stdout
    clock.now_ms += 24 * HOUR_MS
    assert "o pagamento é liberado" in said("show", PAID).stdout


def test_what_cannot_be_done_ends_with_a_reason() -> None:
    assert said("dismiss", HELD, "--json").exit_code == 0
    for words, told in (
        (("confirm", HELD), "409 it was closed before: dismissed by local at 2026-11-18T11:06:40.000"),
        (("show", "E0"), "404 the payment's decision asked for no person"),
        (("dismiss", PAID, "--note", "a@b.com"), "422 note: must not hold a tax id"),
        (("list", "--cursor", "x"), "422 cursor: must be a next_cursor"),
    ):
        refused = said(*words)
        assert isinstance(refused.exception, SentinelaError)
        assert refused.exception.exit_code == 1
        assert told in str(refused.exception)
    assert said("list", "--status", "done").exit_code == 2


def test_texts_are_those_of_the_language() -> None:
    assert (money(123_456_789, "pt-BR"), money(123_456_789, "en")) == ("R$ 1.234.567,89", "R$ 1,234,567.89")
    assert (money(-5, "en"), money(None, "pt-BR")) == ("-R$ 0.05", "-")
    for seconds, told in ((59, "59 s"), (60, "1 min"), (3_599, "59 min"), (3_660, "1 h 01 min")):
        assert left({"seconds_left": seconds, "status": "open"}, "en") == told
    assert left({"seconds_left": None, "status": "open"}, "pt-BR") == "sem prazo"
    case = json.loads(said("show", HELD, "--json").stdout)
    for lang in ("pt-BR", "en"):
        lines = shown(case | {"payment": None, "rule_hits": ["a"], "counts_as_fraud": True}, lang)
        assert case["payee_account"] in lines
        assert "sentinela decision" in lines
