"""I5: any past decision comes out again from lake and registry alone; what was changed since is found and named."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from past_decisions import PastDecisions, change_bronze, live_through

from pix.contracts import canonical_json
from pix.features import FEATURE_NAMES
from serving.policy import ACTIONS
from serving.policy_archive import TABLE as POLICIES
from serving.rerun import Rerun
from serving.rerun_errors import BrokenRecord
from serving.rerun_lake import DECISIONS, FOLDS, Evidence, Published
from serving.rerun_sample import SampleReport, rerun_sample

MODES = {"normal", "degraded:model", "degraded:store"}


def sample(stopped: PastDecisions, count: int) -> SampleReport:
    return rerun_sample(stopped.rerunner(), count, np.random.default_rng(3))


def one(stopped: PastDecisions, record: dict[str, Any], lake: str | None = None, **how: Any) -> Rerun:
    (found,) = stopped.rerunner(lake, **how).rerun([record])
    return found


def normal(stopped: PastDecisions, **fields: Any) -> dict[str, Any]:
    """The last decision with states and a model that has these fields."""
    records = [r for r in stopped.records if r["mode"] == "normal" and fields.items() <= r.items()]
    return records[-1]


def judge_everything_equal(stopped: PastDecisions, report: SampleReport) -> Counter[str]:
    told = report.described()
    assert (told["different"], told["not_compared"]) == (0, 0), told["differences"] + told["away"]
    chosen = {one.rerun.end_to_end_id for one in report.sampled}
    records = [record for record in stopped.records if record["end_to_end_id"] in chosen]
    assert {record["mode"] for record in records} == MODES
    assert len({record["model"]["version"] for record in records if record["model"]}) == 3
    assert len({record["policy_version"] for record in records}) == 3
    assert {record["generation"] for record in records if record["mode"] != "degraded:store"} == {1, 2}
    assert any("test_account" in record["rule_hits"] for record in records)
    return Counter(record["action"] for record in records)


def test_sampled_decisions_come_out_again(stopped: PastDecisions) -> None:
    """After two changes of the model, two of the policy and a second import, with everything stopped."""
    report = sample(stopped, 40)
    assert len(report.sampled) == 40
    actions = judge_everything_equal(stopped, report)
    assert {"ALLOW", "BLOCK"} <= actions.keys() <= set(ACTIONS)
    assert report.versions["features/base_states@1"] < report.versions["features/base_states@2"]


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_thousand_decisions_come_out_again(
    tracking: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    stopped = live_through(tmp_path, tracking, "pix_fraud_thousand", 1_200, seed=6)
    report = sample(stopped, 1_000)
    actions = judge_everything_equal(stopped, report)
    record_property("seed", 6)
    record_property("runs", len(report.sampled))
    record_property("figures", f"equal={len(report.sampled)} different=0 " + json.dumps(actions))
    assert len(report.sampled) == 1_000
    flips = flipped_vectors(stopped, random.Random(4), 200)
    assert found_in(stopped, flips) == len(flips)


def test_what_chance_let_go_on_comes_out_again(stopped: PastDecisions) -> None:
    """Drawn or not: the record says so, whoever re-runs it draws the same, and a changed draw is found."""
    asked = [record for record in stopped.records if record["control_group"]]
    found = {record["control_group"]["drawn"]: record for record in asked}
    assert found.keys() == {True, False}
    assert (found[True]["action"], found[True]["outcome"]) == ("REVIEW", "allowed")
    assert found[False]["action"] == found[False]["control_group"]["instead_of"]
    for drawn, record in found.items():
        assert not one(stopped, record).differences
        changed = {**record, "control_group": {**record["control_group"], "drawn": not drawn}}
        assert [difference.what for difference in one(stopped, changed).differences] == ["control_group"]


def flipped_vectors(stopped: PastDecisions, draw: random.Random, count: int) -> list[str]:
    """Records with one bit of one byte of their logged vector flipped."""
    flipped = []
    while len(flipped) < count:
        record = draw.choice(stopped.decided)
        start = record.find(b'"features":[')
        if start < 0:
            continue
        spoilt = bytearray(record)
        spoilt[draw.randrange(start + 12, record.find(b"]", start))] ^= 1 << draw.randrange(7)
        flipped.append(spoilt.decode())
    return flipped


def found_in(stopped: PastDecisions, values: list[str]) -> int:
    """How many of these records are refused, or differ when they are re-run."""
    broken, readable = 0, []
    for value in values:
        try:
            readable.append(Published("pix.decisions", 0, 0, 1, 2, value).content())
        except BrokenRecord:
            broken += 1
    return broken + sum(bool(found.differences) for found in stopped.rerunner().rerun(readable))


def test_one_flipped_byte_of_a_vector_is_found(stopped: PastDecisions) -> None:
    flips = flipped_vectors(stopped, random.Random(4), 40)
    assert found_in(stopped, flips) == len(flips)


def test_a_changed_feature_is_named_and_nothing_else(stopped: PastDecisions, tmp_path: Path) -> None:
    """In bronze, where the auditor finds the record."""
    record = normal(stopped)
    place = FEATURE_NAMES.index("amount_reais")
    before = record["features"][place]

    def change(value: str) -> str:
        content = json.loads(value)
        if content["end_to_end_id"] != record["end_to_end_id"]:
            return value
        vector = list(content["features"])
        vector[place] = float(np.nextafter(before, np.inf))
        return canonical_json({**content, "features": vector}).decode()

    lake = change_bronze(stopped, tmp_path / "lake", DECISIONS, change)
    (published,) = Evidence(lake).published([record["end_to_end_id"]])[record["end_to_end_id"]]
    found = one(stopped, published.content(), lake)
    assert [(d.what, d.recomputed) for d in found.differences] == [("features.amount_reais", before)]


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("raw_score", 0.125),
        ("fraud_probability", 0.25),
        ("reasons", []),
        ("hold", None),
        ("action", "BLOCK"),
        ("outcome", "attempted"),
        ("rule_hits", ["large_amount_from_a_new_device", "x"]),
        ("mode", "degraded:model"),
        ("payment_digest", "0" * 64),
        ("event_time_ms", 1_700_000_000_000),
        ("carried", {"payer_flagged": {"value": True, "read": 1}, "payee_flagged": {"value": True, "read": 1}}),
    ],
)
def test_every_other_part_is_compared(stopped: PastDecisions, field: str, other: object) -> None:
    record = normal(stopped, action="REVIEW", outcome="allowed")
    assert one(stopped, record).is_equal
    assert record[field] != other
    assert field in [difference.what for difference in one(stopped, {**record, field: other}).differences]


@pytest.mark.parametrize("behind", [0, 1])
def test_a_missing_fold_is_named(stopped: PastDecisions, tmp_path: Path, behind: int) -> None:
    """The planted fault: the fold that the payer's state was read at is gone from bronze, or the one before it."""
    made = {(state["key"], state["got"]): r["end_to_end_id"] for r in stopped.records for state in r["states"].values()}
    normals = [r for r in stopped.records if r["mode"] == "normal"]
    payers = [(record, record["states"]["payer_account"]) for record in normals]
    record, gone = next(
        (record, made[state["key"], state["read"] - behind])
        for record, state in reversed(payers)
        if all((state["key"], state["read"] - number) in made for number in range(behind + 1))
    )
    lake = change_bronze(stopped, tmp_path / "lake", DECISIONS, lambda value: None if gone in value else value)
    differences = one(stopped, record, lake).differences
    assert "states.payer_account.read" in [difference.what for difference in differences]
    assert all(difference.what.startswith("states.") for difference in differences)
    assert "a fold is missing" in differences[0].recomputed
    assert one(stopped, record).is_equal


def test_a_missing_label_fold_is_found(stopped: PastDecisions, tmp_path: Path) -> None:
    lake = change_bronze(stopped, tmp_path / "lake", FOLDS, lambda _: None)
    report = rerun_sample(stopped.rerunner(lake), 60, np.random.default_rng(3))
    assert report.different


def test_a_changed_policy_under_its_hash_is_named(stopped: PastDecisions, tmp_path: Path) -> None:
    record = normal(stopped)
    shutil.copytree(stopped.lake, tmp_path / "lake")
    table = pa.table(DeltaTable(f"{stopped.lake}/{POLICIES}").scan())
    texts = [text.replace("BLOCK: 0.9", "BLOCK: 0.99") for text in table["text"].to_pylist()]
    changed = table.set_column(table.schema.get_field_index("text"), "text", pa.array(texts))
    shutil.rmtree(tmp_path / "lake" / POLICIES)
    write_deltalake(tmp_path / "lake" / POLICIES, changed)
    found = one(stopped, record, str(tmp_path / "lake"))
    assert [difference.what for difference in found.differences] == ["policy_version"]
    shutil.rmtree(tmp_path / "lake" / POLICIES)
    found = one(stopped, record, str(tmp_path / "lake"))
    assert (found.differences, found.is_equal) == ((), False)
    assert f"policy {record['policy_version']} is not in silver/policies" in (found.away or "")


def test_a_changed_model_is_found_and_a_changed_copy_is_fetched_anew(stopped: PastDecisions, tmp_path: Path) -> None:
    record = normal(stopped)
    version = record["model"]["version"]
    downloads = tmp_path / "models"
    assert one(stopped, record, downloads=downloads).model["from"] == "the registry"
    assert one(stopped, record, downloads=downloads).model["from"] == "a copy here"
    (downloads / version / "catboost.json").write_bytes(b"{}")
    again = one(stopped, record, downloads=downloads)
    assert (again.is_equal, again.model["from"]) == (True, "the registry")

    other = {**record, "model": {**record["model"], "sha256": "0" * 64}}
    assert [d.what for d in one(stopped, other, downloads=tmp_path / "others").differences] == ["model"]


def test_a_tampered_artefact_in_the_registry_is_found(stopped: PastDecisions, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    record = normal(stopped)
    client = MlflowClient(stopped.registry.uri)
    run = client.get_model_version(stopped.registry.name, record["model"]["version"]).run_id
    file = Path(urlsplit(client.get_run(run).info.artifact_uri).path) / "champion" / "catboost.json"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"1", b"2", 1))
    try:
        found = one(stopped, record, downloads=tmp_path, fresh=True)
    finally:
        file.write_bytes(whole)
    assert [difference.what for difference in found.differences] == ["model"]
    assert "catboost.json is not what was signed" in found.differences[0].recomputed


def test_without_the_registry_a_copy_does_and_without_both_it_is_said(stopped: PastDecisions, tmp_path: Path) -> None:
    record = normal(stopped)
    nobody = {"uri": "http://127.0.0.1:9", "downloads": tmp_path}
    assert "no copy of it is on this machine" in (one(stopped, record, **nobody).away or "")
    assert one(stopped, record, **nobody, copies=[stopped.root / "models"]).is_equal


def test_another_builds_features_are_said_not_judged(stopped: PastDecisions) -> None:
    found = one(stopped, {**normal(stopped), "feature_fingerprint": "f" * 16, "build": "0.0.9"})
    assert (found.differences, found.is_equal) == ((), False)
    assert "build 0.0.9 decided it by the features ffffffffffffffff" in (found.away or "")


def test_reasons_are_the_same_on_demand_and_sum_to_the_score(stopped: PastDecisions) -> None:
    allowed = normal(stopped, action="ALLOW")
    reviewed = normal(stopped, action="REVIEW")
    assert one(stopped, reviewed).reasons == reviewed["reasons"]
    told = one(stopped, allowed)
    assert told.is_equal
    assert told.reasons
    assert allowed["reasons"] == []
