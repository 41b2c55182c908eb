"""The logs of a run in which everything goes wrong: lines that lead to the request, and nobody in them."""

import json
import logging
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from api_by_hand import HandBroker, api, opened
from traffic import TAX_IDS, account, body

from pix.log_lines import formatter
from pix.store.interface import Snapshot
from pix.store.memory import MemoryStore
from sentinela import leaks
from serving.correlation import LINES_PER_SECOND

PAID = body(
    1,
    payer_tax_id=TAX_IDS[0],
    payee_tax_id="12ABC34501DE35",
    pix_key="maria.silva@example.com",
    pix_key_type="EMAIL",
    payer_account=account(7_654_321),
)


class Chatty(MemoryStore):
    """A store whose errors repeat what they should not."""

    def snapshot(self, record_id: str, keys: object) -> Snapshot:
        raise RuntimeError(f"cannot read {record_id}, {keys}: {PAID}")


@pytest.fixture
def out() -> Iterator[StringIO]:
    """What is logged, in the form of the service's process."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter("serving"))
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


def test_a_fault_is_found_by_its_request_and_names_nobody(out: StringIO, tmp_path: Path) -> None:
    client = opened(api(Chatty(), HandBroker()))
    answer = client.post("/decisions", json=PAID, headers={"X-Request-Id": "payment-1"})
    assert answer.status_code == 500
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["request failed", "answered with an error"]
    trace_id = answer.headers["traceparent"][3:35]
    assert {(line["request_id"], line["trace_id"]) for line in lines} == {("payment-1", trace_id)}
    assert (lines[1]["route"], lines[1]["status"]) == ("POST /v1/decisions", 500)
    assert "RuntimeError: cannot read default|decision|" in lines[0]["exception"]
    sent = tmp_path / "sent.jsonl"
    sent.write_text(json.dumps(PAID))
    needles = leaks.clear_identifiers([sent])
    assert set(needles.values()) == {"CPF", "CNPJ", "EMAIL", "ACCOUNT"}
    result = leaks.Searched(len(needles))
    leaks._search_bytes(out.getvalue().encode(), "log", needles, result)
    assert result.found == {}


def test_what_goes_well_is_not_logged_and_a_flood_of_errors_is_rationed(out: StringIO) -> None:
    kafka = HandBroker()
    client = opened(api(MemoryStore(), kafka))
    for path in ("/model", "/nothing", "/policy"):
        client.get(path)
    client.post("/decisions", json=body(1))
    client.post("/decisions", json=body(2, amount_cents=-1))
    assert out.getvalue() == ""
    kafka.is_away = True
    feedback = f"/decisions/{body(1)['end_to_end_id']}/feedback"
    for _ in range(LINES_PER_SECOND * 5):
        assert client.post(feedback, json={"kind": "confirmed"}).status_code == 503
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert 0 < len(lines) <= LINES_PER_SECOND * 4
    assert {line["event"] for line in lines} == {"answered with an error"}
