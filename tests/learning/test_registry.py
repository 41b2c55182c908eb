"""The real MLflow on SQLite, in a temporary folder."""

import json
from datetime import UTC, datetime

import mlflow
import numpy as np
import pytest

from learning import registering, registry
from learning.artefact import CARD_FILE
from learning.ensemble import load_ensemble
from learning.errors import ArtefactRefused, RegistryError, RegistryUnavailable
from learning.inputs import vectors
from learning.recipe import TrainingConfig
from learning.registering import Dataset
from learning.signing import PRIVATE_KEY_FILE, PUBLIC_KEY_FILE, artefact_sha256, ensure_signing_keys
from learning.succession import NOBODY, Succession
from learning.training import fit, log_odds
from pix.features import FEATURE_NAMES

NAME = "pix_fraud"
TREES_FILE, EVALUATION_FILE = "catboost.json", "evaluation-scorecard.json"
NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
SMALL = TrainingConfig(iterations=30, depth=4, learning_rate=0.2)


@pytest.fixture
def uri(tracking):
    return tracking


@pytest.fixture(scope="module")
def trained(training_frame, feature_names):
    return fit(training_frame(), feature_names, SMALL)


@pytest.fixture(scope="module", autouse=True)
def keys(tmp_path_factory):
    global KEYS
    KEYS = tmp_path_factory.mktemp("secrets")
    ensure_signing_keys(KEYS)
    return KEYS


def download(uri, name, folder, **more):
    return registry.download_champion(uri, name, folder, public_key=KEYS / PUBLIC_KEY_FILE, **more)


def register(trained, uri, name=NAME, fingerprint="f" * 16, **more):
    return registering.register(
        trained,
        uri=uri,
        model_name=name,
        private_key=KEYS / PRIVATE_KEY_FILE,
        fingerprint=fingerprint,
        datasets=[Dataset("features/training_set", "lake/features/training_set", 4, "ab12")],
        now=NOW,
        **more,
    )


def test_a_model_goes_from_challenger_to_champion_to_a_service(uri, trained, training_frame, feature_names, tmp_path):
    assert registry.champion(uri, NAME) is None
    assert download(uri, NAME, tmp_path) is None
    version = register(trained, uri, extra_tags={"dagster_run_id": "d-1"})
    assert registry.champion(uri, NAME) is None
    assert registry.champion(uri, NAME, alias=registry.CHALLENGER).version == version.version == "1"

    Succession(uri, NAME).promote(version.version, ["first champion", "beats raw fields"], over=NOBODY, now=NOW)
    found = registry.champion(uri, NAME)
    assert (found.version, found.sha256, found.fingerprint) == ("1", version.sha256, "f" * 16)
    recorded = mlflow.MlflowClient(uri).get_model_version(NAME, "1").tags
    assert recorded["promotion_reasons"] == "first champion\nbeats raw fields"
    assert recorded["promoted_at"] == "2026-11-21T12:30:00+00:00"
    assert recorded["dagster_run_id"] == "d-1"

    downloaded = download(uri, NAME, tmp_path)
    assert (downloaded.ref, downloaded.folder) == (found, tmp_path / "1")
    assert artefact_sha256(downloaded.folder) == version.sha256
    card = downloaded.card
    assert (card.fingerprint, card.seed) == ("f" * 16, 7)
    assert card.feature_names == tuple(feature_names)
    assert card.data_versions == {"features/training_set": 4}
    assert registry.data_versions(uri, NAME) == {"1": card.data_versions}
    served, frame = load_ensemble(downloaded.folder), training_frame()
    rows = vectors(frame.reindex(columns=list(FEATURE_NAMES)), FEATURE_NAMES)
    fitted = trained.ensemble.blend.raw_scores(log_odds(trained.ensemble.members, frame, feature_names))
    assert (served.raw_scores(rows) == fitted).all()
    assert [served.raw_score(row) for row in np.ascontiguousarray(rows[:50])] == fitted[:50].tolist()
    said = served.probabilities(fitted)
    assert said == pytest.approx(trained.ensemble.probabilities(frame, feature_names))

    run = mlflow.MlflowClient(uri).get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["average_precision"] == trained.metrics["average_precision"]
    assert run.data.params["border_count"] == "254"
    (read,) = run.inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest) == ("features/training_set", "ab12")
    assert json.loads(read.dataset.source)["delta_table_version"] == 4
    logged = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    assert (logged.predict(frame[list(feature_names)]) == said).all()


def test_a_local_copy_is_reused_and_a_damaged_one_fetched_again(uri, trained, tmp_path):
    version = register(trained, uri, "cached").version
    Succession(uri, "cached").promote(version, ["test"], over=NOBODY, now=NOW)
    trees = download(uri, "cached", tmp_path).folder / TREES_FILE
    written = trees.stat().st_mtime_ns
    assert download(uri, "cached", tmp_path).folder == trees.parent
    assert trees.stat().st_mtime_ns == written
    trees.write_bytes(b"half a model")
    download(uri, "cached", tmp_path)
    assert artefact_sha256(trees.parent) == registry.champion(uri, "cached").sha256
    assert [path.name for path in tmp_path.iterdir()] == [version]


@pytest.mark.parametrize("file", [TREES_FILE, EVALUATION_FILE, CARD_FILE])
def test_a_changed_artefact_is_refused_and_leaves_nothing(uri, trained, tmp_path, file):
    name = f"tampered-{file}"
    version = register(trained, uri, name)
    Succession(uri, name).promote(version.version, ["test"], over=NOBODY, now=NOW)
    client = mlflow.MlflowClient(uri)
    changed = tmp_path / file
    changed.write_bytes(b"another model")
    client.log_artifact(version.run_id, str(changed), registry.FOLDER)
    with pytest.raises(ArtefactRefused, match=f"{file} is not what was signed"):
        download(uri, name, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_an_active_run_is_joined_and_left_open(uri, trained):
    mlflow.set_tracking_uri(uri)
    with mlflow.start_run(experiment_id=mlflow.get_experiment_by_name(registry.EXPERIMENT).experiment_id) as run:
        assert register(trained, uri, "joined").run_id == run.info.run_id
        assert mlflow.active_run().info.run_id == run.info.run_id
        with pytest.raises(RegistryError, match="same address"):
            register(trained, "sqlite:////elsewhere.db", "joined")


def test_a_version_that_someone_else_registered_is_refused(uri):
    client = mlflow.MlflowClient(uri)
    client.create_registered_model("foreign")
    version = client.create_model_version("foreign", source="file:///nowhere").version
    client.set_registered_model_alias("foreign", "champion", version)
    with pytest.raises(RegistryError, match="not registered by Sentinela"):
        registry.champion(uri, "foreign")


def test_a_server_that_is_away_is_named_at_once(unused_port):
    with pytest.raises(RegistryUnavailable, match="sentinela up"):
        registry.champion(f"http://127.0.0.1:{unused_port}", NAME)
