"""What Prometheus finds of a stream, over HTTP and in the folder of its discovery."""

import json
from pathlib import Path

import httpx
import pytest

from fraud_streaming.__main__ import PAGE, page
from fraud_streaming.meters import CATALOGUE, LAG, MESSAGES, Meters, address, shown


def test_a_stream_is_found_by_its_file_and_answers(tmp_path: Path) -> None:
    meters = Meters()
    meters.set(LAG, 7)
    meters.count(MESSAGES, "decided", by=3)
    with shown(meters, tmp_path, "score_stream") as url:
        (target,) = json.loads((tmp_path / "score_stream.json").read_text())
        assert target["labels"] == {"stream": "score_stream"}
        assert address(tmp_path, "score_stream") == url == f"http://{target['targets'][0]}/metrics"
        text = httpx.get(url, trust_env=False).text
        assert "sentinela_stream_lag_messages 7.0" in text
        assert 'sentinela_stream_messages_total{outcome="decided"} 3.0' in text
        assert all(f"# HELP {metric.name.removesuffix('_total')}" in text for metric in CATALOGUE)
    # The address stays: a target that does not answer is what the alert is made of.
    assert address(tmp_path, "score_stream") == url
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
    assert list(tmp_path.iterdir()) == [tmp_path / "score_stream.json"]


def test_a_stream_that_never_ran_has_no_address(tmp_path: Path) -> None:
    assert address(tmp_path, "score_stream") is None
    (tmp_path / "score_stream.json").write_text("[]")
    assert address(tmp_path, "score_stream") is None


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make contracts`"
