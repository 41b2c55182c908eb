"""A recorded model comes out again by its record, and what its record did not make is seen."""

import json
import subprocess
from datetime import UTC, datetime

import pytest

from learning.artefact import CARD_FILE, write_artefact
from learning.errors import NotReproducible
from learning.provenance import provenance
from learning.recipe import TrainingConfig
from learning.registry import ChampionRef, Downloaded
from learning.reproduction import reproduce
from learning.signing import PRIVATE_KEY_FILE, ensure_signing_keys, file_sha256
from learning.training import fit

RECIPE = TrainingConfig(iterations=30, depth=4, learning_rate=0.2, folds=2)
NOW = datetime(2026, 11, 23, 1, tzinfo=UTC)
REF = ChampionRef(name="pix_fraud", version="1", sha256="0" * 64, fingerprint="f" * 16, run_id="r")


@pytest.fixture(scope="module")
def recorded(training_frame, feature_names, tmp_path_factory):
    folder, secrets = tmp_path_factory.mktemp("1"), tmp_path_factory.mktemp("secrets")
    ensure_signing_keys(secrets)
    write_artefact(
        fit(training_frame(), feature_names, RECIPE), folder, fingerprint="f" * 16, data_versions={}, now=NOW,
        private_key=secrets / PRIVATE_KEY_FILE,
    )  # fmt: skip
    return Downloaded(REF, folder)


def changed(recorded, tmp_path, **recipe):
    """The same model with another recipe on its card."""
    for path in recorded.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    card = json.loads((tmp_path / CARD_FILE).read_text())
    (tmp_path / CARD_FILE).write_text(json.dumps({**card, "config": {**card["config"], **recipe}}))
    return Downloaded(REF, tmp_path)


def test_the_same_rows_and_recipe_give_the_same_model(recorded, training_frame):
    found = reproduce(recorded, training_frame().sample(frac=1, random_state=3))
    assert found.identical
    assert (found.unequal, found.greatest_difference, found.rows) == (0, 0.0, 3_000)
    assert set(found.differing) <= {"catboost.json", "evaluation-catboost.json"}
    assert found.files > len(found.differing)


def test_another_recipe_or_other_rows_give_another_model(recorded, training_frame, tmp_path):
    found = reproduce(changed(recorded, tmp_path, iterations=31), training_frame())
    assert not found.identical
    assert found.unequal > 1_000
    assert found.greatest_difference > 0
    assert "manifest.json" in found.differing
    assert not reproduce(recorded, training_frame(seed=6)).identical


def test_a_recipe_of_another_build_is_named(recorded, training_frame, tmp_path):
    with pytest.raises(NotReproducible, match=r"recipe of version 1 is not one of this build .*leaves.*git_commit"):
        reproduce(changed(recorded, tmp_path, leaves=9), training_frame())


def test_code_is_known_by_its_commit_and_its_lock(tmp_path):
    assert provenance(tmp_path).tags() == {"git_commit": "unknown", "lock_sha256": "unknown"}

    def git(*words):
        who = ["-c", "user.name=A", "-c", "user.email=a@b"]
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==2\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    assert provenance(tmp_path).tags() == {
        "git_commit": git("rev-parse", "HEAD").strip(),
        "lock_sha256": file_sha256(lock),
    }
    lock.write_text("numpy==3\n")
    assert provenance(tmp_path).git_commit == git("rev-parse", "HEAD").strip() + "-dirty"
    inside = tmp_path / "package"
    inside.mkdir()
    assert provenance(inside).git_commit == "unknown", "somebody else's checkout is not ours"
