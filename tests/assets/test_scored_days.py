"""Past days of the shared home, scored by any version through Dagster: which versions may, and what is told."""

import json
import shutil
from datetime import timedelta

import pytest

from fraud_assets import definitions
from learning.ensemble import load_registered
from learning.registry import champion, download
from learning.signing import PRIVATE_KEY_FILE, PUBLIC_KEY_FILE, SIGNATURE_FILE, artefact_sha256, sign
from pix.features import FINGERPRINT
from pix.offline.days import day_at, listed
from pix.offline.tables import BATCH_SCORES, PAYMENT_FEATURES
from pix.offline.vectors import matrix
from tests.assets.conftest import START_MS, key

FIRST = day_at(START_MS) + timedelta(days=5)
DAYS = [FIRST + timedelta(days=number) for number in range(3)]
OTHER = "f" * 16
NAME = BATCH_SCORES.name


def score(trained, *days, **asked):
    """Run the job for these days, as a backfill does."""
    job = definitions.build(trained.settings).resolve_job_def("batch_scoring_job")
    tags = {"dagster/asset_partition_range_start": str(days[0]), "dagster/asset_partition_range_end": str(days[-1])}
    config = {"ops": {"gold__batch_scores": {"config": asked}}}
    return job.execute_in_process(config, instance=trained.instance, tags=tags, raise_on_error=False)


def scores_of(trained, days, version):
    """Rows of a version, by their ids."""
    chosen = f"event_day in ({listed(days)}) and model_version = '{version}'"
    return trained.lake.ask(NAME, f"select * from asked where {chosen} order by end_to_end_id")  # noqa: S608 - days


def refusal(trained, **asked):
    result = score(trained, DAYS[0], **asked)
    assert not result.success
    return trained.told(result)["gold__batch_scores"]


@pytest.fixture(scope="module")
def served(trained):
    """The champion's files."""
    settings = trained.settings
    ref = champion(settings.mlflow, settings.model_name)
    return download(
        settings.mlflow, ref, settings.root / "tmp" / "served", public_key=settings.secrets / PUBLIC_KEY_FILE
    )


@pytest.fixture
def registered(trained, served, tmp_path):
    """Registers a further version with changed files; it never serves, and goes after the test."""
    from mlflow import MlflowClient

    settings, client, made = trained.settings, MlflowClient(trained.settings.mlflow), []
    experiment = client.get_experiment_by_name("sentinela").experiment_id

    def register(change=lambda _: None, *, sign_it=True, fingerprint=FINGERPRINT, **tags):
        folder = tmp_path / "changed"
        shutil.copytree(served.folder, folder)
        change(folder)
        if sign_it:
            (folder / SIGNATURE_FILE).unlink()
            sign(folder, settings.secrets / PRIVATE_KEY_FILE)
        run = client.create_run(experiment).info.run_id
        client.log_artifacts(run, str(folder), "champion")
        sha256 = artefact_sha256(folder) if sign_it else served.ref.sha256
        tags = {**tags, "sha256": sha256, "fingerprint": fingerprint}
        version = client.create_model_version(settings.model_name, f"runs:/{run}/champion", run, tags=tags).version
        made.append(str(version))
        return made[-1], sha256

    yield register
    for version in made:
        client.delete_model_version(settings.model_name, version)


def of_other_features(declaration):
    """Makes a manifest one of other features; with None every input still means the same."""

    def change(folder):
        path = folder / "manifest.json"
        content = json.loads(path.read_text())
        content["fingerprint"] = OTHER
        if declaration is not None:
            content["members"][0]["inputs"][0]["declaration"] = declaration
        path.write_text(json.dumps(content))

    return change


@pytest.fixture(scope="module")
def by_champion(trained):
    result = score(trained, *DAYS)
    assert result.success, trained.told(result)
    return trained.newest(NAME)


def test_the_champion_scores_every_payment_of_the_days_with_a_decision_s_bits(trained, served, by_champion):
    vectors = trained.lake.read(PAYMENT_FEATURES.name).select("end_to_end_id", "event_time_ms", "features").toArrow()
    rows = matrix(vectors["features"])
    expected, ensemble = {}, load_registered(served)
    for name, at_ms, row in zip(
        vectors["end_to_end_id"].to_pylist(), vectors["event_time_ms"].to_pylist(), rows, strict=True
    ):
        if day_at(at_ms) in DAYS:
            raw = ensemble.raw_score(row.copy())
            expected[name] = (raw.hex(), ensemble.probability(raw).hex(), day_at(at_ms))
    found = scores_of(trained, DAYS, served.ref.version)
    assert len(expected) > 100
    assert {
        row["end_to_end_id"]: (row["raw_score"].hex(), row["fraud_probability"].hex(), row["event_day"])
        for row in found
    } == expected
    assert by_champion["rows_scored"] == len(found) == len(expected)
    assert {row["model_sha256"] for row in found} == {served.ref.sha256}


def test_the_page_tells_what_thresholds_ask_for(trained, served, by_champion):
    assert (by_champion["model_version"], by_champion["decided_payments"]) == (served.ref.version, 0)
    assert "| imported, not decided here |" in by_champion["by_action"]
    assert by_champion["notes"] == "none"
    assert by_champion["rows_per_second"] > 0
    parts = trained.instance.get_materialized_partitions(key(NAME))
    assert {str(day) for day in DAYS} <= parts


@pytest.mark.usefixtures("by_champion")
def test_any_version_scores_and_its_rows_stand_beside(trained, served, registered):
    version, sha256 = registered(lambda folder: (folder / "note.txt").write_text("another"), rolled_back_at="yesterday")
    before = scores_of(trained, DAYS, served.ref.version)
    assert score(trained, DAYS[0], model_version=version).success
    theirs = scores_of(trained, DAYS[:1], version)
    assert {row["model_sha256"] for row in theirs} == {sha256} != {served.ref.sha256}
    assert [row["raw_score"] for row in theirs] == [row["raw_score"] for row in before if row["event_day"] == DAYS[0]]
    assert scores_of(trained, DAYS, served.ref.version) == before


def test_a_version_of_other_features_scores_while_its_inputs_mean_the_same(trained, registered):
    version, _ = registered(of_other_features(None), fingerprint=OTHER)
    result = score(trained, DAYS[1], model_version=version)
    assert result.success, trained.told(result)
    assert f"was trained on features {OTHER}, the vectors are of {FINGERPRINT}" in trained.newest(NAME)["notes"]


def test_a_version_whose_inputs_mean_something_else_is_refused_by_both_names(trained, registered):
    version, _ = registered(of_other_features("e" * 16), fingerprint=OTHER)
    said = refusal(trained, model_version=version)
    assert f"version {version} was trained on features {OTHER}, the vectors of features/payment_features" in said
    assert FINGERPRINT in said
    assert "Score with a version trained since" in said


def test_changed_files_are_refused(trained, registered):
    def spoil(folder):
        path = folder / "manifest.json"
        path.write_bytes(path.read_bytes() + b" ")

    version, _ = registered(spoil, sign_it=False)
    before = trained.lake.version(NAME)
    assert "manifest.json" in refusal(trained, model_version=version)
    assert trained.lake.version(NAME) == before


def test_an_unknown_version_is_told_with_those_that_are_there(trained, served):
    before, _, there = refusal(trained, model_version="999").partition("; there are ")
    assert before == "pix_fraud has no version '999'"
    assert served.ref.version in there.partition(":")[0].split(", ")
    assert refusal(trained, model_version="champion").startswith("pix_fraud has no version 'champion'")


def test_an_empty_day_and_a_name_that_is_none_are_told(trained):
    result = score(trained, DAYS[0] - timedelta(days=300))
    assert result.success, trained.told(result)
    assert "no payment of the history 'live' has a vector on" in trained.newest(NAME)["notes"]
    assert "cannot name a history" in refusal(trained, history="live' or 'a")
