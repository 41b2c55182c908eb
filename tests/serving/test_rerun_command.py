"""`sentinela decision` on a home where nothing runs, and the check of the same in Dagster."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from past_decisions import PastDecisions, change_bronze

from fraud_assets.lake import LakeResource
from fraud_assets.registry import RegistryResource
from fraud_assets.rerun_checks import decisions_come_out_again
from fraud_assets.resources import HomeResource
from pix.features import FEATURE_NAMES
from pix.settings import Settings
from sentinela.cli import main
from serving.rerun_lake import DECISIONS


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def command(stopped: PastDecisions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Types a command into the home; ``lake`` is another lake than the home's."""

    def typed(*words: str, lake: str = "") -> Ran:
        monkeypatch.setenv("SENTINELA_HOME", str(stopped.root))
        monkeypatch.setenv("SENTINELA_MLFLOW_URI", stopped.registry.uri)
        monkeypatch.setenv("SENTINELA_LAKE_ROOT", lake)
        monkeypatch.setattr(sys, "argv", ["sentinela", "decision", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        capture = capsys.readouterr()
        return Ran(int(ended.value.code or 0), capture.out, capture.err)

    return typed


def of_mode(stopped: PastDecisions, mode: str, **fields: Any) -> dict[str, Any]:
    records = [r for r in stopped.records if r["mode"] == mode and fields.items() <= r.items()]
    return records[-1]


@pytest.mark.parametrize("mode", ["normal", "degraded:model", "degraded:store"])
def test_a_decision_is_shown_and_comes_out_again(stopped: PastDecisions, command: Command, mode: str) -> None:
    record = of_mode(stopped, mode)
    ran = command(record["end_to_end_id"], "--rerun", "--json")
    assert ran.code == 0, ran.out + ran.err
    document = json.loads(ran.out)
    assert document["rerun"]["equal"] is True
    assert [one["name"] for one in document["features"]] == list(FEATURE_NAMES)
    assert [one["value"] for one in document["features"]] == record["features"]
    assert document["published"]["topic"] == "pix.decisions"
    assert document["origin"] == record["origin"]
    assert document["lake_versions"]["bronze/pix_decisions"] == 0
    for name in ("payment", "states", "reasons", "hold", "model", "policy_version", "build"):
        assert document[name] == record[name]
    assert (mode == "normal") == bool(document["rerun"]["member_scores"])


def test_the_page_says_what_why_and_from_where(stopped: PastDecisions, command: Command) -> None:
    record = of_mode(stopped, "normal", action="REVIEW")
    model, reason, payer = record["model"], record["reasons"][0]["text"], record["states"]["payer_account"]
    ran = command(record["end_to_end_id"], "--rerun")
    assert ran.code == 0
    for part in (
        "REVIEW", reason["pt-BR"], reason["en"], "payer_account", str(payer["read"]), str(payer["got"]),
        f"version {model['version']}", model["sha256"],
        record["policy_version"], "pix.transactions partition 0 offset", "equal to the last bit", "member catboost",
    ):  # fmt: skip
        assert part in ran.out
    assert record["payment"]["payer_account"] not in ran.out, "tokens are shortened for people"


def test_a_difference_exits_1_and_names_it(stopped: PastDecisions, command: Command, tmp_path: Path) -> None:
    record = of_mode(stopped, "normal")
    old, new = '"action":"' + record["action"], '"action":"' + ("ALLOW" if record["action"] == "BLOCK" else "BLOCK")
    lake = change_bronze(
        stopped,
        tmp_path / "lake",
        DECISIONS,
        lambda value: value.replace(old, new) if record["end_to_end_id"] in value else value,
    )
    ran = command(record["end_to_end_id"], "--rerun", lake=lake)
    assert ran.code == 1
    assert "DIFFERS action: logged" in ran.out
    report = command("--sample", "100000", "--rerun", "--json", lake=lake)
    told = json.loads(report.out)
    assert report.code == 1
    assert [one["end_to_end_id"] for one in told["differences"]] == [record["end_to_end_id"]]
    assert told["sampled"] == len({record["end_to_end_id"] for record in stopped.records})


def test_what_is_no_use_exits_2_and_what_is_away_3(command: Command, stopped: PastDecisions, tmp_path: Path) -> None:
    unknown = "E12345678202611211230abcdefghijk"
    for words in ((unknown,), ("E1",), (), (unknown, "--sample", "3"), ("--sample", "3"), (unknown, "--tenant", "b")):
        assert command(*words).code == 2, words
    assert "is in the lake; one of a moment ago" in command(unknown).err
    away = command(unknown, lake=str(tmp_path / "nothing"))
    assert (away.code, "sentinela up" in away.err) == (3, True)
    lake = shutil.copytree(stopped.lake, tmp_path / "without")
    shutil.rmtree(lake / "silver" / "policies")
    lost = command(of_mode(stopped, "normal")["end_to_end_id"], "--rerun", lake=str(lake))
    assert (lost.code, "is not in silver/policies" in lost.out) == (3, True)


def test_a_later_record_of_the_id_is_shown_as_superseded(
    stopped: PastDecisions, command: Command, tmp_path: Path
) -> None:
    record = of_mode(stopped, "normal", action="REVIEW")
    lake = change_bronze(stopped, tmp_path / "lake", DECISIONS, lambda value: value, again=record["end_to_end_id"])
    document = json.loads(command(record["end_to_end_id"], "--json", lake=lake).out)
    assert [one["action"] for one in document["superseded"]] == ["BLOCK"]
    assert document["copies"] == 0
    assert document["action"] == record["action"]


def test_the_check_in_dagster_says_the_same(stopped: PastDecisions, tmp_path: Path) -> None:
    settings = Settings(home=stopped.root, mlflow_uri=stopped.registry.uri)
    registry, home = RegistryResource.of(settings), HomeResource.of(settings)
    found = decisions_come_out_again(lake=LakeResource.of(settings), registry=registry, home=home)
    assert found.passed, found.metadata
    assert found.metadata["sampled"].value == 60
    old, new = '"outcome":"attempted"', '"outcome":"allowed"'
    changed = change_bronze(stopped, tmp_path / "lake", DECISIONS, lambda value: value.replace(old, new))
    lake = LakeResource.of(Settings(home=stopped.root, lake_root=changed))
    found = decisions_come_out_again(lake=lake, registry=registry, home=home)
    assert (found.passed, found.severity.value) == (False, "ERROR")
    assert found.metadata["by_name"].value["outcome"] >= 1
