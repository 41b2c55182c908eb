"""Promotion in Dagster on a home that was trained: gates, proposals, approvals, and a model made again."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pytest

from fraud_assets import learning_rows, succession
from fraud_assets.declared import key_of
from fraud_assets.feature_checks import newest_parity
from fraud_assets.registry import RegistryResource
from fraud_assets.resources import all_resources
from learning.recipe import TrainingConfig
from learning.training import fit
from pix.features import FEATURE_NAMES
from pix.offline.tables import TRAINING_SET

CHALLENGER, CHAMPION, APPROVAL, REPRODUCTION = (
    f"model/{name}" for name in ("challenger", "champion", "approval", "reproduction")
)
# What this small home's challengers lose or gain must not decide what is tested here.
LENIENT = {"margin": 1.0, "calibration_error": 9.0, "microseconds": 1e6}
FAST = {"iterations": 30, "depth": 4, "folds": 2}


class House:
    """The trained home, as somebody meets it who clicks."""

    def __init__(self, place):
        from mlflow import MlflowClient

        self.place, self.client = place, MlflowClient(place.settings.mlflow)

    def alias(self, name):
        return str(self.client.get_model_version_by_alias("pix_fraud", name).version)

    def tags(self, version):
        return self.client.get_model_version("pix_fraud", version).tags

    def run(self, asset, **config):
        wanted = {"ops": {asset.replace("/", "__"): {"config": config}}}
        if asset in (APPROVAL, REPRODUCTION):
            return dg.materialize(
                [succession.approval, succession.reproduction], selection=[key_of(asset)], run_config=wanted,
                instance=self.place.instance, resources=all_resources(self.place.settings), raise_on_error=False,
            )  # fmt: skip
        return self.place.run(asset, config=wanted)

    def made(self, asset, **config):
        """Materialises one asset; what its page says, or the sentence that it failed with."""
        ran = self.run(asset, **config)
        return self.place.newest(asset) if ran.success else " ".join(self.place.told(ran).values())

    def challenged(self, **config):
        return self.made(CHALLENGER, **{**FAST, **config})["model_version"]

    def files(self, version):
        run = self.client.get_run(self.client.get_model_version("pix_fraud", version).run_id)
        return Path(urlsplit(run.info.artifact_uri).path) / "champion"


@pytest.fixture(scope="module")
def house(trained):
    return House(trained)


def test_the_record_of_a_version(house):
    version = house.alias("challenger")
    told = house.tags(version)
    assert told["git_commit"] != ""
    assert len(told["lock_sha256"]) == 64
    assert told["seed"] == "7"
    assert told["history"] == "live"
    assert house.place.instance.get_run_by_id(told["dagster_run_id"]) is not None
    # The first version found no champion, so every label was new to it; they are of a past that was imported.
    first = house.tags("1")
    assert int(first["labels_new"]) > 30
    assert int(first["labels_new_slow_ms"]) < int(first["labels_new_known_ms"]) < int(first["labels_until_ms"])
    assert float(first["label_to_service_hours_p95"]) > float(first["label_to_service_hours_p50"]) > 0


def test_parity_is_the_newest_proof(house):
    found = newest_parity(house.place.instance)
    assert (found.compared, found.mismatches) == (0, 0)


def test_where_a_person_has_the_last_word_a_challenger_waits_for_it(house):
    before, version = house.alias("champion"), house.challenged(seed=8)
    told = house.made(CHAMPION, mode="approval", **LENIENT)
    assert (told["outcome"], told["promoted"], told["model_version"]) == ("proposed", False, before)
    assert told["judged_version"] == version
    assert "- parity: nothing was decided live yet" in told["reasons"]
    assert told["challenger_p99_microseconds"] > 0
    assert house.alias("champion") == before
    assert house.tags(version)["promotion_proposed_over"] == before

    assert "version 1 is not" in house.made(APPROVAL, version="1", person="Ana")
    done = house.made(APPROVAL, version=version, person="Ana", note="seen in shadow")
    assert (done["replaced"], done["model_version"]) == (before, version)
    assert house.alias("champion") == version
    assert house.tags(version)["promotion_by"] == "Ana"
    assert "latency: p50" in house.tags(version)["promotion_reasons"]


def test_an_unsigned_challenger_is_refused_on_the_record_and_the_champion_serves_on(house):
    before, version = house.alias("champion"), house.challenged(seed=9)
    (house.files(version) / "model.sig").unlink()
    told = house.made(CHAMPION, **LENIENT)
    assert (told["outcome"], told["model_version"]) == ("refused", before)
    assert told["reasons"].startswith("- artefact: signature refused (unsigned)")
    assert house.alias("champion") == before
    assert "has no model.sig" in house.tags(version)["promotion_refusals"]


def test_a_slow_challenger_is_refused(house):
    before, version = house.alias("champion"), house.challenged(seed=10)
    told = house.made(CHAMPION, **{**LENIENT, "microseconds": 0.001})
    assert (told["outcome"], told["model_version"]) == ("refused", before)
    assert told["reasons"].startswith("- latency: p50")
    assert told["reasons"].count("\n") == 0
    promoted = house.made(CHAMPION, **LENIENT)
    assert (promoted["outcome"], promoted["model_version"]) == ("promoted", version)
    assert house.made(CHAMPION, **LENIENT)["outcome"] == "serves already"


def test_a_version_made_again_from_its_record_is_the_same(house):
    told = house.made(REPRODUCTION)
    assert (told["identical"], told["unequal"], told["greatest_difference"]) == (True, 0, 0.0)
    assert told["model_version"] == house.alias("champion")
    assert set(told["differing"]) <= {"catboost.json", "evaluation-catboost.json"}
    assert told["rows"] == 2_500
    assert told["git_commit"] == house.tags(told["model_version"])["git_commit"]


def test_a_model_that_its_record_did_not_make_is_seen(house):
    """Fit by another seed than it says."""
    read = learning_rows.read(house.place.lake, "live")
    recipe = TrainingConfig(iterations=30, depth=4, folds=2, seed=11)
    model = dataclasses.replace(fit(read.frame, FEATURE_NAMES, recipe), config=dataclasses.replace(recipe, seed=12))
    registry = RegistryResource.of(house.place.settings)
    made = registry.register(model, datasets=read.datasets, now=datetime.now(UTC), tags={"history": "live"})
    ran = house.run(REPRODUCTION, model_version=made.version)
    (check,) = ran.get_asset_check_evaluations()
    assert not check.passed
    told = house.place.newest(REPRODUCTION)
    assert (told["model_version"], told["identical"]) == (made.version, False)
    assert told["greatest_difference"] > 0


def test_rows_that_are_not_the_recorded_ones_are_named(house):
    version = house.alias("champion")
    run = house.client.get_model_version("pix_fraud", version).run_id
    name = f"data_version.{TRAINING_SET.name}"
    recorded = house.client.get_run(run).data.tags[name]
    lake = house.place.lake
    rows, note = lake.read(TRAINING_SET.name, version=lake.version(TRAINING_SET.name)), lake.note(TRAINING_SET.name)
    written = lake.overwrite(TRAINING_SET, rows.limit(2_000), note=note)
    house.client.set_tag(run, name, str(written.version))
    try:
        assert "the rows were changed since" in house.made(REPRODUCTION)
    finally:
        house.client.set_tag(run, name, recorded)
        lake.overwrite(TRAINING_SET, rows, note=note)
    assert "has no version '999'" in house.made(REPRODUCTION, model_version="999")
